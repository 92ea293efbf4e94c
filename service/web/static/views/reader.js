// The text that the network reads, tinted by its surprise or by what one unit holds.

import { ask } from "../api.js";
import { button, newId, notice, segmented } from "../components.js";
import { el } from "../dom.js";
import { TextView } from "../text-view.js";
import { t } from "../texts.js";
import { number } from "../words.js";
import { Activations } from "./activations.js";
import { HEATS, heat, Inspected, signed } from "./inspected.js";
import { Walk } from "./walk.js";

export class Reader {
  // changed(): what is shown has changed. link(): somebody wants an address of it. told(unit): what a cell that was found tells, or ""
  constructor({ signal, changed, link, told }) {
    Object.assign(this, { signal, changed, told, inspected: null, units: null, unit: null, values: null, wanted: null });
    this.#build(link);
  }

  get shows() {
    return this.mode.value;
  }

  // Reads a text with a model: gives what /v1/inspect answered. Raises ApiError, and AbortError.
  async read(model, text, signal) {
    this.busy(t("inside.reading"));
    try {
      const answer = await ask("/v1/inspect", { method: "POST", body: { model, text, include: ["surprise", "gates"] }, signal });
      this.#show(answer);
      return answer;
    } finally {
      this.idle();
    }
  }

  busy(words) {
    this.view.pane.setAttribute("aria-busy", "true");
    this.facts.textContent = words;
    this.wrong.show("");
  }

  idle(error = "") {
    this.view.pane.removeAttribute("aria-busy");
    this.facts.replaceChildren(...this.#told());
    this.wrong.show(error);
  }

  // Shows a unit over the text, by its name; what was chosen last is what is shown.
  async show(unit, step = 0) {
    this.wanted = unit;
    this.mode.value = "unit";
    if (!this.inspected) return this.changed();
    this.walk.set(unit);
    this.#arrange();
    const { units } = this;
    const isOver = () => this.wanted !== unit || this.units !== units; // another unit or text was chosen meanwhile
    try {
      const values = await units.get(unit);
      if (isOver()) return;
      this.wrong.show("");
      Object.assign(this, { unit, values });
      this.#paint();
      this.changed();
      if (step) units.expect(units.place(unit) + step);
    } catch (error) {
      if (!isOver() && error.name !== "AbortError") this.wrong.show(error.message, "bad");
    }
  }

  // What is known of the unit has changed.
  tell() {
    if (!this.values) return;
    const [low, high] = this.#range();
    const told = this.told(this.unit);
    this.about.replaceChildren(
      el("b", {}, t("inside.unit.now", { unit: this.unit })),
      ` · ${t("inside.unit.range", { low: signed(low), high: signed(high) })}`,
      told && ` · ${told}`,
    );
  }

  // ── inside ──

  #build(link) {
    const heading = newId("reader");
    this.mode = segmented({
      label: t("inside.show"),
      options: ["surprise", "unit"].map((each) => [each, t(`inside.show.${each}`)]),
      value: "surprise",
      onchange: (mode) => (mode === "unit" ? this.show(this.wanted ?? this.unit) : (this.#arrange(), this.#paint(), this.changed())),
    });
    this.mode.element.querySelector("legend").className = "unseen";
    this.walk = new Walk((unit, step) => this.show(unit, step));
    this.about = el("p", { class: "reader-about", "aria-live": "polite" });
    this.scales = { surprise: surpriseScale(), unit: el("div", { class: "scale" }) };
    this.view = new TextView({
      label: t("inside.shown"),
      describe: (index) => this.inspected?.describe(index, this.#named()),
      speak: (index) => this.inspected?.speak(index, this.#named()),
    });
    this.view.follow = false;
    this.view.pane.addEventListener("keydown", (event) => this.shows === "unit" && this.walk.key(event));
    this.hint = el("p", { class: "reader-hint" }, t("inside.hint"));
    this.view.pane.append(this.hint);
    this.facts = el("p", { class: "sheet-facts", role: "status" });
    this.wrong = notice({ kind: "bad" });
    this.linker = button({ text: t("inside.link"), icon: "link", kind: "quiet", hidden: true, onclick: link });
    this.panel = el("div", { class: "reader-unit", hidden: true }, this.walk.element, this.about);
    this.element = el(
      "section",
      { class: "card reader empty-yet", "aria-labelledby": heading },
      el("h2", { id: heading, class: "unseen" }, t("inside.shown")),
      el("div", { class: "reader-head" }, this.mode.element, this.scales.surprise, this.scales.unit),
      this.panel,
      this.view.element,
      this.wrong.element,
      el("div", { class: "reader-foot" }, this.facts, this.linker),
    );
    this.mode.element.disabled = true;
    this.#arrange();
  }

  #show(answer) {
    this.inspected = new Inspected(answer);
    this.units = new Activations(answer, this.signal);
    const [first] = answer.units;
    this.units.learn(first);
    this.walk.know(answer);
    const there = this.wanted && this.#exists(this.wanted, answer);
    Object.assign(this, { unit: first.unit, values: this.units.known.get(first.unit), wanted: there ? this.wanted : first.unit });
    this.walk.set(this.wanted);
    this.hint.hidden = true;
    this.element.classList.remove("empty-yet");
    this.mode.element.disabled = false;
    this.linker.hidden = false;
    this.view.set(answer.text);
    this.#arrange();
    this.#paint();
    if (this.shows === "unit") this.show(this.wanted);
  }

  #exists(unit, { num_layers: layers, hidden_size: size }) {
    const [layer, number_] = unit.split(":").map(Number);
    return layer < layers && number_ < size;
  }

  #arrange() {
    const unit = this.shows === "unit";
    this.panel.hidden = !unit || !this.inspected;
    this.scales.surprise.hidden = unit;
    this.scales.unit.hidden = !unit || !this.inspected;
  }

  #named() {
    return this.shows === "unit" ? { name: this.unit, values: this.values } : null;
  }

  #range() {
    let [low, high] = [Infinity, -Infinity];
    for (const value of this.values) [low, high] = [Math.min(low, value), Math.max(high, value)];
    return [low, high];
  }

  #paint() {
    if (!this.inspected) return;
    const unit = this.shows === "unit";
    this.view.layer("surprise", unit ? null : (index) => this.inspected.tint(index));
    if (!unit) return this.view.layer("unit", null);
    const { values } = this;
    const most = Math.max(1, ...this.#range().map(Math.abs));
    this.view.layer("unit", (index) => heat(values[index], most));
    this.scales.unit.replaceChildren(...unitScale(most));
    this.tell();
    if (this.view.at >= 0) this.view.go(this.view.at, { scroll: false });
  }

  #told() {
    if (!this.inspected) return [];
    const { model, characters, unknown, bits_per_char: mean } = this.inspected;
    const parts = [
      el("b", {}, model),
      t("write.characters", { count: characters }),
      t("write.mean", { bits: number(mean, 2) }),
      unknown > 0 && t("inside.unknown", { count: unknown }),
    ];
    return parts.filter(Boolean).flatMap((part, index) => (index ? [" · ", part] : [part]));
  }
}

function surpriseScale() {
  const steps = Array.from({ length: 8 }, (_, index) => el("i", { style: { background: `var(--surprise-${index + 1})` } }));
  return el("div", { class: "scale", role: "img", "aria-label": t("write.scale.label") }, el("span", {}, "0"), ...steps, el("span", {}, t("write.scale")));
}

// From blue to red; `most` is more than 1 only where a unit is not bounded
function unitScale(most) {
  const [low, high] = [signed(-most, 0), signed(most, 0)];
  const levels = Array.from({ length: HEATS }, (_, index) => index + 1);
  const steps = [...levels.map((level) => `cold-${level}`).reverse(), "", ...levels.map((level) => `warm-${level}`)];
  return [
    el("span", { "aria-hidden": "true" }, low),
    el("span", { class: "steps", role: "img", "aria-label": t("inside.scale.unit", { low, high }) }, ...steps.map((name) => el("i", { class: name }))),
    el("span", { "aria-hidden": "true" }, high),
  ];
}
