// All settings of a run: names, ranges and meanings are those of the service's own description, so that they cannot differ from it.

import { ask } from "../api.js";
import { field, input, more, select, setOptions } from "../components.js";
import { el } from "../dom.js";
import { facts } from "../facts.js";
import { t, translated } from "../texts.js";
import { number } from "../words.js";

const ELSEWHERE = ["model", "cell", "training_file", "validation_file", "epochs", "steps", "budget"]; // they have a place of their own here
const OTHERS = ["hyperparameters", "method", "suffix", "metadata", "integrations"]; // only other services' clients say it so
const GROUPS = {
  network: ["hidden_size", "num_layers", "embedding_size", "dropout", "activation", "level", "normalization", "min_count"],
  reading: ["batch_size", "seq_length", "reset_rate", "max_epochs"],
  learning: ["learning_rate", "input_rate", "output_rate", "schedule", "warmup", "final_learning_rate", "optimizer", "weight_decay", "clip_norm", "clip_value", "beta1", "beta2", "momentum", "epsilon"],
  validation: ["validation_fraction", "validation_size", "validation_interval", "patience"],
  run: ["name", "seed"],
};
const CELLS = { "": "lstm", gru: "gru", rnn: "rnn" }; // the first is what is taken where nothing is chosen

export class Settings {
  constructor() {
    this.fields = new Map();
    this.model = field({ label: el("code", {}, "model"), control: select() });
    this.validation = field({ label: el("code", {}, "validation_file"), control: select() });
    this.body = el("div", { class: "settings" });
    this.wrong = el("p", { class: "wrong", hidden: true });
    this.element = more(t("teach.settings"), el("p", { class: "hint" }, t("teach.settings.hint")), this.wrong, this.body);
    this.element.addEventListener("toggle", () => this.element.open && this.enter());
  }

  // Everything that was chosen
  get values() {
    const found = {};
    for (const [name, each] of this.#all()) {
      const { value, type } = each.control;
      if (value !== "") found[name] = type === "number" ? Number(value) : value;
    }
    return found;
  }

  // Tells what is wrong with a setting; gives whether it is one of these.
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

  // What there is to choose from may have changed.
  async enter() {
    if (!this.element.open) return;
    try {
      if (!this.fields.size) this.#fill((await ask("/openapi.json")).components.schemas.JobOrder.properties);
      const { data } = await ask("/v1/files?limit=1000");
      setOptions(this.validation.control, [["", t("teach.validation.end")], ...data.map(({ id }) => [id, id])]);
      setOptions(this.model.control, [...Object.entries(CELLS).map(([value, name]) => [value, t("teach.model.new", { name })]), ...facts.models.map(({ id }) => [id, t("teach.model.on", { name: id })])]);
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

// What the service says of it; in other languages as our table has it.
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

// "from 1, at most 64"; limits that nobody reaches are not told.
function range({ minimum, exclusiveMinimum, maximum, exclusiveMaximum }) {
  const shown = (value) => (value < 1e-3 && value > 0 ? String(value) : number(value, value % 1 ? 3 : 0));
  const told = [
    minimum !== undefined && t("range.from", { value: shown(minimum) }),
    exclusiveMinimum !== undefined && t("range.above", { value: shown(exclusiveMinimum) }),
    maximum !== undefined && maximum < 1e9 && t("range.to", { value: shown(maximum) }),
    exclusiveMaximum !== undefined && t("range.below", { value: shown(exclusiveMaximum) }),
  ];
  return told.filter(Boolean).join(" ");
}
