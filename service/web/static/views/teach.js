// Teach: a text, a time, and the runs that there are.

import { ask } from "../api.js";
import { button, notice } from "../components.js";
import { el } from "../dom.js";
import { look } from "../facts.js";
import { go } from "../router.js";
import { t } from "../texts.js";
import "../texts-teach.js";
import { Giving } from "./giving.js";
import { Length } from "./length.js";
import { Runs } from "./runs.js";
import { Settings } from "./settings.js";

export function mount(root, { signal }) {
  const view = new Teach(signal);
  root.append(el("div", { class: "view-head" }, el("h1", { tabindex: -1 }, t("teach.title")), el("p", { class: "lead" }, t("teach.lead"))), view.element);
  return { enter: () => view.enter(), leave: () => view.leave() };
}

class Teach {
  constructor(signal) {
    this.giving = new Giving({ signal, changed: () => this.#changed() });
    this.length = new Length();
    this.settings = new Settings();
    this.runs = new Runs(signal);
    this.go = button({ text: t("teach.start"), icon: "play", kind: "primary", type: "submit" });
    this.wrong = notice({ kind: "bad" });
    this.hint = el("p", { class: "hint" }, t("teach.start.hint"));
    const step = (number, title, ...children) => el("section", { class: "card step" }, el("h2", {}, el("span", { class: "step-number", "aria-hidden": "true" }, number), title), children);
    this.form = el(
      "form",
      { class: "teach-form", onsubmit: (event) => (event.preventDefault(), this.start()) },
      step("1", t("teach.text"), this.giving.element),
      step("2", t("teach.time"), this.length.element, this.settings.element),
      el("div", { class: "teach-start" }, this.go, this.hint),
      this.wrong.element,
    );
    this.form.addEventListener("invalid", (event) => event.target.closest("details")?.setAttribute("open", ""), true);
    this.element = el("div", { class: "teach-grid" }, this.form, this.runs.element);
    this.#changed();
  }

  enter() {
    this.giving.enter();
    this.settings.enter();
    this.runs.enter();
  }

  leave() {
    this.runs.leave();
  }

  #changed() {
    this.go.disabled = !this.giving.file || this.starting === true;
    this.hint.hidden = this.giving.file !== null;
  }

  async start() {
    this.wrong.show("");
    this.settings.clear();
    this.length.field.error("");
    this.starting = true;
    this.#changed();
    try {
      const body = { model: "lstm", training_file: this.giving.file.id, ...this.length.value, ...this.settings.values };
      const job = await ask("/v1/fine_tuning/jobs", { method: "POST", body });
      look();
      go("run", job.id);
    } catch (error) {
      this.#refused(error);
    } finally {
      this.starting = false;
      this.#changed();
    }
  }

  // What is wrong with a setting is told beside it.
  #refused(error) {
    const name = error.param?.split(".").at(-1);
    if (this.length.names.includes(name)) this.length.error(error.message);
    else if (!this.settings.error(name, error.message)) this.wrong.show(error.message);
  }
}
