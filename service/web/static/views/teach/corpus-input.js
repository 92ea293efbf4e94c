// Choose a corpus: drop or choose files or a folder, paste a text, or use a stored one; upload it and show its summary.

import { button, disclosure } from "../../components/buttons.js";
import { notice, progress } from "../../components/feedback.js";
import { field, input, select, setOptions, textarea } from "../../components/fields.js";
import { t } from "../../i18n/i18n.js";
import { ask, firstLine, upload } from "../../lib/api.js";
import { el } from "../../lib/dom.js";
import { compact, size } from "../../lib/format.js";
import { chosen, filesOf, packed } from "../../lib/tar.js";
import { ColumnPicker, partsOf } from "./column-picker.js";
import { corpusSummary } from "./corpus-summary.js";
import { EncodingPicker } from "./encoding-picker.js";

const DRAFT = "teach.file"; // in sessionStorage: the id of the chosen file and its warnings, for a reload

export class CorpusInput {
  // changed(): `file` has changed; it is an object of /v1/files, or null
  constructor({ signal, changed }) {
    Object.assign(this, { signal, changed, file: null });
    this.wrong = notice({ kind: "bad" });
    this.encoding = new EncodingPicker((how) => this.#send(this.source, { ...this.part, ...how }, this.part));
    const read = (part) => this.#send(this.source, { ...this.how, ...part }, part);
    this.column = new ColumnPicker(read); // of a file that cannot be read whole
    this.columns = new ColumnPicker(read); // of the summary
    this.ways = this.#ways();
    this.sending = this.#uploadStatus();
    this.summary = el("div", { class: "summary", hidden: true });
    this.element = el("div", { class: "corpus-input" }, this.wrong.element, this.encoding.element, this.column.element, this.ways, this.sending, this.summary);
    this.#restoreDraft();
  }

  async enter() {
    try {
      const { data } = await ask("/v1/files?limit=1000", { signal: this.signal });
      const label = ({ id, meta }) => t("teach.file", { name: id, count: compact(meta.characters) });
      setOptions(this.known, [["", t("teach.known.choose")], ...data.map((file) => [file.id, label(file)])], "");
      this.have.hidden = !data.length;
    } catch (error) {
      this.#showError(error);
    }
  }

  // ── sources ──

  #ways() {
    const file = el("input", { type: "file", multiple: true, hidden: true, onchange: () => this.#pack(file) });
    const folder = el("input", { type: "file", webkitdirectory: true, hidden: true, onchange: () => this.#pack(folder) });
    this.zone = el(
      "div",
      { class: "zone" },
      el("p", { class: "zone-title" }, t("teach.drop")),
      el("p", { class: "quiet-text" }, t("teach.drop.hint")),
      el("div", { class: "actions" }, button({ text: t("teach.choose.files"), icon: "upload", onclick: () => file.click() }), button({ text: t("teach.choose.folder"), onclick: () => folder.click() })),
      file,
      folder,
    );
    this.#acceptDrops();
    this.known = select({ onchange: () => this.known.value && this.#choose(this.known.value) });
    this.have = field({ label: t("teach.known"), control: this.known }).element;
    this.have.hidden = true;
    return el("div", { class: "ways" }, this.zone, this.#paste(), this.have);
  }

  #acceptDrops() {
    const mark = (on) => this.zone.classList.toggle("over", on);
    for (const name of ["dragenter", "dragover"]) this.zone.addEventListener(name, (event) => (event.preventDefault(), mark(true)));
    this.zone.addEventListener("dragleave", (event) => this.zone.contains(event.relatedTarget) || mark(false));
    this.zone.addEventListener("drop", async (event) => {
      event.preventDefault();
      mark(false);
      const text = event.dataTransfer.getData("text/plain");
      try {
        const files = packed(await filesOf(event.dataTransfer));
        this.#send(files ?? pasted(text));
      } catch (error) {
        this.#showError(error);
      }
    });
    // A file dropped beside the zone must not replace the page.
    for (const name of ["dragover", "drop"]) addEventListener(name, (event) => event.target.closest?.("input, textarea") || event.preventDefault(), { signal: this.signal });
  }

  #paste() {
    const text = textarea({ rows: 6, spellcheck: "false" });
    const name = input({ maxlength: 64, placeholder: t("teach.paste.name.empty") });
    const use = button({ text: t("teach.paste.use"), onclick: () => this.#send(pasted(text.value, name.value.trim())), disabled: true });
    text.addEventListener("input", () => (use.disabled = !text.value.trim()));
    return disclosure(t("teach.paste"), field({ label: t("teach.paste.text"), control: text }).element, field({ label: t("teach.paste.name"), control: name }).element, el("div", { class: "actions" }, use));
  }

  #pack(control) {
    this.#send(packed(chosen(control.files)));
    control.value = ""; // so that the same file can be chosen again
  }

  // ── upload ──

  #uploadStatus() {
    this.bar = progress({ label: t("teach.sending") });
    this.sent = el("p", { class: "hint", role: "status" });
    return el("div", { class: "sending", hidden: true }, this.sent, this.bar.element, el("div", { class: "actions" }, button({ text: t("cancel"), onclick: () => this.end.abort() })));
  }

  // source: { data, name } or null; how: fields that say how it is read, `part` of them which column or field
  async #send(source, how = {}, part = {}) {
    Object.assign(this, { source, how, part });
    this.encoding.hide();
    this.column.hide();
    if (!source?.data.size) return this.wrong.show(t("teach.empty"));
    const form = new FormData();
    form.append("purpose", "fine-tune");
    for (const [name, value] of Object.entries(how)) form.append(name, value);
    form.append("file", source.data, source.name);
    const whole = size(source.data.size);
    const report = (share, bytes) => {
      this.bar.set(share < 1 ? share : null);
      this.sent.textContent = share < 1 ? t("teach.sent", { name: source.name, sent: size(Math.min(bytes, source.data.size)), whole }) : t("teach.reading", { name: source.name });
    };
    this.end = new AbortController();
    this.#stage("sending");
    report(0, 0);
    try {
      this.#show(await upload("/v1/files", form, { signal: this.end.signal, onprogress: report }));
      this.#offerParts(this.file);
    } catch (error) {
      this.#stage("ways");
      const damaged = ["undecodable_text", "zero_characters"].includes(error.code) && !error.encodings;
      if (error.encodings || damaged) this.encoding.show(error.encodings ?? [], damaged);
      if (error.columns?.length) this.column.show(error.param, error.columns.map((name) => [name, name]));
      if (error.encodings && !how.encoding) this.wrong.show(t("teach.encoding.wrong", { name: source.name }));
      else if (error.columns && !how.column && !how.field) this.wrong.show(t("teach.column.wrong", { name: source.name }));
      else this.#showError(error);
    }
  }

  // Offers to read one column of a table, or one field of JSON lines, from the source of the text.
  async #offerParts({ id, meta: { records } }) {
    if (!["csv", "tsv", "jsonl"].includes(records?.kind)) return;
    const line = await firstLine(`/v1/files/${encodeURIComponent(id)}/content`, { signal: this.signal }).catch(() => "");
    const parts = partsOf(records, line);
    if (parts && this.file?.id === id) this.columns.show(...parts);
  }

  async #choose(id) {
    try {
      this.#show(await this.#fetch(id));
    } catch (error) {
      this.known.value = "";
      this.#showError(error);
    }
  }

  #fetch(id) {
    return ask(`/v1/files/${encodeURIComponent(id)}`, { signal: this.signal });
  }

  // ── the chosen corpus ──

  #show(file) {
    this.file = file;
    sessionStorage.setItem(DRAFT, JSON.stringify([file.id, file.meta.warnings ?? []]));
    const other = button({ text: t("teach.another"), icon: "again", kind: "quiet", onclick: () => this.#clear() });
    this.summary.replaceChildren(...corpusSummary(file, { other, columns: this.columns.element, recut: (how) => this.#recut(file, how) }));
    this.#stage("summary");
    this.columns.hide();
    this.changed();
  }

  // Cuts the text into other records; what cannot be is said, and the text stays as it was.
  async #recut(file, how) {
    try {
      const { meta, ...rest } = await ask(`/v1/files/${encodeURIComponent(file.id)}`, { method: "PATCH", body: how, signal: this.signal });
      this.#show({ ...rest, meta: { ...meta, warnings: file.meta.warnings } });
    } catch (error) {
      this.#show(file);
      this.#showError(error);
    }
    this.summary.querySelector("select").focus();
  }

  #clear() {
    this.file = null;
    sessionStorage.removeItem(DRAFT);
    this.known.value = "";
    this.#stage("ways");
    this.enter();
    this.changed();
    this.zone.querySelector("button").focus();
  }

  #stage(name) {
    this.wrong.show("");
    this.encoding.hide();
    this.column.hide();
    for (const each of ["ways", "sending", "summary"]) this[each].hidden = each !== name;
  }

  #showError(error) {
    if (error.name !== "AbortError") this.wrong.show(error.message);
  }

  // Shows the corpus that was chosen before a reload, unless it has been deleted.
  async #restoreDraft() {
    const [id, warnings] = JSON.parse(sessionStorage.getItem(DRAFT) ?? "[]");
    if (!id) return;
    try {
      const { meta, ...file } = await this.#fetch(id);
      if (!this.ways.hidden) this.#show({ ...file, meta: { ...meta, warnings } });
    } catch (error) {
      if (error.status === 404) sessionStorage.removeItem(DRAFT);
    }
  }
}

const pasted = (text, name = "") => (text.trim() ? { data: new Blob([text]), name: `${name || t("teach.paste.default")}.txt` } : null);
