// Switch between light, dark and the system's theme, and resolve colours for canvas and SVG.

import { savePreference } from "./preferences.js";

const ORDER = ["auto", "light", "dark"];
const listeners = new Set();
const notify = () => listeners.forEach((fn) => fn());
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", notify);

export const theme = () => document.documentElement.dataset.theme ?? "auto";

export function nextTheme() {
  const next = ORDER[(ORDER.indexOf(theme()) + 1) % ORDER.length];
  if (next === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = next;
  savePreference("theme", next === "auto" ? null : next);
  notify();
}

// Calls fn when the colours change, until `signal` is aborted.
export function onTheme(fn, signal) {
  listeners.add(fn);
  signal?.addEventListener("abort", () => listeners.delete(fn));
}

// colour("accent") -> "rgb(…)"
export function colour(name) {
  const probe = document.body.appendChild(document.createElement("i"));
  probe.style.color = `var(--${name})`;
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}
