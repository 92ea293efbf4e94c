// Plot how often each unit's gates were saturated over a text: a small scatter plot per gate.

import { t } from "../../i18n/i18n.js";
import { el, newId, svg } from "../../lib/dom.js";
import { percent } from "../../lib/format.js";

const SIDE = 100; // of a plot, in SVG units
const EDGE = 4; // margin, so that points at the border are not cut

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

  // gates: as in the answer of /v1/inspect, or null if no text was read
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

// Draws all points as one path: lines of length 0 with round ends.
function scatter({ left, right }, label) {
  const points = left.map((share, unit) => `M${(SIDE * share).toFixed(1)} ${(SIDE * (1 - right[unit])).toFixed(1)}h0`).join("");
  const box = `${-EDGE} ${-EDGE} ${SIDE + 2 * EDGE} ${SIDE + 2 * EDGE}`;
  return svg(
    "svg",
    { viewBox: box, role: "img", "aria-label": label },
    svg("path", { class: "gate-frame", d: `M0 0V${SIDE}H${SIDE}` }),
    svg("path", { class: "gate-limit", d: `M0 0L${SIDE} ${SIDE}` }),
    svg("path", { class: "gate-points", d: points }),
  );
}
