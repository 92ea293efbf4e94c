// Look inside: what a network does with a text, which of its cells follow something, its gates, and what it takes for alike.

import "../texts-inside.js";
import { ask } from "../api.js";
import { button, copy, empty, field, linkButton, textarea } from "../components.js";
import { el } from "../dom.js";
import { watch } from "../facts.js";
import { address } from "../router.js";
import { t } from "../texts.js";
import { Cells } from "./cells.js";
import { Chooser } from "./chooser.js";
import { Gates } from "./gates.js";
import { CharacterMap } from "./map.js";
import { Reader } from "./reader.js";

const LONGEST = 100_000; // characters, the limit of /v1/inspect
const WRITTEN = { length: 800, temperature: 0.7 }; // of a text that the model writes itself
const LINKED = 1500; // characters that a link may hold

export function mount(root, { signal }) {
  const view = new Inside(signal);
  root.append(
    el("div", { class: "view-head" }, el("h1", { tabindex: -1 }, t("inside.title")), el("p", { class: "lead" }, t("inside.lead"))),
    view.nothing,
    view.element,
  );
  watch((known) => view.know(known), signal);
  return { enter: (route) => view.enter(route), leave: () => view.leave() };
}

class Inside {
  constructor(signal) {
    this.signal = signal;
    this.running = null; // what is asked for
    this.read = null; // { model, text, corpus } of what is shown
    this.chooser = new Chooser(() => this.#chosen());
    this.reader = new Reader({ signal, changed: () => this.#changed(), link: () => this.#link(), told: (unit) => this.cells.told(unit) });
    this.cells = new Cells({ signal, onshow: (unit) => this.reader.show(unit), found: () => (this.reader.tell(), this.#changed()) });
    this.gates = new Gates();
    this.map = new CharacterMap(signal);
    this.nothing = el("div", { hidden: true });
    const desk = el("div", { class: "inside-desk" }, this.reader.element, this.cells.element, el("div", { class: "inside-pair" }, this.gates.element, this.map.element));
    this.element = el("div", { class: "inside-grid" }, this.#form(), desk);
  }

  know({ models }) {
    this.element.hidden = !models.length;
    this.nothing.hidden = models.length > 0;
    if (models.length) return this.chooser.know(models);
    const teach = linkButton({ text: t("write.none.teach"), href: address("teach"), kind: "primary" });
    this.nothing.replaceChildren(empty({ title: t("write.none"), text: t("inside.none"), actions: [teach] }));
  }

  // #inside?model=RUN@STEP&unit=LAYER:UNIT&text=…
  enter({ params }) {
    if (location.hash === this.shown || !params.size) return;
    const [model, unit, text] = ["model", "unit", "text"].map((name) => params.get(name));
    if (unit?.match(/^\d{1,9}:\d{1,9}$/)) this.reader.show(unit);
    if (text) this.text.value = text;
    if (model) this.chooser.choose(model);
    this.pending = Boolean(text);
    if (this.chooser.models.length) this.#chosen();
  }

  leave() {
    this.reader.view.leave();
  }

  // ── what is asked for ──

  #form() {
    this.text = textarea({ rows: 8, placeholder: t("inside.text.empty"), spellcheck: "false", required: true });
    this.go = button({ text: t("inside.read"), icon: "play", kind: "primary", type: "submit" });
    this.write = button({ text: t("inside.write"), onclick: () => this.#write() });
    this.halt = button({ text: t("inside.halt"), icon: "stop", kind: "plain halt", hidden: true, onclick: () => this.running?.abort() });
    this.asked = field({ label: t("inside.text"), control: this.text, hint: t("inside.text.hint", { count: LONGEST }) });
    const submit = (event) => (event.preventDefault(), !this.running && this.#read(this.chooser.value, this.text.value));
    const form = el("form", { class: "inside-form", onsubmit: submit }, this.chooser.element, this.asked.element, el("div", { class: "actions" }, this.go, this.write, this.halt));
    this.text.addEventListener("keydown", (event) => event.key === "Enter" && (event.ctrlKey || event.metaKey) && form.requestSubmit());
    return form;
  }

  // Another model was chosen: what can be told of it without a text, and the text that was read, read again.
  #chosen() {
    const model = this.chooser.value;
    this.map.look(model);
    this.cells.look(model, this.chooser.facts?.corpus);
    if (this.pending || (this.read && this.read.model !== model)) this.#read(model, this.pending ? this.text.value : this.read.text);
    this.pending = false;
  }

  #write() {
    const { length: max_tokens, temperature } = WRITTEN;
    return this.#run(async (signal) => {
      this.reader.busy(t("inside.writing"));
      const model = this.chooser.value;
      const answer = await ask("/v1/completions", { method: "POST", body: { model, max_tokens, temperature }, signal });
      this.text.value = answer.choices[0].text;
      await this.#show(model, this.text.value, signal);
    });
  }

  #read(model, text) {
    return this.#run((signal) => this.#show(model, text, signal));
  }

  async #show(model, text, signal) {
    const answer = await this.reader.read(model, text, signal);
    this.read = { model, text };
    this.gates.show(answer.gates);
    this.#changed();
    this.#intoView();
  }

  // One thing at a time: whatever was running ends.
  async #run(work) {
    this.running?.abort();
    const running = (this.running = new AbortController());
    this.#busy(true);
    try {
      await work(AbortSignal.any([running.signal, this.signal]));
    } catch (error) {
      if (this.running === running) this.reader.idle(error.name === "AbortError" ? "" : error.message);
    } finally {
      if (this.running === running) {
        this.running = null;
        this.#busy(false);
      }
    }
  }

  #busy(busy) {
    const had = [this.go, this.write, this.halt].includes(document.activeElement);
    this.go.hidden = this.write.hidden = busy;
    this.halt.hidden = !busy;
    if (had) (busy ? this.halt : this.go).focus({ preventScroll: true });
  }

  // Where the text is below the window, as on a telephone, it comes into it.
  #intoView() {
    const { element } = this.reader;
    if (element.getBoundingClientRect().top > innerHeight * 0.6) element.scrollIntoView({ block: "start" });
  }

  // ── addresses ──

  #changed() {
    this.cells.mark(this.reader.shows === "unit" ? this.reader.unit : null);
    if (!this.read || !location.hash.startsWith("#inside")) return;
    this.shown = this.#address(this.read.model);
    history.replaceState(null, "", this.shown);
  }

  #address(model) {
    const params = { model };
    if (this.reader.shows === "unit" && this.reader.unit) params.unit = this.reader.unit;
    if (this.read.text.length <= LINKED) params.text = this.read.text;
    return address("inside", "", params);
  }

  #link() {
    const link = new URL(this.#address(this.reader.inspected.model), location.href).href;
    return copy(link, t(this.read.text.length <= LINKED ? "inside.linked" : "inside.linked.long"));
  }
}
