// Fetch and cache the activations of hidden units over one text, several units per request, so that moving through them is quick.

import { ask } from "../../lib/api.js";

const REQUESTED = 20_000; // numbers per request, about
const MAX_UNITS = 16; // per request
const CACHED = 8_000_000; // numbers, 32 MB

export class Activations {
  // about: { model, text, num_layers, hidden_size }, as /v1/inspect answered
  constructor(about, signal) {
    Object.assign(this, { about, signal, known: new Map(), pending: new Map() });
    this.count = about.num_layers * about.hidden_size;
    this.unitsPerRequest = Math.max(1, Math.min(MAX_UNITS, Math.floor(REQUESTED / Math.max(1, about.text.length))));
  }

  // "LAYER:UNIT" <-> index among all units
  indexOf(name) {
    const [layer, unit] = name.split(":").map(Number);
    return layer * this.about.hidden_size + unit;
  }

  nameOf(index) {
    const within = ((index % this.count) + this.count) % this.count;
    return `${Math.floor(within / this.about.hidden_size)}:${within % this.about.hidden_size}`;
  }

  // The activations of a unit, one per character. Raises ApiError.
  async get(name) {
    const found = this.known.get(name);
    if (found) return found;
    const first = this.indexOf(name) - (this.indexOf(name) % this.unitsPerRequest);
    if (!this.pending.has(first)) this.pending.set(first, this.#ask(first).finally(() => this.pending.delete(first)));
    await this.pending.get(first);
    return this.known.get(name);
  }

  // Requests the unit that the user will probably show next.
  prefetch(index) {
    this.get(this.nameOf(index)).catch(() => {}); // the request is repeated when the unit is shown
  }

  add({ unit, activations }) {
    this.known.set(unit, Float32Array.from(activations));
    const [oldest] = this.known.keys();
    if (this.known.size > MAX_UNITS && this.known.size * activations.length > CACHED) this.known.delete(oldest);
  }

  async #ask(first) {
    const names = Array.from({ length: Math.min(this.unitsPerRequest, this.count - first) }, (_, index) => this.nameOf(first + index));
    const { model, text } = this.about;
    const body = { model, text, include: [], units: names };
    const { units } = await ask("/v1/inspect", { method: "POST", body, signal: this.signal });
    units.forEach((each) => this.add(each));
  }
}
