// The card beside a character of a text: how surprising it was, and what the model expected instead; also as a sentence to be spoken.

import { t } from "../i18n/i18n.js";
import { el } from "../lib/dom.js";
import { named, number, percent, probability, sign } from "../lib/format.js";

const SPOKEN = 3; // alternatives in the sentence
const card = el("div", { class: "text-card", "aria-hidden": "true", hidden: true }); // one for the page

// Shows `content` beside a rectangle of the window; hides the card if it is null.
export function showCard(content, box) {
  card.hidden = !content;
  if (!content) return;
  if (!card.isConnected) document.body.append(card);
  card.replaceChildren(content);
  const { width, height } = card.getBoundingClientRect();
  const left = Math.max(8, Math.min(innerWidth - width - 8, box.left + box.width / 2 - width / 2));
  const below = box.bottom + 8 + height < innerHeight;
  card.style.left = `${left}px`;
  card.style.top = `${below ? box.bottom + 8 : Math.max(8, box.top - 8 - height)}px`;
}

// symbols: [{ symbol, alternatives: [[symbol, probability], …] }, …], the symbols of the character (several if it is made of jamo or
// bytes), each with its alternatives, the likeliest first and itself among them. Further children go below the heading.
export const characterCard = ({ character, bits, symbols }, ...children) =>
  el(
    "div",
    { class: "opinion" },
    el("p", { class: "opinion-head" }, el("b", {}, named(character)), el("span", {}, t("bits", { bits: number(bits, 1) }))),
    children,
    symbols.map(({ symbol, alternatives }) => el("ol", {}, alternatives.map(([each, share]) => bar(each, share, each === symbol)))),
  );

const bar = (symbol, share, came) =>
  el("li", { class: came ? "came" : null }, el("code", {}, sign(symbol)), el("i", { style: { "--share": share } }), el("span", {}, probability(share)));

// Tells only the alternatives of the first symbol.
export function characterSentence({ character, bits, symbols: [{ symbol, alternatives }] }) {
  const others = alternatives.filter(([each]) => each !== symbol).slice(0, SPOKEN);
  return t("card.spoken", {
    character: named(character),
    bits: number(bits, 1),
    others: others.map(([each, share]) => `${named(each)} ${percent(share)}`).join(", ") || t("card.nothing"),
  });
}
