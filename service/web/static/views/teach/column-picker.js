// Choose the column of a table, or the field of JSON lines, that is read.

import { button } from "../../components/buttons.js";
import { field, select } from "../../components/fields.js";
import { t } from "../../i18n/i18n.js";
import { el } from "../../lib/dom.js";

const DELIMITERS = [",", ";", "\t", "|"];

export class ColumnPicker {
  // onchoose({ column } or { field }): fields of the upload
  constructor(onchoose) {
    this.onchoose = onchoose;
    this.element = el("div", { class: "column", hidden: true });
  }

  hide() {
    this.element.hidden = true;
    this.element.replaceChildren();
  }

  // part: "column" or "field"; choices: [[value, label], …]
  show(part, choices) {
    const choice = select({ options: choices, value: choices[0][0] });
    const use = button({ text: t(`teach.${part}.use`), onclick: () => this.onchoose({ [part]: choice.value }) });
    this.element.replaceChildren(field({ label: t(`teach.${part}`), control: choice }).element, use);
    this.element.hidden = false;
  }
}

// What the first line of a text tells of its columns or fields, as show() takes it; null if there are not several.
// records: of the text's meta. A column without a name is chosen by its number.
export function partsOf({ kind, header }, line) {
  const choices = kind === "jsonl" ? keysOf(line).map((key) => [key, key]) : cellsOf(line).map((cell, index) => (header ? [cell, cell] : [String(index + 1), `${index + 1}: ${cell}`]));
  return choices.length > 1 ? [kind === "jsonl" ? "field" : "column", choices] : null;
}

function keysOf(line) {
  try {
    return Object.keys(JSON.parse(line));
  } catch {
    return []; // longer than what was read
  }
}

function cellsOf(line) {
  const count = (delimiter) => line.split(delimiter).length;
  const delimiter = DELIMITERS.reduce((best, each) => (count(each) > count(best) ? each : best));
  const cell = new RegExp(`(?:"((?:[^"]|"")*)"|([^${delimiter}]*))[${delimiter}]`, "g");
  return [...`${line}${delimiter}`.matchAll(cell)].map(([, quoted, plain]) => (quoted?.replaceAll('""', '"') ?? plain).trim());
}
