// Compare the learning curves of several runs in one plot.

import { button } from "../../components/buttons.js";
import { notice } from "../../components/feedback.js";
import { field, segmented, select, setOptions, toggle } from "../../components/fields.js";
import { Plot } from "../../components/plot.js";
import { badge, ENDED, JOBS, lossText, networkOf } from "../../components/run-status.js";
import { t } from "../../i18n/i18n.js";
import "../../i18n/run.js";
import { address, navigate } from "../../lib/address.js";
import { ask } from "../../lib/api.js";
import { el, setChildren } from "../../lib/dom.js";
import { compact, duration, number } from "../../lib/format.js";
import { charactersAxis, jobPath, LearningCurve, lossAxis } from "./learning-curve.js";

const MAX_RUNS = 6; // in one plot: more colours cannot be summary apart
const POLL = 2000; // milliseconds between two requests while a run continues

export function mount(root, { signal }) {
  const view = new Compare(signal);
  root.append(el("p", { class: "back" }, el("a", { href: address("teach") }, t("run.back"))), el("h1", { tabindex: -1 }, t("compare.title")), view.element);
  return { enter: ({ rest }) => view.enter(rest) };
}

class Compare {
  constructor(signal) {
    Object.assign(this, { signal, runs: [], rows: new Map(), across: "characters", both: true });
    this.wrong = notice({ kind: "bad" });
    this.other = notice({ kind: "warn" });
    this.plot = this.#plot("characters");
    this.frame = el("div", {}, this.plot.element);
    const across = segmented({ label: t("compare.across"), options: [["characters", t("run.characters")], ["seconds", t("compare.seconds")]], value: this.across, onchange: (value) => this.#setAxis(value) });
    const both = toggle({ label: t("compare.both"), checked: true, onchange: (on) => ((this.both = on), this.#lines()) });
    this.log = toggle({ label: t("plot.log"), onchange: (on) => (this.plot.logarithmic = on) });
    this.more = select({ onchange: () => this.more.value && this.#choose([...this.names, this.more.value]) });
    this.adder = field({ label: t("compare.add"), control: this.more });
    this.list = el("ul", { class: "compared" });
    this.element = el(
      "div",
      { class: "compare-grid" },
      this.wrong.element,
      el("section", { class: "card" }, el("div", { class: "card-head" }, across.element, el("div", { class: "actions" }, both.element, this.log.element)), el("p", { class: "plot-y" }, t("run.bits")), this.frame, this.other.element),
      el("section", { class: "card compare-runs" }, el("h2", {}, t("compare.runs")), this.list, this.adder.element),
    );
  }

  get names() {
    return this.runs.map(({ name }) => name);
  }

  #plot(across) {
    const x =
      across === "seconds"
        ? { label: t("compare.seconds"), tick: (value) => duration(value), format: (value) => duration(value) }
        : charactersAxis();
    return new Plot({
      label: t("compare.plot"),
      empty: t("run.plot.empty"),
      x,
      y: lossAxis((value) => t("bits", { bits: number(value, 3) })),
      signal: this.signal,
    });
  }

  #setAxis(across) {
    this.across = across;
    this.plot = this.#plot(across);
    this.plot.log = this.log.input.checked;
    this.frame.replaceChildren(this.plot.element);
    this.#lines();
  }

  // ── which runs ──

  async enter(rest) {
    const names = [...new Set(rest.split(",").filter(Boolean))].slice(0, MAX_RUNS);
    clearTimeout(this.timer);
    const before = new Map(this.runs.map((run) => [run.name, run]));
    this.runs = names.map((name) => before.get(name) ?? { name, job: null, curve: new LearningCurve() });
    await this.#refresh();
  }

  #choose(names) {
    navigate("compare", names.join(","));
  }

  async #refresh() {
    const { signal, runs } = this;
    const settled = await Promise.allSettled(runs.map((run) => (run.job && ENDED.includes(run.job.meta.state) ? null : this.#read(run))));
    if (signal.aborted || runs !== this.runs) return;
    const failure = settled.find(({ reason }) => reason)?.reason;
    this.wrong.show(failure ? failure.message : "");
    try {
      const { data } = await ask(`${JOBS}?limit=1000`, { signal });
      const others = data.filter(({ id }) => !this.names.includes(id)).map(({ id }) => [id, id]);
      setOptions(this.more, [["", t(others.length ? "compare.choose" : "compare.none")], ...others], "");
      this.more.disabled = !others.length || this.runs.length >= MAX_RUNS;
    } catch (error) {
      if (error.name !== "AbortError") this.wrong.show(error.message);
      return;
    }
    this.#show();
    if (runs.some(({ job }) => job && !ENDED.includes(job.meta.state))) {
      this.timer = setTimeout(() => this.#refresh(), POLL);
      signal.addEventListener("abort", () => clearTimeout(this.timer), { once: true });
    }
  }

  async #read(run) {
    const [job] = await Promise.all([ask(jobPath(run.name), { signal: this.signal }), run.curve.read(run.name, this.signal)]);
    run.job = job;
  }

  // ── show ──

  #show() {
    const found = this.runs.filter(({ job }) => job);
    const files = new Set(found.map(({ job }) => job.training_file));
    this.other.show(files.size > 1 ? t("compare.other") : "");
    this.same = files.size === 1;
    this.#lines();
    const rows = found.map((run, index) => this.#row(run, index));
    setChildren(this.list, rows);
  }

  #lines() {
    const found = this.runs.filter(({ job }) => job);
    const xs = (line) => (this.across === "seconds" ? line.seconds : line.xs);
    const series = found.flatMap(({ name, curve }, index) => [
      { name, xs: xs(curve.validation), ys: curve.validation.ys, colour: `plot-${index + 1}`, width: 2.25 },
      ...(this.both ? [{ name: t("compare.training", { name }), short: t("run.training.short"), xs: xs(curve.training), ys: curve.training.ys, colour: `plot-${index + 1}`, width: 1, faint: true }] : []),
    ]);
    const first = this.same ? found.find(({ curve }) => Object.keys(curve.baselines).length) : null;
    this.plot.set({ series, rules: first ? first.curve.rules : [] });
  }

  #row({ name, job, curve }, index) {
    if (!this.rows.has(name)) this.rows.set(name, this.#createRow(name));
    const { node, colour, state, summary } = this.rows.get(name);
    const best = job.meta.bits_per_char;
    const words = [networkOf(job), job.training_file, best && lossText(best, curve.scale), curve.last && t("run.read.short", { count: compact(curve.last.characters) }), duration(curve.last?.seconds ?? job.meta.seconds)];
    colour.style.setProperty("background", `var(--plot-${index + 1})`);
    state.replaceChildren(badge(job));
    summary.textContent = words.filter(Boolean).join(" · ");
    return node;
  }

  #createRow(name) {
    const [colour, state, summary] = [el("i"), el("span"), el("p", { class: "hint" })];
    const remove = button({ icon: "close", label: t("compare.remove", { name }), kind: "quiet", onclick: () => this.#remove(name) });
    const body = el("div", {}, el("p", { class: "compared-name" }, el("a", { href: address("run", name) }, name), state), summary);
    return { node: el("li", {}, colour, body, remove), colour, state, summary };
  }

  #remove(name) {
    this.#choose(this.names.filter((each) => each !== name));
    this.more.focus(); // the button is gone
  }
}
