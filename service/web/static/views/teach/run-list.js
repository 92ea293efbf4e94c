// List the runs, newest first, with boxes to choose those to compare.

import { button } from "../../components/buttons.js";
import { notice, progress } from "../../components/feedback.js";
import { badge, JOBS, networkOf, summaryOf } from "../../components/run-status.js";
import { t } from "../../i18n/i18n.js";
import { address, navigate } from "../../lib/address.js";
import { ask } from "../../lib/api.js";
import { el, setChildren } from "../../lib/dom.js";
import { moment } from "../../lib/format.js";
import { watchService } from "../../lib/service.js";

const POLL = 2000; // milliseconds between two requests while a run is queued or running
const MAX_COMPARED = 6; // runs in one plot

export class RunList {
  constructor(signal) {
    Object.assign(this, { signal, rows: new Map(), shown: false });
    this.wrong = notice({ kind: "bad" });
    this.nothing = el("p", { class: "quiet-text", hidden: true }, t("runs.none"));
    this.list = el("ul", { class: "runs", hidden: true });
    this.compare = button({ text: t("runs.compare"), disabled: true, onclick: () => navigate("compare", this.chosen.join(",")) });
    this.element = el("section", { class: "runs-part" }, el("div", { class: "card-head" }, el("h2", {}, t("runs.title")), this.compare), this.wrong.element, this.nothing, this.list);
    watchService(() => this.shown && this.refresh(), signal);
  }

  get chosen() {
    return [...this.rows].filter(([, { box }]) => box.checked).map(([name]) => name);
  }

  enter() {
    this.shown = true;
    this.refresh();
  }

  leave() {
    this.shown = false;
    clearTimeout(this.timer);
  }

  async refresh() {
    clearTimeout(this.timer);
    try {
      const { data } = await ask(`${JOBS}?limit=200`, { signal: this.signal });
      this.wrong.show("");
      this.#show(data);
      const busy = data.some(({ meta: { state } }) => state === "running" || state === "queued");
      if (busy && this.shown) this.timer = setTimeout(() => this.refresh(), POLL);
    } catch (error) {
      if (error.name !== "AbortError") this.wrong.show(error.message);
    }
  }

  #show(jobs) {
    this.nothing.hidden = jobs.length > 0;
    this.list.hidden = !jobs.length;
    this.list.classList.toggle("alone", jobs.length < 2); // hides the boxes
    this.compare.hidden = jobs.length < 2;
    const names = jobs.map(({ id }) => id);
    for (const name of [...this.rows.keys()]) if (!names.includes(name)) this.rows.delete(name);
    for (const job of jobs) this.#row(job);
    const nodes = names.map((name) => this.rows.get(name).node);
    setChildren(this.list, nodes);
    this.#count();
  }

  #row(job) {
    const row = this.rows.get(job.id) ?? this.#createRow(job);
    const now = JSON.stringify(job.meta);
    if (row.known === now) return;
    row.known = now;
    row.head.replaceChildren(badge(job));
    const summary = [networkOf(job), job.training_file && !job.id.startsWith(job.training_file) && t("model.corpus", { name: job.training_file }), summaryOf(job)];
    row.summary.textContent = summary.filter(Boolean).join(" · ");
    row.bar.element.hidden = job.meta.state !== "running";
    row.bar.set(job.meta.share);
  }

  #createRow(job) {
    const box = el("input", { type: "checkbox", class: "check", "aria-label": t("runs.choose", { name: job.id }), onchange: () => this.#count() });
    const [head, summary] = [el("span", {}), el("p", { class: "hint" })];
    const bar = progress({ label: t("run.progress") });
    const node = el(
      "li",
      {},
      box,
      el("div", { class: "runs-body" }, el("p", { class: "runs-name" }, el("a", { href: address("run", job.id) }, job.id), head), summary, bar.element),
      el("time", { class: "hint" }, moment(job.created_at)),
    );
    const row = { node, box, head, summary, bar, known: "" };
    this.rows.set(job.id, row);
    return row;
  }

  #count() {
    const count = this.chosen.length;
    this.compare.disabled = count < 2;
    for (const { box } of this.rows.values()) box.disabled = count >= MAX_COMPARED && !box.checked;
  }
}
