// Write: what is asked for, and one or more texts at temperatures of their own.

import { ask } from "../api.js";
import { button, copy, empty, linkButton, save, toast, toggle } from "../components.js";
import { el } from "../dom.js";
import { facts, watch } from "../facts.js";
import { address } from "../router.js";
import { t } from "../texts.js";
import { keep, kept } from "../theme.js";
import { percent } from "../words.js";
import { Form } from "./form.js";
import { linkOf, readLink } from "./link.js";
import { Sheet } from "./sheet.js";
import { LONG } from "./telling.js";

const MOST = 4; // texts side by side
const FIRST = 0.8; // the temperature of the first one
const OTHERS = [1.2, 0.4, 0.8, 1.6, 1]; // of those that join it, whichever is not there yet
const DRAFT = "write.draft"; // what was typed, for a page that is loaded again

export function mount(root, { signal }) {
  const view = new Write();
  root.append(el("h1", { class: "unseen", tabindex: -1 }, t("nav.write")), view.nothing, view.element);
  watch((known) => view.know(known), signal);
  return { enter: (route) => view.enter(route) };
}

class Write {
  constructor() {
    this.sheets = [];
    this.tinted = true;
    this.marked = kept("copied") !== "off";
    this.slow = !matchMedia("(prefers-reduced-motion: reduce)").matches; // so that there is time to move the temperature
    this.shown = ""; // the address of what is on the sheets
    this.link = null; // what is to be written as soon as models are known
    this.nothing = el("div", { hidden: true });
    this.form = new Form({ onwrite: (changes) => this.write(changes), onstop: () => this.stop() });
    this.element = el("div", { class: "write-grid" }, this.form.element, this.#desk());
    this.#add(FIRST);
    this.#restore();
    addEventListener("pagehide", () => this.#keep());
    document.addEventListener("keydown", (event) => event.key === "Escape" && this.writing && this.stop());
  }

  get writing() {
    return this.sheets.some((sheet) => sheet.writing);
  }

  know({ models, health }) {
    this.element.hidden = !models.length;
    this.nothing.hidden = models.length > 0;
    if (!models.length) return this.nothing.replaceChildren(noModel(health.training));
    this.form.know(models);
    if (this.link) this.#follow(this.link);
  }

  // ── the sheets ──

  #desk() {
    this.desk = el("div", { class: "sheets" });
    const tint = toggle({ label: t("write.tint"), checked: true, onchange: (on) => this.#tint(on) });
    const steps = Array.from({ length: 8 }, (_, index) => el("i", { style: { background: `var(--surprise-${index + 1})` } }));
    const legend = { class: "scale", role: "img", "aria-label": t("write.scale.label") };
    this.scale = el("div", legend, el("span", {}, "0"), ...steps, el("span", {}, t("write.scale")));
    this.adder = button({ text: t("write.add"), icon: "plus", onclick: () => this.#add() });
    const mark = toggle({ label: t("copied.mark"), checked: this.marked, onchange: (on) => this.#mark(on) });
    const slow = toggle({ label: t("write.slowly"), checked: this.slow, onchange: (on) => this.#pace(on) });
    const bar = el("div", { class: "desk-bar" }, el("div", { class: "desk-tint" }, tint.element, this.scale), mark.element, slow.element, this.adder);
    return el("div", { class: "desk" }, bar, this.desk);
  }

  #tint(on) {
    this.tinted = on;
    this.scale.classList.toggle("off", !on);
    for (const sheet of this.sheets) sheet.tint(on);
  }

  #mark(on) {
    this.marked = on;
    keep("copied", on ? null : "off");
    for (const sheet of this.sheets) sheet.mark(on);
  }

  #pace(on) {
    this.slow = on;
    for (const sheet of this.sheets) sheet.slow = on;
  }

  #add(temperature = this.#another()) {
    const act = {
      copy: (sheet) => copy(sheet.whole, t("write.copied")),
      save: (sheet) => save(sheet.name, sheet.whole),
      again: (sheet) => this.#again(sheet),
      link: (sheet) => this.#link(sheet),
      remove: (sheet) => this.#remove(sheet),
    };
    const sheet = new Sheet({ temperature, tinted: this.tinted, marked: this.marked, slow: this.slow, act, changed: () => this.#changed() });
    const pattern = this.sheets.find((each) => each.request);
    this.sheets.push(sheet);
    this.desk.append(sheet.element);
    this.#count();
    // One that joins others writes what they have written, at its own temperature.
    if (pattern) sheet.write({ ...pattern.request });
  }

  #another() {
    const taken = this.sheets.map((sheet) => sheet.temperature);
    return OTHERS.find((value) => taken.every((each) => Math.abs(each - value) > 0.15)) ?? 0.6;
  }

  #remove(sheet) {
    sheet.stop();
    this.sheets = this.sheets.filter((each) => each !== sheet);
    sheet.element.remove();
    this.#count();
    this.#changed();
    this.adder.focus();
  }

  #count() {
    const count = this.sheets.length;
    this.desk.classList.toggle("many", count > 1);
    this.adder.disabled = count >= MOST;
    this.sheets.forEach((sheet, index) => {
      sheet.remover.hidden = count === 1;
      sheet.title.textContent = count === 1 ? t("write.text") : t("write.text.of", { number: index + 1, count });
    });
  }

  // ── writing ──

  async write(changes) {
    const request = { ...this.form.request(), ...changes };
    if (this.slow && request.length > LONG) toast(t("write.slowly.long"));
    const writing = this.sheets.map((sheet) => sheet.write(request));
    this.#showDesk();
    await Promise.all(writing);
  }

  stop() {
    for (const sheet of this.sheets) sheet.stop();
  }

  // Where the sheets are below the window, as on a telephone, they come into it.
  #showDesk() {
    if (this.desk.getBoundingClientRect().top > innerHeight * 0.6) this.desk.scrollIntoView({ block: "start" });
  }

  #changed() {
    this.form.busy(this.writing);
    const written = this.sheets.filter((sheet) => sheet.outcome?.checkpoint);
    if (this.writing || !written.length) return;
    const request = { ...written[0].request, model: written[0].outcome.checkpoint };
    this.shown = linkOf(
      request,
      written.map((sheet) => sheet.text),
    );
    if (location.hash.startsWith("#write") || !location.hash) history.replaceState(null, "", this.shown);
  }

  #again(sheet) {
    this.form.seed = sheet.request.seed;
    toast(t("write.seed.kept", { seed: String(sheet.request.seed) }));
    const { course, length } = sheet.text;
    sheet.write({ ...sheet.request, length }, course);
  }

  // The checkpoint is pinned first: a link is worth nothing when it is gone.
  async #link(sheet) {
    const checkpoint = sheet.outcome.checkpoint;
    const link = new URL(linkOf({ ...sheet.request, model: checkpoint }, [sheet.text]), location.href).href;
    try {
      await ask(`/v1/models/${encodeURIComponent(checkpoint)}/pin`, { method: "POST" });
    } catch (error) {
      toast(error.message, "bad");
      return;
    }
    await copy(link, t("write.linked", { checkpoint }));
  }

  // ── addresses ──

  enter({ params }) {
    const found = readLink(params);
    if (!found && params.has("t")) toast(t("write.link.broken"), "bad");
    if (!found || location.hash === this.shown) return;
    this.shown = location.hash;
    this.link = found;
    if (facts.models.length) this.#follow(found);
  }

  // Writes what a link says.
  #follow({ request, texts }) {
    this.link = null;
    this.stop();
    this.form.fill({ ...request, seed: "", length: texts[0].length });
    const count = Math.min(MOST, texts.length);
    while (this.sheets.length > count) this.#remove(this.sheets.at(-1));
    for (const sheet of this.sheets) sheet.request = null; // so that one that is added does not write what was there before
    while (this.sheets.length < count) this.#add();
    this.sheets.forEach((sheet, index) => sheet.write({ ...request, length: texts[index].length }, texts[index].course));
  }

  // ── a page that is loaded again ──

  #keep() {
    const draft = { ...this.form.request(), seed: this.form.seed };
    sessionStorage.setItem(DRAFT, JSON.stringify({ draft, temperatures: this.sheets.map((sheet) => sheet.temperature) }));
  }

  #restore() {
    try {
      const { draft, temperatures } = JSON.parse(sessionStorage.getItem(DRAFT));
      this.form.fill(draft);
      this.sheets[0].slider.value = temperatures[0];
      for (const each of temperatures.slice(1, MOST)) this.#add(each);
    } catch {
      // there is none
    }
  }
}

// What stands there while nothing can write; `training` is what /health says of it
function noModel(training) {
  if (!training) {
    const teach = linkButton({ text: t("write.none.teach"), href: address("teach"), kind: "primary" });
    return empty({ title: t("write.none"), text: t("write.none.text"), actions: [teach] });
  }
  const name = training.run ?? t("shell.first");
  const share = training.share === null ? "" : percent(training.share);
  const watching = training.run && linkButton({ text: t("write.none.watch"), href: address("run", training.run), kind: "primary" });
  return empty({ title: t("write.none.learning", { name }), text: t("write.none.wait", { share }), actions: watching ? [watching] : [] });
}
