// A text as it is written: its characters, and what the model thought of each.
//
// A character may be made of several symbols (jamo, bytes): their surprises add up, and each has its own alternatives.

import { el } from "../dom.js";
import { t } from "../texts.js";
import { bits, named, number, percent, sign } from "../words.js";

const LEVELS = 8; // of tints; one for each bit, none below half a bit

export class Written {
  constructor() {
    Object.assign(this, { text: "", first: [], tokens: [], logprobs: [], tops: [], base: null, sum: 0 });
  }

  // logprobs as /v1/completions gives them, or null
  take(text, logprobs) {
    this.text += text;
    if (!logprobs) return;
    logprobs.tokens.forEach((token, index) => {
      const offset = logprobs.text_offset[index];
      this.base ??= offset;
      const character = offset - this.base;
      while (this.first.length <= character) this.first.push(this.tokens.length);
      this.tokens.push(token);
      this.logprobs.push(logprobs.token_logprobs[index]);
      this.tops.push(logprobs.top_logprobs?.[index] ?? {});
      this.sum -= logprobs.token_logprobs[index];
    });
  }

  get symbols() {
    return this.tokens.length;
  }

  // The numbers of the symbols of a character
  #of(index) {
    const [from, to] = [this.first[index] ?? this.tokens.length, this.first[index + 1] ?? this.tokens.length];
    return Array.from({ length: to - from }, (_, at) => from + at);
  }

  surprise(index) {
    return this.#of(index).reduce((sum, symbol) => sum + bits(-this.logprobs[symbol]), 0);
  }

  // The name of its tint, or null
  tint(index) {
    const surprise = this.surprise(index);
    return surprise < 0.5 ? null : `surprise-${Math.min(LEVELS, Math.floor(surprise) + 1)}`;
  }

  // Symbols with probabilities, the likeliest first; the one that came is among them.
  #alternatives(symbol) {
    const found = new Map(Object.entries(this.tops[symbol]));
    found.set(this.tokens[symbol], this.logprobs[symbol]);
    return [...found].map(([text, logprob]) => [text, Math.exp(logprob)]).sort((one, other) => other[1] - one[1]);
  }

  // The card of a character
  describe(index, character) {
    const symbols = this.#of(index);
    if (!symbols.length) return null;
    return el(
      "div",
      { class: "opinion" },
      el(
        "p",
        { class: "opinion-head" },
        el("b", {}, named(character)),
        el("span", {}, t("write.bits", { bits: number(this.surprise(index), 1) })),
      ),
      symbols.map((symbol) =>
        el(
          "ol",
          {},
          this.#alternatives(symbol).map(([text, share]) =>
            el(
              "li",
              { class: text === this.tokens[symbol] ? "came" : null },
              el("code", {}, sign(text)),
              el("i", { style: { "--share": share } }),
              el("span", {}, share < 0.001 ? `<${percent(0.001, 1)}` : percent(share, share < 0.1 ? 1 : 0)),
            ),
          ),
        ),
      ),
    );
  }

  // The same as a sentence
  speak(index, character) {
    const symbols = this.#of(index);
    if (!symbols.length) return named(character);
    const [symbol] = symbols;
    const others = this.#alternatives(symbol)
      .filter(([text]) => text !== this.tokens[symbol])
      .slice(0, 3);
    return t("write.spoken", {
      character: named(character),
      bits: number(this.surprise(index), 1),
      others: others.map(([text, share]) => `${named(text)} ${percent(share)}`).join(", ") || t("write.nothing"),
    });
  }
}
