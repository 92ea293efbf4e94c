// Write: the form, and one or more texts side by side, each at its own temperature.

import { button, linkButton } from "../../components/buttons.js";
import { copy } from "../../components/dialog.js";
import { empty, toast } from "../../components/feedback.js";
import { toggle } from "../../components/fields.js";
import { surpriseLegend } from "../../components/tint-scale.js";
import { t } from "../../i18n/i18n.js";
import "../../i18n/write.js";
import { address, parseWriteAddress, writeAddress } from "../../lib/address.js";
import { ask } from "../../lib/api.js";
import { el, scrollToIfBelow } from "../../lib/dom.js";
import { percent } from "../../lib/format.js";
import { preference, savePreference } from "../../lib/preferences.js";
import { service, watchService } from "../../lib/service.js";
import { GenerationPanel } from "./generation-panel.js";
import { LONG } from "./generation-stream.js";
import { PromptForm } from "./prompt-form.js";
import { RecordList } from "./record-list.js";

const MAX_TEXTS = 4; // side by side
const FIRST = 0.8; // the temperature of the first text
const OTHERS = [1.2, 0.4, 0.8, 1.6, 1]; // temperatures of further texts: the first that is not taken yet
const DRAFT = "write.draft"; // in sessionStorage: the form and the temperatures, for a reload

export function mount(root, { signal }) {
  const view = new Write();
  root.append(el("h1", { class: "unseen", tabindex: -1 }, t("nav.write")), view.nothing, view.element);
  watchService((service) => view.setService(service), signal);
  return { enter: (route) => view.enter(route) };
}

class Write {
  constructor() {
    this.panels = [];
    this.tinted = true;
    this.marked = preference("copied") !== "off";
    this.slow = !matchMedia("(prefers-reduced-motion: reduce)").matches; // leaves time to move the temperature
    this.shown = ""; // the address of the shown texts
    this.link = null; // the link to follow as soon as models are known
    this.nothing = el("div", { hidden: true });
    this.form = new PromptForm({
      onwrite: (changes) => this.write(changes),
      onstop: () => this.stop(),
      onmodel: (meta) => this.records.setModel(meta),
    });
    this.records = new RecordList({ request: () => ({ ...this.form.request(), temperature: this.panels[0].temperature }) });
    this.element = el("div", { class: "write-grid" }, this.form.element, this.#desk());
    this.#add(FIRST);
    this.#restoreDraft();
    addEventListener("pagehide", () => this.#saveDraft());
    document.addEventListener("keydown", (event) => event.key === "Escape" && this.writing && this.stop());
  }

  get writing() {
    return this.panels.some((panel) => panel.writing);
  }

  setService({ models, health }) {
    this.element.hidden = !models.length;
    this.nothing.hidden = models.length > 0;
    if (!models.length) return this.nothing.replaceChildren(noModel(health.training));
    this.form.setModels(models);
    if (this.link) this.#follow(this.link);
  }

  // ── the panels ──

  #desk() {
    this.desk = el("div", { class: "sheets" });
    const tint = toggle({ label: t("write.tint"), checked: true, onchange: (on) => this.#tint(on) });
    this.scale = surpriseLegend();
    this.adder = button({ text: t("write.add"), icon: "plus", onclick: () => this.#add() });
    const mark = toggle({ label: t("novelty.mark"), checked: this.marked, onchange: (on) => this.#mark(on) });
    const slow = toggle({ label: t("write.slowly"), checked: this.slow, onchange: (on) => this.#pace(on) });
    const bar = el("div", { class: "desk-bar" }, el("div", { class: "desk-tint" }, tint.element, this.scale), mark.element, slow.element, this.adder);
    return el("div", { class: "desk" }, this.records.element, bar, this.desk);
  }

  #tint(on) {
    this.tinted = on;
    this.scale.classList.toggle("off", !on);
    for (const panel of this.panels) panel.tint(on);
  }

  #mark(on) {
    this.marked = on;
    savePreference("copied", on ? null : "off");
    for (const panel of this.panels) panel.mark(on);
  }

  #pace(on) {
    this.slow = on;
    for (const panel of this.panels) panel.slow = on;
  }

  #add(temperature = this.#another()) {
    const act = {
      copy: (panel) => copy(panel.whole, t("write.copied")),
      save: (panel) => download(panel.fileName, panel.whole),
      again: (panel) => this.#again(panel),
      link: (panel) => this.#link(panel),
      remove: (panel) => this.#remove(panel),
    };
    const panel = new GenerationPanel({ temperature, tinted: this.tinted, marked: this.marked, slow: this.slow, act, changed: () => this.#changed() });
    const pattern = this.panels.find((each) => each.request);
    this.panels.push(panel);
    this.desk.append(panel.element);
    this.#count();
    // A further text repeats the request of the others, at its own temperature.
    if (pattern) panel.write({ ...pattern.request });
  }

  #another() {
    const taken = this.panels.map((panel) => panel.temperature);
    return OTHERS.find((value) => taken.every((each) => Math.abs(each - value) > 0.15)) ?? 0.6;
  }

  #remove(panel) {
    panel.stop();
    this.panels = this.panels.filter((each) => each !== panel);
    panel.element.remove();
    this.#count();
    this.#changed();
    this.adder.focus();
  }

  #count() {
    const count = this.panels.length;
    this.desk.classList.toggle("many", count > 1);
    this.adder.disabled = count >= MAX_TEXTS;
    this.panels.forEach((panel, index) => {
      panel.remover.hidden = count === 1;
      panel.title.textContent = count === 1 ? t("write.text") : t("write.text.of", { number: index + 1, count });
    });
  }

  // ── writing ──

  async write(changes) {
    const request = { ...this.form.request(), ...changes };
    if (this.slow && request.length > LONG) toast(t("write.slowly.long"));
    const writing = this.panels.map((panel) => panel.write(request));
    scrollToIfBelow(this.desk);
    await Promise.all(writing);
  }

  stop() {
    for (const panel of this.panels) panel.stop();
  }


  #changed() {
    this.form.busy(this.writing);
    const written = this.panels.filter((panel) => panel.outcome?.checkpoint);
    if (this.writing || !written.length) return;
    const request = { ...written[0].request, model: written[0].outcome.checkpoint };
    this.shown = writeAddress(
      request,
      written.map((panel) => panel.recipe),
    );
    if (location.hash.startsWith("#write") || !location.hash) history.replaceState(null, "", this.shown);
  }

  #again(panel) {
    this.form.seed = panel.request.seed;
    toast(t("write.seed.kept", { seed: String(panel.request.seed) }));
    const { schedule, length } = panel.recipe;
    panel.write({ ...panel.request, length }, schedule);
  }

  // Pins the checkpoint before copying the link, because the link needs it.
  async #link(panel) {
    const checkpoint = panel.outcome.checkpoint;
    const link = new URL(writeAddress({ ...panel.request, model: checkpoint }, [panel.recipe]), location.href).href;
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
    const found = parseWriteAddress(params);
    if (!found && params.has("t")) toast(t("write.link.broken"), "bad");
    if (!found || location.hash === this.shown) return;
    this.shown = location.hash;
    this.link = found;
    if (service.models.length) this.#follow(found);
  }

  // Writes the texts of a link.
  #follow({ request, texts }) {
    this.link = null;
    this.stop();
    this.form.fill({ ...request, seed: "", length: texts[0].length });
    const count = Math.min(MAX_TEXTS, texts.length);
    while (this.panels.length > count) this.#remove(this.panels.at(-1));
    for (const panel of this.panels) panel.request = null; // so that an added panel does not repeat it
    while (this.panels.length < count) this.#add();
    this.panels.forEach((panel, index) => panel.write({ ...request, length: texts[index].length }, texts[index].schedule));
  }

  // ── reload ──

  #saveDraft() {
    const draft = { ...this.form.request(), seed: this.form.seed };
    sessionStorage.setItem(DRAFT, JSON.stringify({ draft, temperatures: this.panels.map((panel) => panel.temperature) }));
  }

  #restoreDraft() {
    try {
      const { draft, temperatures } = JSON.parse(sessionStorage.getItem(DRAFT));
      this.form.fill(draft);
      this.panels[0].slider.value = temperatures[0];
      for (const each of temperatures.slice(1, MAX_TEXTS)) this.#add(each);
    } catch {
      // There is no draft.
    }
  }
}

// Downloads a text as a file.
function download(name, text) {
  const href = URL.createObjectURL(new Blob([text], { type: "text/plain;charset=utf-8" }));
  el("a", { href, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(href), 1000);
}

// The empty state without models; training: as in /health
function noModel(training) {
  if (!training) {
    const teach = linkButton({ text: t("none.teach"), href: address("teach"), kind: "primary" });
    return empty({ title: t("none.title"), text: t("none.text"), actions: [teach] });
  }
  const name = training.run ?? t("shell.first");
  const share = training.share === null ? "" : percent(training.share);
  const watching = training.run && linkButton({ text: t("none.watch"), href: address("run", training.run), kind: "primary" });
  return empty({ title: t("none.learning", { name }), text: t("none.wait", { share }), actions: watching ? [watching] : [] });
}
