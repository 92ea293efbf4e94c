// Look inside: let the network read a text; show its surprise and activations, interpretable cells, gates and embeddings.

import { button, linkButton } from "../../components/buttons.js";
import { copy } from "../../components/dialog.js";
import { empty } from "../../components/feedback.js";
import { field, submitOnEnter, textarea } from "../../components/fields.js";
import { ModelPicker } from "../../components/model-picker.js";
import { t } from "../../i18n/i18n.js";
import "../../i18n/inside.js";
import { address } from "../../lib/address.js";
import { ask } from "../../lib/api.js";
import { el, scrollToIfBelow } from "../../lib/dom.js";
import { watchService } from "../../lib/service.js";
import { EmbeddingMap } from "./embedding-map.js";
import { Gates } from "./gates.js";
import { InspectedText } from "./inspected-text.js";
import { InterpretableCells } from "./interpretable-cells.js";

const LONGEST = 100_000; // characters, the limit of /v1/inspect
const SAMPLE = { length: 800, temperature: 0.7 }; // of a text that the model writes
const LINKED = 1500; // characters; a longer text is left out of the link

export function mount(root, { signal }) {
  const view = new Inside(signal);
  root.append(
    el("div", { class: "view-head" }, el("h1", { tabindex: -1 }, t("inside.title")), el("p", { class: "lead" }, t("inside.lead"))),
    view.nothing,
    view.element,
  );
  watchService((service) => view.setService(service), signal);
  return { enter: (route) => view.enter(route), leave: () => view.leave() };
}

class Inside {
  constructor(signal) {
    this.signal = signal;
    this.running = null; // the AbortController of the request
    this.read = null; // { model, text } of the shown answer
    this.picker = new ModelPicker(() => this.#chosen());
    this.inspected = new InspectedText({ signal, changed: () => this.#changed(), link: () => this.#link(), meaningOf: (unit) => this.cells.meaningOf(unit) });
    this.cells = new InterpretableCells({ signal, onshow: (unit) => this.inspected.show(unit), found: () => (this.inspected.describeUnit(), this.#changed()) });
    this.gates = new Gates();
    this.map = new EmbeddingMap(signal);
    this.nothing = el("div", { hidden: true });
    const desk = el("div", { class: "inside-desk" }, this.inspected.element, this.cells.element, el("div", { class: "inside-pair" }, this.gates.element, this.map.element));
    this.element = el("div", { class: "inside-grid" }, this.#form(), desk);
  }

  setService({ models }) {
    this.element.hidden = !models.length;
    this.nothing.hidden = models.length > 0;
    if (models.length) return this.picker.setModels(models);
    const teach = linkButton({ text: t("none.teach"), href: address("teach"), kind: "primary" });
    this.nothing.replaceChildren(empty({ title: t("none.title"), text: t("inside.none"), actions: [teach] }));
  }

  // #inside?model=RUN@STEP&unit=LAYER:UNIT&text=…
  enter({ params }) {
    if (location.hash === this.shown || !params.size) return;
    const [model, unit, text] = ["model", "unit", "text"].map((name) => params.get(name));
    if (unit?.match(/^\d{1,9}:\d{1,9}$/)) this.inspected.show(unit);
    if (text) this.text.value = text;
    if (model) this.picker.choose(model);
    this.pending = Boolean(text);
    if (this.picker.models.length) this.#chosen();
  }

  leave() {
    this.inspected.view.leave();
  }

  // ── the form ──

  #form() {
    this.text = textarea({ rows: 8, placeholder: t("inside.text.empty"), spellcheck: "false", required: true });
    this.go = button({ text: t("inside.read"), icon: "play", kind: "primary", type: "submit" });
    this.write = button({ text: t("inside.write"), onclick: () => this.#write() });
    this.halt = button({ text: t("stop"), icon: "stop", kind: "plain halt", hidden: true, onclick: () => this.running?.abort() });
    this.asked = field({ label: t("inside.text"), control: this.text, hint: t("inside.text.hint", { count: LONGEST }) });
    const submit = (event) => (event.preventDefault(), !this.running && this.#read(this.picker.value, this.text.value));
    const form = el("form", { class: "inside-form", onsubmit: submit }, this.picker.element, this.asked.element, el("div", { class: "actions" }, this.go, this.write, this.halt));
    submitOnEnter(this.text);
    return form;
  }

  // Shows what is known of the chosen model without a text, and lets it read the shown text.
  #chosen() {
    const model = this.picker.value;
    this.map.setModel(model);
    this.cells.setModel(model, this.picker.meta?.corpus);
    if (this.pending || (this.read && this.read.model !== model)) this.#read(model, this.pending ? this.text.value : this.read.text);
    this.pending = false;
  }

  #write() {
    const { length: max_tokens, temperature } = SAMPLE;
    return this.#run(async (signal) => {
      this.inspected.busy(t("inside.writing"));
      const model = this.picker.value;
      const answer = await ask("/v1/completions", { method: "POST", body: { model, max_tokens, temperature }, signal });
      this.text.value = answer.choices[0].text;
      await this.#show(model, this.text.value, signal);
    });
  }

  #read(model, text) {
    return this.#run((signal) => this.#show(model, text, signal));
  }

  async #show(model, text, signal) {
    const answer = await this.inspected.read(model, text, signal);
    this.read = { model, text };
    this.gates.show(answer.gates);
    this.#changed();
    scrollToIfBelow(this.inspected.element);
  }

  // Runs one request at a time: aborts the previous one.
  async #run(work) {
    this.running?.abort();
    const running = (this.running = new AbortController());
    this.#busy(true);
    try {
      await work(AbortSignal.any([running.signal, this.signal]));
    } catch (error) {
      if (this.running === running) this.inspected.idle(error.name === "AbortError" ? "" : error.message);
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

  // ── addresses ──

  #changed() {
    this.cells.mark(this.inspected.shows === "unit" ? this.inspected.unit : null);
    if (!this.read || !location.hash.startsWith("#inside")) return;
    this.shown = this.#address(this.read.model);
    history.replaceState(null, "", this.shown);
  }

  #address(model) {
    const params = { model };
    if (this.inspected.shows === "unit" && this.inspected.unit) params.unit = this.inspected.unit;
    if (this.read.text.length <= LINKED) params.text = this.read.text;
    return address("inside", "", params);
  }

  #link() {
    const link = new URL(this.#address(this.inspected.model), location.href).href;
    return copy(link, t(this.read.text.length <= LINKED ? "inside.linked" : "inside.linked.long"));
  }
}
