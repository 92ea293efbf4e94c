// Teach: start a run (a text, a time, settings), and the list of runs.

import { button } from "../../components/buttons.js";
import { notice } from "../../components/feedback.js";
import { revealInvalid } from "../../components/fields.js";
import { JOBS } from "../../components/run-status.js";
import { t } from "../../i18n/i18n.js";
import "../../i18n/teach.js";
import { navigate } from "../../lib/address.js";
import { ask } from "../../lib/api.js";
import { el } from "../../lib/dom.js";
import { refreshService } from "../../lib/service.js";
import { CorpusInput } from "./corpus-input.js";
import { RunList } from "./run-list.js";
import { Settings } from "./settings.js";
import { TrainingBudget } from "./training-budget.js";

export function mount(root, { signal }) {
  const view = new Teach(signal);
  root.append(el("div", { class: "view-head" }, el("h1", { tabindex: -1 }, t("teach.title")), el("p", { class: "lead" }, t("teach.lead"))), view.element);
  return { enter: () => view.enter(), leave: () => view.leave() };
}

class Teach {
  constructor(signal) {
    this.corpus = new CorpusInput({ signal, changed: () => this.#changed() });
    this.budget = new TrainingBudget();
    this.settings = new Settings();
    this.runs = new RunList(signal);
    this.go = button({ text: t("teach.start"), icon: "play", kind: "primary", type: "submit" });
    this.wrong = notice({ kind: "bad" });
    this.hint = el("p", { class: "hint" }, t("teach.start.hint"));
    const step = (number, title, ...children) => el("section", { class: "card step" }, el("h2", {}, el("span", { class: "step-number", "aria-hidden": "true" }, number), title), children);
    this.form = el(
      "form",
      { class: "teach-form", onsubmit: (event) => (event.preventDefault(), this.start()) },
      step("1", t("teach.text"), this.corpus.element),
      step("2", t("teach.time"), this.budget.element, this.settings.element),
      el("div", { class: "teach-start" }, this.go, this.hint),
      this.wrong.element,
    );
    revealInvalid(this.form);
    this.element = el("div", { class: "teach-grid" }, this.form, this.runs.element);
    this.#changed();
  }

  enter() {
    this.corpus.enter();
    this.settings.enter();
    this.runs.enter();
  }

  leave() {
    this.runs.leave();
  }

  #changed() {
    this.go.disabled = !this.corpus.file || this.starting === true;
    this.hint.hidden = this.corpus.file !== null;
  }

  async start() {
    this.wrong.show("");
    this.settings.clear();
    this.budget.field.error("");
    this.starting = true;
    this.#changed();
    try {
      const body = { model: "lstm", training_file: this.corpus.file.id, ...this.budget.value, ...this.settings.values };
      const job = await ask(JOBS, { method: "POST", body });
      refreshService();
      navigate("run", job.id);
    } catch (error) {
      this.#showError(error);
    } finally {
      this.starting = false;
      this.#changed();
    }
  }

  // Shows an error beside the setting that caused it, if there is one.
  #showError(error) {
    const name = error.param?.split(".").at(-1);
    if (this.budget.names.includes(name)) this.budget.error(error.message);
    else if (!this.settings.error(name, error.message)) this.wrong.show(error.message);
  }
}
