// Whole records of a model that was trained on a list: as many as the user wants, with the new ones marked.

import { button } from "../../components/buttons.js";
import { copy } from "../../components/dialog.js";
import { notice } from "../../components/feedback.js";
import { field, input, toggle } from "../../components/fields.js";
import { t } from "../../i18n/i18n.js";
import { ask } from "../../lib/api.js";
import { el, newId } from "../../lib/dom.js";

const COUNT = 20;
const MOST = Number(document.documentElement.dataset.maxRecords);

export class RecordList {
  // request(): what the form and the first slider say, { model, prompt, temperature, seed, ... }
  constructor({ request }) {
    Object.assign(this, { request, meta: null, running: null, records: [] });
    this.#build();
  }

  // meta: of the chosen model in /v1/models. Only a model of records has a separator.
  setModel(meta) {
    this.meta = meta;
    this.element.hidden = !meta?.separator;
    this.fresh.element.hidden = !meta?.corpus; // without a corpus nobody knows what stands in it
  }

  async write() {
    this.running?.abort();
    const running = (this.running = new AbortController());
    const { length: _, max_copy: __, stop: ___, ...request } = this.request();
    const known = this.meta.corpus !== null;
    const body = { ...request, records: Number(this.count.value), new: known && this.fresh.input.checked, unique: this.unique.input.checked, novelty: known };
    this.#busy(true);
    this.wrong.show("");
    try {
      const answer = await ask("/generate", { method: "POST", body, signal: running.signal });
      if (this.running === running) this.#show(answer);
    } catch (error) {
      if (this.running === running && error.name !== "AbortError") this.wrong.show(error.message, "bad");
    }
    if (this.running === running) this.#busy(false);
  }

  // ── private ──

  #build() {
    this.count = input({ type: "number", inputmode: "numeric", min: 1, max: MOST, step: 1, value: COUNT, required: true });
    this.fresh = toggle({ label: t("records.fresh"), checked: true });
    this.unique = toggle({ label: t("records.unique"), checked: true });
    this.go = button({ text: t("records.write"), icon: "play", type: "submit" });
    this.copier = button({ text: t("records.copy"), icon: "copy", kind: "quiet", hidden: true, onclick: () => this.#copy() });
    this.said = el("p", { class: "records-said", role: "status" });
    this.wrong = notice({ kind: "bad" });
    this.list = el("ol", { class: "records-list" });
    this.pane = el("div", { class: "records-pane", role: "group", tabindex: 0, "aria-label": t("records.title"), hidden: true }, this.list);
    const heading = newId("records");
    const submit = (event) => (event.preventDefault(), this.go.disabled || this.write());
    const form = el(
      "form",
      { class: "records-form", onsubmit: submit },
      field({ label: t("records.count"), control: this.count }).element,
      this.fresh.element,
      this.unique.element,
      this.go,
    );
    const title = el("h2", { id: heading }, t("records.title"));
    const foot = el("div", { class: "actions" }, this.said, this.copier);
    this.element = el("section", { class: "records card", "aria-labelledby": heading, hidden: true }, title, form, this.wrong.element, this.pane, foot);
  }

  #busy(writing) {
    this.go.disabled = writing;
    this.pane.setAttribute("aria-busy", String(writing));
    if (writing) this.said.textContent = t("write.writing");
  }

  #show({ texts, records: facts }) {
    const { novelty } = facts;
    this.records = texts;
    const badge = () => el("span", { class: "records-new" }, t("records.new"));
    this.list.replaceChildren(...texts.map((text, index) => el("li", {}, el("span", { class: "records-text" }, text), novelty?.new[index] && badge())));
    this.pane.hidden = this.copier.hidden = !texts.length;
    const counts = { count: texts.length, tried: facts.tried };
    const said = [t("records.said", counts)];
    if (novelty) said.push(t("records.known", { known: novelty.known, different: novelty.different, corpus: novelty.corpus }));
    this.said.textContent = said.join(" ");
    this.wrong.show(facts.note ?? "", "bad");
  }

  // Parts the records as the corpus does, each separator on lines of its own.
  #copy() {
    const { separator } = this.meta;
    return copy(this.records.join(separator.includes("\n") ? separator : `\n${separator}\n`), t("records.copied"));
  }
}
