// Build the learning curve of a run from its events: losses by characters read, samples, baselines and outlook.
//
// Losses are in bits per character, so that runs with different alphabets can be compared.

import { JOBS } from "../../components/run-status.js";
import { t } from "../../i18n/i18n.js";
import { ask } from "../../lib/api.js";
import { compact, number } from "../../lib/format.js";

const PAGE = 5000; // events per request
const RULES = ["unigram", "5-gram"]; // baselines that a plot shows
const DIVERGED = 2; // times the loss of guessing evenly, as in service/training/learning_curve.py

export const jobPath = (name, rest = "") => `${JOBS}/${encodeURIComponent(name)}${rest}`;

// The axes of its plot, as Plot takes them; formatLoss(bits) -> text
export const charactersAxis = () => ({ label: t("run.characters"), tick: compact, format: (value) => t("run.read", { count: Math.round(value) }), cell: number });
export const lossAxis = (formatLoss) => ({ label: t("run.bits"), tick: (value, step) => number(value, step < 0.1 ? 2 : 1), format: formatLoss });

export class LearningCurve {
  constructor() {
    Object.assign(this, { training: line(), validation: line(), between: line(), samples: [], messages: [], baselines: {}, last: null, newest: null, scale: 1 });
  }

  // Reads the events since the last call -> whether there were any
  async read(name, signal) {
    let parts = [];
    for (let after = null; ; ) {
      const query = new URLSearchParams({ limit: this.newest ? 100 : PAGE, ...(after && { after }) });
      const { data, has_more: more, last_id: last } = await ask(`${jobPath(name, "/events")}?${query}`, { signal });
      const known = data.findIndex(({ id }) => id === this.newest);
      parts = parts.concat(known < 0 ? data : data.slice(0, known));
      if (known >= 0 || !more) break;
      after = last;
    }
    for (const event of parts.reverse()) this.add(event);
    return parts.length > 0;
  }

  // Adds an event of the job; they must come in their order.
  add({ id, created_at: at, level, message, type, data }) {
    this.newest = id;
    if (type !== "metrics") {
      this.messages.push({ at, level, message });
      return;
    }
    if (data?.characters === undefined) return;
    this.scale = data.symbols_per_char / Math.LN2;
    this.last = { ...data, at };
    this.#dropAfter(data.characters);
    if (data.valid_loss === null) {
      put(this.between, data, data.train_loss);
      put(this.training, data, data.train_loss);
      this.#sample(data, data.train_loss);
      return;
    }
    // The training loss of a validation is the mean since the previous one; it is used only if there are no values in between.
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

  // The losses of simple models, as rules of a plot
  get rules() {
    const known = RULES.filter((name) => name in this.baselines);
    return known.map((name) => ({ name: t(`gram.${name}`), y: this.baselines[name] * this.scale }));
  }

  // The best baseline that the run has beaten, and the next one to beat; null if there is none
  get neighbours() {
    const loss = this.validation.ys.at(-1);
    const all = Object.entries(this.baselines).map(([name, nats]) => ({ name, bits: nats * this.scale }));
    const behind = all.filter(({ bits }) => bits > loss).sort((one, other) => one.bits - other.bits)[0] ?? null;
    const ahead = all.filter(({ bits }) => bits <= loss).sort((one, other) => other.bits - one.bits)[0] ?? null;
    return { behind, ahead };
  }

  // Whether the last loss is far above that of guessing evenly, which a network that has learned nothing has
  get diverged() {
    return this.validation.ys.at(-1) > DIVERGED * (this.baselines.uniform ?? Infinity) * this.scale;
  }

  // Drops what comes after `characters`: an interrupted run repeats its last steps.
  #dropAfter(characters) {
    for (const each of [this.training, this.validation, this.between]) {
      while (each.xs.length && each.xs.at(-1) > characters) for (const list of Object.values(each)) list.pop();
    }
    while (this.samples.length && this.samples.at(-1).characters >= characters) this.samples.pop();
  }
}

// xs: characters read, ys: loss, seconds: training time
const line = () => ({ xs: [], ys: [], seconds: [] });

function put({ xs, ys, seconds }, data, loss) {
  if (xs.at(-1) === data.characters) for (const list of [xs, ys, seconds]) list.pop();
  xs.push(data.characters);
  ys.push((loss * data.symbols_per_char) / Math.LN2);
  seconds.push(data.seconds);
}
