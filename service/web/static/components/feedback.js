// Messages and states: notices, toasts, empty states, progress bars, lists of facts.

import { el, icon } from "../lib/dom.js";

// A message beside what it is about. kind: info, warn, bad. show("") hides it.
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

// A short message in the corner that disappears by itself; errors stay longer.
export function toast(text, kind = "good") {
  const node = el("p", { class: `toast ${kind}` }, icon(kind === "bad" ? "warning" : "check"), el("span", {}, text));
  document.querySelector("#toasts").append(node);
  setTimeout(() => node.remove(), kind === "bad" ? 9000 : 4000);
}

// An empty state: why there is nothing yet, and what to do about it
export const empty = ({ title, text, actions = [] }) =>
  el(
    "div",
    { class: "empty" },
    icon("loom"),
    el("h2", {}, title),
    el("p", {}, text),
    actions.length ? el("div", { class: "actions" }, actions) : null,
  );

// value: 0 to 1, or null if it is unknown
export function progress({ label, value = null }) {
  const bar = el("progress", { class: "progress", max: 1, "aria-label": label });
  const set = (share) => (share === null ? bar.removeAttribute("value") : (bar.value = share));
  set(value);
  return { element: bar, set };
}

// A list of [name, value] pairs; a value may be a node
export const factList = (pairs) =>
  el(
    "dl",
    { class: "facts" },
    pairs.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))),
  );
