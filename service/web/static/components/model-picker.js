// Choose a model: a run, and one of its checkpoints.

import { field, select, setOptions } from "./fields.js";
import { networkName } from "./run-status.js";
import { t } from "../i18n/i18n.js";
import { el } from "../lib/dom.js";
import { compact, number } from "../lib/format.js";

export class ModelPicker {
  // changed(): the user chose another model, or the first models became known
  constructor(changed = () => {}) {
    this.changed = changed;
    this.models = [];
    this.pending = null; // a model to choose as soon as models are known
    this.run = select({ onchange: () => (this.#showCheckpoints(""), changed()) });
    this.checkpoint = select({ onchange: changed });
    this.about = el("p", { class: "hint wide" });
    const fields = [field({ label: t("model.run"), control: this.run }), field({ label: t("model.checkpoint"), control: this.checkpoint })];
    this.element = el("div", { class: "fields" }, ...fields.map((each) => each.element), this.about);
  }

  // RUN or RUN@STEP
  get value() {
    return this.checkpoint.value ? `${this.run.value}@${this.checkpoint.value}` : this.run.value;
  }

  // `meta` of the run in /v1/models, or null
  get meta() {
    return this.models.find(({ id }) => id === this.run.value)?.meta ?? null;
  }

  setModels(models) {
    this.models = models;
    const before = this.value;
    const latest = models.find(({ meta }) => meta.latest) ?? models[0];
    const state = ({ meta }) => (meta.state === "running" ? ` (${t("model.learning")})` : "");
    setOptions(
      this.run,
      models.map((model) => [model.id, model.id + state(model)]),
      this.run.value || latest.id,
    );
    this.#showCheckpoints(this.checkpoint.value);
    if (this.pending) this.choose(this.pending);
    if (this.value !== before) this.changed();
  }

  // Chooses RUN or RUN@STEP, as soon as models are known; ignores a run that does not exist.
  choose(model) {
    this.pending = this.models.length ? null : model;
    const [name, checkpoint = ""] = model.split("@");
    if (!this.models.some(({ id }) => id === name)) return;
    this.run.value = name;
    this.#showCheckpoints(checkpoint);
  }

  #showCheckpoints(chosen) {
    const { meta } = this;
    if (!meta) return;
    const step = (count) => t("step", { count });
    const steps = [...meta.steps].reverse();
    const named = (name, count) => t("model.named", { name: t(name), count });
    const options = [
      ["", meta.best_step === null ? t("model.best") : named("model.best", meta.best_step)],
      ["last", named("model.last", steps[0])],
      ...steps.map((each) => [String(each), step(each)]),
    ];
    if (chosen && !options.some(([value]) => value === chosen)) options.push([chosen, step(Number(chosen))]);
    setOptions(this.checkpoint, options, chosen);
    const parts = [
      networkName(meta),
      meta.parameters && t("model.parameters", { count: compact(meta.parameters) }),
      meta.bits_per_char && t("model.loss", { bits: number(meta.bits_per_char, 2) }),
      meta.corpus && t("model.corpus", { name: meta.corpus }),
    ];
    this.about.textContent = parts.filter(Boolean).join(" · ");
  }
}
