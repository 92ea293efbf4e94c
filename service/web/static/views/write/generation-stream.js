// Stream a generated text from /v1/completions, as fast as it arrives or at reading pace, and change its temperature on the way.
//
// Models write thousands of characters a second. At reading pace the answer is soon complete, and a new temperature can only affect the
// characters that are not shown yet: PacedStream requests the text again, with the temperatures so far and the new one from here on.
// The same request gives the same text, so it continues where it was. Without characters waiting, the running request is changed.

import { ask, events, pause } from "../../lib/api.js";

const ALTERNATIVES = 5; // logprobs per symbol
const PACE = 120; // characters a second at reading pace
const TICK = 40; // milliseconds between two pieces at reading pace
const FRAME = 16; // the same otherwise
export const LONG = 5000; // characters; longer texts are never slowed down, because each change of temperature would discard most of them

// request: { model, prompt, length, temperature (a schedule of pairs), top_k, top_p, min_p, stop, seed }
function openStream({ length, temperature, ...rest }) {
  const end = new AbortController();
  const facts = { id: null, checkpoint: null, schedule: null, speed: 0 };
  const body = { ...rest, max_tokens: length, temperature, logprobs: ALTERNATIVES, stream: true };

  // Yields { text, logprobs }. Raises ApiError, and AbortError after cancel().
  async function* pieces() {
    const began = performance.now();
    let characters = 0;
    for await (const { data } of events("/v1/completions", { method: "POST", body, signal: end.signal })) {
      facts.id ??= data.id;
      facts.checkpoint ??= data.system_fingerprint.split(" ")[1]; // "charloom-VERSION RUN@STEP"
      for (const choice of data.choices) {
        facts.reason = choice.meta?.finish_reason ?? choice.finish_reason ?? facts.reason;
        characters += choice.text.length;
        facts.speed = (1000 * characters) / Math.max(1, performance.now() - began); // characters a second, as received
        if (choice.text) yield choice;
      }
      if (data.charloom) {
        const { temperature: schedule, prompts: [prompt], out_of_time: cut } = data.charloom;
        Object.assign(facts, { schedule, cut, truncated: prompt.truncated, substituted: prompt.substituted });
      }
    }
  }

  // Changes the temperature from here on -> the schedule in force, or null if the text is already complete.
  async function setTemperature(value) {
    while (!facts.id && !end.signal.aborted) await pause(20);
    try {
      const answer = await ask(`/v1/completions/${facts.id}`, { method: "PATCH", body: { temperature: value }, signal: end.signal });
      return answer.temperature ?? null;
    } catch (error) {
      if (error.status === 404 || error.status === 409) return null;
      throw error;
    }
  }

  return { pieces, setTemperature, facts, cancel: () => end.abort() };
}

export class PacedStream {
  // slow(): whether to write at reading pace; asked before each piece
  constructor(request, slow) {
    Object.assign(this, { request, waiting: [], shown: 0, error: null, ended: false, cancelled: false, wake: () => {} });
    this.slow = () => slow() && request.length <= LONG;
    this.#receive(request.temperature, 0);
  }

  // { id, checkpoint, schedule, speed, reason, cut, truncated, substituted }, as far as they are known
  get facts() {
    return this.stream.facts;
  }

  // Yields { text, logprobs } when they are due. Raises ApiError, and AbortError after cancel().
  async *pieces() {
    let last = performance.now();
    for (;;) {
      if (this.cancelled) throw new DOMException("", "AbortError");
      if (!this.waiting.length) {
        if (this.error) throw this.error;
        if (this.ended) return;
        await new Promise((resolve) => (this.wake = resolve));
        last = Math.max(last, performance.now() - TICK);
        continue;
      }
      const count = this.slow() ? Math.floor(((performance.now() - last) * PACE) / 1000) : this.waiting.length;
      if (count) {
        last = performance.now();
        const part = this.waiting.splice(0, count);
        this.shown += part.length;
        yield joined(part);
      }
      if (!this.ended || this.waiting.length) await pause(this.slow() ? TICK : FRAME);
    }
  }

  // Changes the temperature after `symbols` symbols -> the schedule in force, or null if the text is already complete.
  async setTemperature(value, schedule, symbols) {
    if (!this.slow() || (!this.waiting.length && !this.ended)) return this.stream.setTemperature(value);
    this.stream.cancel();
    this.waiting = [];
    const next = symbols ? [...trimSchedule(schedule, symbols), [symbols, value]] : [[0, value]];
    this.#receive(next, this.shown);
    return next;
  }

  cancel() {
    this.cancelled = true;
    this.stream.cancel();
    this.wake();
  }

  // Requests the text, and drops the first `skip` characters, which are already shown.
  async #receive(temperature, skip) {
    const model = this.stream?.facts.checkpoint ?? this.request.model; // the best checkpoint may have changed since
    const stream = (this.stream = openStream({ ...this.request, model, temperature }));
    Object.assign(this, { error: null, ended: false });
    try {
      for await (const piece of stream.pieces()) {
        for (const character of charactersOf(piece)) if (skip-- <= 0) this.waiting.push(character);
        this.wake();
      }
    } catch (error) {
      if (this.stream === stream) this.error = error;
    }
    if (this.stream === stream) this.ended = true;
    this.wake();
  }
}

const LISTS = ["tokens", "token_logprobs", "top_logprobs", "text_offset"]; // of logprobs, one entry per symbol

// Splits a piece into its characters, each with the logprobs of its symbols.
function* charactersOf({ text, logprobs }) {
  if (!logprobs) return yield* [...text].map((character) => ({ text: character, logprobs: null }));
  let at = 0;
  for (const character of text) {
    const offset = logprobs.text_offset[at];
    const from = at;
    while (at < logprobs.tokens.length && logprobs.text_offset[at] === offset) at++;
    yield { text: character, logprobs: Object.fromEntries(LISTS.map((name) => [name, logprobs[name]?.slice(from, at)])) };
  }
}

function joined(parts) {
  const text = parts.map((part) => part.text).join("");
  if (!parts[0].logprobs) return { text, logprobs: null };
  return { text, logprobs: Object.fromEntries(LISTS.map((name) => [name, parts.flatMap((part) => part.logprobs[name] ?? [])])) };
}

// The part of a temperature schedule [[position, value], …] that applies to the first `symbols` symbols
export function trimSchedule(schedule, symbols) {
  const used = schedule.filter(([position], index) => !index || position < symbols);
  return used.filter(([, value], index) => !index || value !== used[index - 1][1]);
}
