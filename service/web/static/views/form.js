// What is asked for in Write: the model and its checkpoint, the prompt, and the settings behind "more".

import { button, field, input, more, textarea } from "../components.js";
import { el } from "../dom.js";
import { t } from "../texts.js";
import { Chooser } from "./chooser.js";

const LENGTH = 600; // characters
const LONGEST = Number(document.documentElement.dataset.maxLength);

export class Form {
  // onwrite(changes): somebody wants a text, of what request() says and these changes. onstop(): somebody has enough.
  constructor({ onwrite, onstop }) {
    Object.assign(this, { onwrite, onstop, chooser: new Chooser() });
    this.#fields();
    this.#buttons();
    this.element = this.#build();
  }

  // ── models ──

  know(models) {
    this.chooser.know(models);
    this.go.disabled = this.on.disabled = false;
  }

  // ── what is asked for ──

  // Everything but the temperature; a seed is made up where there is none.
  request() {
    const numeric = (name, nothing) => (this.fields[name].control.value === "" ? nothing : Number(this.fields[name].control.value));
    return {
      model: this.chooser.value,
      prompt: this.prompt.value,
      length: numeric("length", LENGTH),
      seed: numeric("seed", crypto.getRandomValues(new Uint32Array(1))[0]),
      top_k: numeric("top_k", 0),
      top_p: numeric("top_p", 1),
      min_p: numeric("min_p", 0),
      max_copy: numeric("max_copy", null),
      stop: this.fields.stop.control.value.split("\n").filter(Boolean).map(unescaped),
    };
  }

  // The same backwards
  fill({ model, prompt, seed, top_k, top_p, min_p, max_copy, stop, length }) {
    this.chooser.choose(model);
    const filters = { top_k: top_k || "", top_p: top_p === 1 ? "" : top_p, min_p: min_p || "", max_copy: max_copy ?? "" };
    const values = { length, seed, ...filters, stop: stop.map(escaped).join("\n") };
    for (const [each, value] of Object.entries(values)) this.fields[each].control.value = value;
    this.prompt.value = prompt;
  }

  // The seed that stays, or "" for a new one each time
  get seed() {
    return this.fields.seed.control.value;
  }

  set seed(value) {
    this.fields.seed.control.value = value;
  }

  // Shows the buttons for a text that is being written, or for none; the focus stays among them.
  busy(writing) {
    const focused = [this.go, this.halt, this.on].includes(document.activeElement);
    for (const each of [this.go, this.on]) each.hidden = writing;
    this.halt.hidden = !writing;
    if (focused) (writing ? this.halt : this.go).focus({ preventScroll: true });
  }

  // ── inside ──

  #fields() {
    const count = (props) => input({ type: "number", inputmode: "numeric", step: 1, ...props });
    const share = (props) =>
      input({ type: "number", inputmode: "decimal", step: "any", min: 0, max: 1, placeholder: t("write.off"), ...props });
    const length = count({ min: 1, max: LONGEST, value: LENGTH, required: true });
    const seed = count({ min: 0, max: Number.MAX_SAFE_INTEGER, placeholder: t("write.seed.new") });
    const top_k = count({ min: 0, max: 2_000_000, placeholder: t("write.off") });
    const max_copy = count({ min: 1, max: 1_000_000_000, placeholder: t("write.off") });
    const stop = textarea({ rows: 2, spellcheck: "false", placeholder: "\\n\\n" });
    this.fields = {
      length: field({ label: t("write.length"), control: length }),
      seed: field({ label: t("write.seed"), control: seed }),
      top_k: field({ label: "top-k", control: top_k, hint: t("write.topk") }),
      top_p: field({ label: "top-p", control: share(), hint: t("write.topp") }),
      min_p: field({ label: "min-p", control: share(), hint: t("write.minp") }),
      max_copy: field({ label: t("write.max_copy"), control: max_copy, hint: t("write.max_copy.hint"), wide: true }),
      stop: field({ label: t("write.stop"), control: stop, hint: t("write.stop.hint"), wide: true }),
    };
    this.prompt = textarea({ rows: 3, placeholder: t("write.prompt.empty"), spellcheck: "false" });
  }

  #buttons() {
    this.go = button({ text: t("write.write"), icon: "play", kind: "primary", type: "submit", disabled: true });
    this.halt = button({ text: t("write.halt"), icon: "stop", kind: "plain halt", onclick: () => this.onstop(), hidden: true });
    const on = () => this.element.reportValidity() && this.onwrite({ length: LONGEST });
    this.on = button({ text: t("write.on"), label: t("write.on.label"), disabled: true, onclick: on });
  }

  #build() {
    const submit = (event) => {
      event.preventDefault();
      if (!this.go.hidden && !this.go.disabled) this.onwrite({});
    };
    const shown = (names) => names.map((name) => this.fields[name].element);
    const form = el(
      "form",
      { class: "write-form", onsubmit: submit },
      this.chooser.element,
      field({ label: t("write.prompt"), control: this.prompt }).element,
      el("div", { class: "actions" }, this.go, this.halt, this.on),
      more(
        t("write.more"),
        el("div", { class: "fields" }, shown(["length", "seed"])),
        el("div", { class: "fields thirds" }, shown(["top_k", "top_p", "min_p"])),
        shown(["max_copy", "stop"]),
      ),
    );
    this.prompt.addEventListener("keydown", (event) => event.key === "Enter" && (event.ctrlKey || event.metaKey) && form.requestSubmit());
    // Where a field that is wrong is folded away, it is shown.
    form.addEventListener("invalid", (event) => event.target.closest("details")?.setAttribute("open", ""), true);
    return form;
  }
}

// As the field shows stop strings: \n is a line end, \t a tab, \\ a backslash
const unescaped = (text) => text.replace(/\\([nt\\])/g, (_, letter) => ({ n: "\n", t: "\t", "\\": "\\" })[letter]);
const escaped = (text) => text.replaceAll("\\", "\\\\").replaceAll("\n", "\\n").replaceAll("\t", "\\t");
