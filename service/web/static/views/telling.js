// A text as it is told to its reader: as fast as it is written, or slowly enough to be read and steered.
//
// Models write thousands of characters a second. Where the text is told slowly, it is soon written to its end, and what is moved
// then is the temperature of what was not told yet: the text is asked for again, with the temperatures so far and the new one from
// here on. As the same request gives the same text, it goes on where it was. Where nothing waits to be told, the running request
// itself is told to change.

import { pause } from "../api.js";
import { complete } from "./completion.js";
import { trimmed } from "./link.js";

const PACE = 120; // characters a second, when told slowly
const TICK = 40; // milliseconds between two looks
const FRAME = 16; // the same, where it is told as fast as it comes
export const LONG = 5000; // characters; longer texts are not told slowly, since most of what is written would be thrown away at each move

export class Telling {
  // slow(): whether it is told slowly, looked at all the time
  constructor(request, slow) {
    Object.assign(this, { request, waiting: [], told: 0, error: null, ended: false, cancelled: false, wake: () => {} });
    this.slow = () => slow() && request.length <= LONG;
    this.#read(request.temperature, 0);
  }

  get facts() {
    return this.run.facts;
  }

  // { text, logprobs } when it is time for them. Raises ApiError, and AbortError after cancel().
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
        this.told += part.length;
        yield joined(part);
      }
      if (!this.ended || this.waiting.length) await pause(this.slow() ? TICK : FRAME);
    }
  }

  // From here on, another temperature, where the text has so many symbols; gives the course in force, or null where it is over.
  async move(value, course, symbols) {
    if (!this.slow() || (!this.waiting.length && !this.ended)) return this.run.move(value);
    this.run.cancel();
    this.waiting = [];
    const moved = [...trimmed(course, symbols), [symbols, value]];
    const next = symbols ? moved : [[0, value]];
    this.#read(next, this.told);
    return next;
  }

  cancel() {
    this.cancelled = true;
    this.run.cancel();
    this.wake();
  }

  // Reads a request, without the characters that were told already.
  async #read(temperature, skip) {
    const model = this.run?.facts.checkpoint ?? this.request.model; // which checkpoint is the best may change meanwhile
    const run = (this.run = complete({ ...this.request, model, temperature }));
    Object.assign(this, { error: null, ended: false });
    try {
      for await (const piece of run.pieces()) {
        for (const character of characters(piece)) if (skip-- <= 0) this.waiting.push(character);
        this.wake();
      }
    } catch (error) {
      if (this.run === run) this.error = error;
    }
    if (this.run === run) this.ended = true;
    this.wake();
  }
}

// A piece taken apart into its characters, each with its symbols
function* characters({ text, logprobs }) {
  if (!logprobs) return yield* [...text].map((character) => ({ text: character, logprobs: null }));
  let at = 0;
  for (const character of text) {
    const offset = logprobs.text_offset[at];
    const from = at;
    while (at < logprobs.tokens.length && logprobs.text_offset[at] === offset) at++;
    yield {
      text: character,
      logprobs: {
        tokens: logprobs.tokens.slice(from, at),
        token_logprobs: logprobs.token_logprobs.slice(from, at),
        top_logprobs: logprobs.top_logprobs?.slice(from, at),
        text_offset: logprobs.text_offset.slice(from, at),
      },
    };
  }
}

function joined(parts) {
  const text = parts.map((part) => part.text).join("");
  if (!parts[0].logprobs) return { text, logprobs: null };
  const all = (name) => parts.flatMap((part) => part.logprobs[name] ?? []);
  return {
    text,
    logprobs: {
      tokens: all("tokens"),
      token_logprobs: all("token_logprobs"),
      top_logprobs: all("top_logprobs"),
      text_offset: all("text_offset"),
    },
  };
}
