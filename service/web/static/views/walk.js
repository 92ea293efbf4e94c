// Walking through the units of a network: its layer and number as fields, buttons to the unit before and the next, and keys.

import { button, field, input, select, setOptions } from "../components.js";
import { el } from "../dom.js";
import { t } from "../texts.js";

export class Walk {
  // onwalk(unit, step): somebody wants "LAYER:UNIT", `step` away from the one before (0 where it was named)
  constructor(onwalk) {
    this.onwalk = onwalk;
    this.layer = select({ onchange: () => this.#typed() });
    this.number = input({ type: "number", inputmode: "numeric", min: 0, step: 1, onchange: () => this.#typed() });
    this.of = field({ label: t("inside.unit"), control: this.number });
    this.before = button({ icon: "left", label: t("inside.before"), onclick: () => this.by(-1) });
    this.next = button({ icon: "right", label: t("inside.next"), onclick: () => this.by(1) });
    this.lively = button({ text: t("inside.lively"), kind: "quiet", onclick: () => this.onwalk(this.liveliest, 0) });
    this.element = el(
      "div",
      { class: "walk", role: "group", "aria-label": t("inside.unit.group") },
      this.before,
      field({ label: t("inside.layer"), control: this.layer }).element,
      this.of.element,
      this.next,
      this.lively,
      el("p", { class: "hint keys" }, t("inside.keys")),
    );
    this.element.addEventListener("keydown", (event) => this.key(event, event.target === this.before || event.target === this.next));
  }

  // What there is to walk through
  know({ num_layers: layers, hidden_size: size, liveliest }) {
    Object.assign(this, { layers, size, liveliest });
    setOptions(
      this.layer,
      Array.from({ length: layers }, (_, index) => [String(index), String(index)]),
    );
    this.number.max = size - 1;
    this.of.hint(t("inside.unit.of", { count: size, last: size - 1 }));
  }

  set(unit) {
    const [layer, number] = unit.split(":");
    this.layer.value = layer;
    this.number.value = number;
    this.of.error("");
    this.unit = unit;
  }

  // Around the end comes the beginning.
  by(step) {
    const count = this.layers * this.size;
    const [layer, number] = this.unit.split(":").map(Number);
    const place = (layer * this.size + number + step + count) % count;
    this.onwalk(`${Math.floor(place / this.size)}:${place % this.size}`, step);
  }

  // Takes a key that walks: with Shift, or `plainly` without.
  key(event, plainly = false) {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step || !this.unit || !(event.shiftKey || plainly) || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    this.by(step);
  }

  #typed() {
    const number = Number(this.number.value);
    const right = this.number.value !== "" && Number.isInteger(number) && number >= 0 && number < this.size;
    this.of.error(right ? "" : t("inside.unit.wrong", { last: this.size - 1 }));
    if (right) this.onwalk(`${this.layer.value}:${number}`, 0);
  }
}
