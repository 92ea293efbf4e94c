// What the service says of itself: looked at every few seconds, and told to whoever watches.

import { ask } from "./api.js";

const SLOW = 15_000; // milliseconds between two looks; quicker while something is trained or the service does not answer
const QUICK = 2_000;

export const facts = { health: null, models: [], error: null }; // models as /v1/models lists them; error: why health is old
const listeners = new Set();
let timer = null;
let seen = "";
let looking = null;

// fn(facts) now, where something is known, and at each change; until the signal, if one is given, is aborted.
export function watch(fn, signal) {
  listeners.add(fn);
  signal?.addEventListener("abort", () => listeners.delete(fn));
  if (facts.health) fn(facts);
}

// Looks at once, as after something was changed.
export function look() {
  looking ??= once().finally(() => (looking = null));
  return looking;
}

async function once() {
  clearTimeout(timer);
  const before = JSON.stringify([facts.health, facts.error?.message]);
  try {
    const health = await ask("/health");
    const stamp = JSON.stringify([health.models, health.training?.run, health.training?.step]);
    if (stamp !== seen) facts.models = health.models ? (await ask("/v1/models")).data : [];
    seen = stamp;
    Object.assign(facts, { health, error: null });
  } catch (error) {
    facts.error = error;
  }
  if (before !== JSON.stringify([facts.health, facts.error?.message])) listeners.forEach((fn) => fn(facts));
  timer = setTimeout(look, facts.error || facts.health?.training ? QUICK : SLOW);
}

document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : look()));
