// What /v1/inspect answered for a text: the tint of each character, and what there is to say about it.

import { el } from "../dom.js";
import { t } from "../texts.js";
import { named, number, percent, sign } from "../words.js";

const SURPRISES = 8; // tints; one for each bit, none below half a bit, as in Write
export const HEATS = 8; // tints of red, and of blue

export class Inspected {
  constructor(answer) {
    Object.assign(this, answer);
    this.symbols = [...answer.text]; // the characters, as positions count them
  }

  // The name of the tint of a character's surprise, or null
  tint(index) {
    const surprise = this.bits[index];
    return surprise < 0.5 ? null : `surprise-${Math.min(SURPRISES, Math.floor(surprise) + 1)}`;
  }

  // The card of a character; `unit` is { name, values } of the one that is shown, or null
  describe(index, unit) {
    const came = this.symbols[index];
    const shares = this.alternatives[index];
    const own = 2 ** -this.bits[index];
    const known = shares.some(([symbol]) => symbol === came);
    return el(
      "div",
      { class: "opinion" },
      el("p", { class: "opinion-head" }, el("b", {}, named(came)), el("span", {}, t("write.bits", { bits: number(this.bits[index], 1) }))),
      unit && el("p", { class: "opinion-unit" }, el("i", { class: heat(unit.values[index]) }), t("inside.holds", { unit: unit.name, value: signed(unit.values[index]) })),
      el(
        "ol",
        {},
        shares.map(([symbol, share]) => bar(symbol, share, symbol === came)),
        !known && bar(came, own, true),
      ),
    );
  }

  // The same as a sentence
  speak(index, unit) {
    const came = this.symbols[index];
    const others = this.alternatives[index].filter(([symbol]) => symbol !== came).slice(0, 3);
    const said = t("write.spoken", {
      character: named(came),
      bits: number(this.bits[index], 1),
      others: others.map(([symbol, share]) => `${named(symbol)} ${percent(share)}`).join(", ") || t("write.nothing"),
    });
    return unit ? `${said}; ${t("inside.holds", { unit: unit.name, value: signed(unit.values[index]) })}` : said;
  }
}

const bar = (symbol, share, came) =>
  el(
    "li",
    { class: came ? "came" : null },
    el("code", {}, sign(symbol)),
    el("i", { style: { "--share": share } }),
    el("span", {}, share < 0.001 ? `<${percent(0.001, 1)}` : percent(share, share < 0.1 ? 1 : 0)),
  );

// The name of the tint of an activation, from -most to most, or null
export function heat(value, most = 1) {
  const level = Math.min(HEATS, Math.round((Math.abs(value) / most) * HEATS));
  return level ? `${value < 0 ? "cold" : "warm"}-${level}` : null;
}

// 0.5 -> "+0.50"
export const signed = (value, digits = 2) => `${value < 0 ? "−" : "+"}${number(Math.abs(value), digits)}`;
