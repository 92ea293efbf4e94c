// The API, as any client could use it: JSON, streams of events, uploads, the key, and errors as sentences.

import { t } from "./texts.js";

const KEY = "key";

export class ApiError extends Error {
  constructor(message, { status = 0, type = "", param = null, code = "", wait = null } = {}) {
    super(message);
    Object.assign(this, { name: "ApiError", status, type, param, code, wait }); // wait: seconds, where the service asks for it
  }
}

// ── the key ── taken from the address (/#key=…) or asked for; kept for this tab

export const key = () => sessionStorage.getItem(KEY);

// Whether the address had a key. It is taken out of it, so that it is neither in the history nor in a copied address.
export function takeKey() {
  const found = new URLSearchParams(location.hash.slice(1)).get("key");
  if (!found) return false;
  sessionStorage.setItem(KEY, found);
  history.replaceState(null, "", location.pathname);
  return true;
}

// What asks a person for a key, and is told why; the shell sets it.
let door = () => Promise.reject(new ApiError(t("error.key")));
export const setDoor = (fn) => (door = fn);
let atDoor = null;

// Headers have no room for other characters; a keyboard of another language is the usual reason.
const sendable = (text) => /^[!-~]+$/.test(text);

async function askForKey(tried, why) {
  if (key() !== tried) return; // it has come meanwhile
  atDoor ??= door(tried ? why : "").finally(() => (atDoor = null));
  sessionStorage.setItem(KEY, await atDoor);
}

async function usableKey() {
  while (key() && !sendable(key())) await askForKey(key(), t("error.key.characters"));
  return key();
}

const withKey = (headers, shown) => (shown ? { ...headers, Authorization: `Bearer ${shown}` } : headers);

// ── requests ──

// A response that is not an error. Waits where a key is needed until there is one. Raises ApiError, and AbortError after an abort.
export async function request(path, { method = "GET", body, headers = {}, signal } = {}) {
  const json = body !== undefined && !(body instanceof FormData || body instanceof Blob);
  const sent = { ...headers, ...(json && { "Content-Type": "application/json" }) };
  for (;;) {
    const shown = await usableKey();
    let answer;
    try {
      answer = await fetch(path, { method, signal, headers: withKey(sent, shown), body: json ? JSON.stringify(body) : body });
    } catch (error) {
      throw error.name === "AbortError" ? error : new ApiError(t("error.unreachable"), { code: "unreachable" });
    }
    if (answer.ok) return answer;
    const failure = await failed(answer.status, await answer.text(), answer.headers.get("Retry-After"));
    if (answer.status !== 401) throw failure;
    await askForKey(shown, failure.message);
  }
}

export const ask = async (path, options) => (await request(path, options)).json();

function failed(status, text, wait) {
  let error = {};
  try {
    error = JSON.parse(text).error ?? {};
  } catch {
    // what stands between us and the service may answer in its own way
  }
  return new ApiError(error.message ?? t("error.status", { status: String(status) }), { ...error, status, wait: wait && Number(wait) });
}

// ── events ──

// The events of a stream, as { id, data }; `data` is parsed. Ends at [DONE]; an event with an error raises it.
// Raises ApiError with the code "cut" where the stream ends before that. onopen() when it begins.
export async function* events(path, { onopen = () => {}, ...options } = {}) {
  const answer = await request(path, options);
  onopen();
  if (answer.status === 204) return; // it had ended
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
        whole ||= data === "[DONE]"; // and what is left is read, so that the connection can be used again
        if (!data || whole) continue; // without data it is a comment, which says that the stream is alive
        const found = JSON.parse(data);
        if (found.error?.message && found.error.type) throw new ApiError(found.error.message, found.error);
        yield { id: lines.find(([, name]) => name === "id")?.[2] ?? null, data: found };
      }
    }
  } finally {
    if (!whole) reader.cancel().catch(() => {}); // so that the service hears that nobody reads any more
  }
}

const PASSING = ["cut", "unreachable", "service_stopping"];

// The same for a stream that can be taken up again: after a cut it goes on behind the last event, for as long as it takes.
// oncut(error) at each cut, oncut(null) when it is there again.
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
      const passing = PASSING.includes(error.code) || error.status === 429 || error.status >= 500;
      if (!passing || signal?.aborted) throw error;
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

// Sends a form and tells how far it is: onprogress(share, bytes sent). fetch cannot tell that, so it is an XMLHttpRequest.
export async function upload(path, form, { signal, onprogress = () => {} } = {}) {
  for (;;) {
    const shown = await usableKey();
    const answer = await new Promise((resolve, reject) => {
      const sending = new XMLHttpRequest();
      sending.open("POST", path);
      for (const [name, value] of Object.entries(withKey({}, shown))) sending.setRequestHeader(name, value);
      sending.upload.onprogress = (event) => event.lengthComputable && onprogress(event.loaded / event.total, event.loaded);
      sending.onload = () => resolve(sending);
      sending.onerror = () => reject(new ApiError(t("error.unreachable"), { code: "unreachable" }));
      sending.onabort = () => reject(new DOMException("", "AbortError"));
      signal?.addEventListener("abort", () => sending.abort(), { once: true });
      sending.send(form);
    });
    if (answer.status < 400) return JSON.parse(answer.responseText);
    const failure = failed(answer.status, answer.responseText, answer.getResponseHeader("Retry-After"));
    if (answer.status !== 401) throw failure;
    await askForKey(shown, failure.message);
  }
}
