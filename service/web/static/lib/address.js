// Build and parse addresses: the part of the URL behind #, as in #run/NAME?x=1.

// parseAddress("#run/NAME?x=1") -> { view: "run", rest: "NAME", params }
export function parseAddress(hash) {
  const [path, query = ""] = splitAt(hash.replace(/^#/, ""), "?");
  const [view, rest = ""] = splitAt(path, "/");
  return { view, rest: decoded(rest), params: new URLSearchParams(query) };
}

const splitAt = (text, mark) => (text.includes(mark) ? [text.slice(0, text.indexOf(mark)), text.slice(text.indexOf(mark) + 1)] : [text]);

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

// address("run", "NAME", { x: 1 }) -> "#run/NAME?x=1"
export function address(view, rest = "", params = {}) {
  const query = new URLSearchParams(params).toString();
  return `#${view}${rest && `/${encodeURIComponent(rest).replaceAll("%2C", ",")}`}${query && `?${query}`}`;
}

export function navigate(view, rest = "") {
  location.hash = address(view, rest);
}

// ── addresses of generated texts ── all that is needed to write exactly these texts again
//
// #write?model=RUN@STEP&prompt=…&seed=1&t=0:0.8,120:1.2&length=600; t (temperature) and length repeat for texts side by side.

// Settings that are left out at the value that turns them off. Lengths are in symbols.
const FILTERS = { top_k: 0, top_p: 1, min_p: 0, max_copy: null };

// request: { model, prompt, seed, stop } and optionally the FILTERS; texts: [{ schedule: [[position, temperature], …], length }, …]
export function writeAddress(request, texts) {
  const params = new URLSearchParams({ model: request.model, prompt: request.prompt, seed: request.seed });
  for (const [name, off] of Object.entries(FILTERS)) if ((request[name] ?? off) !== off) params.append(name, request[name]);
  for (const each of request.stop) params.append("stop", each);
  for (const { schedule, length } of texts) {
    params.append("t", schedule.map(([position, value]) => `${position}:${value}`).join(","));
    params.append("length", length);
  }
  return address("write", "", params);
}

// The inverse: { request, texts }, or null if the parameters do not describe texts.
export function parseWriteAddress(params) {
  if (!params.has("seed") || !params.has("model")) return null;
  const request = {
    model: params.get("model"),
    prompt: params.get("prompt") ?? "",
    seed: Number(params.get("seed")),
    stop: params.getAll("stop"),
  };
  for (const [name, off] of Object.entries(FILTERS)) request[name] = params.has(name) ? Number(params.get(name)) : off;
  const lengths = params.getAll("length").map(Number);
  const texts = params.getAll("t").map((text, index) => ({
    schedule: text.split(",").map((pair) => pair.split(":").map(Number)),
    length: lengths[index] ?? lengths[0] ?? 600,
  }));
  const numbers = [
    request.seed,
    ...Object.entries(FILTERS).map(([name, off]) => (request[name] === off ? 0 : request[name])),
    ...texts.flatMap(({ schedule, length }) => [length, ...schedule.flat()]),
  ];
  return texts.length && numbers.every(Number.isFinite) ? { request, texts } : null;
}
