// Choose how long to train: one of three times, or any time, epochs or steps.

import { field, input, segmented, select } from "../../components/fields.js";
import { t } from "../../i18n/i18n.js";
import { el } from "../../lib/dom.js";

const TIMES = [60, 180, 600]; // seconds
// unit -> [the setting, its value for one unit, minimum, maximum]
const UNITS = {
  minutes: ["budget", 60, 0.01, 525_600],
  hours: ["budget", 3600, 0.01, 8760],
  epochs: ["epochs", 1, 0.001, 1_000_000],
  steps: ["steps", 1, 1, 1_000_000_000],
};

export class TrainingBudget {
  constructor() {
    this.names = ["budget", "epochs", "steps"];
    const times = TIMES.map((seconds) => [String(seconds), t("unit.min", { value: seconds / 60 })]);
    this.choice = segmented({ label: t("teach.length"), options: [...times, ["other", t("teach.other")]], value: "180", onchange: (value) => this.#show(value) });
    this.count = input({ type: "number", step: "any", value: 30, required: true, inputmode: "decimal" });
    this.unit = select({ options: Object.keys(UNITS).map((unit) => [unit, t(`teach.unit.${unit}`)]), value: "minutes", "aria-label": t("teach.unit"), onchange: () => this.#limit() });
    this.field = field({ label: t("teach.other.length"), control: this.count });
    this.other = el("div", { class: "length-other", hidden: true }, this.field.element, this.unit);
    this.element = el("div", { class: "length" }, this.choice.element, this.other, el("p", { class: "hint" }, t("teach.time.hint")));
    this.#show("180");
    this.#limit();
  }

  // { budget }, { epochs } or { steps }, for the request
  get value() {
    if (this.choice.value !== "other") return { budget: Number(this.choice.value) };
    const [name, unit] = UNITS[this.unit.value];
    return { [name]: Number(this.count.value) * unit };
  }

  error(message) {
    this.choice.value = "other";
    this.#show("other");
    this.field.error(message);
    this.count.focus();
  }

  #limit() {
    [, , this.count.min, this.count.max] = UNITS[this.unit.value];
  }

  #show(value) {
    this.other.hidden = value !== "other";
    this.count.disabled = value !== "other"; // a hidden field must not be validated
  }
}
