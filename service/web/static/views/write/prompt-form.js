// The form of Write: the model and its checkpoint, the prompt, and more settings.

import { button, disclosure } from "../../components/buttons.js";
import { field, input, revealInvalid, submitOnEnter, textarea } from "../../components/fields.js";
import { ModelPicker } from "../../components/model-picker.js";
import { t } from "../../i18n/i18n.js";
import { el } from "../../lib/dom.js";

const LENGTH = 600; // characters
const LONGEST = Number(document.documentElement.dataset.maxLength);

export class PromptForm {
  // onwrite(changes): the user asks for a text with request() and these changes. onstop(): the user stops it. onmodel(meta): another model
  // is chosen, or its facts have changed.
  constructor({ onwrite, onstop, onmodel }) {
    Object.assign(this, { onwrite, onstop, onmodel, picker: new ModelPicker(() => this.#model()) });
    this.#fields();
    this.#buttons();
    this.element = this.#build();
  }

  setModels(models) {
    this.picker.setModels(models);
    this.#model();
    this.go.disabled = this.endless.disabled = false;
  }

  // The request without temperature; draws a seed if its field is empty.
  request() {
    const numeric = (name, otherwise) => (this.fields[name].control.value === "" ? otherwise : Number(this.fields[name].control.value));
    return {
      model: this.picker.value,
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

  // Shows a request in the fields.
  fill({ model, prompt, seed, top_k, top_p, min_p, max_copy, stop, length }) {
    this.picker.choose(model);
    if (this.picker.meta) this.#model();
    const filters = { top_k: top_k || "", top_p: top_p === 1 ? "" : top_p, min_p: min_p || "", max_copy: max_copy ?? "" };
    const values = { length, seed, ...filters, stop: stop.map(escaped).join("\n") };
    for (const [each, value] of Object.entries(values)) this.fields[each].control.value = value;
    this.prompt.value = prompt;
  }

  // The fixed seed, or "" for a random one each time
  get seed() {
    return this.fields.seed.control.value;
  }

  set seed(value) {
    this.fields.seed.control.value = value;
  }

  // Swaps the buttons while a text is being written, and keeps the focus among them.
  busy(writing) {
    const focused = [this.go, this.halt, this.endless].includes(document.activeElement);
    this.go.hidden = this.endless.hidden = writing;
    this.halt.hidden = !writing;
    if (focused) (writing ? this.halt : this.go).focus({ preventScroll: true });
  }

  // ── private ──

  #model() {
    const { meta } = this.picker;
    this.prompt.placeholder = t(meta?.separator ? "write.prompt.record" : "write.prompt.empty");
    this.onmodel(meta);
  }

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
      length: field({ label: t("sampling.length"), control: length }),
      seed: field({ label: t("sampling.seed"), control: seed }),
      top_k: field({ label: "top-k", control: top_k, hint: t("write.topk") }),
      top_p: field({ label: "top-p", control: share(), hint: t("write.topp") }),
      min_p: field({ label: "min-p", control: share(), hint: t("write.minp") }),
      max_copy: field({ label: t("write.max_copy"), control: max_copy, hint: t("write.max_copy.hint"), wide: true }),
      stop: field({ label: t("write.stop"), control: stop, hint: t("write.stop.hint"), wide: true }),
    };
    this.prompt = textarea({ rows: 3, spellcheck: "false" });
  }

  #buttons() {
    this.go = button({ text: t("write.write"), icon: "play", kind: "primary", type: "submit", disabled: true });
    this.halt = button({ text: t("stop"), icon: "stop", kind: "plain halt", onclick: () => this.onstop(), hidden: true });
    const endless = () => this.element.reportValidity() && this.onwrite({ length: LONGEST });
    this.endless = button({ text: t("write.endless"), label: t("write.endless.label"), disabled: true, onclick: endless });
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
      this.picker.element,
      field({ label: t("sampling.prompt"), control: this.prompt }).element,
      el("div", { class: "actions" }, this.go, this.halt, this.endless),
      disclosure(
        t("write.more"),
        el("div", { class: "fields" }, shown(["length", "seed"])),
        el("div", { class: "fields thirds" }, shown(["top_k", "top_p", "min_p"])),
        shown(["max_copy", "stop"]),
      ),
    );
    submitOnEnter(this.prompt);
    revealInvalid(form);
    return form;
  }
}

// Stop strings as their field shows them: \n is a line end, \t a tab, \\ a backslash
const unescaped = (text) => text.replace(/\\([nt\\])/g, (_, letter) => ({ n: "\n", t: "\t", "\\": "\\" })[letter]);
const escaped = (text) => text.replaceAll("\\", "\\\\").replaceAll("\n", "\\n").replaceAll("\t", "\\t");
