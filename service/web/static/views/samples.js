// What the model wrote at each validation, the newest first: from noise to text.

import { el } from "../dom.js";
import { t } from "../texts.js";
import { number, short } from "../words.js";

export class Samples {
  constructor() {
    this.nothing = el("p", { class: "quiet-text" }, t("run.samples.empty"));
    this.list = el("ol", { class: "samples", reversed: true, tabindex: 0, "aria-label": t("run.samples"), hidden: true });
    this.element = el("div", { class: "samples-frame" }, this.nothing, this.list);
    this.steps = [];
  }

  // Only what is new is added; where steps were done again, all of it is. `over`: whether no more will come.
  show(samples, over) {
    this.nothing.textContent = t(over ? "run.samples.none" : "run.samples.empty");
    const steps = samples.map(({ step }) => step);
    if (!this.steps.every((step, index) => steps[index] === step)) {
      this.list.replaceChildren();
      this.steps = [];
    }
    this.list.prepend(...samples.slice(this.steps.length).reverse().map(shown));
    this.steps = steps;
    this.nothing.hidden = steps.length > 0;
    this.list.hidden = !steps.length;
  }
}

const shown = ({ step, characters, bits, text }) =>
  el(
    "li",
    {},
    el("p", { class: "sample-head" }, el("b", {}, t("write.step", { count: step })), " · ", t("run.read.short", { count: short(characters) }), " · ", t("write.bits", { bits: number(bits, 2) })),
    el("p", { class: "sample-text", lang: "" }, text),
  );
