// How a run went, as its events tell: losses against the characters that were read, samples, baselines; and what it says of itself.
//
// Losses are kept in bits per character, so that runs of other alphabets compare.

import { ask } from "../api.js";

const PART = 5000; // events that are asked for at once
const jobs = "/v1/fine_tuning/jobs";

export const jobPath = (name, rest = "") => `${jobs}/${encodeURIComponent(name)}${rest}`;
export const ENDED = ["succeeded", "failed", "cancelled"];

export class Course {
  constructor() {
    Object.assign(this, { training: line(), validation: line(), between: line(), samples: [], words: [], baselines: {}, last: null, newest: null, scale: 1 });
  }

  // Takes what has happened since it was last asked. Gives whether there was anything.
  async read(name, signal) {
    let parts = [];
    for (let after = null; ; ) {
      const query = new URLSearchParams({ limit: this.newest ? 100 : PART, ...(after && { after }) });
      const { data, has_more: more, last_id: last } = await ask(`${jobPath(name, "/events")}?${query}`, { signal });
      const known = data.findIndex(({ id }) => id === this.newest);
      parts = parts.concat(known < 0 ? data : data.slice(0, known));
      if (known >= 0 || !more) break;
      after = last;
    }
    for (const event of parts.reverse()) this.take(event);
    return parts.length > 0;
  }

  // An event of the job, in the order in which they happened
  take({ id, created_at: at, level, message, type, data }) {
    this.newest = id;
    if (type !== "metrics") {
      this.words.push({ at, level, message });
      return;
    }
    if (data?.characters === undefined) return;
    this.scale = data.symbols_per_char / Math.LN2;
    this.last = { ...data, at };
    this.#goBack(data.characters);
    if (data.valid_loss === null) {
      put(this.between, data, data.train_loss);
      put(this.training, data, data.train_loss);
      this.#sample(data, data.train_loss);
      return;
    }
    // The training loss of a validation is the mean of all since the one before: what is known in more detail is drawn.
    const before = this.validation.xs.at(-1) ?? 0;
    if ((this.between.xs.at(-1) ?? 0) <= before && data.train_loss !== null) put(this.training, { ...data, characters: (before + data.characters) / 2 }, data.train_loss);
    put(this.validation, data, data.valid_loss);
    if (Object.keys(data.baselines ?? {}).length) this.baselines = data.baselines;
    this.#sample(data, data.valid_loss);
    this.outlook = data.outlook;
  }

  #sample({ sample, step, characters }, loss) {
    if (sample) this.samples.push({ ...sample, step, characters, bits: loss * this.scale });
  }

  // The lines of what simple models reach, in bits per character
  rules(names) {
    return Object.entries(this.baselines).map(([name, loss]) => ({ name, y: loss * this.scale })).filter(({ name }) => names.includes(name));
  }

  // The best simple model that is left behind, and the next one to leave behind; null where there is none
  get neighbours() {
    const loss = this.validation.ys.at(-1);
    const all = Object.entries(this.baselines).map(([name, nats]) => ({ name, bits: nats * this.scale }));
    const behind = all.filter(({ bits }) => bits > loss).sort((one, other) => one.bits - other.bits)[0] ?? null;
    const ahead = all.filter(({ bits }) => bits <= loss).sort((one, other) => other.bits - one.bits)[0] ?? null;
    return { behind, ahead };
  }

  // A run that was interrupted does its last steps again.
  #goBack(characters) {
    for (const each of [this.training, this.validation, this.between]) {
      while (each.xs.length && each.xs.at(-1) > characters) for (const list of Object.values(each)) list.pop();
    }
    while (this.samples.length && this.samples.at(-1).characters >= characters) this.samples.pop();
  }
}

// seconds: the time that was trained until then
const line = () => ({ xs: [], ys: [], seconds: [] });

function put({ xs, ys, seconds }, data, loss) {
  if (xs.at(-1) === data.characters) for (const list of [xs, ys, seconds]) list.pop();
  xs.push(data.characters);
  ys.push((loss * data.symbols_per_char) / Math.LN2);
  seconds.push(data.seconds);
}
