// Samples of a run: those written at each validation, and those that any of its checkpoints writes on request.

import { button, linkButton } from "../../components/buttons.js";
import { notice } from "../../components/feedback.js";
import { field, input, slider } from "../../components/fields.js";
import { t } from "../../i18n/i18n.js";
import { writeAddress } from "../../lib/address.js";
import { ask } from "../../lib/api.js";
import { el, newId, throttled } from "../../lib/dom.js";
import { compact, number } from "../../lib/format.js";

const PACE = 700; // milliseconds per checkpoint while playing
const TYPING_PAUSE = 400; // milliseconds after the last key until a prompt is used
const LONGEST = 2000; // characters; Write has room for longer texts

// The list of samples, newest first
export class ValidationSamples {
  constructor() {
    this.nothing = el("p", { class: "quiet-text" }, t("run.samples.empty"));
    this.list = el("ol", { class: "samples", reversed: true, tabindex: 0, "aria-label": t("run.samples"), hidden: true });
    this.element = el("div", { class: "samples-frame" }, this.nothing, this.list);
    this.steps = [];
  }

  // Adds new samples; rebuilds the list if steps were repeated. over: whether the run has ended
  show(samples, over) {
    this.nothing.textContent = t(over ? "run.samples.none" : "run.samples.empty");
    const steps = samples.map(({ step }) => step);
    if (!this.steps.every((step, index) => steps[index] === step)) {
      this.list.replaceChildren();
      this.steps = [];
    }
    this.list.prepend(...samples.slice(this.steps.length).reverse().map(sampleItem));
    this.steps = steps;
    this.nothing.hidden = steps.length > 0;
    this.list.hidden = !steps.length;
  }
}

const sampleItem = ({ step, characters, bits, text }) =>
  el(
    "li",
    {},
    el("p", { class: "sample-head" }, el("b", {}, t("step", { count: step })), " · ", t("run.read.short", { count: compact(characters) }), " · ", t("bits", { bits: number(bits, 2) })),
    el("p", { class: "sample-text", lang: "" }, text),
  );

// "Time travel": a slider through the checkpoints, each of which writes with the same prompt and seed
export class CheckpointSamples {
  // at(step): the step of the shown checkpoint, or null; gone(): a checkpoint has been deleted
  constructor(name, { signal, at, gone }) {
    Object.assign(this, { name, signal, at, gone, checkpoints: [], texts: new Map(), index: -1, moved: false, playing: null });
    this.#build();
    signal.addEventListener("abort", () => this.#halt());
  }

  // checkpoints: [{ step, bits }], ascending
  show(checkpoints) {
    const steps = checkpoints.map(({ step }) => step);
    if (String(steps) === String(this.steps)) return;
    const before = this.checkpoints[this.index]?.step;
    Object.assign(this, { checkpoints, steps });
    this.element.hidden = !steps.length;
    if (!steps.length) return;
    // The slider stays at the newest checkpoint until the user moves it.
    const kept = this.moved ? steps.findLastIndex((step) => step <= before) : steps.length - 1;
    this.slider.setMax(steps.length - 1);
    this.slider.input.disabled = steps.length < 2;
    this.play.disabled = steps.length < 2;
    this.#show(Math.max(0, kept));
  }

  // ── private ──

  #build() {
    const heading = newId("checkpoints");
    this.slider = slider({ label: t("checkpoints.checkpoint"), min: 0, max: 0, step: 1, value: 0, format: (index) => this.#label(index), ends: [t("checkpoints.first"), t("checkpoints.last")], oninput: (index) => this.#onSlide(index) });
    this.play = button({ text: t("checkpoints.play"), icon: "play", onclick: () => (this.playing ? this.#halt() : this.#start()) });
    const again = throttled(() => this.#show(this.index), TYPING_PAUSE);
    const control = (props) => input({ oninput: again, ...props });
    this.fields = {
      prompt: field({ label: t("sampling.prompt"), control: control({ placeholder: t("checkpoints.prompt"), spellcheck: "false" }) }),
      temperature: field({ label: t("sampling.temperature"), control: control({ type: "number", min: 0, max: 2, step: 0.05, value: 0.8 }) }),
      seed: field({ label: t("sampling.seed"), control: control({ type: "number", min: 0, max: 2 ** 32 - 1, step: 1, value: 1 }) }),
      length: field({ label: t("sampling.length"), control: control({ type: "number", min: 1, max: LONGEST, step: 1, value: 400 }) }),
    };
    this.text = el("p", { class: "checkpoints-text", lang: "", tabindex: 0, role: "group", "aria-label": t("checkpoints.text") });
    this.wrong = notice({ kind: "bad" });
    this.link = linkButton({ text: t("checkpoints.write"), href: "#write" });
    this.element = el(
      "section",
      { class: "card checkpoints", "aria-labelledby": heading, hidden: true },
      el("div", { class: "card-head" }, el("h2", { id: heading }, t("checkpoints.title")), this.play),
      el("p", { class: "quiet-text" }, t("checkpoints.about")),
      this.slider.element,
      el("div", { class: "fields checkpoints-fields" }, Object.values(this.fields).map((each) => each.element)),
      this.wrong.element,
      this.text,
      this.link,
    );
  }

  #label(index) {
    const found = this.checkpoints?.[index];
    if (!found) return "";
    const step = t("step", { count: found.step });
    return found.bits === null ? step : `${step} · ${t("bits", { bits: number(found.bits, 2) })}`;
  }

  #onSlide(index) {
    this.#halt();
    this.#takeOver();
    this.#show(index);
  }

  // From the first move on, the slider stays where the user puts it, and screen readers read the texts.
  #takeOver() {
    this.moved = true;
    this.text.setAttribute("aria-live", "polite");
  }

  // The request for a step, or null if a field is invalid
  #request(step) {
    if (Object.values(this.fields).some(({ control }) => !control.checkValidity() || (control.type === "number" && control.value === ""))) return null;
    const value = (name) => this.fields[name].control.value;
    return { model: `${this.name}@${step}`, prompt: value("prompt"), temperature: Number(value("temperature")), seed: Number(value("seed")), max_tokens: Number(value("length")) };
  }

  async #show(index) {
    this.index = index;
    this.slider.value = index;
    const { step } = this.checkpoints[index];
    this.at(this.moved ? step : null);
    const request = this.#request(step);
    if (!request) return;
    const { model, prompt, seed, temperature, max_tokens: length } = request;
    this.link.href = writeAddress({ model, prompt, seed, stop: [] }, [{ schedule: [[0, temperature]], length }]);
    this.asked = request;
    this.text.setAttribute("aria-busy", "true");
    try {
      const text = await this.#write(request);
      if (this.asked !== request) return; // another one has been chosen
      this.wrong.show("");
      this.text.replaceChildren(el("span", { class: "checkpoints-prompt" }, prompt), text);
      this.text.dataset.step = step;
      if (this.moved) for (const each of [index + 1, index - 1]) this.#prefetch(each);
    } catch (error) {
      if (this.asked === request && error.name !== "AbortError") this.#failed(error);
    } finally {
      if (this.asked === request) this.text.removeAttribute("aria-busy");
    }
  }

  // On 404 the checkpoint has been deleted, because a run keeps only some of them: the list is refreshed.
  #failed(error) {
    if (error.status === 404) this.gone();
    else this.wrong.show(error.message);
  }

  #prefetch(index) {
    const request = this.checkpoints[index] && this.#request(this.checkpoints[index].step);
    if (request) this.#write(request).catch(() => {}); // the request is repeated when the text is needed
  }

  // The text of a request, cached
  #write(request) {
    const key = JSON.stringify(request);
    if (!this.texts.has(key)) {
      const coming = ask("/v1/completions", { method: "POST", body: request, signal: this.signal }).then(({ choices }) => choices[0].text);
      coming.catch(() => this.texts.delete(key));
      this.texts.set(key, coming);
    }
    return this.texts.get(key);
  }

  // ── playing ──

  async #start() {
    const playing = (this.playing = {});
    this.#takeOver();
    this.#labelButton();
    for (let index = this.index === this.checkpoints.length - 1 ? 0 : this.index; index < this.checkpoints.length; index++) {
      await Promise.all([this.#show(index), new Promise((resolve) => setTimeout(resolve, PACE))]);
      if (this.playing !== playing) return;
    }
    this.#halt();
  }

  #halt() {
    this.playing = null;
    this.#labelButton();
  }

  #labelButton() {
    this.play.querySelector("span").textContent = t(this.playing ? "stop" : "checkpoints.play");
  }
}
