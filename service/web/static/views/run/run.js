// A run: its state, learning curve, samples and settings, kept up to date.

import { disclosure, linkButton } from "../../components/buttons.js";
import { factList, notice, progress } from "../../components/feedback.js";
import { toggle } from "../../components/fields.js";
import { Plot } from "../../components/plot.js";
import { badge, ENDED, lossText, networkOf, stateOf } from "../../components/run-status.js";
import { language, t } from "../../i18n/i18n.js";
import "../../i18n/run.js";
import { address } from "../../lib/address.js";
import { el, newId } from "../../lib/dom.js";
import { compact, duration, moment, number, percent } from "../../lib/format.js";
import { charactersAxis, lossAxis } from "./learning-curve.js";
import { LiveRun } from "./live-run.js";
import { RunControls } from "./run-controls.js";
import { CheckpointSamples, ValidationSamples } from "./samples.js";

const TICK = 500; // milliseconds between two updates of the remaining time
const LEAST_GAIN = 0.005; // bits per character; a smaller expected gain is not shown
const EARLY = 0.95; // share of the budget; a run that took less has ended early
const STEADY = 0.15; // relative change of the expected end of the run before the x axis follows it

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
    this.live = new LiveRun(name, { signal, changed: () => this.#show(), failed: (error) => this.wrong.show(error?.message ?? "") });
    this.wrong = notice({ kind: "bad" });
    this.fault = notice({ kind: "bad" });
    this.controls = new RunControls(this.live, (error) => this.wrong.show(error?.message ?? ""));
    this.state = el("p", { class: "run-state", role: "status" });
    this.about = el("p", { class: "run-about" });
    this.bar = progress({ label: t("run.progress") });
    this.time = el("p", { class: "run-time" });
    this.facts = el("div", {});
    this.standing = el("p", { class: "run-standing" });
    this.samples = new ValidationSamples();
    this.checkpoints = new CheckpointSamples(name, { signal, at: (step) => this.#mark(step), gone: () => this.live.refresh() });
    this.plot = this.#plot(signal);
    this.events = el("ol", { class: "run-events" });
    this.settings = el("div", {});
    this.element = el("div", { class: "run-grid" }, this.#top(), this.#left(), this.#right(), this.#bottom());
    for (const each of this.element.children) each.hidden = each !== this.element.firstChild; // until the job is known
    const timer = setInterval(() => this.#tick(), TICK);
    signal.addEventListener("abort", () => clearInterval(timer));
    this.live.begin();
  }

  // ── build ──

  #top() {
    const head = el("div", { class: "run-head" }, el("div", {}, this.state, this.about), this.controls.element);
    return el("div", { class: "run-top" }, head, this.wrong.element, this.fault.element, el("div", { class: "run-progress" }, this.bar.element, this.time));
  }

  #plot(signal) {
    return new Plot({
      label: t("run.plot"),
      empty: t("run.plot.empty"),
      x: charactersAxis(),
      y: lossAxis((value) => lossText(value, this.live.curve.scale)),
      signal,
    });
  }

  #left() {
    const log = toggle({ label: t("plot.log"), onchange: (on) => (this.plot.logarithmic = on) });
    const head = el("div", { class: "card-head" }, el("h2", {}, t("run.curve")), log.element);
    return el("section", { class: "card run-plot" }, head, el("p", { class: "plot-y" }, t("run.bits")), this.plot.element, this.standing, this.facts);
  }

  #right() {
    const heading = newId("samples");
    return el("section", { class: "card run-samples", "aria-labelledby": heading }, el("h2", { id: heading }, t("run.samples")), this.samples.element);
  }

  #bottom() {
    const compare = linkButton({ text: t("run.compare"), href: address("compare", this.live.name), kind: "quiet" });
    const asides = el("div", { class: "run-asides" }, disclosure(t("run.events"), this.events), disclosure(t("run.settings"), this.settings), compare);
    return el("div", { class: "run-bottom" }, this.checkpoints.element, asides);
  }

  // ── show ──

  #show() {
    const { job, curve, checkpoints, cut } = this.live;
    if (!job) return;
    for (const each of this.element.children) each.hidden = false;
    this.#showState(job, cut);
    this.about.replaceChildren(...this.#about(job));
    this.controls.show();
    this.#lines();
    this.#numbers();
    const over = ENDED.includes(job.meta.state);
    this.plot.nothing.textContent = t(over ? "run.plot.none" : "run.plot.empty");
    this.samples.show(curve.samples, over);
    this.checkpoints.show(checkpoints);
    if (curve.messages.length !== this.events.children.length) this.events.replaceChildren(...curve.messages.map(eventItem));
    this.#settings(job);
    this.#tick();
  }

  // Changes only if something is new, because screen readers read it.
  #showState(job, cut) {
    const why = ["queued", "paused"].includes(job.status) ? job.meta.message : null; // such as a full disk
    const now = JSON.stringify([stateOf(job), cut, job.error, why]);
    if (now === this.shownState) return;
    this.shownState = now;
    this.state.replaceChildren(badge(job), why ? el("span", { class: "quiet-text" }, why) : "", cut ? el("span", { class: "quiet-text" }, t("run.cut")) : "");
    this.fault.show(job.error?.message ?? "");
  }

  #about(job) {
    const { training_file: file, meta } = job;
    const parts = [networkOf(job), file && t(ENDED.includes(meta.state) ? "model.corpus" : "run.trains-on", { name: file }), meta.parent && t("run.parent", { name: meta.parent })];
    return [parts.filter(Boolean).join(" · ")];
  }

  #lines() {
    const { curve, job } = this.live;
    this.plot.set({
      series: [
        { name: t("run.validation"), short: t("run.validation.short"), xs: curve.validation.xs, ys: curve.validation.ys, colour: "plot-1", width: 2.25 },
        { name: t("run.training"), short: t("run.training.short"), xs: curve.training.xs, ys: curve.training.ys, colour: "plot-2", width: 1.25 },
      ],
      rules: curve.rules,
      end: job.meta.state === "running" ? this.#expected() : null,
    });
  }

  // The expected number of characters at the end of the run, so that the x axis stays while the lines grow.
  #expected() {
    const { last } = this.live.curve;
    if (!last?.share || last.share < 0.03) return null;
    const found = last.characters / last.share;
    if (!this.end || Math.abs(found / this.end - 1) > STEADY || found < last.characters) this.end = found;
    return this.end;
  }

  #numbers() {
    const { curve, job } = this.live;
    const { last } = curve;
    this.standing.replaceChildren(...this.#standing());
    if (!last) return this.facts.replaceChildren();
    const best = job.meta.bits_per_char;
    const pairs = [
      best && [t("run.best"), lossText(best, curve.scale)],
      [t("run.characters-read"), t("run.passes", { characters: compact(last.characters), passes: number(last.epoch, 1) })],
      last.characters_per_second && [t("run.speed"), compact(last.characters_per_second)],
      [t("run.trained"), duration(last.seconds)],
    ];
    this.facts.replaceChildren(factList(pairs.filter(Boolean)));
  }

  // Compares the run with simple models, and tells its outlook.
  #standing() {
    const { curve, job } = this.live;
    if (!curve.validation.xs.length) return [];
    const { behind, ahead } = curve.neighbours;
    const named = (each) => ({ name: t(`gram.${each.name}`), bits: number(each.bits, 2) });
    const words = [];
    if (curve.diverged) words.push(t("run.diverged", { bits: number(curve.baselines.uniform * curve.scale, 2) }));
    else if (behind && ahead) words.push(t("run.between", { low: named(behind).name, lowBits: named(behind).bits, high: named(ahead).name, highBits: named(ahead).bits }));
    else if (behind) words.push(t("run.beyond", named(behind)));
    else if (ahead) words.push(t("run.not-yet", named(ahead)));
    const outlook = curve.outlook;
    if (outlook && !curve.diverged && job.meta.state === "running") {
      const gain = (outlook.gain ?? 0) * curve.scale;
      const likely = outlook.gain_seconds && gain >= LEAST_GAIN && gain < curve.validation.ys.at(-1) / 2; // the first estimates are too large
      words.push(likely ? t(`outlook.${outlook.verdict}.gain`, { gain: number(gain, 2), time: duration(outlook.gain_seconds) }) : t(`outlook.${outlook.verdict}`));
    }
    const early = this.#early(job);
    if (early) words.push(early);
    return [words.join(" ")];
  }

  // Why a run has ended before its budget was used
  #early({ meta: { state, epoch, seconds, training_config: { budget, max_epochs: most, patience } } }) {
    if (state !== "succeeded" || !budget || seconds > EARLY * budget) return null;
    if (most && epoch > EARLY * most) return t("run.small-corpus", { passes: number(epoch, 1) });
    const { ys } = this.live.curve.validation;
    const since = ys.length - 1 - ys.indexOf(Math.min(...ys)); // validations since the best one
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

  // Shows the progress and the remaining time, interpolated between two events.
  #tick() {
    const { job, curve } = this.live;
    if (!job) return;
    const running = job.meta.state === "running";
    const since = running && curve.last ? Math.max(0, Date.now() / 1000 - curve.last.at) : 0;
    let [share, left] = [job.meta.state === "succeeded" ? 1 : (curve.last?.share ?? job.meta.share), curve.last?.seconds_left ?? null];
    if (running && left !== null && curve.last.share < 1) {
      share = Math.min(0.995, share + ((1 - share) * Math.min(since, left)) / Math.max(left, 1e-9));
      left = Math.max(0, left - since);
    }
    this.bar.set(running && share === null ? null : (share ?? 0));
    this.bar.element.parentNode.hidden = job.meta.state === "succeeded";
    const words = [share !== null && percent(share), running && left !== null && t("run.left", { time: duration(left) })];
    this.time.textContent = job.meta.state === "queued" ? t("run.waits") : words.filter(Boolean).join(" · ");
  }

  #mark(step) {
    const { last } = this.live.curve;
    this.plot.at(last && step !== null ? (step * last.characters) / last.step : null);
  }
}

const eventItem = ({ at, level, message }) => el("li", { class: level }, el("time", {}, moment(at)), " ", message);
