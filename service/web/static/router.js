// Which view is shown: the address behind # tells. #run/NAME?x=1 is { view: "run", rest: "NAME", params }.

import { el } from "./dom.js";
import { t } from "./texts.js";

// A view is a module with `mount(root, { signal }) -> { enter(route), leave() }`, both optional. Its styles are in a file of its name,
// and in those that `styles` names beside it.
// One that is kept is only hidden while another is shown; the others are gone, and their signal is aborted.
const VIEWS = {
  write: { load: () => import("./views/write.js"), keep: true },
  teach: { load: () => import("./views/teach.js"), keep: true, styles: ["learning"] },
  run: { load: () => import("./views/run.js"), under: "teach", styles: ["learning", "../plot"] },
  compare: { load: () => import("./views/compare.js"), under: "teach", styles: ["learning", "../plot"] },
  inside: { load: () => import("./views/inside.js"), keep: true, styles: ["write"] },
};
const HOME = "write";

const mounted = new Map();
let outlet = null;
let failed = () => {};
let current = null;
let shown = ""; // the address of what is there
let turn = 0;

export function parse(hash) {
  const [path, query = ""] = split(hash.replace(/^#/, ""), "?");
  const [view, rest = ""] = split(path, "/");
  return { view: view in VIEWS ? view : HOME, rest: decoded(rest), params: new URLSearchParams(query) };
}

const split = (text, mark) => (text.includes(mark) ? [text.slice(0, text.indexOf(mark)), text.slice(text.indexOf(mark) + 1)] : [text]);

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

// go("run", "NAME", { x: 1 })
export function go(view, rest = "", params = {}) {
  location.hash = address(view, rest, params);
}

export function address(view, rest = "", params = {}) {
  const query = new URLSearchParams(params).toString();
  return `#${view}${rest && `/${encodeURIComponent(rest).replaceAll("%2C", ",")}`}${query && `?${query}`}`;
}

// onfailed(error): a view could not be loaded; the one that was there stays, and so does its address, so that one can try again.
export function start(main, onfailed) {
  [outlet, failed] = [main, onfailed];
  addEventListener("hashchange", () => show(true));
  return show(false);
}

async function show(moved) {
  const mine = ++turn;
  try {
    await open(parse(location.hash), moved, mine);
    if (mine === turn) shown = location.hash;
  } catch (error) {
    if (mine !== turn) return;
    if (current) history.replaceState(null, "", shown || location.pathname);
    failed(error);
  }
}

async function open(route, moved, mine) {
  const settings = VIEWS[route.view];
  let view = mounted.get(route.view);
  if (!view) {
    const [module] = await Promise.all([settings.load(), ...[...(settings.styles ?? []), route.view].map(styles)]);
    if (mine !== turn) return; // somebody was quicker
    view = mounted.get(route.view) ?? make(route.view, module);
  }
  const changed = current !== view;
  if (current && changed) leave(current);
  current = view;
  view.root.hidden = false;
  mark(settings.under ?? route.view);
  document.title = `${t(`nav.${settings.under ?? route.view}`)} · Charloom`;
  view.enter?.(route);
  if (moved && changed) {
    scrollTo({ top: 0, behavior: "instant" });
    view.root.querySelector("h1")?.focus({ preventScroll: true });
  }
}

function make(name, module) {
  const root = el("div", { class: `view ${name}` });
  const end = new AbortController();
  outlet.append(root);
  const view = { ...module.mount(root, { signal: end.signal }), name, root, end };
  mounted.set(name, view);
  return view;
}

function leave(view) {
  view.leave?.();
  if (VIEWS[view.name].keep) {
    view.root.hidden = true;
    return;
  }
  view.end.abort();
  view.root.remove();
  mounted.delete(view.name);
}

function styles(name) {
  const href = new URL(`./views/${name}.css`, import.meta.url).href;
  const found = [...document.styleSheets].some((sheet) => sheet.href === href);
  if (found) return Promise.resolve();
  return new Promise((resolve) => {
    const link = el("link", { rel: "stylesheet", href, onload: resolve, onerror: resolve });
    document.head.append(link);
  });
}

function mark(name) {
  for (const link of document.querySelectorAll(".tabs a")) {
    if (link.dataset.view === name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}
