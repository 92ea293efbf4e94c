// Format numbers, times, sizes and characters in the language of the page.

import { language, t } from "../i18n/i18n.js";

const digitsOf = (digits) => ({ minimumFractionDigits: digits, maximumFractionDigits: digits });
export const number = (value, digits = 0) => value.toLocaleString(language, digitsOf(digits));
export const percent = (share, digits = 0) => share.toLocaleString(language, { style: "percent", ...digitsOf(digits) });
// A probability, with more digits if it is small: 0.00042 -> "<0.1%"
export const probability = (share) => (share < 0.001 ? `<${percent(0.001, 1)}` : percent(share, share < 0.1 ? 1 : 0));
// 0.5 -> "+0.50"
export const signed = (value, digits = 2) => `${value < 0 ? "−" : "+"}${number(Math.abs(value), digits)}`;
// 1234567 -> "1.2M"
export const compact = (value) => value.toLocaleString(language, { notation: "compact", maximumFractionDigits: 1 });

export function size(bytes) {
  const step = Math.min(4, Math.floor(Math.log10(Math.max(1, bytes)) / 3));
  return `${number(bytes / 1000 ** step, step && bytes / 1000 ** step < 10 ? 1 : 0)} ${["B", "kB", "MB", "GB", "TB"][step]}`;
}

// Seconds -> "45 s", "3 min 20 s", "2 h 5 min"
export function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  const parts = { h: Math.floor(whole / 3600), min: Math.floor((whole % 3600) / 60), s: whole % 60 };
  const units = parts.h ? ["h", "min"] : parts.min ? ["min", "s"] : ["s"];
  return units
    .filter((unit, index) => !index || parts[unit])
    .map((unit) => t(`unit.${unit}`, { value: parts[unit] }))
    .join(" ");
}

// Seconds since 1970 -> the time if it is today, else date and time
export const moment = (seconds) => {
  const date = new Date(seconds * 1000);
  const today = date.toDateString() === new Date().toDateString();
  return date.toLocaleString(language, today ? { timeStyle: "short" } : { dateStyle: "medium", timeStyle: "short" });
};

// The name of an invisible character, for texts and screen readers: "\n" -> "line end"
// A symbol may have several characters, as the separator of records does: "\n%" -> "line end, %"
const NAMES = { "\n": "char.newline", " ": "char.space", "\t": "char.tab", "\u00a0": "char.nbsp", "\u001e": "char.file" };
export const named = (symbol) => (NAMED.test(symbol) ? [...symbol].map((each) => (each in NAMES ? t(NAMES[each]) : each)).join(", ") : symbol);
// The sign for an invisible character, where a name is too long: "\n" -> "↵"
const SIGNS = { "\n": "↵", " ": "␣", "\t": "⇥", "\u00a0": "⍽", "\u001e": "␞" };
export const sign = (symbol) => [...symbol].map((each) => SIGNS[each] ?? each).join("");
const NAMED = new RegExp(`[${Object.keys(NAMES).join("")}]`);
