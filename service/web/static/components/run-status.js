// Describe a run in short: its state as a badge, its network, its loss.

import { t } from "../i18n/i18n.js";
import { el } from "../lib/dom.js";
import { duration, number, percent } from "../lib/format.js";

export const JOBS = "/v1/fine_tuning/jobs";
export const ENDED = ["succeeded", "failed", "cancelled"];

// The state, or the requested state until the run has reached it
export const stateOf = ({ meta: { state, wanted } }) => (state === "running" && wanted ? `becoming.${wanted}` : state);

export const badge = (job) => el("span", { class: `badge ${job.meta.state}` }, t(`state.${stateOf(job)}`));

// The cell and size of the network; the size may not be known before the first step.
export const networkOf = ({ meta: { model_config: model, step } }) => (step ? networkName(model) : model.cell.toUpperCase());
export const networkName = ({ cell, num_layers: layers, hidden_size: size }) => `${cell.toUpperCase()} ${layers}×${size}`;

// value: bits per character; scale: bits per character of one nat per symbol
export const lossText = (value, scale) => t("run.loss", { bits: number(value, 3), nats: number(value / scale, 3) });

export function summaryOf({ meta, error }) {
  if (meta.state === "failed") return error?.message ?? "";
  const parts = [
    meta.state === "running" && meta.share !== null && percent(meta.share),
    meta.bits_per_char && t("model.loss", { bits: number(meta.bits_per_char, 2) }),
    meta.seconds >= 1 && duration(meta.seconds),
  ];
  return parts.filter(Boolean).join(" · ");
}
