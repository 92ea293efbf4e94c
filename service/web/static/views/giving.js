// A text to learn from: a file or a folder that is dropped or chosen, a text that is pasted, or one that is here already.

import { ask, upload } from "../api.js";
import { button, field, input, more, notice, progress, select, setOptions, textarea } from "../components.js";
import { el } from "../dom.js";
import { chosen, filesOf, packed } from "../tar.js";
import { t } from "../texts.js";
import { short, size } from "../words.js";
import { Encoding } from "./encoding.js";
import { seen } from "./seen.js";

const KEPT = "teach.file"; // the file that was chosen, and what the reader warned of, for a page that is loaded again

export class Giving {
  // changed() whenever there is another file; `file` is what the service says of it, or null
  constructor({ signal, changed }) {
    Object.assign(this, { signal, changed, file: null });
    this.wrong = notice({ kind: "bad" });
    this.encoding = new Encoding((name) => this.#send(this.given, name));
    this.ways = this.#ways();
    this.sending = this.#sending();
    this.seen = el("div", { class: "seen", hidden: true });
    this.element = el("div", { class: "giving" }, this.wrong.element, this.encoding.element, this.ways, this.sending, this.seen);
    this.#restore();
  }

  async enter() {
    try {
      const { data } = await ask("/v1/files?limit=1000", { signal: this.signal });
      const label = ({ id, meta }) => t("teach.file", { name: id, count: short(meta.characters) });
      setOptions(this.known, [["", t("teach.known.choose")], ...data.map((file) => [file.id, label(file)])], "");
      this.have.hidden = !data.length;
    } catch (error) {
      this.#failed(error);
    }
  }

  // ── the ways to give one ──

  #ways() {
    const file = el("input", { type: "file", multiple: true, hidden: true, onchange: () => this.#choose(file) });
    const folder = el("input", { type: "file", webkitdirectory: true, hidden: true, onchange: () => this.#choose(folder) });
    this.zone = el(
      "div",
      { class: "zone" },
      el("p", { class: "zone-title" }, t("teach.drop")),
      el("p", { class: "quiet-text" }, t("teach.drop.hint")),
      el("div", { class: "actions" }, button({ text: t("teach.choose.file"), icon: "upload", onclick: () => file.click() }), button({ text: t("teach.choose.folder"), onclick: () => folder.click() })),
      file,
      folder,
    );
    this.#dropping();
    this.known = select({ onchange: () => this.known.value && this.#look(this.known.value) });
    this.have = field({ label: t("teach.known"), control: this.known }).element;
    this.have.hidden = true;
    return el("div", { class: "ways" }, this.zone, this.#paste(), this.have);
  }

  #dropping() {
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
        this.#failed(error);
      }
    });
    // What misses the zone does not open in the place of the page.
    for (const name of ["dragover", "drop"]) addEventListener(name, (event) => event.target.closest?.("input, textarea") || event.preventDefault(), { signal: this.signal });
  }

  #paste() {
    const text = textarea({ rows: 6, spellcheck: "false" });
    const name = input({ maxlength: 64, placeholder: t("teach.paste.name.empty") });
    const use = button({ text: t("teach.paste.use"), onclick: () => this.#send(pasted(text.value, name.value.trim())), disabled: true });
    text.addEventListener("input", () => (use.disabled = !text.value.trim()));
    return more(t("teach.paste"), field({ label: t("teach.paste.text"), control: text }).element, field({ label: t("teach.paste.name"), control: name }).element, el("div", { class: "actions" }, use));
  }

  #choose(control) {
    this.#send(packed(chosen(control.files)));
    control.value = ""; // so that the same one can be chosen again
  }

  // ── sending ──

  #sending() {
    this.bar = progress({ label: t("teach.sending") });
    this.sent = el("p", { class: "hint", role: "status" });
    return el("div", { class: "sending", hidden: true }, this.sent, this.bar.element, el("div", { class: "actions" }, button({ text: t("cancel"), onclick: () => this.end.abort() })));
  }

  // given: { data, name }; encoding: of a text that is not in UTF-8
  async #send(given, encoding = null) {
    this.given = given;
    this.encoding.show(false);
    if (!given?.data.size) return this.wrong.show(t("teach.nothing"));
    const form = new FormData();
    form.append("purpose", "fine-tune");
    if (encoding) form.append("encoding", encoding);
    form.append("file", given.data, given.name);
    const whole = size(given.data.size);
    const told = (share, bytes) => {
      this.bar.set(share < 1 ? share : null);
      this.sent.textContent = share < 1 ? t("teach.sent", { name: given.name, sent: size(Math.min(bytes, given.data.size)), whole }) : t("teach.reading", { name: given.name });
    };
    this.end = new AbortController();
    this.#stage("sending");
    told(0, 0);
    try {
      this.#take(await upload("/v1/files", form, { signal: this.end.signal, onprogress: told }));
    } catch (error) {
      this.#stage("ways");
      this.encoding.show(error.code === "undecodable_text");
      if (error.code === "undecodable_text" && !encoding) this.wrong.show(t("teach.encoding.wrong", { name: given.name }));
      else this.#failed(error);
    }
  }

  async #look(id) {
    try {
      this.#take(await this.#described(id));
    } catch (error) {
      this.known.value = "";
      this.#failed(error);
    }
  }

  #described(id) {
    return ask(`/v1/files/${encodeURIComponent(id)}`, { signal: this.signal });
  }

  // ── what is there ──

  #take(file) {
    this.file = file;
    sessionStorage.setItem(KEPT, JSON.stringify([file.id, file.meta.warnings ?? []]));
    const other = button({ text: t("teach.another"), icon: "again", kind: "quiet", onclick: () => this.#drop() });
    this.seen.replaceChildren(...seen(file, other));
    this.#stage("seen");
    this.changed();
  }

  #drop() {
    this.file = null;
    sessionStorage.removeItem(KEPT);
    this.known.value = "";
    this.#stage("ways");
    this.enter();
    this.changed();
    this.zone.querySelector("button").focus();
  }

  #stage(name) {
    this.wrong.show("");
    this.encoding.show(false);
    for (const each of ["ways", "sending", "seen"]) this[each].hidden = each !== name;
  }

  #failed(error) {
    if (error.name !== "AbortError") this.wrong.show(error.message);
  }

  // The text of a page that is loaded again; there is none where it has been deleted meanwhile.
  async #restore() {
    const [id, warnings] = JSON.parse(sessionStorage.getItem(KEPT) ?? "[]");
    if (!id) return;
    try {
      const { meta, ...file } = await this.#described(id);
      if (!this.ways.hidden) this.#take({ ...file, meta: { ...meta, warnings } });
    } catch (error) {
      if (error.status === 404) sessionStorage.removeItem(KEPT);
    }
  }
}

const pasted = (text, name = "") => (text.trim() ? { data: new Blob([text]), name: `${name || t("teach.paste.default")}.txt` } : null);
