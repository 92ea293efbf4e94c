// Form controls: labelled fields, sliders, switches and choices. Each is an element, or an object with `element`.

import { el, newId } from "../lib/dom.js";

// A control with its label, a hint and an error message: field.error("…") shows one, field.error("") removes it.
export function field({ label, control, hint = null, wide = false, aside = null }) {
  control.id ||= newId("field");
  const hinted = el("p", { class: "hint", id: newId("hint"), hidden: !hint }, hint ?? "");
  const wrong = el("p", { class: "wrong", id: newId("wrong"), hidden: true });
  control.setAttribute("aria-describedby", `${hinted.id} ${wrong.id}`);
  const element = el(
    "div",
    { class: `field${wide ? " wide" : ""}` },
    el("div", { class: "field-head" }, el("label", { for: control.id }, label), aside),
    control,
    hinted,
    wrong,
  );
  return {
    element,
    control,
    hint(text) {
      hinted.textContent = text;
      hinted.hidden = !text;
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

// Replaces the options if they differ, and keeps the chosen value if it is still among them.
export function setOptions(node, options, value = node.value) {
  const same =
    options.length === node.options.length &&
    options.every(([each, text], index) => node.options[index].value === each && node.options[index].text === text);
  if (!same) node.replaceChildren(...options.map(([each, text]) => new Option(text, each)));
  if (options.some(([each]) => each === value)) node.value = value;
}

// A slider with its value beside the label and `ends`, words below its ends. Calls oninput(value) while the user moves it.
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
    setMax(most) {
      range.max = most;
      paint();
    },
  };
}

// A switch that takes effect at once
export function toggle({ label, checked = false, onchange = () => {} }) {
  const box = el("input", { type: "checkbox", role: "switch", class: "switch", checked, onchange: () => onchange(box.checked) });
  return { element: el("label", { class: "toggle" }, box, el("span", {}, label)), input: box };
}

// Radio buttons in one row. options: [[value, text], …]
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


// Submits the form of a control on Ctrl+Enter or Cmd+Enter.
export const submitOnEnter = (control) =>
  control.addEventListener("keydown", (event) => event.key === "Enter" && (event.ctrlKey || event.metaKey) && control.form.requestSubmit());

// Unfolds the disclosure that hides an invalid field, so that the browser can show its message.
export const revealInvalid = (form) => form.addEventListener("invalid", (event) => event.target.closest("details")?.setAttribute("open", ""), true);
