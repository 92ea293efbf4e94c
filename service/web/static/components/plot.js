// Plot lines on a canvas: smooth with many points, sharp on any screen, and also as a table for screen readers.
//
// The marks that follow the pointer have a canvas of their own, so that the lines are not drawn again. plot-canvas.js draws the lines.

import { disclosure } from "./buttons.js";
import { BOTTOM, LEFT, PlotCanvas, RIGHT, TOP } from "./plot-canvas.js";
import { t } from "../i18n/i18n.js";
import { el, newId } from "../lib/dom.js";
import { linear, logarithmic } from "../lib/scale.js";
import { colour, onTheme } from "../lib/theme.js";

const ROWS = 24; // at most, in the table
const CARD_GAP = 14; // CSS pixels between the cursor and its card
const REACH = 24; // CSS pixels: the card leaves out a line that ends farther away from the cursor

export class Plot {
  // label: the accessible name. x, y: { label, format(value) -> text, tick(value, step) -> short text, cell(value) -> text in the table,
  // format by default }. empty: the text while there are no points.
  constructor({ label, x, y, empty = "", signal }) {
    Object.assign(this, { label, x, y, series: [], rules: [], end: null, log: false, mark: null, cursor: null, drawn: 0, draws: 0 });
    this.lines = el("canvas", { "aria-hidden": "true" });
    this.over = el("canvas", { "aria-hidden": "true" });
    this.card = el("div", { class: "plot-card", hidden: true });
    this.said = el("p", { class: "unseen", "aria-live": "polite" });
    this.nothing = el("p", { class: "plot-nothing" }, empty);
    const keys = el("span", { class: "unseen", id: newId("keys") }, t("plot.keys"));
    this.box = el("div", { class: "plot-box", tabindex: 0, role: "group", "aria-label": label, "aria-describedby": keys.id }, this.lines, this.over, this.nothing, this.card);
    this.legend = el("ul", { class: "plot-legend" });
    this.table = el("div", { class: "plot-table", tabindex: 0, role: "group", "aria-label": label });
    this.tableFrame = disclosure(t("plot.table"), this.table);
    this.tableFrame.addEventListener("toggle", () => this.#showTable());
    this.element = el("figure", { class: "plot" }, this.legend, this.box, keys, this.said, this.tableFrame);
    this.#listen(signal);
  }

  // series: [{ name, short, xs, ys, colour, width, faint }], xs ascending; the legend leaves out faint ones. rules: [{ name, y }],
  // horizontal lines. end: the end of the x axis, by default the last point. After xs and ys have grown, call set or draw again.
  set({ series = this.series, rules = this.rules, end = this.end }) {
    const names = JSON.stringify(series.map(({ name, colour, faint }) => [name, colour, faint]));
    Object.assign(this, { series, rules, end });
    if (names !== this.named) this.#legend();
    this.named = names;
    this.draw();
  }

  set logarithmic(on) {
    this.log = on;
    this.draw();
  }

  // Draws a vertical line at x; null removes it.
  at(x) {
    this.mark = x;
    this.draw();
  }

  // Draws once before the next frame, even if it is called several times.
  draw() {
    this.waiting ??= requestAnimationFrame(() => {
      this.waiting = null;
      this.#draw();
    });
  }

  // ── drawing ──

  #draw() {
    const { width, height } = this.size ?? {};
    const some = this.series.some(({ xs }) => xs.length);
    this.nothing.hidden = some;
    if (!width) return;
    const to = this.#begin(this.lines);
    this.drawn = 0;
    this.draws++;
    if (some) {
      this.#scales(width, height);
      const canvas = new PlotCanvas(to, this, this.look);
      canvas.grid(this.x, this.y);
      to.save();
      to.beginPath();
      to.rect(LEFT, 0, width - LEFT, height - BOTTOM);
      to.clip();
      canvas.rules(this.rules);
      for (const each of this.series) this.drawn += canvas.line(each);
      if (this.mark !== null) canvas.vertical(this.mark, "ink");
      canvas.ruleNames(this.rules);
      to.restore();
    }
    this.box.dataset.drawn = this.drawn;
    this.#point();
    if (this.tableFrame.open) this.#showTable();
  }

  #begin(canvas) {
    const { width, height } = this.size;
    const ratio = devicePixelRatio || 1;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
    }
    const to = canvas.getContext("2d");
    to.setTransform(ratio, 0, 0, ratio, 0, 0);
    to.clearRect(0, 0, width, height);
    to.font = `12px ${this.look.font}`;
    to.lineJoin = "bevel";
    return to;
  }

  #scales(width, height) {
    const filled = this.series.filter(({ xs }) => xs.length);
    const last = Math.max(this.end ?? 0, ...filled.map(({ xs }) => xs.at(-1)));
    const first = Math.min(...filled.map(({ xs }) => xs.find((x) => x > 0) ?? last));
    let [low, high] = [Infinity, -Infinity];
    let needed = -Infinity; // so that a part of each line is visible
    for (const { ys } of filled) {
      let lowest = Infinity;
      for (const y of ys) [lowest, high] = [Math.min(lowest, y), Math.max(high, y)];
      [low, needed] = [Math.min(low, lowest), Math.max(needed, lowest)];
    }
    // All rules stay visible. The high losses of the first steps may leave the plot at the top.
    if (this.rules.length) {
      const [bottom, top] = [Math.min(...this.rules.map(({ y }) => y)), Math.max(...this.rules.map(({ y }) => y))];
      high = low < top ? Math.max(top, needed) : high;
      low = Math.min(low, bottom);
    }
    const across = [LEFT, width - RIGHT];
    this.toX = this.log && first < last ? logarithmic(first, last, across) : linear(0, last || 1, across, Math.max(3, Math.floor(width / 110)));
    const room = (high - low) * 0.08 || high * 0.2 || 1;
    this.toY = linear(Math.max(0, low - room), high + room, [height - BOTTOM, TOP], 5);
  }

  // ── the cursor ──

  // Shows the values nearest to this.cursor.
  #point() {
    if (!this.size?.width) return;
    const to = this.#begin(this.over);
    const x = this.cursor;
    this.card.hidden = x === null || !this.series.some(({ xs }) => xs.length);
    if (this.card.hidden) return;
    const away = ({ xs }) => Math.max(this.toX(xs[0]) - this.toX(x), this.toX(x) - this.toX(xs.at(-1)));
    const near = this.series.filter((each) => each.xs.length && away(each) < REACH).map((each) => ({ ...each, index: nearest(each.xs, x) }));
    new PlotCanvas(to, this, this.look).vertical(x, "quiet");
    const rows = near.map(({ name, short = name, ys, index, colour: shade, xs }) => {
      to.fillStyle = this.look[shade];
      to.beginPath();
      to.arc(this.toX(xs[index]), Math.max(TOP, this.toY(ys[index])), 4.5, 0, 2 * Math.PI);
      to.fill();
      return [short, shade, this.y.format(ys[index])];
    });
    const lines = rows.map(([name, shade, text]) => el("p", {}, el("i", { style: { background: `var(--${shade})` } }), el("span", {}, name), el("b", {}, text)));
    this.card.replaceChildren(el("p", {}, this.x.format(x)), ...lines);
    this.#place(this.toX(x));
    this.spoken = [this.x.format(x), ...rows.map(([name, , text]) => `${name} ${text}`)].join("; ");
  }

  // Places the card on the side of x that has more room, inside the box.
  #place(x) {
    const [width, wide] = [this.size.width, this.card.offsetWidth];
    const left = x > width / 2 ? x - CARD_GAP - wide : x + CARD_GAP;
    this.card.style.setProperty("left", `${Math.max(0, Math.min(width - wide, left))}px`);
  }

  #readColours() {
    const names = ["ink", "quiet", "line", "sheet", "accent", "second", ...Array.from({ length: 6 }, (_, index) => `plot-${index + 1}`)];
    this.look = Object.fromEntries(names.map((name) => [name, colour(name)]));
    this.look.font = getComputedStyle(document.body).fontFamily;
  }

  #listen(signal) {
    this.#readColours();
    onTheme(() => (this.#readColours(), this.draw()), signal);
    const seen = new ResizeObserver(([{ contentRect }]) => {
      this.size = { width: contentRect.width, height: contentRect.height };
      this.draw();
    });
    seen.observe(this.box);
    signal?.addEventListener("abort", () => seen.disconnect());
    this.box.addEventListener("pointermove", (event) => this.#follow(event.clientX - this.box.getBoundingClientRect().left));
    for (const name of ["pointerleave", "blur"]) this.box.addEventListener(name, () => this.#go(null));
    this.box.addEventListener("keydown", (event) => this.#onKey(event));
  }

  #follow(pixel) {
    if (!this.toX) return;
    const all = this.series.flatMap(({ xs }) => (xs.length ? [xs[nearest(xs, this.toX.invert(pixel))]] : []));
    const away = (x) => Math.abs(this.toX(x) - pixel);
    this.#go(all.length ? all.reduce((best, x) => (away(x) < away(best) ? x : best)) : null);
  }

  #go(x) {
    this.cursor = x;
    this.pointing ??= requestAnimationFrame(() => {
      this.pointing = null;
      this.#point();
    });
  }

  // Moves the cursor by arrow keys through the points of the first series that has any.
  #onKey(event) {
    const steps = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10, Home: -Infinity, End: Infinity };
    const xs = this.series.find((each) => each.xs.length)?.xs;
    if (event.key === "Escape") this.#go(null);
    if (!(event.key in steps) || !xs) return;
    event.preventDefault();
    const from = this.cursor === null ? (event.key === "ArrowLeft" ? xs.length : -1) : nearest(xs, this.cursor);
    this.cursor = xs[Math.max(0, Math.min(xs.length - 1, from + steps[event.key]))];
    this.#point();
    this.said.textContent = this.spoken;
  }

  // ── the legend and the table ──

  #legend() {
    const items = this.series
      .filter(({ faint }) => !faint)
      .map(({ name, colour: shade, width = 2 }) => el("li", {}, el("i", { style: { "--shade": `var(--${shade})`, "--width": `${width}px` } }), name));
    this.legend.replaceChildren(...items);
  }

  #showTable() {
    if (!this.tableFrame.open) return;
    const all = this.series.find(({ xs }) => xs.length)?.xs ?? [];
    const step = Math.max(1, all.length / ROWS);
    const picked = Array.from({ length: Math.min(ROWS, all.length) }, (_, index) => all[Math.min(all.length - 1, Math.round((index + 1) * step) - 1)]);
    const value = ({ xs, ys }, x) => (xs.length ? this.y.format(ys[nearest(xs, x)]) : "–");
    const cell = this.x.cell ?? this.x.format;
    const head = [this.x.label, ...this.series.map(({ name }) => name)].map((name) => el("th", { scope: "col" }, name));
    const rows = picked.map((x) => el("tr", {}, el("th", { scope: "row" }, cell(x)), this.series.map((each) => el("td", {}, value(each, x)))));
    const rules = this.rules.map(({ name, y }) => el("p", {}, `${name}: ${this.y.format(y)}`));
    this.table.replaceChildren(el("table", {}, el("caption", { class: "unseen" }, this.label), el("thead", {}, el("tr", {}, head)), el("tbody", {}, rows)), ...rules);
  }
}

// The index of the value nearest to x in an ascending list
function nearest(xs, x) {
  let [low, high] = [0, xs.length - 1];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (xs[middle] < x) low = middle + 1;
    else high = middle;
  }
  return low > 0 && x - xs[low - 1] < xs[low] - x ? low - 1 : low;
}
