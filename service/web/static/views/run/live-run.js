// Keep a run up to date: its job, its checkpoints and its learning curve, from the stream of its events.
//
// The stream is closed while the page is hidden, because a browser allows only a few connections to one host. Missed events are read when
// the page is visible again.

import { ENDED } from "../../components/run-status.js";
import { ask, follow } from "../../lib/api.js";
import { throttled } from "../../lib/dom.js";
import { refreshService, watchService } from "../../lib/service.js";
import { jobPath, LearningCurve } from "./learning-curve.js";

const REFRESH = 400; // milliseconds between two requests for the job, at least
const RETRY = 2000; // milliseconds until the next attempt if the service did not answer

export class LiveRun {
  // changed(): something is new. failed(error): it cannot continue; failed(null): it does again.
  constructor(name, { signal, changed, failed }) {
    Object.assign(this, { name, signal, failed, job: null, checkpoints: [], curve: new LearningCurve(), reading: null, stream: null, cut: false, lost: false });
    this.changed = throttled(changed, 100);
    this.refresh = throttled(() => this.#fetch().catch((error) => this.#onError(error)), REFRESH);
    document.addEventListener("visibilitychange", () => (document.hidden ? this.stream?.abort() : this.begin()), { signal });
    // Another client may have resumed a run that had ended.
    watchService(({ health }) => health.training?.run === name && ENDED.includes(this.job?.meta.state) && this.refresh(), signal);
  }

  // Reads what is known so far, then follows the stream.
  async begin() {
    try {
      await Promise.all([this.#fetch(), this.#read()]);
      if (this.lost) this.failed(null);
      this.lost = false;
      this.changed();
      this.#follow();
    } catch (error) {
      this.#onError(error);
    }
  }

  // Reads the events so far, once at a time. The stream may be followed only afterwards, so that no event is added twice.
  #read() {
    this.reading ??= this.curve.read(this.name, this.signal).finally(() => (this.reading = null));
    return this.reading;
  }

  // Requests the job and its checkpoints.
  async #fetch() {
    const { name, signal } = this;
    const [job, list] = await Promise.all([ask(jobPath(name), { signal }), ask(jobPath(name, "/checkpoints?limit=1000"), { signal })]);
    this.checkpoints = list.data.reverse().map((each) => ({ step: each.step_number, bits: each.metrics.bits_per_char }));
    this.set(job);
  }

  set(job) {
    if (this.job && this.job.meta.state !== job.meta.state) refreshService();
    this.job = job;
    this.changed();
    this.#follow();
  }

  async #follow() {
    if (this.stream || this.reading || document.hidden || !this.curve.newest || ENDED.includes(this.job.meta.state)) return;
    this.stream = new AbortController();
    const signal = AbortSignal.any([this.signal, this.stream.signal]);
    const setCut = (cut) => this.cut !== cut && ((this.cut = cut), this.changed());
    try {
      for await (const { data } of follow(jobPath(this.name, "/events?stream=true"), { after: this.curve.newest, signal, oncut: (error) => setCut(error !== null) })) {
        this.curve.add(data);
        this.changed();
        if (data.type === "message" || data.data.sample) this.refresh();
      }
      this.refresh();
    } catch (error) {
      this.#onError(error);
    } finally {
      this.stream = null;
    }
  }

  #onError(error) {
    if (error.name === "AbortError") return;
    this.failed(error);
    if (error.status) return; // the service did answer; a retry would not help
    this.lost = true;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.begin(), RETRY);
  }
}
