// The runs that there are, the newest first; two or more can be compared.

import { ask } from "../api.js";
import { button, notice, progress } from "../components.js";
import { el } from "../dom.js";
import { watch } from "../facts.js";
import { address, go } from "../router.js";
import { t } from "../texts.js";
import { moment } from "../words.js";
import { badge, jobWords, network } from "./states.js";

const AGAIN = 2000; // milliseconds between two looks while something is trained
const MOST = 6; // runs in one plot

export class Runs {
  constructor(signal) {
    Object.assign(this, { signal, rows: new Map(), shown: false });
    this.wrong = notice({ kind: "bad" });
    this.nothing = el("p", { class: "quiet-text", hidden: true }, t("runs.none"));
    this.list = el("ul", { class: "runs", hidden: true });
    this.compare = button({ text: t("runs.compare"), disabled: true, onclick: () => go("compare", this.chosen.join(",")) });
    this.element = el("section", { class: "runs-part" }, el("div", { class: "card-head" }, el("h2", {}, t("runs.title")), this.compare), this.wrong.element, this.nothing, this.list);
    watch(() => this.shown && this.look(), signal);
  }

  get chosen() {
    return [...this.rows].filter(([, { box }]) => box.checked).map(([name]) => name);
  }

  enter() {
    this.shown = true;
    this.look();
  }

  leave() {
    this.shown = false;
    clearTimeout(this.timer);
  }

  async look() {
    clearTimeout(this.timer);
    try {
      const { data } = await ask("/v1/fine_tuning/jobs?limit=200", { signal: this.signal });
      this.wrong.show("");
      this.#show(data);
      const busy = data.some(({ status }) => status === "running" || status === "queued");
      if (busy && this.shown) this.timer = setTimeout(() => this.look(), AGAIN);
    } catch (error) {
      if (error.name !== "AbortError") this.wrong.show(error.message);
    }
  }

  #show(jobs) {
    this.nothing.hidden = jobs.length > 0;
    this.list.hidden = !jobs.length;
    this.list.classList.toggle("alone", jobs.length < 2); // nothing to compare it with
    this.compare.hidden = jobs.length < 2;
    const names = jobs.map(({ id }) => id);
    for (const name of [...this.rows.keys()]) if (!names.includes(name)) this.rows.delete(name);
    for (const job of jobs) this.#row(job);
    const nodes = names.map((name) => this.rows.get(name).node);
    // Nothing is moved where nothing is new, so that what has the focus keeps it.
    if (nodes.length !== this.list.children.length || nodes.some((node, index) => this.list.children[index] !== node)) this.list.replaceChildren(...nodes);
    this.#count();
  }

  #row(job) {
    const row = this.rows.get(job.id) ?? this.#made(job);
    const now = JSON.stringify([job.status, job.meta]);
    if (row.known === now) return;
    row.known = now;
    row.head.replaceChildren(badge(job));
    const told = [network(job), job.training_file !== null && !job.id.startsWith(job.training_file) && t("write.corpus", { name: job.training_file }), jobWords(job)];
    row.told.textContent = told.filter(Boolean).join(" · ");
    row.bar.element.hidden = job.status !== "running";
    row.bar.set(job.meta.share);
  }

  #made(job) {
    const box = el("input", { type: "checkbox", class: "check", "aria-label": t("runs.choose", { name: job.id }), onchange: () => this.#count() });
    const [head, told] = [el("span", {}), el("p", { class: "hint" })];
    const bar = progress({ label: t("run.progress") });
    const node = el(
      "li",
      {},
      box,
      el("div", { class: "runs-body" }, el("p", { class: "runs-name" }, el("a", { href: address("run", job.id) }, job.id), head), told, bar.element),
      el("time", { class: "hint" }, moment(job.created_at)),
    );
    const row = { node, box, head, told, bar, known: "" };
    this.rows.set(job.id, row);
    return row;
  }

  #count() {
    const count = this.chosen.length;
    this.compare.disabled = count < 2;
    for (const { box } of this.rows.values()) box.disabled = count >= MOST && !box.checked;
  }
}
