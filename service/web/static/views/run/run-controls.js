// Buttons of a run: pause, resume, cancel, and write with it.

import { button, linkButton } from "../../components/buttons.js";
import { dialog } from "../../components/dialog.js";
import { t } from "../../i18n/i18n.js";
import { writeAddress } from "../../lib/address.js";
import { ask } from "../../lib/api.js";
import { el } from "../../lib/dom.js";
import { jobPath } from "./learning-curve.js";

// action -> states of a run that allow it
const ALLOWED = {
  pause: ["queued", "running"],
  resume: ["paused", "cancelled", "failed"],
  cancel: ["queued", "running", "paused"],
};
const ICONS = { pause: "pause", resume: "play", cancel: "stop" };
const SAMPLE = { temperature: 0.8, length: 600 };

export class RunControls {
  // run: a LiveRun. failed(error): an action failed; failed(null): it succeeded
  constructor(run, failed) {
    Object.assign(this, { run, failed });
    this.buttons = Object.keys(ALLOWED).map((name) => button({ text: t(`run.${name}`), icon: ICONS[name], kind: name === "cancel" ? "danger" : "plain", "data-act": name, hidden: true, onclick: () => this.#act(name) }));
    this.write = linkButton({ text: t("run.write"), href: this.#link(), kind: "primary" });
    this.write.hidden = true;
    this.element = el("div", { class: "actions" }, this.write, this.buttons);
  }

  show() {
    const { job, checkpoints } = this.run;
    const had = this.element.contains(document.activeElement);
    for (const each of this.buttons) each.hidden = !ALLOWED[each.dataset.act].includes(job.meta.state);
    this.write.hidden = !checkpoints.length;
    const now = document.activeElement;
    if (had && (now.hidden || !this.element.contains(now))) (this.buttons.find((each) => !each.hidden) ?? this.write).focus();
  }

  #link() {
    const seed = crypto.getRandomValues(new Uint32Array(1))[0];
    return writeAddress({ model: this.run.name, prompt: "", seed, stop: [] }, [{ schedule: [[0, SAMPLE.temperature]], length: SAMPLE.length }]);
  }

  async #act(name) {
    if (this.busy || (name === "cancel" && !(await confirmCancel(this.run.name)))) return;
    this.busy = true;
    try {
      const job = await ask(jobPath(this.run.name, `/${name}`), { method: "POST", signal: this.run.signal });
      this.failed(null);
      this.run.set(job);
      this.run.refresh();
    } catch (error) {
      if (error.name !== "AbortError") this.failed(error);
    } finally {
      this.busy = false;
    }
  }
}

const confirmCancel = (name) =>
  dialog({
    title: t("run.cancel.title", { name }),
    body: [el("p", {}, t("run.cancel.text"))],
    confirm: t("run.cancel.confirm"),
    dismiss: t("run.cancel.dismiss"),
    kind: "danger",
  });
