// Search for interpretable cells: units that detect a feature of the text. Lists them by F1, each with an excerpt.

import { button, disclosure } from "../../components/buttons.js";
import { notice } from "../../components/feedback.js";
import { field, select } from "../../components/fields.js";
import { TextView } from "../../components/text-view.js";
import { activationTint, largestActivation } from "../../components/tint-scale.js";
import { t, translated } from "../../i18n/i18n.js";
import { ask } from "../../lib/api.js";
import { el, newId } from "../../lib/dom.js";
import { number, percent, signed } from "../../lib/format.js";

const CLOSEST = 3; // cells shown if none is good

export class InterpretableCells {
  // onshow(unit): the user wants to see a unit over the text. found(): a search has ended
  constructor({ signal, onshow, found }) {
    Object.assign(this, { signal, onshow, found, report: null, model: "", opened: null, search: null });
    const heading = newId("cells");
    this.go = button({ text: t("cells.find"), kind: "primary", onclick: () => this.find() });
    this.stop = button({ text: t("stop"), icon: "stop", hidden: true, onclick: () => this.search?.abort() });
    this.wrong = notice({ kind: "bad" });
    const words = el("p", { class: "quiet-text" }, t("cells.finding"));
    this.waiting = el("div", { class: "cells-waiting", role: "status", hidden: true }, words, el("div", { class: "seeking", "aria-hidden": "true" }, el("i")));
    this.place = el("div", { hidden: true });
    this.list = el("div", { class: "cells-list" });
    this.element = el(
      "section",
      { class: "card cells", "aria-labelledby": heading },
      el("div", { class: "inside-head" }, el("h2", { id: heading }, t("cells.title")), el("div", { class: "actions" }, this.go, this.stop)),
      el("p", { class: "quiet-text" }, t("cells.about")),
      this.place,
      this.wrong.element,
      this.waiting,
      this.list,
    );
  }

  // Changes the model, and clears the result of the previous one. corpus: the one it was trained on, or null
  setModel(model, corpus) {
    if (model === this.model) return;
    this.search?.abort();
    Object.assign(this, { model, report: null, corpus: null });
    this.list.replaceChildren();
    this.wrong.show("");
    this.place.hidden = Boolean(corpus);
    this.go.disabled = false;
    if (!corpus) this.#showCorpora();
  }

  // What a unit detects, in words, or ""
  meaningOf(unit) {
    const cell = this.report && this.#best().find((each) => each.unit === unit);
    return cell ? t("inside.unit.tells", { meaning: meaning(cell.meaning), f1: number(cell.f1, 2) }) : "";
  }

  // Marks the unit that is shown.
  mark(unit) {
    for (const row of this.list.querySelectorAll("[data-unit]")) {
      row.classList.toggle("shown", row.dataset.unit === unit);
      row.firstChild.setAttribute("aria-current", String(row.dataset.unit === unit));
    }
  }

  async find() {
    const search = (this.search = new AbortController());
    this.#busy(true);
    this.wrong.show("");
    try {
      const body = { model: this.model, ...(this.corpus && { corpus: this.corpus.value }) };
      const report = await ask("/v1/inspect/cells", { method: "POST", body, signal: AbortSignal.any([search.signal, this.signal]) });
      if (this.search !== search) return;
      this.report = report;
      this.#show();
      this.found();
    } catch (error) {
      if (this.search === search && error.name !== "AbortError") this.wrong.show(error.message);
    } finally {
      if (this.search === search) this.#busy(false);
    }
  }

  // ── private ──

  // Lets the user choose a corpus: an imported model has none.
  async #showCorpora() {
    this.go.disabled = true;
    const { model } = this;
    const { data } = await ask("/v1/files?limit=1000", { signal: this.signal }).catch(() => ({ data: [] }));
    if (this.model !== model) return; // another one has been chosen
    this.corpus = select({ options: data.map(({ id }) => [id, id]) });
    const shown = data.length ? field({ label: t("cells.corpus"), control: this.corpus, hint: t("cells.corpus.why") }).element : el("p", {}, t("cells.corpus.none"));
    this.place.replaceChildren(shown);
    this.go.disabled = !data.length;
  }

  #busy(busy) {
    const had = [this.go, this.stop].includes(document.activeElement);
    this.go.hidden = busy || this.report !== null;
    this.stop.hidden = this.waiting.hidden = !busy;
    if (had) (busy ? this.stop : this.go.hidden ? this.list.querySelector("button") : this.go)?.focus({ preventScroll: true });
  }

  // Cells with a good F1 that the untrained network does not reach
  #best() {
    return this.report.cells.filter((cell) => cell.found && cell.learned);
  }

  #show() {
    const { report } = this;
    const best = this.#best();
    const values = { model: report.model, corpus: report.corpus, characters: report.characters, held: t(report.held_out ? "cells.held" : "cells.held.not") };
    if (!report.cells.length) return this.list.replaceChildren(el("p", {}, t("cells.nothing", values)));
    const first = best.length ? best : report.cells.slice(0, CLOSEST);
    const rest = report.cells.filter((cell) => !first.includes(cell));
    const count = new Set(best.map((cell) => cell.unit)).size;
    this.list.replaceChildren(
      el("p", { role: "status" }, best.length ? t("cells.found", { ...values, count }) : t("cells.found.none", values)),
      this.#rows(first),
      el("p", { class: "hint" }, t("cells.legend")),
      ...[rest.length && disclosure(t("cells.rest", { count: rest.length }), this.#rows(rest)), report.gauges.length && this.#gauges()].filter(Boolean),
    );
  }

  #rows(cells) {
    return el("ol", { class: "cell-rows" }, cells.map((cell) => this.#row(cell)));
  }

  #row(cell) {
    const body = el("div", { class: "cell-body", id: newId("cell"), hidden: true });
    const head = el(
      "button",
      { type: "button", class: "cell-head", "aria-expanded": "false", "aria-controls": body.id, onclick: () => this.#open(cell, head, body) },
      el("span", { class: "cell-meaning" }, meaning(cell.meaning)),
      el("span", { class: "cell-unit" }, t("cells.unit", { unit: cell.unit })),
      measure(cell.f1, cell.fresh),
      el("b", {}, el("span", { class: "unseen" }, "F1 "), number(cell.f1, 2)),
      el("span", { class: "cell-fresh" }, t("cells.fresh", { f1: number(cell.fresh, 2) })),
    );
    return el("li", { "data-unit": cell.unit }, head, body);
  }

  #open(cell, head, body) {
    const open = head.getAttribute("aria-expanded") === "false";
    head.setAttribute("aria-expanded", String(open));
    body.hidden = !open;
    if (!open) return;
    if (!body.firstChild) body.append(...this.#details(cell));
    this.onshow(cell.unit);
  }

  #details(cell) {
    const { text, activations, holds } = cell.excerpt;
    const most = largestActivation(activations);
    const view = new TextView({ label: t("cells.excerpt") });
    view.follow = false;
    view.set(text);
    view.layer("unit", (index) => activationTint(activations[index], most));
    view.layer("holds", (index) => (holds[index] ? "holds" : null));
    const words = { value: signed(cell.threshold), meaning: meaning(cell.meaning) };
    const measures = { precision: percent(cell.precision), recall: percent(cell.recall), always: number(cell.always, 2) };
    return [
      el("p", {}, t(cell.above ? "cells.above" : "cells.below", words), " ", el("span", { class: "quiet-text" }, t("cells.measures", measures))),
      el("figure", {}, view.element, el("figcaption", { class: "hint" }, t("cells.excerpt"))),
    ];
  }

  #gauges() {
    const rows = this.report.gauges.map((each) =>
      el(
        "li",
        { "data-unit": each.unit },
        el(
          "button",
          { type: "button", class: "cell-head", onclick: () => this.onshow(each.unit) },
          el("span", { class: "cell-meaning" }, meaning(each.meaning)),
          el("span", { class: "cell-unit" }, t("cells.unit", { unit: each.unit })),
          measure(each.explained, each.fresh),
          el("b", {}, percent(Math.max(0, each.explained))),
          el("span", { class: "cell-fresh" }, t("cells.fresh", { f1: percent(Math.max(0, each.fresh)) })),
        ),
      ),
    );
    return el("div", { class: "gauges" }, el("h3", {}, t("cells.gauges")), el("p", { class: "hint" }, t("cells.gauges.about")), el("ol", { class: "cell-rows" }, rows));
  }
}

// A bar, with a mark at the value before training
const measure = (value, fresh) =>
  el("span", { class: "cell-bar", "aria-hidden": "true", style: { "--value": Math.max(0, value), "--fresh": Math.max(0, fresh) } }, el("i"), el("i"));

// The name of a feature in the language of the page; the service names it in English.
function meaning(phrase) {
  if (phrase.startsWith("not ")) return t("meaning.not", { meaning: meaning(phrase.slice(4)) });
  const count = phrase.match(/\d+/)?.[0];
  const name = `meaning.${phrase.replace(/\d+/, "{count}")}`;
  return translated(name, null) === null ? phrase : t(name, { count });
}
