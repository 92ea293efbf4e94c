// Look up texts in the language of the page. Each table has both languages side by side, so that a missing one is noticed.
//
// {name} is a value; {name|one|many} chooses by number in English: t("characters", { count: 3 }) -> "3 characters"

import { COMMON } from "./common.js";

const table = { ...COMMON };

export const LANGUAGES = { en: "English", ko: "한국어" };
export const language = document.documentElement.lang in LANGUAGES ? document.documentElement.lang : "en"; // set by first-paint.js
const column = Object.keys(LANGUAGES).indexOf(language);

// Adds the table of a view.
export const addTexts = (texts) => Object.assign(table, texts);

// The text, or `fallback` if this language has none; for texts that come from the service in English.
export const translated = (name, fallback) => table[name]?.[column] ?? fallback;

// Raises if there is no such text, so that a wrong name is noticed.
export function t(name, values = {}) {
  const text = table[name]?.[column];
  if (text === undefined) throw new Error(`there is no text ${name}`);
  return text.replace(/\{(\w+)(?:\|([^|}]*)\|([^}]*))?\}/g, (_, value, one, many) =>
    one === undefined ? formatted(values[value]) : values[value] === 1 ? one : many,
  );
}

const formatted = (value) => (typeof value === "number" ? value.toLocaleString(language) : String(value));
