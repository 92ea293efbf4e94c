// Draw a map of the characters' embeddings: characters that the network treats alike are close to each other.

import { t } from "../../i18n/i18n.js";
import { ask } from "../../lib/api.js";
import { el, newId, svg } from "../../lib/dom.js";
import { named, number, percent, sign } from "../../lib/format.js";

const APART = 17; // pixels between two characters, if there is room
const ROUNDS = 60; // of pushing overlapping characters apart, at most
const EDGE = 16; // pixels of margin
const FLAT = 0.72; // height / width
const KINDS = { small: /[\p{Ll}\p{Lo}]/u, capital: /\p{Lu}/u, digit: /\p{Nd}/u };

export class EmbeddingMap {
  constructor(signal) {
    const heading = newId("map");
    Object.assign(this, { signal, model: "", characters: [], at: 0, nodes: [], lines: svg("g", { class: "map-lines" }) });
    this.svg = svg("svg", { role: "listbox", "aria-label": t("map.label"), "aria-orientation": "horizontal", class: "map-svg" });
    this.body = el("div", { class: "map-body" });
    this.said = el("p", { class: "map-said", "aria-hidden": "true" });
    this.shares = el("p", { class: "hint" });
    this.foot = el("div", { class: "map-foot" }, legend(), this.shares);
    this.element = el(
      "section",
      { class: "card map", "aria-labelledby": heading, hidden: true },
      el("h2", { id: heading }, t("map.title")),
      el("p", { class: "quiet-text" }, t("map.about")),
      this.body,
      this.said,
      this.foot,
    );
    this.svg.addEventListener("keydown", (event) => this.#key(event));
    this.svg.addEventListener("focusout", () => this.#point(null));
    this.svg.addEventListener("pointerleave", () => this.#point(null));
    new ResizeObserver(() => this.#svg()).observe(this.body);
  }

  // Shows the map of a model.
  async setModel(model) {
    if (model === this.model) return;
    this.model = model;
    const body = { model, include: ["neighbours"], units: [] };
    const found = await ask("/v1/inspect", { method: "POST", body, signal: this.signal }).catch(() => null);
    if (this.model !== model) return;
    this.element.hidden = !found;
    if (found) this.#show(found);
    else this.model = ""; // so that the next call tries again
  }

  // ── private ──

  #show({ neighbours, map_shares: [first, second] }) {
    Object.assign(this, { characters: neighbours, at: 0, width: 0 });
    const many = neighbours.length > 2;
    this.body.replaceChildren(many ? this.svg : el("p", {}, t("map.few")));
    this.foot.hidden = this.said.hidden = !many;
    this.shares.textContent = t("map.shares", { share: percent(first + second) });
    this.#svg();
    this.#point(null);
  }

  #svg() {
    const width = Math.floor(this.body.clientWidth);
    if (!width || width === this.width || !this.svg.isConnected) return;
    this.width = width;
    const height = Math.round(Math.max(260, Math.min(460, width * FLAT)));
    const places = apart(this.characters, width, height);
    this.nodes = this.characters.map((each, index) => this.#node(each, index, places[index]));
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.svg.setAttribute("width", width);
    this.svg.setAttribute("height", height);
    this.svg.replaceChildren(this.lines, ...this.nodes.map(({ node }) => node));
  }

  #node({ symbol, nearest }, index, [x, y]) {
    const others = nearest.map(named).join(", ");
    const label = nearest.length ? t("map.nearest", { character: named(symbol), others }) : t("map.alone", { character: named(symbol) });
    const node = svg(
      "g",
      {
        role: "option",
        "aria-label": label,
        "aria-selected": "false",
        tabindex: index === this.at ? 0 : -1,
        class: `map-node ${kind(symbol)}`,
        transform: `translate(${x.toFixed(1)} ${y.toFixed(1)})`,
        onpointerenter: () => this.#point(index),
        onfocus: () => this.#point(index),
      },
      svg("circle", { r: APART / 2 + 2 }),
      svg("text", { "text-anchor": "middle", y: 5 }, sign(symbol)),
    );
    return { node, x, y };
  }

  // Highlights a character and its nearest neighbours; null highlights none.
  #point(index) {
    for (const { node } of this.nodes) {
      node.classList.remove("here", "near");
      node.setAttribute("aria-selected", "false");
    }
    this.lines.replaceChildren();
    if (index === null) return this.said.replaceChildren(t("map.point"));
    const [here, found] = [this.nodes[index], this.characters[index]];
    here.node.classList.add("here");
    here.node.setAttribute("aria-selected", "true");
    const others = found.nearest.map((symbol) => this.characters.findIndex((each) => each.symbol === symbol)).filter((other) => other >= 0);
    for (const other of others) this.nodes[other].node.classList.add("near");
    this.lines.append(...others.map((other) => svg("path", { d: `M${here.x} ${here.y}L${this.nodes[other].x} ${this.nodes[other].y}` })));
    const neighbours = found.nearest.map((symbol, other) => el("span", {}, el("code", {}, sign(symbol)), ` ${number(1 - found.distances[other], 2)}`));
    this.said.replaceChildren(el("code", {}, el("b", {}, sign(found.symbol))), ...neighbours);
  }

  #key(event) {
    const direction = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    const edge = { Home: 0, End: this.nodes.length - 1 }[event.key];
    if (event.key === "Escape") return this.#point(null);
    if ((!direction && edge === undefined) || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    const next = edge ?? this.#beside(direction);
    this.nodes[this.at].node.setAttribute("tabindex", -1);
    this.at = next;
    this.nodes[next].node.setAttribute("tabindex", 0);
    this.nodes[next].node.focus({ preventScroll: false });
  }

  // The nearest character in a direction
  #beside([dx, dy]) {
    const here = this.nodes[this.at];
    let [best, least] = [this.at, Infinity];
    this.nodes.forEach(({ x, y }, index) => {
      const along = (x - here.x) * dx + (y - here.y) * dy;
      const across = Math.abs((x - here.x) * dy + (y - here.y) * dx);
      if (along <= 0.5 || across > 2 * along) return;
      if (along + 2 * across < least) [best, least] = [index, along + 2 * across];
    });
    return best;
  }
}

const kind = (symbol) => Object.keys(KINDS).find((name) => symbol.length < 3 && KINDS[name].test(symbol)) ?? "sign";

const legend = () =>
  el(
    "ul",
    { class: "map-legend" },
    [...Object.keys(KINDS), "sign"].map((name) => el("li", { class: name }, el("i", {}), t(`map.${name}`))),
  );

// Positions in pixels: stretches the map to the width and height, and pushes overlapping characters apart.
function apart(characters, width, height) {
  const stretched = (values, room) => {
    const [low, high] = [Math.min(...values), Math.max(...values)];
    return values.map((value) => EDGE + ((value - low) / (high - low || 1)) * (room - 2 * EDGE));
  };
  const xs = stretched(characters.map(({ x }) => x), width);
  const ys = stretched(characters.map(({ y }) => -y), height);
  for (let round = 0; round < ROUNDS; round++) {
    let moved = false;
    for (let one = 0; one < xs.length; one++) {
      for (let other = one + 1; other < xs.length; other++) {
        const [dx, dy] = [xs[other] - xs[one] || 0.1 * (other - one), ys[other] - ys[one]];
        const distance = Math.hypot(dx, dy);
        if (distance >= APART) continue;
        const push = (APART - distance) / 2 / Math.max(distance, 0.1);
        [xs[one], xs[other]] = [xs[one] - dx * push, xs[other] + dx * push];
        [ys[one], ys[other]] = [ys[one] - dy * push, ys[other] + dy * push];
        moved = true;
      }
    }
    const inside = (value, room) => Math.max(EDGE, Math.min(room - EDGE, value));
    for (let index = 0; index < xs.length; index++) [xs[index], ys[index]] = [inside(xs[index], width), inside(ys[index], height)];
    if (!moved) break;
  }
  return xs.map((x, index) => [x, ys[index]]);
}
