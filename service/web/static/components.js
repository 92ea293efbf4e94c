// The parts that views are made of. Each gives an element, or an object with `element` where it has something to say later.

import { el, icon } from "./dom.js";
import { t } from "./texts.js";

let count = 0;
export const newId = (stem) => `${stem}-${++count}`;

// ── buttons ──

// kind: primary, plain, quiet (no border) or danger. Without text, `label` is its name and its hint.
export function button({ text = "", icon: drawing = null, label = null, kind = "plain", onclick = null, type = "button", ...rest }) {
  return el(
    "button",
    { type, class: `button ${kind}${text ? "" : " square"}`, "aria-label": label, title: text ? null : label, onclick, ...rest },
    drawing && icon(drawing),
    text && el("span", {}, text),
  );
}

// A link that looks like a button
export const linkButton = ({ text, href, kind = "plain", icon: drawing = null }) =>
  el("a", { class: `button ${kind}`, href }, drawing && icon(drawing), el("span", {}, text));

// ── fields ──

// A control with its label, a hint, and room for what is wrong with it: field.error("…"), field.error("") takes it away.
export function field({ label, control, hint = null, wide = false, aside = null }) {
  control.id ||= newId("field");
  const told = el("p", { class: "hint", id: newId("hint"), hidden: !hint }, hint ?? "");
  const wrong = el("p", { class: "wrong", id: newId("wrong"), hidden: true });
  control.setAttribute("aria-describedby", `${told.id} ${wrong.id}`);
  const element = el(
    "div",
    { class: `field${wide ? " wide" : ""}` },
    el("div", { class: "field-head" }, el("label", { for: control.id }, label), aside),
    control,
    told,
    wrong,
  );
  return {
    element,
    control,
    hint(text) {
      told.textContent = text;
      told.hidden = !text;
    },
    error(text) {
      wrong.textContent = text;
      wrong.hidden = !text;
      if (text) control.setAttribute("aria-invalid", "true");
      else control.removeAttribute("aria-invalid");
    },
  };
}

export const input = (props = {}) => el("input", { class: "input", autocomplete: "off", ...props });
export const textarea = (props = {}) => el("textarea", { class: "input", autocomplete: "off", ...props });

// options: [[value, text], …]
export function select({ options = [], value = null, ...props } = {}) {
  const node = el("select", { class: "input", ...props });
  setOptions(node, options, value);
  return node;
}

// Other options; the chosen one stays chosen where it is still among them. Nothing moves where nothing has changed.
export function setOptions(node, options, value = node.value) {
  const same =
    options.length === node.options.length &&
    options.every(([each, text], index) => node.options[index].value === each && node.options[index].text === text);
  if (!same) node.replaceChildren(...options.map(([each, text]) => new Option(text, each)));
  if (options.some(([each]) => each === value)) node.value = value;
}

// A slider with its value beside the label, and words under its ends. oninput(value) while it is moved.
export function slider({ label, min, max, step, value, format = String, ends = null, oninput = () => {} }) {
  const range = el("input", { type: "range", class: "slider", id: newId("slider"), min, max, step });
  const shown = el("output", { for: range.id });
  const paint = () => {
    range.style.setProperty("--fill", (range.value - min) / (range.max - min || 1));
    shown.textContent = format(Number(range.value));
    range.setAttribute("aria-valuetext", format(Number(range.value)));
  };
  range.addEventListener("input", () => (paint(), oninput(Number(range.value))));
  range.value = value;
  paint();
  const element = el(
    "div",
    { class: "field slider-field" },
    el("div", { class: "field-head" }, el("label", { for: range.id }, label), shown),
    range,
    ends &&
      el(
        "div",
        { class: "slider-ends", "aria-hidden": "true" },
        ends.map((end) => el("span", {}, end)),
      ),
  );
  return {
    element,
    input: range,
    get value() {
      return Number(range.value);
    },
    set value(given) {
      range.value = given;
      paint();
    },
    limit(most) {
      range.max = most;
      paint();
    },
  };
}

// A switch: on or off at once
export function toggle({ label, checked = false, onchange = () => {} }) {
  const box = el("input", { type: "checkbox", role: "switch", class: "switch", checked, onchange: () => onchange(box.checked) });
  return { element: el("label", { class: "toggle" }, box, el("span", {}, label)), input: box };
}

// One of a few, all in sight. options: [[value, text], …]
export function segmented({ label, options, value, onchange = () => {} }) {
  const name = newId("choice");
  const radios = options.map(([each]) =>
    el("input", { type: "radio", name, value: each, checked: each === value, onchange: () => onchange(each) }),
  );
  const element = el(
    "fieldset",
    { class: "segmented" },
    el("legend", {}, label),
    el(
      "div",
      {},
      options.map(([, text], index) => el("label", {}, radios[index], el("span", {}, text))),
    ),
  );
  return {
    element,
    get value() {
      return radios.find((radio) => radio.checked)?.value;
    },
    set value(given) {
      for (const radio of radios) radio.checked = radio.value === given;
    },
  };
}

// What most people need not see
export const more = (summary, ...children) =>
  el("details", { class: "more" }, el("summary", {}, icon("right"), el("span", {}, summary)), el("div", { class: "more-body" }, children));

// ── telling ──

// A sentence beside what it is about. kind: info, bad, good. show("") hides it.
export function notice({ kind = "info", text = "", action = null } = {}) {
  const words = el("p", {}, text);
  const element = el("div", { class: `notice ${kind}`, role: kind === "bad" ? "alert" : "status", hidden: !text }, words, action);
  return {
    element,
    show(sentence, as = kind) {
      element.className = `notice ${as}`;
      words.textContent = sentence;
      element.hidden = !sentence;
    },
  };
}

// A word in the corner that goes by itself; errors stay longer.
export function toast(text, kind = "good") {
  const node = el("p", { class: `toast ${kind}` }, icon(kind === "bad" ? "warning" : "check"), el("span", {}, text));
  document.querySelector("#toasts").append(node);
  setTimeout(() => node.remove(), kind === "bad" ? 9000 : 4000);
}

// What stands where there is nothing yet, with what to do about it
export const empty = ({ title, text, actions = [] }) =>
  el(
    "div",
    { class: "empty" },
    icon("loom"),
    el("h2", {}, title),
    el("p", {}, text),
    actions.length ? el("div", { class: "actions" }, actions) : null,
  );

// value: 0 to 1, or null where nobody can tell
export function progress({ label, value = null }) {
  const bar = el("progress", { class: "progress", max: 1, "aria-label": label });
  const set = (share) => (share === null ? bar.removeAttribute("value") : (bar.value = share));
  set(value);
  return { element: bar, set };
}

// [[name, value], …] as a list of facts; a value may be a node
export const factList = (pairs) =>
  el(
    "dl",
    { class: "facts" },
    pairs.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))),
  );

// Asks something in a window of its own; gives what the form's fields say, or null where it was closed. `body` are elements of a form.
export function dialog({ title, body, confirm, dismiss = t("cancel"), closable = true, kind = "primary" }) {
  const heading = el("h2", { id: newId("title") }, title);
  const form = el(
    "form",
    { method: "dialog" },
    heading,
    body,
    el(
      "div",
      { class: "actions" },
      button({ text: confirm, kind, type: "submit" }),
      closable && button({ text: dismiss, autofocus: kind === "danger", onclick: () => box.close() }),
    ),
  );
  const box = el("dialog", { class: "dialog", "aria-labelledby": heading.id }, form);
  document.body.append(box);
  return new Promise((resolve) => {
    let found = null;
    form.addEventListener("submit", () => (found = Object.fromEntries(new FormData(form))));
    box.addEventListener("cancel", (event) => !closable && event.preventDefault());
    box.addEventListener("close", () => {
      if (!found && !closable) return box.showModal();
      box.remove();
      resolve(found);
    });
    box.showModal();
  });
}

// Copies a text, says so, and where the browser does not allow it, shows it to be copied by hand.
export async function copy(text, done) {
  try {
    await navigator.clipboard.writeText(text);
    toast(done);
  } catch {
    const shown = textarea({ rows: 5, readonly: true });
    shown.value = text;
    const asked = dialog({
      title: t("copy.byhand"),
      body: [field({ label: t("copy.text"), control: shown }).element],
      confirm: t("close"),
      closable: false,
    });
    shown.select();
    await asked;
  }
}

// Saves a text as a file of that name.
export function save(name, text, type = "text/plain") {
  const href = URL.createObjectURL(new Blob([text], { type: `${type};charset=utf-8` }));
  el("a", { href, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(href), 1000);
}
