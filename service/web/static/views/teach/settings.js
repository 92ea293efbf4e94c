// All settings of a run, built from the service's OpenAPI schema, so that names, ranges and descriptions cannot differ from it.

import { disclosure } from "../../components/buttons.js";
import { field, input, select, setOptions } from "../../components/fields.js";
import { t, translated } from "../../i18n/i18n.js";
import { ask } from "../../lib/api.js";
import { el } from "../../lib/dom.js";
import { number } from "../../lib/format.js";
import { service } from "../../lib/service.js";

const ELSEWHERE = ["model", "cell", "training_file", "validation_file", "epochs", "steps", "budget"]; // shown elsewhere on the page
const OTHERS = ["hyperparameters", "method", "suffix", "metadata", "integrations"]; // accepted only for compatibility with OpenAI's clients
const GROUPS = {
  network: ["hidden_size", "num_layers", "embedding_size", "dropout", "activation", "level", "normalization", "min_count"],
  reading: ["batch_size", "seq_length", "reset_rate", "max_epochs"],
  learning: ["learning_rate", "input_rate", "output_rate", "schedule", "warmup", "final_learning_rate", "optimizer", "weight_decay", "clip_norm", "clip_value", "beta1", "beta2", "momentum", "epsilon"],
  validation: ["validation_fraction", "validation_size", "validation_interval", "patience"],
  run: ["name", "seed"],
};
const CELLS = { "": "lstm", gru: "gru", rnn: "rnn" }; // option -> cell; the first is the default

export class Settings {
  constructor() {
    this.fields = new Map();
    this.model = field({ label: el("code", {}, "model"), control: select() });
    this.validation = field({ label: el("code", {}, "validation_file"), control: select() });
    this.body = el("div", { class: "settings" });
    this.wrong = el("p", { class: "wrong", hidden: true });
    this.element = disclosure(t("teach.settings"), el("p", { class: "hint" }, t("teach.settings.hint")), this.wrong, this.body);
    this.element.addEventListener("toggle", () => this.element.open && this.enter());
  }

  // The settings that are not empty
  get values() {
    const found = {};
    for (const [name, each] of this.#all()) {
      const { value, type } = each.control;
      if (value !== "") found[name] = type === "number" ? Number(value) : value;
    }
    return found;
  }

  // Shows an error beside a setting -> whether the setting is one of these
  error(name, message) {
    const found = this.#all().find(([each]) => each === name)?.[1];
    if (!found) return false;
    this.element.open = true;
    found.error(message);
    found.control.focus();
    return true;
  }

  clear() {
    for (const [, each] of this.#all()) each.error("");
  }

  // Loads the choices, which may have changed.
  async enter() {
    if (!this.element.open) return;
    try {
      if (!this.fields.size) this.#fill((await ask("/openapi.json")).components.schemas.JobOrder.properties);
      const { data } = await ask("/v1/files?limit=1000");
      setOptions(this.validation.control, [["", t("teach.validation.end")], ...data.map(({ id }) => [id, id])]);
      setOptions(this.model.control, [...Object.entries(CELLS).map(([value, name]) => [value, t("teach.model.new", { name })]), ...service.models.map(({ id }) => [id, t("teach.model.on", { name: id })])]);
      this.wrong.hidden = true;
    } catch (error) {
      this.wrong.textContent = error.message;
      this.wrong.hidden = false;
    }
  }

  #all() {
    return [["model", this.model], ["validation_file", this.validation], ...this.fields];
  }

  #fill(properties) {
    const known = new Set([...Object.values(GROUPS).flat(), ...ELSEWHERE, ...OTHERS]);
    const groups = { ...GROUPS, further: Object.keys(properties).filter((name) => !known.has(name)) };
    const own = { network: [this.model], validation: [this.validation] };
    this.model.hint(meaning("model", properties.model));
    this.validation.hint(meaning("validation_file", properties.validation_file));
    for (const [group, names] of Object.entries(groups)) {
      const there = names.filter((name) => name in properties);
      for (const name of there) this.fields.set(name, fieldOf(name, properties[name]));
      const shown = [...(own[group] ?? []), ...there.map((name) => this.fields.get(name))];
      if (shown.length) this.body.append(el("fieldset", {}, el("legend", {}, t(`teach.group.${group}`)), el("div", { class: "fields" }, shown.map((each) => each.element))));
    }
  }
}

// The service's description, or its translation in i18n/teach.js
const meaning = (name, { description }) => translated(`setting.${name}`, description);

function fieldOf(name, property) {
  const rule = property.anyOf?.find(({ type }) => type !== "null") ?? property;
  const hint = [meaning(name, property), range(rule)].filter(Boolean).join("; ");
  return field({ label: el("code", {}, name), control: controlOf(rule), hint });
}

function controlOf(rule) {
  if (rule.enum) return select({ options: [["", t("teach.auto")], ...rule.enum.map((each) => [each, each])] });
  if (rule.type !== "integer" && rule.type !== "number") return input({ maxlength: rule.maxLength ?? 64, placeholder: t("teach.auto") });
  const whole = rule.type === "integer";
  const most = rule.maximum ?? rule.exclusiveMaximum;
  return input({
    type: "number",
    inputmode: whole ? "numeric" : "decimal",
    step: whole ? 1 : "any",
    min: rule.minimum ?? rule.exclusiveMinimum ?? null,
    max: most === undefined ? null : Math.min(most, Number.MAX_SAFE_INTEGER),
    placeholder: t("teach.auto"),
  });
}

// "from 1 to 64"; leaves out limits beyond any use.
function range({ minimum, exclusiveMinimum, maximum, exclusiveMaximum }) {
  const shown = (value) => (value < 1e-3 && value > 0 ? String(value) : number(value, value % 1 ? 3 : 0));
  const limits = [
    minimum !== undefined && t("range.from", { value: shown(minimum) }),
    exclusiveMinimum !== undefined && t("range.above", { value: shown(exclusiveMinimum) }),
    maximum !== undefined && maximum < 1e9 && t("range.to", { value: shown(maximum) }),
    exclusiveMaximum !== undefined && t("range.below", { value: shown(exclusiveMaximum) }),
  ];
  return limits.filter(Boolean).join(" ");
}
