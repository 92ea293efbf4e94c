// Which model writes or is looked at: a run, and one of its checkpoints.

import { field, select, setOptions } from "../components.js";
import { el } from "../dom.js";
import { t } from "../texts.js";
import { number, short } from "../words.js";

export class Chooser {
  // changed(): another model or checkpoint was chosen, by hand or because there is one now
  constructor(changed = () => {}) {
    this.changed = changed;
    this.models = [];
    this.wanted = null;
    this.run = select({ onchange: () => (this.#checkpoints(""), changed()) });
    this.at = select({ onchange: changed });
    this.about = el("p", { class: "hint wide" });
    const fields = [field({ label: t("write.model"), control: this.run }), field({ label: t("write.checkpoint"), control: this.at })];
    this.element = el("div", { class: "fields" }, ...fields.map((each) => each.element), this.about);
  }

  // RUN or RUN@STEP
  get value() {
    return this.at.value ? `${this.run.value}@${this.at.value}` : this.run.value;
  }

  // What is known of it
  get facts() {
    return this.models.find(({ id }) => id === this.run.value)?.meta ?? null;
  }

  know(models) {
    this.models = models;
    const before = this.value;
    const latest = models.find(({ meta }) => meta.latest) ?? models[0];
    const state = ({ meta }) => (meta.state === "running" ? ` (${t("write.learning")})` : "");
    setOptions(
      this.run,
      models.map((model) => [model.id, model.id + state(model)]),
      this.run.value || latest.id,
    );
    this.#checkpoints(this.at.value);
    if (this.wanted) this.choose(this.wanted);
    if (this.value !== before) this.changed();
  }

  // A model by its name, as soon as it is known, where there is such a run
  choose(model) {
    this.wanted = this.models.length ? null : model;
    const [name, at = ""] = model.split("@");
    if (!this.models.some(({ id }) => id === name)) return;
    this.run.value = name;
    this.#checkpoints(at);
  }

  #checkpoints(chosen) {
    const meta = this.facts;
    if (!meta) return;
    const step = (count) => t("write.step", { count });
    const steps = [...meta.steps].reverse();
    const named = (name, count) => t("write.named", { name: t(name), count });
    const options = [
      ["", meta.best_step === null ? t("write.best") : named("write.best", meta.best_step)],
      ["last", named("write.last", steps[0])],
      ...steps.map((each) => [String(each), step(each)]),
    ];
    if (chosen && !options.some(([value]) => value === chosen)) options.push([chosen, step(Number(chosen))]);
    setOptions(this.at, options, chosen);
    const said = [
      `${meta.cell.toUpperCase()} ${meta.num_layers}×${meta.hidden_size}`,
      meta.parameters && t("write.parameters", { count: short(meta.parameters) }),
      meta.bits_per_char && t("write.mean", { bits: number(meta.bits_per_char, 2) }),
      meta.corpus && t("write.corpus", { name: meta.corpus }),
    ];
    this.about.textContent = said.filter(Boolean).join(" · ");
  }
}
