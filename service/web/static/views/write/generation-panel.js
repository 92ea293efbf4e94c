// One generated text: its temperature (movable while it is written), the tinted text, and actions such as copy and link.

import { button } from "../../components/buttons.js";
import { characterCard, characterSentence } from "../../components/character-card.js";
import { notice } from "../../components/feedback.js";
import { slider } from "../../components/fields.js";
import { TextView } from "../../components/text-view.js";
import { surpriseTint } from "../../components/tint-scale.js";
import { t } from "../../i18n/i18n.js";
import { dotted, el, newId, throttled } from "../../lib/dom.js";
import { named, number } from "../../lib/format.js";
import { LONG, PacedStream, trimSchedule } from "./generation-stream.js";
import { Logprobs } from "./logprobs.js";
import { NoveltyReport } from "./novelty.js";

const MOVES = 100; // milliseconds between two changes of the temperature that are sent
const NAMED = 5; // characters that were replaced

export class GenerationPanel {
  // act: { copy, save, again, link, remove }, called with the panel; changed(): writing has begun or ended
  constructor({ temperature, tinted, marked, slow, act, changed }) {
    Object.assign(this, {
      act,
      changed,
      tinted,
      marked,
      slow,
      logprobs: new Logprobs(),
      request: null,
      outcome: null,
      running: null,
      schedule: [[0, temperature]],
    });
    this.send = throttled((value) => this.#setTemperature(value), MOVES);
    this.#build(temperature);
  }

  get temperature() {
    return this.slider.value;
  }

  get writing() {
    return this.running !== null;
  }

  // The schedule and length that write the same text again
  get recipe() {
    const whole = this.outcome && !this.outcome.cut;
    const length = whole ? this.request.length : this.logprobs.symbols;
    return { schedule: trimSchedule(this.schedule, whole ? Infinity : length), length };
  }

  // The prompt and the generated text
  get whole() {
    return this.request.prompt + this.logprobs.text;
  }

  get fileName() {
    return `${this.outcome.checkpoint.replace("@", "-")}-${this.request.seed}.txt`;
  }

  // Writes a text. request: without temperature; schedule: of the temperature, by default the slider's value.
  async write(request, schedule = [[0, this.temperature]]) {
    this.running?.cancel();
    const running = (this.running = new PacedStream({ ...request, temperature: schedule }, () => this.slow));
    Object.assign(this, { request: { ...request }, schedule, logprobs: new Logprobs(), outcome: null });
    this.slider.value = schedule[0][1];
    this.#begin(request.prompt);
    this.changed();
    try {
      for await (const piece of running.pieces()) {
        this.#append(piece);
        this.#moveSlider();
      }
      this.outcome = running.facts;
      this.schedule = running.facts.schedule ?? this.schedule;
    } catch (error) {
      if (this.running !== running) return;
      this.outcome = { ...running.facts, cut: true };
      if (error.name !== "AbortError") this.wrong.show(error.message, "bad");
    }
    if (this.running !== running) return; // another text has begun
    this.running = null;
    this.#end();
    this.changed();
  }

  // Closes the connection, which frees the service's slot at once.
  stop() {
    this.running?.cancel();
  }

  tint(on) {
    this.tinted = on;
    this.view.layer("surprise", on && this.request ? (index) => (index < this.start ? null : surpriseTint(this.logprobs.surprise(index - this.start))) : null);
  }

  // Turns the report of copied text on or off.
  mark(on) {
    this.marked = on;
    if (on && !this.writing && this.outcome?.checkpoint) this.#findCopies();
    else this.novelty.clear();
  }

  // ── private ──

  #findCopies() {
    const { checkpoint, reason, cut } = this.outcome;
    const text = { model: checkpoint, prompt: this.request.prompt, text: this.logprobs.text, start: this.start };
    this.novelty.show({ ...text, ended: reason === "stop" && !cut });
  }

  #build(temperature) {
    this.slider = slider({
      label: t("sampling.temperature"),
      min: 0,
      max: 2,
      step: 0.05,
      value: temperature,
      format: (value) => number(value, 2),
      ends: [t("write.safe"), t("write.learned"), t("write.wild")],
      oninput: (value) => this.writing && this.send(value),
    });
    this.view = new TextView({
      label: t("write.text"),
      describe: (index) => (index < this.start ? null : this.#describe(index)),
      speak: (index) => (index < this.start ? this.#character(index) : this.#speak(index)),
    });
    this.hint = el("p", { class: "sheet-hint" }, t("write.hint"));
    this.view.pane.append(this.hint);
    this.facts = el("p", { class: "sheet-facts", role: "status" });
    this.wrong = notice({ kind: "bad" });
    this.halt = button({ icon: "stop", text: t("write.halt.this"), kind: "quiet", hidden: true, onclick: () => this.stop() });
    this.actions = el(
      "div",
      { class: "actions sheet-actions", hidden: true },
      ...["copy", "save", "again", "link"].map((name) =>
        button({
          icon: { copy: "copy", save: "download", again: "again", link: "link" }[name],
          text: t(`write.${name}`),
          kind: "quiet",
          title: t(`write.${name}`),
          "data-act": name,
          onclick: () => this.act[name](this),
        }),
      ),
    );
    this.remover = button({ icon: "close", label: t("write.remove"), kind: "quiet", onclick: () => this.act.remove(this) });
    const heading = newId("sheet");
    this.title = el("h2", { class: "unseen", id: heading }, t("write.text"));
    this.notes = el("div", { class: "sheet-notes" });
    this.novelty = new NoveltyReport(this.view, this.notes);
    this.element = el(
      "article",
      { class: "sheet card", "aria-labelledby": heading },
      this.title,
      el("div", { class: "sheet-head" }, this.slider.element, this.remover),
      this.view.element,
      this.wrong.element,
      this.notes,
      this.facts,
      el("div", { class: "sheet-foot" }, this.halt, this.actions),
    );
    this.start = 0;
  }

  #describe(index) {
    const [found, copied] = [this.logprobs.describe(index - this.start, this.#character(index)), this.novelty.describe(index)];
    if (!found) return null;
    const card = characterCard(found);
    if (copied) card.append(el("p", { class: "opinion-copied" }, copied));
    return card;
  }

  #speak(index) {
    const character = this.#character(index);
    const [found, copied] = [this.logprobs.describe(index - this.start, character), this.novelty.describe(index)];
    const said = found ? characterSentence(found) : named(character);
    return copied ? `${said}; ${copied}` : said;
  }

  #character(index) {
    return index < this.start ? this.prompt[index] : this.characters[index - this.start];
  }

  #begin(prompt) {
    this.moved = false;
    this.prompt = [...prompt];
    this.characters = [];
    this.start = this.prompt.length;
    this.hint.hidden = true;
    this.wrong.show("");
    this.novelty.clear();
    this.view.clear();
    this.view.follow = this.slow || this.request.length > LONG;
    this.view.append(prompt);
    this.view.layer("prompt", (index) => (index < this.start ? "prompt" : null));
    this.tint(this.tinted);
    this.view.pane.setAttribute("aria-busy", "true");
    this.facts.textContent = t("write.writing");
    this.actions.hidden = true;
    this.halt.hidden = false;
  }

  #append({ text, logprobs }) {
    this.logprobs.append(text, logprobs);
    for (const character of text) this.characters.push(character);
    this.view.append(text);
  }

  // Moves the slider along the schedule of a text that is written again.
  #moveSlider() {
    const now = this.schedule.findLast(([position]) => position < this.logprobs.symbols) ?? this.schedule[0];
    if (this.schedule.length > 1 && !this.moved && now[1] !== this.slider.value) this.slider.value = now[1];
  }

  async #setTemperature(value) {
    const running = this.running;
    if (!running) return;
    this.moved = true;
    this.view.toEnd(); // so that the effect is visible
    try {
      const schedule = await running.setTemperature(value, this.schedule, this.logprobs.symbols);
      if (schedule && this.running === running) this.schedule = schedule;
    } catch (error) {
      if (error.name !== "AbortError") this.wrong.show(error.message, "bad");
    }
  }

  #end() {
    this.view.pane.removeAttribute("aria-busy");
    this.facts.replaceChildren(...this.#factsLine());
    if (document.activeElement === this.halt) this.view.pane.focus();
    this.halt.hidden = true;
    this.actions.hidden = !this.outcome.checkpoint;
    this.mark(this.marked);
  }

  #factsLine() {
    const { checkpoint, speed, substituted = [], truncated, reason, cut } = this.outcome;
    const { characters, logprobs } = this;
    const moves = this.recipe.schedule.length - 1;
    const unknown = substituted.filter(({ by }) => by === null).map(({ character }) => character);
    return dotted([
      checkpoint && el("b", {}, checkpoint),
      t("write.seed.was", { seed: String(this.request.seed) }),
      t("characters", { count: characters.length }),
      logprobs.symbols > 0 && t("model.loss", { bits: number(logprobs.sum / Math.LN2 / Math.max(1, characters.length), 2) }),
      speed > 0 && t("write.speed", { speed: Math.round(speed) }),
      moves > 0 && t("write.moves", { count: moves }),
      cut ? t("write.stopped") : { stop: t("write.ended"), max_copy: t("write.only.copies") }[reason],
      truncated && t("write.truncated"),
      ...substituted.filter(({ by }) => by !== null).slice(0, NAMED).map(({ character, by }) => t("write.substituted", { character, by })),
      unknown.length > 0 && t("write.unknown", { characters: unknown.slice(0, NAMED).join(" ") + (unknown.length > NAMED ? " …" : ""), count: unknown.length }),
    ]);
  }
}
