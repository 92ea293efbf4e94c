// Summarise a corpus: its size, its beginning, its characters, and warnings.

import { disclosure } from "../../components/buttons.js";
import { factList, notice } from "../../components/feedback.js";
import { field, select, toggle } from "../../components/fields.js";
import { t } from "../../i18n/i18n.js";
import { el } from "../../lib/dom.js";
import { named, number, sign, size } from "../../lib/format.js";

const SHOWN = 120; // characters of the alphabet; the rest is folded away

const KINDS = ["none", "lines", "blocks", "csv", "tsv", "jsonl", "fortune"];

// file: an object of /v1/files; other: a button to choose another one; columns: offers to read one of its columns;
// recut({ records, unique }): cuts the text anew -> elements
export function corpusSummary({ id, bytes, meta }, { other, columns, recut }) {
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
    recordsPart(meta.records, columns, recut),
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

// How the text is cut into records, which can be changed; what was counted, and examples.
function recordsPart(records, columns, recut) {
  const kind = records?.kind ?? "none";
  const kinds = KINDS.includes(kind) ? KINDS : [...KINDS, kind];
  const named = (each) => t(`kind.${each}`, { separator: JSON.stringify(records?.separator ?? "") });
  const choice = select({ options: kinds.map((each) => [each, named(each)]), value: kind, onchange: () => recut({ records: choice.value }) });
  const way = kind === "separator" ? records.separator.replace(/\\/g, "\\\\").replace(/\n/g, "\\n").replace(/\t/g, "\\t") : kind;
  const hint = records
    ? t("summary.records.hint", { count: number(records.count), different: number(records.different), median: number(records.median) })
    : t("summary.records.prose");
  return el(
    "div",
    { class: "summary-part" },
    field({ label: t("summary.records"), control: choice, hint: records?.header ? `${hint} ${t("summary.records.header")}` : hint }).element,
    columns,
    records &&
      records.different < records.count &&
      toggle({ label: t("summary.records.unique"), checked: records.unique, onchange: (unique) => recut({ records: way, unique }) }).element,
    records && el("ul", { class: "summary-records", lang: "", "aria-label": t("summary.records.examples") }, records.examples.map((each) => el("li", {}, each))),
  );
}

const signs = (characters) => el("ul", { class: "signs", lang: "" }, characters.map((each) => el("li", { title: code(each) }, el("span", { "aria-hidden": "true" }, visible(each)), el("span", { class: "unseen" }, named(each)))));

const code = (character) => `${named(character)} U+${character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`;

// A character without a visible form is shown by its code point.
const visible = (character) => (/[\p{C}\p{Zl}\p{Zp}]/u.test(character) && sign(character) === character ? character.codePointAt(0).toString(16).padStart(2, "0") : sign(character));
