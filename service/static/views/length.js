// How long to train: one of three times, or any length.

import { field, input, segmented, select } from "../components.js";
import { el } from "../dom.js";
import { t } from "../texts.js";

const TIMES = [60, 180, 600]; // seconds
const UNITS = { minutes: ["budget", 60], hours: ["budget", 3600], epochs: ["epochs", 1], steps: ["steps", 1] }; // the setting, and its unit in ours

export class Length {
  constructor() {
    this.names = ["budget", "epochs", "steps"];
    const times = TIMES.map((seconds) => [String(seconds), t("unit.min", { value: seconds / 60 })]);
    this.choice = segmented({ label: t("teach.length"), options: [...times, ["other", t("teach.other")]], value: "180", onchange: (value) => this.#show(value) });
    this.count = input({ type: "number", min: 0, step: "any", value: 30, required: true, inputmode: "decimal" });
    this.unit = select({ options: Object.keys(UNITS).map((unit) => [unit, t(`teach.unit.${unit}`)]), value: "minutes", "aria-label": t("teach.unit") });
    this.field = field({ label: t("teach.other.length"), control: this.count });
    this.other = el("div", { class: "length-other", hidden: true }, this.field.element, this.unit);
    this.element = el("div", { class: "length" }, this.choice.element, this.other, el("p", { class: "hint" }, t("teach.time.hint")));
    this.#show("180");
  }

  // The setting as the service takes it
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

  #show(value) {
    this.other.hidden = value !== "other";
    this.count.disabled = value !== "other"; // what is hidden is not checked
  }
}
