// One text: its temperature, which can be moved while it is written, the text with its tints, and what can be done with it.

import { button, newId, notice, slider } from "../components.js";
import { el, throttled } from "../dom.js";
import { TextView } from "../text-view.js";
import { t } from "../texts.js";
import { number } from "../words.js";
import { Copied } from "./copied.js";
import { trimmed } from "./link.js";
import { LONG, Telling } from "./telling.js";
import { Written } from "./written.js";

const MOVES = 100; // milliseconds between two moves of the temperature that are sent

export class Sheet {
  // act: { copy, save, again, link, remove }, called with the sheet; changed() whenever it begins or ends to write
  constructor({ temperature, tinted, marked, slow, act, changed }) {
    Object.assign(this, {
      act,
      changed,
      tinted,
      marked,
      slow,
      written: new Written(),
      request: null,
      outcome: null,
      running: null,
      course: [[0, temperature]],
    });
    this.send = throttled((value) => this.#move(value), MOVES);
    this.#build(temperature);
  }

  get temperature() {
    return this.slider.value;
  }

  get writing() {
    return this.running !== null;
  }

  // What it takes to write the same again
  get text() {
    const whole = this.outcome && !this.outcome.cut;
    const length = whole ? this.request.length : this.written.symbols;
    return { course: trimmed(this.course, whole ? Infinity : length), length };
  }

  // The prompt and what was written
  get whole() {
    return this.request.prompt + this.written.text;
  }

  // A name for a file of it
  get name() {
    return `${this.outcome.checkpoint.replace("@", "-")}-${this.request.seed}.txt`;
  }

  // Writes a text; `request` has everything but the course of the temperature, by default the slider's value.
  async write(request, course = [[0, this.temperature]]) {
    this.running?.cancel();
    const running = (this.running = new Telling({ ...request, temperature: course }, () => this.slow));
    Object.assign(this, { request: { ...request }, course, written: new Written(), outcome: null });
    this.slider.value = course[0][1];
    this.#begin(request.prompt);
    this.changed();
    try {
      for await (const piece of running.pieces()) {
        this.#take(piece);
        this.#follow();
      }
      this.outcome = running.facts;
      this.course = running.facts.course ?? this.course;
    } catch (error) {
      if (this.running !== running) return;
      this.outcome = { ...running.facts, cut: true };
      if (error.name !== "AbortError") this.wrong.show(error.message, "bad");
    }
    if (this.running !== running) return; // another text was begun meanwhile
    this.running = null;
    this.#end();
    this.changed();
  }

  // The server hears of it at once, and has room for others.
  stop() {
    this.running?.cancel();
  }

  tint(on) {
    this.tinted = on;
    this.view.layer("surprise", on && this.request ? (index) => (index < this.start ? null : this.written.tint(index - this.start)) : null);
  }

  // Underlines what is copied, and tells of it.
  mark(on) {
    this.marked = on;
    if (on && !this.writing && this.outcome?.checkpoint) this.#compare();
    else this.copied.forget();
  }

  // ── inside ──

  #compare() {
    const { checkpoint, reason, cut } = this.outcome;
    const text = { model: checkpoint, prompt: this.request.prompt, text: this.written.text, start: this.start };
    this.copied.show({ ...text, ended: reason === "stop" && !cut });
  }

  #build(temperature) {
    this.slider = slider({
      label: t("write.temperature"),
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
    // Whatever else is known about a text, such as what it has in common with its corpus, has its place between text and facts.
    this.notes = el("div", { class: "sheet-notes" });
    this.copied = new Copied(this.view, this.notes);
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
    const [card, copied] = [this.written.describe(index - this.start, this.#character(index)), this.copied.about(index)];
    if (card && copied) card.append(el("p", { class: "opinion-copied" }, copied));
    return card;
  }

  #speak(index) {
    const [said, copied] = [this.written.speak(index - this.start, this.#character(index)), this.copied.about(index)];
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
    this.copied.forget();
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

  #take({ text, logprobs }) {
    this.written.take(text, logprobs);
    for (const character of text) this.characters.push(character);
    this.view.append(text);
  }

  // Where the temperature was moved in the text that is written again, the slider moves, too.
  #follow() {
    const now = this.course.findLast(([position]) => position < this.written.symbols) ?? this.course[0];
    if (this.course.length > 1 && !this.moved && now[1] !== this.slider.value) this.slider.value = now[1];
  }

  async #move(value) {
    const running = this.running;
    if (!running) return;
    this.moved = true;
    this.view.toEnd(); // where the move can be seen
    try {
      const course = await running.move(value, this.course, this.written.symbols);
      if (course && this.running === running) this.course = course;
    } catch (error) {
      if (error.name !== "AbortError") this.wrong.show(error.message, "bad");
    }
  }

  #end() {
    this.view.pane.removeAttribute("aria-busy");
    this.facts.replaceChildren(...this.#told());
    if (document.activeElement === this.halt) this.view.pane.focus();
    this.halt.hidden = true;
    this.actions.hidden = !this.outcome.checkpoint;
    this.mark(this.marked);
  }

  #told() {
    const { checkpoint, speed, substituted = [], truncated, reason, cut } = this.outcome;
    const { characters, written } = this;
    const moves = this.text.course.length - 1;
    const parts = [
      checkpoint && el("b", {}, checkpoint),
      t("write.seed.was", { seed: String(this.request.seed) }),
      t("write.characters", { count: characters.length }),
      written.symbols > 0 && t("write.mean", { bits: number(written.sum / Math.LN2 / Math.max(1, characters.length), 2) }),
      speed > 0 && t("write.speed", { speed: Math.round(speed) }),
      moves > 0 && t("write.moves", { count: moves }),
      cut ? t("write.stopped") : { stop: t("write.ended"), max_copy: t("write.only.copies") }[reason],
      truncated && t("write.truncated"),
      ...substituted.map(({ character, by }) => t(by === null ? "write.unknown" : "write.substituted", { character, by })),
    ];
    return parts.filter(Boolean).flatMap((part, index) => (index ? [" · ", part] : [part]));
  }
}
