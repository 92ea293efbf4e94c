// Light, dark, or as the system has it; and the colours for what draws itself.

const ORDER = ["auto", "light", "dark"];
const listeners = new Set();
const system = matchMedia("(prefers-color-scheme: dark)");

export const theme = () => document.documentElement.dataset.theme ?? "auto";

export function nextTheme() {
  const next = ORDER[(ORDER.indexOf(theme()) + 1) % ORDER.length];
  if (next === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = next;
  keep("theme", next === "auto" ? null : next);
  tell();
}

// fn is called when colours change; until the signal, if one is given, is aborted.
export function onTheme(fn, signal) {
  listeners.add(fn);
  signal?.addEventListener("abort", () => listeners.delete(fn));
}

// colour("accent") -> "rgb(…)", as canvas and SVG want it
export function colour(name) {
  const probe = document.body.appendChild(document.createElement("i"));
  probe.style.color = `var(--${name})`;
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

// A choice of whoever looks at the page; null forgets it.
export function keep(name, value) {
  try {
    if (value === null) localStorage.removeItem(name);
    else localStorage.setItem(name, value);
  } catch {
    // storage may be closed to us; the choice then lasts as long as the page
  }
}

export function kept(name) {
  try {
    return localStorage.getItem(name);
  } catch {
    return null;
  }
}

const tell = () => listeners.forEach((fn) => fn());
system.addEventListener("change", tell);
