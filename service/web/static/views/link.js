// The address of texts: everything that is needed to write exactly them again.
//
// #write?model=RUN@STEP&prompt=…&seed=1&t=0:0.8,120:1.2&length=600, where t and length are repeated for texts side by side.

import { address } from "../router.js";

// Settings that are left out where they do nothing, and how they are read. Lengths are in symbols.
const NUMBERS = { top_k: 0, top_p: 1, min_p: 0, max_copy: null };

// request: { model, prompt, seed, top_k, …, stop }, of which those of NUMBERS may be missing; texts: [{ course: [[position, value], …], length }, …]
export function linkOf(request, texts) {
  const params = new URLSearchParams({ model: request.model, prompt: request.prompt, seed: request.seed });
  for (const [name, nothing] of Object.entries(NUMBERS)) if ((request[name] ?? nothing) !== nothing) params.append(name, request[name]);
  for (const each of request.stop) params.append("stop", each);
  for (const { course, length } of texts) {
    params.append("t", course.map(([position, value]) => `${position}:${value}`).join(","));
    params.append("length", length);
  }
  return address("write", "", params);
}

// The same backwards: { request, texts }, or null where it is no such address.
export function readLink(params) {
  if (!params.has("seed") || !params.has("model")) return null;
  const request = {
    model: params.get("model"),
    prompt: params.get("prompt") ?? "",
    seed: Number(params.get("seed")),
    stop: params.getAll("stop"),
  };
  for (const [name, nothing] of Object.entries(NUMBERS)) request[name] = params.has(name) ? Number(params.get(name)) : nothing;
  const lengths = params.getAll("length").map(Number);
  const texts = params.getAll("t").map((text, index) => ({
    course: text.split(",").map((pair) => pair.split(":").map(Number)),
    length: lengths[index] ?? lengths[0] ?? 600,
  }));
  const numbers = [
    request.seed,
    ...Object.entries(NUMBERS).map(([name, nothing]) => (request[name] === nothing ? 0 : request[name])),
    ...texts.flatMap(({ course, length }) => [length, ...course.flat()]),
  ];
  return texts.length && numbers.every(Number.isFinite) ? { request, texts } : null;
}

// The part of a course that a text of so many symbols has seen, as [[position, value], …]
export function trimmed(course, symbols) {
  const seen = course.filter(([position], index) => !index || position < symbols);
  return seen.filter(([, value], index) => !index || value !== seen[index - 1][1]);
}
