// Call the HTTP API: JSON, event streams and uploads, with the key; errors are raised as ApiError.

import { t } from "../i18n/i18n.js";

const KEY = "key";

class ApiError extends Error {
  constructor(message, { status = 0, type = "", param = null, code = "", wait = null, encodings = null, columns = null } = {}) {
    super(message);
    // wait: seconds of Retry-After, or null; encodings: those that fit a file that could not be decoded, or null;
    // columns: of a table, one of which must be chosen, or null
    Object.assign(this, { name: "ApiError", status, type, param, code, wait, encodings, columns });
  }
}

// ── the key ── from the address (/#key=…) or from the user; kept in this tab's sessionStorage

const key = () => sessionStorage.getItem(KEY);

// Moves a key from the address to the storage, so that it stays neither in the history nor in a copied address. -> whether there was one
export function takeKey() {
  const found = new URLSearchParams(location.hash.slice(1)).get("key");
  if (!found) return false;
  sessionStorage.setItem(KEY, found);
  history.replaceState(null, "", location.pathname);
  return true;
}

// Sets the function that asks the user: fn(reason) -> a promise of the key
let promptForKey = () => Promise.reject(new ApiError(t("error.key")));
export const onKeyNeeded = (fn) => (promptForKey = fn);
let prompting = null;

// Headers cannot carry other characters. Usually the keyboard was set to another language.
const sendable = (text) => /^[!-~]+$/.test(text);

async function askForKey(tried, reason) {
  if (key() !== tried) return; // another request has already asked
  prompting ??= promptForKey(tried ? reason : "").finally(() => (prompting = null));
  sessionStorage.setItem(KEY, await prompting);
}

async function usableKey() {
  while (key() && !sendable(key())) await askForKey(key(), t("error.key.characters"));
  return key();
}

const withKey = (headers, used) => (used ? { ...headers, Authorization: `Bearer ${used}` } : headers);

// ── requests ──

// The service is where this file comes from: behind a reverse proxy it may be below a path.
const BASE = new URL("../..", import.meta.url).href;
const urlOf = (path) => BASE + path.slice(1);

// Gives the response if it is not an error. Asks for a key on status 401. Raises ApiError, and AbortError after an abort.
async function request(path, { method = "GET", body, headers = {}, signal } = {}) {
  const json = body !== undefined && !(body instanceof FormData || body instanceof Blob);
  const sent = { ...headers, ...(json && { "Content-Type": "application/json" }) };
  for (;;) {
    const used = await usableKey();
    let answer;
    try {
      answer = await fetch(urlOf(path), { method, signal, headers: withKey(sent, used), body: json ? JSON.stringify(body) : body });
    } catch (error) {
      throw error.name === "AbortError" ? error : new ApiError(t("error.unreachable"), { code: "unreachable" });
    }
    if (answer.ok) return answer;
    const failure = toError(answer.status, await answer.text(), answer.headers.get("Retry-After"));
    if (answer.status !== 401) throw failure;
    await askForKey(used, failure.message);
  }
}

export const ask = async (path, options) => (await request(path, options)).json();

const LONGEST_LINE = 2 ** 20; // characters

// The first line of a text, whose rest is not received
export async function firstLine(path, options) {
  const reader = (await request(path, options)).body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (let part = {}; !part.done && !text.includes("\n") && text.length < LONGEST_LINE; text += part.value ?? "") part = await reader.read();
  reader.cancel().catch(() => {});
  return text.split("\n", 1)[0];
}

function toError(status, text, wait) {
  let error = {};
  try {
    error = JSON.parse(text).error ?? {};
  } catch {
    // A proxy may answer in its own format.
  }
  return new ApiError(error.message ?? t("error.status", { status: String(status) }), { ...error, status, wait: wait && Number(wait) });
}

// ── events ──

// Yields the events of a stream as { id, data } with `data` parsed, until [DONE]. Raises the error of an error event, and ApiError with
// the code "cut" if the stream ends without [DONE]. Calls onopen() when the response begins.
export async function* events(path, { onopen = () => {}, ...options } = {}) {
  const answer = await request(path, options);
  onopen();
  if (answer.status === 204) return; // the stream had already ended
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let whole = false;
  try {
    for (;;) {
      let part;
      try {
        part = await reader.read();
      } catch (error) {
        throw error.name === "AbortError" ? error : new ApiError(t("error.cut"), { code: "cut" });
      }
      if (part.done && whole) return;
      if (part.done) throw new ApiError(t("error.cut"), { code: "cut" });
      const blocks = (rest + part.value).split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) {
        const lines = block.split("\n").map((line) => line.match(/^(\w*): ?(.*)$/s) ?? []);
        const data = lines
          .filter(([, name]) => name === "data")
          .map(([, , value]) => value)
          .join("\n");
        whole ||= data === "[DONE]"; // read to the end, so that the connection can be reused
        if (!data || whole) continue; // without data it is a comment, sent to keep the connection alive
        const found = JSON.parse(data);
        if (found.error?.message && found.error.type) throw new ApiError(found.error.message, found.error);
        yield { id: lines.find(([, name]) => name === "id")?.[2] ?? null, data: found };
      }
    }
  } finally {
    if (!whole) reader.cancel().catch(() => {}); // so that the service stops writing
  }
}

const TEMPORARY = ["cut", "unreachable", "service_stopping"];

// Like events(), but reconnects after a cut and continues after the last event (Last-Event-ID). Calls oncut(error) at each cut and
// oncut(null) after reconnecting.
export async function* follow(path, { after = null, signal, oncut = () => {} } = {}) {
  let last = after;
  for (let failures = 0; ; failures++) {
    try {
      for await (const event of events(path, { signal, onopen: () => failures && oncut(null), headers: last === null ? {} : { "Last-Event-ID": last } })) {
        failures = 0;
        last = event.id ?? last;
        yield event;
      }
      return;
    } catch (error) {
      const temporary = TEMPORARY.includes(error.code) || error.status === 429 || error.status >= 500;
      if (!temporary || signal?.aborted) throw error;
      oncut(error);
      await pause(error.wait ? error.wait * 1000 : Math.min(10_000, 500 * 2 ** failures), signal);
    }
  }
}

export const pause = (milliseconds, signal) =>
  new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal?.addEventListener("abort", () => (clearTimeout(timer), reject(signal.reason)), { once: true });
  });

// ── uploads ──

// Posts a form and reports progress: onprogress(share, bytes sent). Uses XMLHttpRequest because fetch reports no upload progress.
export async function upload(path, form, { signal, onprogress = () => {} } = {}) {
  for (;;) {
    const used = await usableKey();
    const answer = await new Promise((resolve, reject) => {
      const sending = new XMLHttpRequest();
      sending.open("POST", urlOf(path));
      for (const [name, value] of Object.entries(withKey({}, used))) sending.setRequestHeader(name, value);
      sending.upload.onprogress = (event) => event.lengthComputable && onprogress(event.loaded / event.total, event.loaded);
      sending.onload = () => resolve(sending);
      sending.onerror = () => reject(new ApiError(t("error.unreachable"), { code: "unreachable" }));
      sending.onabort = () => reject(new DOMException("", "AbortError"));
      signal?.addEventListener("abort", () => sending.abort(), { once: true });
      sending.send(form);
    });
    if (answer.status < 400) return JSON.parse(answer.responseText);
    const failure = toError(answer.status, answer.responseText, answer.getResponseHeader("Retry-After"));
    if (answer.status !== 401) throw failure;
    await askForKey(used, failure.message);
  }
}
