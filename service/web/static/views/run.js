// One run: how it learns, what it writes meanwhile, and what can be asked of it.

import { factList, linkButton, more, newId, notice, progress, toggle } from "../components.js";
import { el } from "../dom.js";
import { Plot } from "../plot.js";
import { address } from "../router.js";
import { language, t } from "../texts.js";
import "../texts-teach.js";
import { duration, moment, number, percent, short } from "../words.js";
import { Controls } from "./controls.js";
import { ENDED } from "./course.js";
import { Live } from "./live.js";
import { Samples } from "./samples.js";
import { badge, lossWords, network, stateOf } from "./states.js";
import { Travel } from "./travel.js";

const RULES = ["unigram", "5-gram"];
const TICK = 500; // milliseconds between two looks at the clock
const LEAST_GAIN = 0.005; // bits per character that are worth telling
const EARLY = 0.95; // share of the time that was given: a run that took less has ended before its time
const STEADY = 0.15; // the expected end of the run may be that much off before the plot is drawn to another

export function mount(root, { signal }) {
  const head = el("h1", { tabindex: -1 });
  const body = el("div", {});
  root.append(el("p", { class: "back" }, el("a", { href: address("teach") }, t("run.back"))), head, body);
  let shown = null;
  const enter = ({ rest: name }) => {
    if (shown?.name === name) return;
    shown?.end.abort();
    const end = new AbortController();
    signal.addEventListener("abort", () => end.abort(), { once: true });
    shown = { name, end };
    head.textContent = name;
    const run = new RunView(name, end.signal);
    body.replaceChildren(run.element);
    document.title = `${name} · Charloom`;
  };
  return { enter };
}

class RunView {
  constructor(name, signal) {
    this.live = new Live(name, { signal, changed: () => this.#show(), failed: (error) => this.wrong.show(error?.message ?? "") });
    this.wrong = notice({ kind: "bad" });
    this.fault = notice({ kind: "bad" });
    this.controls = new Controls(this.live, (error) => this.wrong.show(error?.message ?? ""));
    this.state = el("p", { class: "run-state", role: "status" });
    this.about = el("p", { class: "run-about" });
    this.bar = progress({ label: t("run.progress") });
    this.time = el("p", { class: "run-time" });
    this.facts = el("div", {});
    this.standing = el("p", { class: "run-standing" });
    this.samples = new Samples();
    this.travel = new Travel(name, { signal, at: (step) => this.#mark(step), gone: () => this.live.look() });
    this.plot = this.#plot(signal);
    this.words = el("ol", { class: "run-words" });
    this.settings = el("div", {});
    this.element = el("div", { class: "run-grid" }, this.#top(), this.#left(), this.#right(), this.#bottom());
    for (const each of this.element.children) each.hidden = each !== this.element.firstChild; // until something is known
    const timer = setInterval(() => this.#clock(), TICK);
    signal.addEventListener("abort", () => clearInterval(timer));
    this.live.begin();
  }

  // ── what it is made of ──

  #top() {
    const head = el("div", { class: "run-head" }, el("div", {}, this.state, this.about), this.controls.element);
    return el("div", { class: "run-top" }, head, this.wrong.element, this.fault.element, el("div", { class: "run-progress" }, this.bar.element, this.time));
  }

  #plot(signal) {
    return new Plot({
      label: t("run.plot"),
      empty: t("run.plot.empty"),
      x: { label: t("run.characters"), tick: short, format: (value) => t("run.read", { count: Math.round(value) }), cell: number },
      y: { label: t("run.bits"), tick: (value, step) => number(value, step < 0.1 ? 2 : 1), format: (value) => lossWords(value, this.live.course.scale) },
      signal,
    });
  }

  #left() {
    const log = toggle({ label: t("plot.log"), onchange: (on) => (this.plot.logarithmic = on) });
    const head = el("div", { class: "card-head" }, el("h2", {}, t("run.learns")), log.element);
    return el("section", { class: "card run-plot" }, head, el("p", { class: "plot-y" }, t("run.bits")), this.plot.element, this.standing, this.facts);
  }

  #right() {
    const heading = newId("samples");
    return el("section", { class: "card run-samples", "aria-labelledby": heading }, el("h2", { id: heading }, t("run.samples")), this.samples.element);
  }

  #bottom() {
    const compare = linkButton({ text: t("run.compare"), href: address("compare", this.live.name), kind: "quiet" });
    const asides = el("div", { class: "run-asides" }, more(t("run.words"), this.words), more(t("run.settings"), this.settings), compare);
    return el("div", { class: "run-bottom" }, this.travel.element, asides);
  }

  // ── what is known ──

  #show() {
    const { job, course, checkpoints, cut } = this.live;
    if (!job) return;
    for (const each of this.element.children) each.hidden = false;
    this.#tell(job, cut);
    this.about.replaceChildren(...this.#aboutWords(job));
    this.controls.show();
    this.#lines();
    this.#numbers();
    const over = ENDED.includes(job.status);
    this.plot.nothing.textContent = t(over ? "run.plot.none" : "run.plot.empty");
    this.samples.show(course.samples, over);
    this.travel.show(checkpoints);
    if (course.words.length !== this.words.children.length) this.words.replaceChildren(...course.words.map(word));
    this.#settings(job);
    this.#clock();
  }

  // What is read out by a screen reader: only where it is new
  #tell(job, cut) {
    const now = JSON.stringify([stateOf(job), cut, job.error]);
    if (now === this.told) return;
    this.told = now;
    this.state.replaceChildren(badge(job), cut ? el("span", { class: "quiet-text" }, t("run.cut")) : "");
    this.fault.show(job.error?.message ?? "");
  }

  #aboutWords(job) {
    const { status, training_file: file, meta } = job;
    const parts = [network(job), file && t(ENDED.includes(status) ? "write.corpus" : "run.reads", { name: file }), meta.parent && t("run.parent", { name: meta.parent })];
    return [parts.filter(Boolean).join(" · ")];
  }

  #lines() {
    const { course, job } = this.live;
    this.plot.set({
      series: [
        { name: t("run.validation"), short: t("run.validation.short"), xs: course.validation.xs, ys: course.validation.ys, colour: "plot-1", width: 2.25 },
        { name: t("run.training"), short: t("run.training.short"), xs: course.training.xs, ys: course.training.ys, colour: "plot-2", width: 1.25 },
      ],
      rules: course.rules(RULES).map(({ name, y }) => ({ name: t(`gram.${name}`), y })),
      end: job.status === "running" ? this.#expected() : null,
    });
  }

  // The characters that will have been read at the end, so that the lines grow into a plot that stays.
  #expected() {
    const { last } = this.live.course;
    if (!last?.share || last.share < 0.03) return null;
    const found = last.characters / last.share;
    if (!this.end || Math.abs(found / this.end - 1) > STEADY || found < last.characters) this.end = found;
    return this.end;
  }

  #numbers() {
    const { course, job } = this.live;
    const { last } = course;
    this.standing.replaceChildren(...this.#standing());
    if (!last) return this.facts.replaceChildren();
    const best = job.meta.bits_per_char;
    const pairs = [
      best && [t("run.best"), lossWords(best, course.scale)],
      [t("run.so-far"), t("run.passes", { characters: short(last.characters), passes: number(last.epoch, 1) })],
      last.characters_per_second && [t("run.speed"), short(last.characters_per_second)],
      [t("run.trained"), duration(last.seconds)],
    ];
    this.facts.replaceChildren(factList(pairs.filter(Boolean)));
  }

  // Where it stands among simple models, and what is to be expected
  #standing() {
    const { course, job } = this.live;
    if (!course.validation.xs.length) return [];
    const { behind, ahead } = course.neighbours;
    const told = (each) => ({ name: t(`gram.${each.name}`), bits: number(each.bits, 2) });
    const words = [];
    if (behind && ahead) words.push(t("run.between", { low: told(behind).name, lowBits: told(behind).bits, high: told(ahead).name, highBits: told(ahead).bits }));
    else if (behind) words.push(t("run.beyond", told(behind)));
    else if (ahead) words.push(t("run.not-yet", told(ahead)));
    const outlook = course.outlook;
    if (outlook && job.status === "running") {
      const gain = (outlook.gain ?? 0) * course.scale;
      const likely = outlook.gain_seconds && gain >= LEAST_GAIN && gain < course.validation.ys.at(-1) / 2; // in the first moments it is not
      words.push(likely ? t(`outlook.${outlook.verdict}.gain`, { gain: number(gain, 2), time: duration(outlook.gain_seconds) }) : t(`outlook.${outlook.verdict}`));
    }
    const early = this.#early(job);
    if (early) words.push(early);
    return [words.join(" ")];
  }

  // Why a run has ended before the time that it was given
  #early({ status, meta: { epoch, seconds, training_config: { budget, max_epochs: most, patience } } }) {
    if (status !== "succeeded" || !budget || seconds > EARLY * budget) return null;
    if (most && epoch > EARLY * most) return t("run.enough", { passes: number(epoch, 1) });
    const { ys } = this.live.course.validation;
    const since = ys.length - 1 - ys.indexOf(Math.min(...ys)); // validations that brought nothing better
    return patience > 0 && since >= patience && t("run.no-gain", { count: patience });
  }

  #settings({ meta }) {
    const all = { ...meta.model_config, ...meta.training_config };
    const shown = JSON.stringify(all);
    if (shown === this.shown) return;
    this.shown = shown;
    const pairs = Object.entries(all).filter(([, value]) => value !== null);
    this.settings.replaceChildren(factList(pairs.map(([name, value]) => [name, typeof value === "number" ? value.toLocaleString(language, { maximumSignificantDigits: 6 }) : String(value)])));
  }

  // How far it is at this moment: between two events, time passes evenly.
  #clock() {
    const { job, course } = this.live;
    if (!job) return;
    const running = job.status === "running";
    const since = running && course.last ? Math.max(0, Date.now() / 1000 - course.last.at) : 0;
    let [share, left] = [job.status === "succeeded" ? 1 : (course.last?.share ?? job.meta.share), course.last?.seconds_left ?? null];
    if (running && left !== null && course.last.share < 1) {
      share = Math.min(0.995, share + ((1 - share) * Math.min(since, left)) / Math.max(left, 1e-9));
      left = Math.max(0, left - since);
    }
    this.bar.set(running && share === null ? null : (share ?? 0));
    this.bar.element.parentNode.hidden = job.status === "succeeded";
    const words = [share !== null && percent(share), running && left !== null && t("run.left", { time: duration(left) })];
    this.time.textContent = job.status === "queued" ? t("run.waits") : words.filter(Boolean).join(" · ");
  }

  #mark(step) {
    const { last } = this.live.course;
    this.plot.at(last && step !== null ? (step * last.characters) / last.step : null);
  }
}

const word = ({ at, level, message }) => el("li", { class: level }, el("time", {}, moment(at)), " ", message);
