// Collect the log-probabilities of a streamed text, and give the surprise and the alternatives of each character.
//
// A character may consist of several symbols (jamo, bytes): their surprises add up, and each has its own alternatives. The separator of
// records is one symbol of several characters: each of them is described as all of it.

export class Logprobs {
  constructor() {
    Object.assign(this, { text: "", first: [], tokens: [], logprobs: [], tops: [], base: null, sum: 0 });
  }

  // logprobs: as in /v1/completions, or null
  append(text, logprobs) {
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

  // How many there are
  get symbols() {
    return this.tokens.length;
  }

  // The symbols of a character, as positions
  #of(index) {
    const from = (at) => this.first[at] ?? this.tokens.length;
    let lead = index; // the character with which the symbols begin
    while (lead > 0 && from(lead) === from(lead + 1)) lead--;
    const length = from(lead + 1) - from(lead);
    const known = lead === index || [...(this.tokens[from(lead)] ?? "")].length > index - lead;
    return known ? Array.from({ length }, (_, at) => from(lead) + at) : [];
  }

  // Bits of a character
  surprise(index) {
    return this.#of(index).reduce((sum, symbol) => sum - this.logprobs[symbol] / Math.LN2, 0);
  }

  // What characterCard and characterSentence take; null if nothing is known of the character. The `character` of a separator is all of it.
  describe(index, character) {
    const symbols = this.#of(index).map((at) => {
      const found = new Map(Object.entries(this.tops[at])).set(this.tokens[at], this.logprobs[at]);
      const alternatives = [...found].map(([symbol, logprob]) => [symbol, Math.exp(logprob)]).sort((one, other) => other[1] - one[1]);
      return { symbol: this.tokens[at], alternatives };
    });
    if (!symbols.length) return null;
    const whole = symbols.length === 1 && symbols[0].symbol.includes(character) ? symbols[0].symbol : character;
    return { character: whole, bits: this.surprise(index), symbols };
  }
}
