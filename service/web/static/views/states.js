// The states of a run in words and colours, and what is told of it in a line.

import { el } from "../dom.js";
import { t } from "../texts.js";
import { duration, number, percent } from "../words.js";

// Its state, or what it will soon be, since somebody asked for that.
export function stateOf({ status, meta }) {
  return status === "running" && meta.wanted ? `becoming.${meta.wanted}` : status;
}

export const badge = (job) => el("span", { class: `badge ${job.status}` }, t(`state.${stateOf(job)}`));

// Its network; until a run has begun, its size may not have been chosen.
export const network = ({ meta: { model_config: model, step } }) => (step ? `${model.cell.toUpperCase()} ${model.num_layers}×${model.hidden_size}` : model.cell.toUpperCase());

// Bits per character, with nats behind
export const lossWords = (value, scale) => t("run.loss", { bits: number(value, 3), nats: number(value / scale, 3) });

// A line about a job in a list
export function jobWords({ status, meta, error }) {
  if (status === "failed") return error?.message ?? "";
  const told = [meta.bits_per_char && t("write.mean", { bits: number(meta.bits_per_char, 2) }), meta.seconds >= 1 && duration(meta.seconds)];
  if (status === "running" && meta.share !== null) told.unshift(percent(meta.share));
  return told.filter(Boolean).join(" · ");
}
