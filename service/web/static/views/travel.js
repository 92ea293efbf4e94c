// Time travel: what the model wrote at each of its checkpoints, from the same prompt and seed.

import { ask } from "../api.js";
import { button, field, input, linkButton, newId, notice, slider } from "../components.js";
import { el, throttled } from "../dom.js";
import { t } from "../texts.js";
import { number } from "../words.js";
import { linkOf } from "./link.js";

const PACE = 700; // milliseconds that each text is shown for, when they are played
const TYPING = 400; // milliseconds after the last key before a prompt is used
const LONGEST = 2000; // characters; longer texts are for Write

export class Travel {
  // at(step): which checkpoint is shown, or null; gone() where one is no longer kept
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
    // Until somebody has moved it, the slider stays at the newest.
    const kept = this.moved ? steps.findLastIndex((step) => step <= before) : steps.length - 1;
    this.slider.limit(steps.length - 1);
    this.slider.input.disabled = steps.length < 2;
    this.play.disabled = steps.length < 2;
    this.#go(Math.max(0, kept));
  }

  // ── inside ──

  #build() {
    const heading = newId("travel");
    this.slider = slider({ label: t("travel.checkpoint"), min: 0, max: 0, step: 1, value: 0, format: (index) => this.#words(index), ends: [t("travel.first"), t("travel.last")], oninput: (index) => this.#take(index) });
    this.play = button({ text: t("travel.play"), icon: "play", onclick: () => (this.playing ? this.#halt() : this.#start()) });
    const again = throttled(() => this.#go(this.index), TYPING);
    const control = (props) => input({ oninput: again, ...props });
    this.fields = {
      prompt: field({ label: t("write.prompt"), control: control({ placeholder: t("travel.prompt"), spellcheck: "false" }) }),
      temperature: field({ label: t("write.temperature"), control: control({ type: "number", min: 0, max: 2, step: 0.05, value: 0.8 }) }),
      seed: field({ label: t("write.seed"), control: control({ type: "number", min: 0, max: 2 ** 32 - 1, step: 1, value: 1 }) }),
      length: field({ label: t("write.length"), control: control({ type: "number", min: 1, max: LONGEST, step: 1, value: 400 }) }),
    };
    this.text = el("p", { class: "travel-text", lang: "", tabindex: 0, role: "group", "aria-label": t("travel.text") });
    this.wrong = notice({ kind: "bad" });
    this.link = linkButton({ text: t("travel.write"), href: "#write" });
    this.element = el(
      "section",
      { class: "card travel", "aria-labelledby": heading, hidden: true },
      el("div", { class: "card-head" }, el("h2", { id: heading }, t("travel.title")), this.play),
      el("p", { class: "quiet-text" }, t("travel.about")),
      this.slider.element,
      el("div", { class: "fields travel-fields" }, Object.values(this.fields).map((each) => each.element)),
      this.wrong.element,
      this.text,
      this.link,
    );
  }

  #words(index) {
    const found = this.checkpoints?.[index];
    if (!found) return "";
    const step = t("write.step", { count: found.step });
    return found.bits === null ? step : `${step} · ${t("write.bits", { bits: number(found.bits, 2) })}`;
  }

  #take(index) {
    this.#halt();
    this.#move();
    this.#go(index);
  }

  // Somebody travels: from now on the slider stays where it is put, and texts are read out.
  #move() {
    this.moved = true;
    this.text.setAttribute("aria-live", "polite");
  }

  // What is asked for at a step; null where a field is wrong
  #request(step) {
    if (Object.values(this.fields).some(({ control }) => !control.checkValidity() || (control.type === "number" && control.value === ""))) return null;
    const value = (name) => this.fields[name].control.value;
    return { model: `${this.name}@${step}`, prompt: value("prompt"), temperature: Number(value("temperature")), seed: Number(value("seed")), max_tokens: Number(value("length")) };
  }

  async #go(index) {
    this.index = index;
    this.slider.value = index;
    const { step } = this.checkpoints[index];
    this.at(this.moved ? step : null);
    const request = this.#request(step);
    if (!request) return;
    const { model, prompt, seed, temperature, max_tokens: length } = request;
    this.link.href = linkOf({ model, prompt, seed, stop: [] }, [{ course: [[0, temperature]], length }]);
    this.asked = request;
    this.text.setAttribute("aria-busy", "true");
    try {
      const text = await this.#write(request);
      if (this.asked !== request) return; // another one was chosen meanwhile
      this.wrong.show("");
      this.text.replaceChildren(el("span", { class: "travel-prompt" }, prompt), text);
      this.text.dataset.step = step;
      if (this.moved) for (const each of [index + 1, index - 1]) this.#prefetch(each);
    } catch (error) {
      if (this.asked === request && error.name !== "AbortError") this.#failed(error);
    } finally {
      if (this.asked === request) this.text.removeAttribute("aria-busy");
    }
  }

  // A run keeps a part of its checkpoints only: one that has gone meanwhile makes room for those that are there.
  #failed(error) {
    if (error.status === 404) this.gone();
    else this.wrong.show(error.message);
  }

  #prefetch(index) {
    const request = this.checkpoints[index] && this.#request(this.checkpoints[index].step);
    if (request) this.#write(request).catch(() => {}); // it is asked for again when it is needed
  }

  // Its text: written once
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
    this.#move();
    this.#label();
    for (let index = this.index === this.checkpoints.length - 1 ? 0 : this.index; index < this.checkpoints.length; index++) {
      await Promise.all([this.#go(index), new Promise((resolve) => setTimeout(resolve, PACE))]);
      if (this.playing !== playing) return;
    }
    this.#halt();
  }

  #halt() {
    this.playing = null;
    this.#label();
  }

  #label() {
    this.play.querySelector("span").textContent = t(this.playing ? "write.halt" : "travel.play");
  }
}
