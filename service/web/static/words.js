// Numbers, times and sizes in words of the language that was chosen.

import { language, t } from "./texts.js";

export const number = (value, digits = 0) =>
  value.toLocaleString(language, { minimumFractionDigits: digits, maximumFractionDigits: digits });
export const percent = (share, digits = 0) =>
  share.toLocaleString(language, { style: "percent", minimumFractionDigits: digits, maximumFractionDigits: digits });
// 1 234 567 -> "1.2M"
export const short = (value) => value.toLocaleString(language, { notation: "compact", maximumFractionDigits: 1 });
export const bits = (nats) => nats / Math.LN2;

export function size(bytes) {
  const step = Math.min(4, Math.floor(Math.log10(Math.max(1, bytes)) / 3));
  return `${number(bytes / 1000 ** step, step && bytes / 1000 ** step < 10 ? 1 : 0)} ${["B", "kB", "MB", "GB", "TB"][step]}`;
}

// Seconds -> "45 s", "3 min 20 s", "2 h 5 min"
export function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60), whole % 60];
  const parts = hours
    ? [
        ["h", hours],
        ["min", minutes],
      ]
    : minutes
      ? [
          ["min", minutes],
          ["s", rest],
        ]
      : [["s", rest]];
  return parts
    .filter(([, value], index) => value || (!index && parts.length === 1))
    .map(([unit, value]) => t(`unit.${unit}`, { value }))
    .join(" ");
}

// Seconds since 1970 -> "today, 14:05" or a date
export const moment = (seconds) => {
  const date = new Date(seconds * 1000);
  const today = date.toDateString() === new Date().toDateString();
  return date.toLocaleString(language, today ? { timeStyle: "short" } : { dateStyle: "medium", timeStyle: "short" });
};

// A character by a name that can be seen and heard.
const NAMED = { "\n": "char.newline", " ": "char.space", "\t": "char.tab", "\u00a0": "char.nbsp" };
export const named = (character) => (character in NAMED ? t(NAMED[character]) : character);
// … and as one sign, where there is no room for a name
const SIGNS = { "\n": "↵", " ": "␣", "\t": "⇥", "\u00a0": "⍽" };
export const sign = (character) => SIGNS[character] ?? character;
