// Show a text whose characters can be tinted, underlined and inspected one by one; smooth at 100,000 characters.
//
// The text has no element per character: tints are highlights of the CSS Custom Highlight API over plain text, so that selection, copying
// and screen readers work as usual. Only blocks near the visible part are tinted. Positions count characters (code points).

import { showCard } from "./character-card.js";
import { t } from "../i18n/i18n.js";
import { el, throttled } from "../lib/dom.js";

const BLOCK = 1000; // characters; a block ends at the next line end, so that the division is invisible
const NEAR = "60%"; // of the pane's height: blocks that close above and below it are tinted, too

// Names of highlights, styled in page.css; later ones are drawn above earlier ones.
const LAYERS = ["prompt", "surprise-1", "surprise-2", "surprise-3", "surprise-4", "surprise-5", "surprise-6", "surprise-7", "surprise-8"];
const highlights = new Map();

function highlight(name) {
  if (!highlights.has(name)) {
    const made = new Highlight();
    made.priority = LAYERS.indexOf(name) < 0 ? 50 : LAYERS.indexOf(name);
    highlights.set(name, made);
    CSS.highlights.set(name, made);
  }
  return highlights.get(name);
}

const supported = typeof Highlight === "function" && CSS.highlights !== undefined;

export class TextView {
  // label: the accessible name. describe(index): a node with details of a character, or null; speak(index): the same as a sentence.
  // Without describe, characters do not react to the pointer.
  constructor({ label, describe = null, speak = () => "" }) {
    this.flow = el("div", { class: "text-flow", lang: "" });
    this.cursor = el("div", { class: "text-cursor", hidden: true });
    this.said = el("p", { class: "unseen", "aria-live": "polite" });
    this.pane = el("div", { class: "text-pane", tabindex: 0, role: "group", "aria-label": label }, this.flow, this.cursor);
    this.element = el("div", { class: "text-view" }, this.pane, this.said);
    Object.assign(this, { describe, speak, follow: true, length: 0, at: -1, blocks: [], layers: new Map() });
    this.observer = new IntersectionObserver((entries) => this.#seen(entries), { root: this.pane, rootMargin: NEAR });
    this.repaint = throttled(() => requestAnimationFrame(() => this.#paintAll()), 30);
    this.#listen();
  }

  get text() {
    return this.blocks.map((block) => block.text).join("");
  }

  clear() {
    for (const block of this.blocks) this.#strip(block);
    this.observer.disconnect();
    this.flow.replaceChildren();
    this.blocks = [];
    this.length = 0;
    this.layers.clear();
    this.leave();
  }

  // Scrolls along if `follow` is set and the pane is scrolled to the end.
  append(text) {
    const follows = this.follow && this.pane.scrollTop + this.pane.clientHeight > this.pane.scrollHeight - 40;
    for (let rest = text; rest;) {
      const block = this.#open();
      const from = Math.max(0, BLOCK - block.text.length);
      const end = rest.indexOf("\n", from);
      const part = end < 0 ? rest : rest.slice(0, end + 1);
      rest = rest.slice(part.length);
      block.text += part;
      block.node.appendData(part);
      if (block.wide || /[\ud800-\udfff]/.test(part)) block.wide = offsets(block.text);
      block.length = block.wide ? block.wide.length - 1 : block.text.length;
      block.ended = end >= 0;
    }
    const last = this.blocks.at(-1);
    this.length = last ? last.start + last.length : 0;
    if (follows) this.pane.scrollTop = this.pane.scrollHeight;
    this.repaint();
  }

  toEnd() {
    this.follow = true;
    this.pane.scrollTop = this.pane.scrollHeight;
  }

  set(text) {
    this.clear();
    this.append(text);
  }

  // Adds or replaces a layer: nameAt(index) gives the name of a highlight for a character, or null. layer(name, null) removes it.
  // nameAt must keep its answers for the characters that are there; call layer again to change them.
  layer(name, nameAt) {
    if (nameAt) this.layers.set(name, nameAt);
    else this.layers.delete(name);
    for (const block of this.blocks) this.#strip(block);
    this.repaint();
  }

  // A layer that gives the spans [[start, stop], …] one highlight
  mark(name, spans) {
    const sorted = [...spans].sort((one, other) => one[0] - other[0]);
    const inside = (index) => sorted.some(([start, stop]) => start <= index && index < stop);
    this.layer(name, sorted.length ? (index) => (inside(index) ? name : null) : null);
  }

  // Selects a character: frames it and shows its card.
  go(index, { scroll = true } = {}) {
    if (!this.length) return;
    this.at = Math.max(0, Math.min(this.length - 1, index));
    const range = this.#range(this.at);
    if (scroll) this.#intoView(range);
    const [box, pane] = [boxOf(range), this.pane.getBoundingClientRect()];
    const style = this.cursor.style;
    style.left = `${box.left - pane.left + this.pane.scrollLeft - this.pane.clientLeft}px`;
    style.top = `${box.top - pane.top + this.pane.scrollTop - this.pane.clientTop}px`;
    style.width = `${Math.max(4, box.width)}px`;
    style.height = `${box.height}px`;
    this.cursor.hidden = false;
    showCard(this.describe?.(this.at), box);
  }

  leave() {
    this.at = -1;
    this.cursor.hidden = true;
    showCard(null);
  }

  // The index of the character at window coordinates, or -1
  indexAt(x, y) {
    const found = document.caretPositionFromPoint?.(x, y);
    const caret = found ? [found.offsetNode, found.offset] : caretOfRange(x, y);
    const block = this.blocks.find((each) => each.node === caret?.[0]);
    if (!block) return -1;
    for (const offset of [caret[1], caret[1] - 1]) {
      // the caret stands between two characters
      const index = block.start + (block.wide ? block.wide.findLastIndex((each) => each <= offset) : offset);
      if (index < block.start || index >= block.start + block.length) continue;
      const box = boxOf(this.#range(index));
      if (x >= box.left - 1 && x <= box.right + 1 && y >= box.top - 4 && y <= box.bottom + 4) return index;
    }
    return -1;
  }

  // ── private ──

  #open() {
    const last = this.blocks.at(-1);
    if (last && !last.ended) return last;
    const node = document.createTextNode("");
    const element = el("div", { class: "text-block" }, node);
    const block = {
      element,
      node,
      text: "",
      start: last ? last.start + last.length : 0,
      length: 0,
      wide: null,
      near: false,
      painted: 0,
      ranges: [],
    };
    this.blocks.push(block);
    this.flow.append(element);
    this.observer.observe(element);
    return block;
  }

  #block(index) {
    return this.blocks.findLast((block) => block.start <= index);
  }

  #offset(block, index) {
    return block.wide ? block.wide[index - block.start] : index - block.start;
  }

  #range(index) {
    const block = this.#block(index);
    const range = document.createRange();
    range.setStart(block.node, this.#offset(block, index));
    range.setEnd(block.node, this.#offset(block, index + 1));
    return range;
  }

  #seen(entries) {
    for (const { target, isIntersecting } of entries) {
      const block = this.blocks.find((each) => each.element === target);
      if (!block) continue;
      block.near = isIntersecting;
      if (!isIntersecting) this.#strip(block);
    }
    this.repaint();
  }

  #paintAll() {
    if (supported) for (const block of this.blocks) if (block.near) this.#paint(block);
  }

  // Adds ranges for the characters that are not painted yet: one for each run of characters with the same highlight.
  #paint(block) {
    const [from, to] = [block.start + block.painted, block.start + block.length];
    for (const nameAt of this.layers.values()) {
      let begun = from;
      let name = from < to ? nameAt(from) : null;
      for (let index = from + 1; index <= to; index++) {
        const next = index < to ? nameAt(index) : undefined;
        if (next === name) continue;
        if (name) this.#add(block, name, begun, index);
        [begun, name] = [index, next];
      }
    }
    block.painted = block.length;
  }

  #add(block, name, start, stop) {
    const range = new StaticRange({
      startContainer: block.node,
      startOffset: this.#offset(block, start),
      endContainer: block.node,
      endOffset: this.#offset(block, stop),
    });
    highlight(name).add(range);
    block.ranges.push([name, range]);
  }

  #strip(block) {
    for (const [name, range] of block.ranges) highlight(name).delete(range);
    block.ranges = [];
    block.painted = 0;
  }

  #intoView(range) {
    const [box, pane] = [boxOf(range), this.pane.getBoundingClientRect()];
    if (box.top < pane.top + 8) this.pane.scrollTop -= pane.top + 8 - box.top;
    else if (box.bottom > pane.bottom - 8) this.pane.scrollTop += box.bottom - pane.bottom + 8;
  }

  #listen() {
    if (!this.describe) return;
    const point = ({ clientX, clientY }) => {
      const index = this.indexAt(clientX, clientY);
      if (index < 0) this.leave();
      else if (index !== this.at) this.go(index, { scroll: false });
    };
    this.pane.addEventListener("pointermove", point);
    this.pane.addEventListener("click", point);
    this.pane.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && this.leave());
    this.pane.addEventListener("blur", () => this.leave());
    this.pane.addEventListener("scroll", () => this.at >= 0 && !this.pane.matches(":focus-visible") && this.leave());
    this.pane.addEventListener("keydown", (event) => this.#key(event));
    this.pane.setAttribute("aria-description", t("text.keys"));
  }

  #key(event) {
    if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    const line = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    const target = { ArrowLeft: this.at - 1, ArrowRight: this.at + 1, Home: 0, End: this.length - 1 }[event.key];
    if (event.key === "Escape" && this.at >= 0) this.leave();
    else if (target !== undefined) this.go(this.at < 0 && event.key === "ArrowLeft" ? 0 : target);
    else if (line) this.go(this.#beside(line));
    else return;
    event.preventDefault();
    event.stopPropagation();
    if (this.at >= 0) this.said.textContent = this.speak(this.at);
  }

  // The character above or below the selected one
  #beside(direction) {
    if (this.at < 0) return 0;
    const box = boxOf(this.#range(this.at));
    const below = direction > 0;
    let best = this.at;
    for (let index = this.at + direction; index >= 0 && index < this.length && Math.abs(index - this.at) < 2 * BLOCK; index += direction) {
      const here = boxOf(this.#range(index));
      const lines = Math.round((here.top - box.top) / Math.max(1, box.height));
      if (Math.abs(lines) > 1 && best !== this.at) break;
      if (!lines) continue;
      best = index;
      if (below ? here.right > box.left + 1 : here.left < box.left + 1) break;
    }
    return best;
  }
}

// The UTF-16 offset of each code point, and of the end
function offsets(text) {
  const found = [];
  let offset = 0;
  for (const character of text) {
    found.push(offset);
    offset += character.length;
  }
  return [...found, offset];
}

const boxOf = (range) => {
  const boxes = range.getClientRects();
  return boxes[0] ?? range.getBoundingClientRect();
};

function caretOfRange(x, y) {
  const range = document.caretRangeFromPoint?.(x, y);
  return range && [range.startContainer, range.startOffset];
}
