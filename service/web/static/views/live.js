// A run as it is now: its job, its checkpoints and its course, kept up to date by the stream of its events.
//
// While nobody looks, the stream is closed: a browser allows only a few connections to one service. What happened meanwhile is read
// when somebody looks again.

import { ask, follow } from "../api.js";
import { throttled } from "../dom.js";
import { look, watch } from "../facts.js";
import { Course, ENDED, jobPath } from "./course.js";

const AGAIN = 400; // milliseconds between two looks at the job, at least
const PATIENCE = 2000; // milliseconds after which a service that did not answer is asked again

export class Live {
  // changed() whenever something is new; failed(error) where it cannot go on, failed(null) once it does
  constructor(name, { signal, changed, failed }) {
    Object.assign(this, { name, signal, failed, job: null, checkpoints: [], course: new Course(), reading: null, stream: null, cut: false, lost: false });
    this.changed = throttled(changed, 100);
    this.look = throttled(() => this.refresh().catch((error) => this.#told(error)), AGAIN);
    document.addEventListener("visibilitychange", () => (document.hidden ? this.stream?.abort() : this.begin()), { signal });
    // Somebody else may let a run go on that has ended.
    watch(({ health }) => health.training?.run === name && ENDED.includes(this.job?.status) && this.look(), signal);
  }

  // Reads what is there, now or when somebody looks again, and goes on from that.
  async begin() {
    try {
      await Promise.all([this.refresh(), this.#read()]);
      if (this.lost) this.failed(null);
      this.lost = false;
      this.changed();
      this.#follow();
    } catch (error) {
      this.#told(error);
    }
  }

  // What has happened so far, read once at a time. Only behind it the stream may be followed, so that nothing is heard twice.
  #read() {
    this.reading ??= this.course.read(this.name, this.signal).finally(() => (this.reading = null));
    return this.reading;
  }

  // Looks at the job and its checkpoints.
  async refresh() {
    const { name, signal } = this;
    const [job, list] = await Promise.all([ask(jobPath(name), { signal }), ask(jobPath(name, "/checkpoints?limit=1000"), { signal })]);
    this.checkpoints = list.data.reverse().map((each) => ({ step: each.step_number, bits: each.metrics.bits_per_char }));
    this.set(job);
  }

  set(job) {
    if (this.job && this.job.status !== job.status) look();
    this.job = job;
    this.changed();
    this.#follow();
  }

  async #follow() {
    if (this.stream || this.reading || document.hidden || !this.course.newest || ENDED.includes(this.job.status)) return;
    this.stream = new AbortController();
    const signal = AbortSignal.any([this.signal, this.stream.signal]);
    const hear = (cut) => this.cut !== cut && ((this.cut = cut), this.changed());
    try {
      for await (const { data } of follow(jobPath(this.name, "/events?stream=true"), { after: this.course.newest, signal, oncut: (error) => hear(error !== null) })) {
        this.course.take(data);
        this.changed();
        if (data.type === "message" || data.data.sample) this.look();
      }
      this.look();
    } catch (error) {
      this.#told(error);
    } finally {
      this.stream = null;
    }
  }

  #told(error) {
    if (error.name === "AbortError") return;
    this.failed(error);
    if (error.status) return; // it did answer; asking again would not help
    this.lost = true;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.begin(), PATIENCE);
  }
}
