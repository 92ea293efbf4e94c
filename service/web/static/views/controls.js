// What can be asked of a run: to pause, to go on, to end; and to write.

import { ask } from "../api.js";
import { button, dialog, linkButton } from "../components.js";
import { el } from "../dom.js";
import { t } from "../texts.js";
import { jobPath } from "./course.js";
import { linkOf } from "./link.js";

const CAN = {
  pause: ["queued", "running"],
  resume: ["paused", "cancelled", "failed"],
  cancel: ["queued", "running", "paused"],
};
const ICONS = { pause: "pause", resume: "play", cancel: "stop" };
const FIRST = { temperature: 0.8, length: 600 };

export class Controls {
  // failed(error), or failed(null) where what was asked is being done
  constructor(live, failed) {
    Object.assign(this, { live, failed });
    this.buttons = Object.keys(CAN).map((name) => button({ text: t(`run.${name}`), icon: ICONS[name], kind: name === "cancel" ? "danger" : "plain", "data-act": name, hidden: true, onclick: () => this.#act(name) }));
    this.write = linkButton({ text: t("run.write"), href: this.#link(), kind: "primary" });
    this.write.hidden = true;
    this.element = el("div", { class: "actions" }, this.write, this.buttons);
  }

  show() {
    const { job, checkpoints } = this.live;
    const had = this.element.contains(document.activeElement);
    for (const each of this.buttons) each.hidden = !CAN[each.dataset.act].includes(job.status);
    this.write.hidden = !checkpoints.length;
    const now = document.activeElement;
    if (had && (now.hidden || !this.element.contains(now))) (this.buttons.find((each) => !each.hidden) ?? this.write).focus();
  }

  #link() {
    const seed = crypto.getRandomValues(new Uint32Array(1))[0];
    return linkOf({ model: this.live.name, prompt: "", seed, stop: [] }, [{ course: [[0, FIRST.temperature]], length: FIRST.length }]);
  }

  async #act(name) {
    if (this.busy || (name === "cancel" && !(await sure(this.live.name)))) return;
    this.busy = true;
    try {
      const job = await ask(jobPath(this.live.name, `/${name}`), { method: "POST", signal: this.live.signal });
      this.failed(null);
      this.live.set(job);
      this.live.look();
    } catch (error) {
      if (error.name !== "AbortError") this.failed(error);
    } finally {
      this.busy = false;
    }
  }
}

const sure = (name) =>
  dialog({
    title: t("run.cancel.title", { name }),
    body: [el("p", {}, t("run.cancel.text"))],
    confirm: t("run.cancel.confirm"),
    dismiss: t("run.cancel.dismiss"),
    kind: "danger",
  });
