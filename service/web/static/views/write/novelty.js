// Find what a text copies from the corpus of its model: underline it, summarise it, and describe it for each character.

import { button, disclosure } from "../../components/buttons.js";
import { t } from "../../i18n/i18n.js";
import { ask, pause } from "../../lib/api.js";
import { el } from "../../lib/dom.js";
import { percent } from "../../lib/format.js";
import { service } from "../../lib/service.js";

const MAX_LENGTH = 100_000; // characters, the limit of /v1/novelty
const LISTED = 8; // spans and known lines in the report
const SHOWN = 60; // characters of a span in the list

export class NoveltyReport {
  // view: the TextView of the text; element: receives the report
  constructor(view, element) {
    Object.assign(this, { view, element, start: 0, spans: [], running: null });
  }

  clear() {
    this.running?.abort();
    this.running = null;
    this.spans = [];
    this.view.mark("copied", []);
    this.element.replaceChildren();
  }

  // Compares a text that begins at character `start` of the view. model: RUN@STEP; ended: whether its last line is complete.
  async show({ model, prompt, text, ended, start }) {
    this.clear();
    const { corpus } = service.models.find(({ id }) => id === model.split("@")[0])?.meta ?? {};
    if (!text) return;
    if (!corpus) return this.#say(t("novelty.unknown"));
    const running = (this.running = new AbortController());
    const whole = [...text];
    const body = { model, prompt, text: whole.slice(0, MAX_LENGTH).join(""), ended: ended && whole.length <= MAX_LENGTH };
    this.#say(t("novelty.looking", { corpus }));
    try {
      const found = await this.#ask(body, running.signal);
      if (this.running === running) this.#show(found, start);
    } catch (error) {
      if (this.running === running && error.name !== "AbortError") this.#say(error.message);
    }
  }

  // Describes the copied span that contains a character, or gives null.
  describe(index) {
    const span = this.spans.find(({ start, stop }) => this.start + start <= index && index < this.start + stop);
    return span ? t("novelty.span", span) : null;
  }

  // ── private ──

  // Repeats the request until the index of the corpus is ready.
  async #ask(body, signal) {
    for (;;) {
      try {
        return await ask("/v1/novelty", { method: "POST", body, signal });
      } catch (error) {
        if (error.code !== "index_not_ready") throw error;
        this.#say(error.message);
        await pause(1000 * (error.wait ?? 5), signal);
      }
    }
  }

  #say(...nodes) {
    this.element.replaceChildren(el("p", { class: "copied-said" }, ...nodes));
  }

  #show(found, start) {
    const known = found.records?.filter((record) => !record.new) ?? [];
    Object.assign(this, { start, spans: found.spans });
    this.view.mark(
      "copied",
      [...found.spans, ...known].map((each) => [start + each.start, start + each.stop]),
    );
    this.#say(found.records?.length ? this.#lines(found, known) : this.#share(found));
    this.#list(found);
  }

  #lines({ records, kind }, known) {
    const names = [...new Set(known.map(({ text }) => text))];
    const said = t(kind === "lines" ? "novelty.lines" : "novelty.records", { fresh: records.length - known.length, count: records.length });
    if (!names.length) return said;
    return `${said} ${t("novelty.known", { names: names.slice(0, LISTED).join(", ") + (names.length > LISTED ? " …" : "") })}`;
  }

  #share({ corpus, share, copied, longest, min_length: least }) {
    if (!longest) return t("novelty.none", { corpus });
    const { length, line, times } = longest;
    if (!copied) return t("novelty.little", { corpus, least, length });
    return t("novelty.much", { corpus, share: percent(share), least, length, line, times });
  }

  // Lists the longest spans, each text once, without spans of white space.
  #list({ spans, found: count }) {
    const characters = [...this.view.text];
    const named = new Map();
    for (const span of [...spans].sort((one, other) => other.length - one.length)) {
      const text = characters.slice(this.start + span.start, this.start + span.stop).join("").trim();
      if (text && !named.has(text)) named.set(text, span);
    }
    if (!named.size) return;
    const items = [...named].slice(0, LISTED).map(([text, span]) => {
      const shown = [...text].length > SHOWN ? `${[...text].slice(0, SHOWN).join("")}…` : text;
      const go = () => (this.view.pane.focus({ preventScroll: true }), this.view.go(this.start + span.start));
      return el("li", {}, button({ text: shown, kind: "quiet", title: t("novelty.go"), onclick: go }), el("span", {}, t("novelty.span", span)));
    });
    this.element.append(disclosure(t("novelty.where", { count }), el("ol", { class: "copied-list" }, items)));
  }
}
