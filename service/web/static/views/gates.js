// How often the gates of a network were saturated while it read: a small plot for each, with a point for every unit.

import { newId } from "../components.js";
import { el } from "../dom.js";
import { draw } from "../svg.js";
import { t } from "../texts.js";
import { percent } from "../words.js";

const SIDE = 100; // of a plot, in units of its own
const EDGE = 4; // around it, so that points at the border are whole

export class Gates {
  constructor() {
    const heading = newId("gates");
    this.body = el("div", { class: "gates-body" });
    this.element = el(
      "section",
      { class: "card gates", "aria-labelledby": heading, hidden: true },
      el("h2", { id: heading }, t("gates.title")),
      el("p", { class: "quiet-text" }, t("gates.about")),
      this.body,
    );
  }

  // gates: as /v1/inspect tells them, or null where nothing was read
  show(gates) {
    this.element.hidden = gates === null;
    if (gates === null) return;
    if (!gates.length) return this.body.replaceChildren(el("p", {}, t("gates.none")));
    const layers = [...new Set(gates.map(({ layer }) => layer))];
    this.body.replaceChildren(...layers.map((layer) => this.#layer(layer, gates.filter((each) => each.layer === layer), layers.length > 1)));
  }

  #layer(layer, gates, several) {
    const plots = gates.map((gate) => {
      const [shut, open] = [mean(gate.left), mean(gate.right)].map((share) => percent(share));
      const name = t(`gate.${gate.name}`);
      return el(
        "figure",
        { class: "gate" },
        scatter(gate, t("gates.label", { layer, gate: name, shut, open, count: gate.left.length })),
        el("figcaption", {}, el("b", {}, name), el("span", {}, t("gates.shut", { share: shut })), el("span", {}, t("gates.open", { share: open })), el("span", { class: "does" }, t(`gate.${gate.name}.does`))),
      );
    });
    return el("div", { class: "gates-layer" }, several && el("h3", {}, t("gates.layer", { layer })), el("div", { class: "gates-row", style: { "--gates": gates.length } }, plots));
  }
}

const mean = (shares) => shares.reduce((sum, share) => sum + share, 0) / Math.max(1, shares.length);

// Points of length 0 with round ends: one path for all of them
function scatter({ left, right }, label) {
  const points = left.map((share, unit) => `M${(SIDE * share).toFixed(1)} ${(SIDE * (1 - right[unit])).toFixed(1)}h0`).join("");
  const box = `${-EDGE} ${-EDGE} ${SIDE + 2 * EDGE} ${SIDE + 2 * EDGE}`;
  return draw(
    "svg",
    { viewBox: box, role: "img", "aria-label": label },
    draw("path", { class: "gate-frame", d: `M0 0V${SIDE}H${SIDE}` }),
    draw("path", { class: "gate-limit", d: `M0 0L${SIDE} ${SIDE}` }),
    draw("path", { class: "gate-points", d: points }),
  );
}
