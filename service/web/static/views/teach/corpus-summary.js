// Summarise a corpus: its size, its beginning, its characters, and warnings.

import { disclosure } from "../../components/buttons.js";
import { factList, notice } from "../../components/feedback.js";
import { t } from "../../i18n/i18n.js";
import { el } from "../../lib/dom.js";
import { named, number, sign, size } from "../../lib/format.js";

const SHOWN = 120; // characters of the alphabet; the rest is folded away

// file: an object of /v1/files; other: a button to choose another one -> elements
export function corpusSummary({ id, bytes, meta }, other) {
  const { characters, lines, alphabet_size: count, alphabet = "", sample = [], warnings = [] } = meta;
  const all = [...alphabet];
  const facts = factList([
    [t("summary.characters"), number(characters)],
    [t("summary.lines"), number(lines)],
    [t("summary.alphabet"), number(count)],
    [t("summary.size"), size(bytes)],
  ]);
  const rest = all.slice(SHOWN);
  return [
    el("div", { class: "card-head" }, el("h3", {}, id), other),
    facts,
    ...warnings.map((text) => notice({ kind: "warn", text }).element),
    el("div", { class: "summary-part" }, el("h4", {}, t("summary.begins")), el("pre", { class: "summary-sample", lang: "", tabindex: 0, role: "group", "aria-label": t("summary.begins") }, sample.join("\n"))),
    el(
      "div",
      { class: "summary-part" },
      el("h4", {}, t("summary.frequent")),
      signs(all.slice(0, SHOWN)),
      rest.length > 0 && disclosure(t("summary.more", { count: rest.length }), signs(rest)),
      count > all.length && el("p", { class: "hint" }, t("summary.rest", { count: count - all.length })),
    ),
  ];
}

const signs = (characters) => el("ul", { class: "signs", lang: "" }, characters.map((each) => el("li", { title: code(each) }, el("span", { "aria-hidden": "true" }, visible(each)), el("span", { class: "unseen" }, named(each)))));

const code = (character) => `${named(character)} U+${character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`;

// A character without a visible form is shown by its code point.
const visible = (character) => (/[\p{C}\p{Zl}\p{Zp}]/u.test(character) && sign(character) === character ? character.codePointAt(0).toString(16).padStart(2, "0") : sign(character));
