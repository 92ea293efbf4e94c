// What the hidden units held over one text: asked for a few at a time, and kept, so that walking through them is quick.

import { ask } from "../api.js";

const AT_ONCE = 20_000; // numbers that are asked for at the same time
const SOME = 16; // units, at most
const KEPT = 8_000_000; // numbers, 32 MB

export class Activations {
  // about: { model, text, num_layers, hidden_size } of what was read
  constructor(about, signal) {
    Object.assign(this, { about, signal, known: new Map(), coming: new Map() });
    this.count = about.num_layers * about.hidden_size;
    this.some = Math.max(1, Math.min(SOME, Math.floor(AT_ONCE / Math.max(1, about.text.length))));
  }

  // "LAYER:UNIT" and places in a row of all units
  place(name) {
    const [layer, unit] = name.split(":").map(Number);
    return layer * this.about.hidden_size + unit;
  }

  name(place) {
    const within = ((place % this.count) + this.count) % this.count;
    return `${Math.floor(within / this.about.hidden_size)}:${within % this.about.hidden_size}`;
  }

  // The values of a unit, for each character; at once where they are known. Raises ApiError.
  async get(name) {
    const found = this.known.get(name);
    if (found) return found;
    const first = this.place(name) - (this.place(name) % this.some);
    if (!this.coming.has(first)) this.coming.set(first, this.#ask(first).finally(() => this.coming.delete(first)));
    await this.coming.get(first);
    return this.known.get(name);
  }

  // Asks for what will probably be wanted next.
  expect(place) {
    this.get(this.name(place)).catch(() => {}); // it is asked for again when it is needed
  }

  learn({ unit, activations }) {
    this.known.set(unit, Float32Array.from(activations));
    const [oldest] = this.known.keys();
    if (this.known.size > SOME && this.known.size * activations.length > KEPT) this.known.delete(oldest);
  }

  async #ask(first) {
    const names = Array.from({ length: Math.min(this.some, this.count - first) }, (_, index) => this.name(first + index));
    const { model, text } = this.about;
    const body = { model, text, include: [], units: names };
    const { units } = await ask("/v1/inspect", { method: "POST", body, signal: this.signal });
    units.forEach((each) => this.learn(each));
  }
}
