// Show a text that the network has read, tinted by surprise or by the activation of one unit.

import { button } from "../../components/buttons.js";
import { characterCard, characterSentence } from "../../components/character-card.js";
import { notice } from "../../components/feedback.js";
import { segmented } from "../../components/fields.js";
import { TextView } from "../../components/text-view.js";
import { activationLegend, activationTint, largestActivation, surpriseLegend, surpriseTint } from "../../components/tint-scale.js";
import { t } from "../../i18n/i18n.js";
import { ask } from "../../lib/api.js";
import { dotted, el, newId } from "../../lib/dom.js";
import { number, signed } from "../../lib/format.js";
import { Activations } from "./activations.js";
import { UnitPicker } from "./unit-picker.js";

export class InspectedText {
  // changed(): the shown unit or text has changed. link(): the user asks for a link. meaningOf(unit): what an interpretable cell detects, or ""
  constructor({ signal, changed, link, meaningOf }) {
    Object.assign(this, { signal, changed, meaningOf, inspected: null, units: null, unit: null, values: null, wanted: null });
    this.#build(link);
  }

  // RUN@STEP that has read the text
  get model() {
    return this.inspected.model;
  }

  get shows() {
    return this.mode.value;
  }

  // Lets a model read a text -> the answer of /v1/inspect. Raises ApiError, and AbortError.
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
    this.facts.replaceChildren(...this.#factsLine());
    this.wrong.show(error);
  }

  // Tints the text by a unit, "LAYER:UNIT". step: 1 or -1 if the user moves through the units. The last call wins.
  async show(unit, step = 0) {
    this.wanted = unit;
    this.mode.value = "unit";
    if (!this.inspected) return this.changed();
    this.picker.set(unit);
    this.#arrange();
    const { units } = this;
    const outdated = () => this.wanted !== unit || this.units !== units; // another unit or text has been chosen
    try {
      const values = await units.get(unit);
      if (outdated()) return;
      this.wrong.show("");
      Object.assign(this, { unit, values });
      this.#paint();
      this.changed();
      if (step) units.prefetch(units.indexOf(unit) + step);
    } catch (error) {
      if (!outdated() && error.name !== "AbortError") this.wrong.show(error.message, "bad");
    }
  }

  // Shows the range and the meaning of the unit.
  describeUnit() {
    if (!this.values) return;
    const [low, high] = this.#range();
    const meaning = this.meaningOf(this.unit);
    this.about.replaceChildren(
      el("b", {}, t("inside.unit.now", { unit: this.unit })),
      ` · ${t("inside.unit.range", { low: signed(low), high: signed(high) })}`,
      meaning && ` · ${meaning}`,
    );
  }

  // ── private ──

  #build(link) {
    const heading = newId("inspected");
    this.mode = segmented({
      label: t("inside.show"),
      options: ["surprise", "unit"].map((each) => [each, t(`inside.show.${each}`)]),
      value: "surprise",
      onchange: (mode) => (mode === "unit" ? this.show(this.wanted ?? this.unit) : (this.#arrange(), this.#paint(), this.changed())),
    });
    this.mode.element.querySelector("legend").className = "unseen";
    this.picker = new UnitPicker((unit, step) => this.show(unit, step));
    this.about = el("p", { class: "reader-about", "aria-live": "polite" });
    this.scales = { surprise: surpriseLegend(), unit: el("div", { class: "scale" }) };
    this.view = new TextView({
      label: t("inside.shown"),
      describe: (index) => this.#describe(index),
      speak: (index) => this.#speak(index),
    });
    this.view.follow = false;
    this.view.pane.addEventListener("keydown", (event) => this.shows === "unit" && this.picker.key(event));
    this.hint = el("p", { class: "reader-hint" }, t("inside.hint"));
    this.view.pane.append(this.hint);
    this.facts = el("p", { class: "sheet-facts", role: "status" });
    this.wrong = notice({ kind: "bad" });
    this.linker = button({ text: t("inside.link"), icon: "link", kind: "quiet", hidden: true, onclick: link });
    this.panel = el("div", { class: "reader-unit", hidden: true }, this.picker.element, this.about);
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
    this.inspected = { ...answer, symbols: [...answer.text] };
    this.units = new Activations(answer, this.signal);
    const [first] = answer.units;
    this.units.add(first);
    this.picker.setNetwork(answer);
    const there = this.wanted && this.#exists(this.wanted, answer);
    Object.assign(this, { unit: first.unit, values: this.units.known.get(first.unit), wanted: there ? this.wanted : first.unit });
    this.picker.set(this.wanted);
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
    const [layer, index] = unit.split(":").map(Number);
    return layer < layers && index < size;
  }

  #arrange() {
    const unit = this.shows === "unit";
    this.panel.hidden = !unit || !this.inspected;
    this.scales.surprise.hidden = unit;
    this.scales.unit.hidden = !unit || !this.inspected;
  }

  // The character with which the symbol of a character begins: of a separator of records its first one. Further ones have no alternatives.
  #lead(index) {
    while (index > 0 && !this.inspected.alternatives[index].length) index--;
    return index;
  }

  // A character, or a separator, as characterCard and characterSentence take it
  #character(place) {
    const { symbols, bits, alternatives } = this.inspected;
    const index = this.#lead(place);
    let stop = index + 1;
    while (stop < symbols.length && !alternatives[stop].length) stop++;
    const [symbol, shares] = [symbols.slice(index, stop).join(""), alternatives[index]];
    const known = shares.some(([each]) => each === symbol);
    return { character: symbol, bits: bits[index], symbols: [{ symbol, alternatives: known ? shares : [...shares, [symbol, 2 ** -bits[index]]] }] };
  }

  // What the shown unit holds at a character, or null while surprise is shown
  #activation(index) {
    return this.shows === "unit" ? t("inside.holds", { unit: this.unit, value: signed(this.values[index]) }) : null;
  }

  #describe(index) {
    if (!this.inspected) return null;
    const held = this.#activation(index);
    const unit = held && el("p", { class: "opinion-unit" }, el("i", { class: activationTint(this.values[index]) }), held);
    return characterCard(this.#character(index), unit);
  }

  #speak(index) {
    return [characterSentence(this.#character(index)), this.#activation(index)].filter(Boolean).join("; ");
  }

  #range() {
    let [low, high] = [Infinity, -Infinity];
    for (const value of this.values) [low, high] = [Math.min(low, value), Math.max(high, value)];
    return [low, high];
  }

  #paint() {
    if (!this.inspected) return;
    const unit = this.shows === "unit";
    this.view.layer("surprise", unit ? null : (index) => surpriseTint(this.inspected.bits[this.#lead(index)]));
    if (!unit) return this.view.layer("unit", null);
    const { values } = this;
    const most = largestActivation(values);
    this.view.layer("unit", (index) => activationTint(values[index], most));
    this.scales.unit.replaceChildren(...activationLegend(most));
    this.describeUnit();
    if (this.view.at >= 0) this.view.go(this.view.at, { scroll: false });
  }

  #factsLine() {
    if (!this.inspected) return [];
    const { model, characters, unknown, bits_per_char: mean } = this.inspected;
    return dotted([
      el("b", {}, model),
      t("characters", { count: characters }),
      t("model.loss", { bits: number(mean, 2) }),
      unknown > 0 && t("inside.unknown", { count: unknown }),
    ]);
  }
}
