// Poll /health and /v1/models, and notify listeners of changes.

import { ask } from "./api.js";

const SLOW = 15_000; // milliseconds between two polls
const FAST = 2_000; // the same, during training or if the service does not answer

export const service = { health: null, models: [], error: null }; // models as in /v1/models; error: why `health` is out of date
const listeners = new Set();
let timer = null;
let modelsOf = ""; // the state of /health for which `models` was read
let polling = null;

// Calls fn(service) at each change, and at once if the state is known, until `signal` is aborted.
export function watchService(fn, signal) {
  listeners.add(fn);
  signal?.addEventListener("abort", () => listeners.delete(fn));
  if (service.health) fn(service);
}

// Polls at once, for example after a change.
export function refreshService() {
  polling ??= poll().finally(() => (polling = null));
  return polling;
}

async function poll() {
  clearTimeout(timer);
  const state = () => JSON.stringify([service.health, service.error?.message]);
  const before = state();
  try {
    let health = await ask("/health");
    if (health.models === undefined) {
      await ask("/v1/models"); // asks the user for the key, without which /health tells little; or says what is wrong with the database
      health = await ask("/health");
    }
    const stamp = JSON.stringify([health.models, health.training?.run, health.training?.step]);
    if (stamp !== modelsOf) service.models = health.models ? (await ask("/v1/models")).data : [];
    modelsOf = stamp;
    Object.assign(service, { health, error: null });
  } catch (error) {
    service.error = error;
  }
  if (before !== state()) listeners.forEach((fn) => fn(service));
  timer = setTimeout(refreshService, service.error || service.health?.training ? FAST : SLOW);
}

document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : refreshService()));
