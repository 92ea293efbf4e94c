// Several runs in one plot.

import { ask } from "../api.js";
import { button, field, notice, segmented, select, setOptions, toggle } from "../components.js";
import { el } from "../dom.js";
import { Plot } from "../plot.js";
import { address, go } from "../router.js";
import { t } from "../texts.js";
import "../texts-teach.js";
import { duration, number, short } from "../words.js";
import { Course, ENDED, jobPath } from "./course.js";
import { badge, lossWords, network } from "./states.js";

const MOST = 6; // runs in one plot: as many colours can be told apart
const AGAIN = 2000; // milliseconds between two looks at runs that go on
const RULES = ["unigram", "5-gram"];

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
    const across = segmented({ label: t("compare.across"), options: [["characters", t("run.characters")], ["seconds", t("compare.seconds")]], value: this.across, onchange: (value) => this.#turn(value) });
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
        : { label: t("run.characters"), tick: short, format: (value) => t("run.read", { count: Math.round(value) }), cell: number };
    return new Plot({
      label: t("compare.plot"),
      empty: t("run.plot.empty"),
      x,
      y: { label: t("run.bits"), tick: (value, step) => number(value, step < 0.1 ? 2 : 1), format: (value) => t("write.bits", { bits: number(value, 3) }) },
      signal: this.signal,
    });
  }

  #turn(across) {
    this.across = across;
    this.plot = this.#plot(across);
    this.plot.log = this.log.input.checked;
    this.frame.replaceChildren(this.plot.element);
    this.#lines();
  }

  // ── which runs ──

  async enter(rest) {
    const names = [...new Set(rest.split(",").filter(Boolean))].slice(0, MOST);
    clearTimeout(this.timer);
    const before = new Map(this.runs.map((run) => [run.name, run]));
    this.runs = names.map((name) => before.get(name) ?? { name, job: null, course: new Course() });
    await this.#look();
  }

  #choose(names) {
    go("compare", names.join(","));
  }

  async #look() {
    const { signal, runs } = this;
    const settled = await Promise.allSettled(runs.map((run) => (run.job && ENDED.includes(run.job.status) ? null : this.#read(run))));
    if (signal.aborted || runs !== this.runs) return;
    const failure = settled.find(({ reason }) => reason)?.reason;
    this.wrong.show(failure ? failure.message : "");
    try {
      const { data } = await ask("/v1/fine_tuning/jobs?limit=1000", { signal });
      const others = data.filter(({ id }) => !this.names.includes(id)).map(({ id }) => [id, id]);
      setOptions(this.more, [["", t(others.length ? "compare.choose" : "compare.none")], ...others], "");
      this.more.disabled = !others.length || this.runs.length >= MOST;
    } catch (error) {
      if (error.name !== "AbortError") this.wrong.show(error.message);
      return;
    }
    this.#show();
    if (runs.some(({ job }) => job && !ENDED.includes(job.status))) {
      this.timer = setTimeout(() => this.#look(), AGAIN);
      signal.addEventListener("abort", () => clearTimeout(this.timer), { once: true });
    }
  }

  async #read(run) {
    const [job] = await Promise.all([ask(jobPath(run.name), { signal: this.signal }), run.course.read(run.name, this.signal)]);
    run.job = job;
  }

  // ── what is seen ──

  #show() {
    const found = this.runs.filter(({ job }) => job);
    const files = new Set(found.map(({ job }) => job.training_file));
    this.other.show(files.size > 1 ? t("compare.other") : "");
    this.same = files.size === 1;
    this.#lines();
    const rows = found.map((run, index) => this.#row(run, index));
    // Nothing is moved where nothing is new, so that what has the focus keeps it.
    if (rows.length !== this.list.children.length || rows.some((row, index) => this.list.children[index] !== row)) this.list.replaceChildren(...rows);
  }

  #lines() {
    const found = this.runs.filter(({ job }) => job);
    const xs = (line) => (this.across === "seconds" ? line.seconds : line.xs);
    const series = found.flatMap(({ name, course }, index) => [
      { name, xs: xs(course.validation), ys: course.validation.ys, colour: `plot-${index + 1}`, width: 2.25 },
      ...(this.both ? [{ name: t("compare.training", { name }), short: t("run.training.short"), xs: xs(course.training), ys: course.training.ys, colour: `plot-${index + 1}`, width: 1, faint: true }] : []),
    ]);
    const first = this.same ? found.find(({ course }) => Object.keys(course.baselines).length) : null;
    this.plot.set({ series, rules: first ? first.course.rules(RULES).map(({ name, y }) => ({ name: t(`gram.${name}`), y })) : [] });
  }

  #row({ name, job, course }, index) {
    if (!this.rows.has(name)) this.rows.set(name, this.#made(name));
    const { node, colour, state, told } = this.rows.get(name);
    const best = job.meta.bits_per_char;
    const words = [network(job), job.training_file, best && lossWords(best, course.scale), course.last && t("run.read.short", { count: short(course.last.characters) }), duration(course.last?.seconds ?? job.meta.seconds)];
    colour.style.setProperty("background", `var(--plot-${index + 1})`);
    state.replaceChildren(badge(job));
    told.textContent = words.filter(Boolean).join(" · ");
    return node;
  }

  #made(name) {
    const [colour, state, told] = [el("i"), el("span"), el("p", { class: "hint" })];
    const remove = button({ icon: "close", label: t("compare.remove", { name }), kind: "quiet", onclick: () => this.#remove(name) });
    const body = el("div", {}, el("p", { class: "compared-name" }, el("a", { href: address("run", name) }, name), state), told);
    return { node: el("li", {}, colour, body, remove), colour, state, told };
  }

  #remove(name) {
    this.#choose(this.names.filter((each) => each !== name));
    this.more.focus(); // the button is gone
  }
}
