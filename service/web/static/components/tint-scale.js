// The tints of texts: which tint a surprise or an activation has, and the legends of both. The names are CSS highlights and colours.
//
// Surprise: no tint below 0.5 bits, then one tint per bit, the strongest from 7 bits on. page.css has a colour for each tint. The SVG
// figures and the terminal use the same scale: TINT_LEVELS, LEAST_SURPRISE and surprise_level() in service/inspection/results.py.
// Activation: 8 tints of red above 0 and 8 of blue below, in views/inside/inside.css.

import { t } from "../i18n/i18n.js";
import { el } from "../lib/dom.js";
import { signed } from "../lib/format.js";

const LEVELS = 8; // tints of surprise, and of each sign of an activation
const LEAST_SURPRISE = 0.5; // bits
const levels = Array.from({ length: LEVELS }, (_, index) => index + 1);

// Bits -> "surprise-1" … "surprise-8", or null for no tint
export const surpriseTint = (bits) => (bits < LEAST_SURPRISE ? null : `surprise-${Math.min(LEVELS, Math.floor(bits) + 1)}`);

export function surpriseLegend() {
  const steps = levels.map((level) => el("i", { style: { background: `var(--surprise-${level})` } }));
  const end = { bits: LEVELS - 1 };
  return el("div", { class: "scale", role: "img", "aria-label": t("tint.surprise.label", end) }, el("span", {}, "0"), steps, el("span", {}, t("tint.surprise", end)));
}

// An activation from -most to most -> "cold-8" … "warm-8", or null for no tint
export function activationTint(value, most = 1) {
  const level = Math.min(LEVELS, Math.round((Math.abs(value) / most) * LEVELS));
  return level ? `${value < 0 ? "cold" : "warm"}-${level}` : null;
}

// The largest magnitude of the scale: 1, or more if a unit is unbounded (ReLU) and exceeds it
export const largestActivation = (activations) => activations.reduce((most, value) => Math.max(most, Math.abs(value)), 1);

export function activationLegend(most) {
  const [low, high] = [signed(-most, 0), signed(most, 0)];
  const steps = [...levels.map((level) => `cold-${level}`).reverse(), "", ...levels.map((level) => `warm-${level}`)];
  return [
    el("span", { "aria-hidden": "true" }, low),
    el("span", { class: "steps", role: "img", "aria-label": t("tint.activation", { low, high }) }, steps.map((name) => el("i", { class: name }))),
    el("span", { "aria-hidden": "true" }, high),
  ];
}
