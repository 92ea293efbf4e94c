// Is it new? What of a text was copied from the corpus of its model: underlined, counted, and told of each character.

import { ask, pause } from "../api.js";
import { button, more } from "../components.js";
import { el } from "../dom.js";
import { facts } from "../facts.js";
import { t } from "../texts.js";
import { percent } from "../words.js";

const MOST = 100_000; // characters that the service compares at once
const LISTED = 8; // spans and known lines that are named
const SHOWN = 60; // characters of a span in the list

export class Copied {
  // view: the TextView whose text it is about; place: where it tells of it
  constructor(view, place) {
    Object.assign(this, { view, place, start: 0, spans: [], running: null });
  }

  forget() {
    this.running?.abort();
    this.running = null;
    this.spans = [];
    this.view.mark("copied", []);
    this.place.replaceChildren();
  }

  // Compares a text that begins at character `start` of the view; `model` is RUN@STEP, `ended` whether its last line is whole.
  async show({ model, prompt, text, ended, start }) {
    this.forget();
    const { corpus } = facts.models.find(({ id }) => id === model.split("@")[0])?.meta ?? {};
    if (!text) return;
    if (!corpus) return this.#say(t("copied.unknown"));
    const running = (this.running = new AbortController());
    const whole = [...text];
    const body = { model, prompt, text: whole.slice(0, MOST).join(""), ended: ended && whole.length <= MOST };
    this.#say(t("copied.looking", { corpus }));
    try {
      const found = await this.#ask(body, running.signal);
      if (this.running === running) this.#show(found, start);
    } catch (error) {
      if (this.running === running && error.name !== "AbortError") this.#say(error.message);
    }
  }

  // The span that a character is part of, in words; or null
  about(index) {
    const span = this.spans.find(({ start, stop }) => this.start + start <= index && index < this.start + stop);
    return span ? t("copied.span", span) : null;
  }

  // ── inside ──

  // While the index is made, this asks again and again.
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
    this.place.replaceChildren(el("p", { class: "copied-said" }, ...nodes));
  }

  #show(found, start) {
    const known = found.records?.filter((record) => !record.new) ?? [];
    Object.assign(this, { start, spans: found.spans });
    this.view.mark(
      "copied",
      [...found.spans, ...known].map((each) => [start + each.start, start + each.stop]),
    );
    this.#say(found.records?.length ? this.#lines(found.records, known) : this.#share(found));
    this.#list(found);
  }

  #lines(records, known) {
    const names = [...new Set(known.map(({ text }) => text))];
    const said = t("copied.lines", { fresh: records.length - known.length, count: records.length });
    if (!names.length) return said;
    return `${said} ${t("copied.known", { names: names.slice(0, LISTED).join(", ") + (names.length > LISTED ? " …" : "") })}`;
  }

  #share({ corpus, share, copied, longest, min_length: least }) {
    if (!longest) return t("copied.none", { corpus });
    const { length, line, times } = longest;
    if (!copied) return t("copied.little", { corpus, least, length });
    return t("copied.much", { corpus, share: percent(share), least, length, line, times });
  }

  // The longest spans, each text once; blanks alone are not worth naming.
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
      return el("li", {}, button({ text: shown, kind: "quiet", title: t("copied.go"), onclick: go }), el("span", {}, t("copied.span", span)));
    });
    this.place.append(more(t("copied.where", { count }), el("ol", { class: "copied-list" }, items)));
  }
}
