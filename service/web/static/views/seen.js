// What the reader saw of a text: how much, which characters, how it begins, and what it left out.

import { factList, more, notice } from "../components.js";
import { el } from "../dom.js";
import { t } from "../texts.js";
import { named, number, sign, size } from "../words.js";

const MANY = 120; // characters of the alphabet that are shown at first

// file: as /v1/files describes it; other: a button to choose another one -> elements
export function seen({ id, bytes, meta }, other) {
  const { characters, lines, alphabet_size: count, alphabet = "", sample = [], warnings = [] } = meta;
  const all = [...alphabet];
  const facts = factList([
    [t("seen.characters"), number(characters)],
    [t("seen.lines"), number(lines)],
    [t("seen.alphabet"), number(count)],
    [t("seen.size"), size(bytes)],
  ]);
  const rest = all.slice(MANY);
  return [
    el("div", { class: "card-head" }, el("h3", {}, id), other),
    facts,
    ...warnings.map((text) => notice({ kind: "warn", text }).element),
    el("div", { class: "seen-part" }, el("h4", {}, t("seen.begins")), el("pre", { class: "seen-sample", lang: "", tabindex: 0, role: "group", "aria-label": t("seen.begins") }, sample.join("\n"))),
    el(
      "div",
      { class: "seen-part" },
      el("h4", {}, t("seen.frequent")),
      signs(all.slice(0, MANY)),
      rest.length > 0 && more(t("seen.more", { count: rest.length }), signs(rest)),
      count > all.length && el("p", { class: "hint" }, t("seen.rest", { count: count - all.length })),
    ),
  ];
}

const signs = (characters) => el("ul", { class: "signs", lang: "" }, characters.map((each) => el("li", { title: code(each) }, el("span", { "aria-hidden": "true" }, shown(each)), el("span", { class: "unseen" }, named(each)))));

const code = (character) => `${named(character)} U+${character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`;

// What has no sign of its own is shown by its number.
const shown = (character) => (/[\p{C}\p{Zl}\p{Zp}]/u.test(character) && sign(character) === character ? character.codePointAt(0).toString(16).padStart(2, "0") : sign(character));
