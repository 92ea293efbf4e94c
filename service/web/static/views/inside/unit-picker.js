// Choose a unit of the network: fields for layer and number, buttons and keys for the previous and next one.

import { button } from "../../components/buttons.js";
import { field, input, select, setOptions } from "../../components/fields.js";
import { t } from "../../i18n/i18n.js";
import { el } from "../../lib/dom.js";

export class UnitPicker {
  // onchoose(unit, step): the user chose "LAYER:UNIT"; step: its distance from the previous one, 0 if it was named
  constructor(onchoose) {
    this.onchoose = onchoose;
    this.layer = select({ onchange: () => this.#onType() });
    this.number = input({ type: "number", inputmode: "numeric", min: 0, step: 1, onchange: () => this.#onType() });
    this.of = field({ label: t("inside.unit"), control: this.number });
    this.before = button({ icon: "left", label: t("inside.before"), onclick: () => this.by(-1) });
    this.next = button({ icon: "right", label: t("inside.next"), onclick: () => this.by(1) });
    this.lively = button({ text: t("inside.lively"), kind: "quiet", onclick: () => this.onchoose(this.liveliest, 0) });
    this.element = el(
      "div",
      { class: "unit-picker", role: "group", "aria-label": t("inside.unit.group") },
      this.before,
      field({ label: t("inside.layer"), control: this.layer }).element,
      this.of.element,
      this.next,
      this.lively,
      el("p", { class: "hint keys" }, t("inside.keys")),
    );
    this.element.addEventListener("keydown", (event) => this.key(event, event.target === this.before || event.target === this.next));
  }

  // network: as in the answer of /v1/inspect
  setNetwork({ num_layers: layers, hidden_size: size, liveliest }) {
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

  // Moves by `step` units, from the last one to the first.
  by(step) {
    const count = this.layers * this.size;
    const [layer, number] = this.unit.split(":").map(Number);
    const index = (layer * this.size + number + step + count) % count;
    this.onchoose(`${Math.floor(index / this.size)}:${index % this.size}`, step);
  }

  // Handles the arrow keys: with Shift, or without it if `plain`.
  key(event, plain = false) {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step || !this.unit || !(event.shiftKey || plain) || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    this.by(step);
  }

  #onType() {
    const number = Number(this.number.value);
    const valid = this.number.value !== "" && Number.isInteger(number) && number >= 0 && number < this.size;
    this.of.error(valid ? "" : t("inside.unit.wrong", { last: this.size - 1 }));
    if (valid) this.onchoose(`${this.layer.value}:${number}`, 0);
  }
}
