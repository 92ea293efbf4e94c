// Show the view that the address names, and load its module and styles on first use.

import { parseAddress } from "./address.js";
import { el } from "./dom.js";
import { t } from "../i18n/i18n.js";

const mounted = new Map();
let views = {}; // name -> { load, styles, keep, tab }, see page.js; the first one is shown if the address names none
let outlet = null;
let onError = () => {};
let current = null;
let shown = ""; // the address of the current view
let turn = 0; // of show(): a later call cancels earlier ones

// onerror(error): a view could not be loaded; the previous view and its address stay, so that the user can try again.
export function startRouter(main, table, onerror) {
  [outlet, views, onError] = [main, table, onerror];
  addEventListener("hashchange", () => show(true));
  return show(false);
}

async function show(moved) {
  const mine = ++turn;
  try {
    await open(parseAddress(location.hash), moved, mine);
    if (mine === turn) shown = location.hash;
  } catch (error) {
    if (mine !== turn) return;
    if (current) history.replaceState(null, "", shown || location.pathname);
    onError(error);
  }
}

async function open({ view: asked, ...route }, moved, mine) {
  const name = asked in views ? asked : Object.keys(views)[0];
  const { load, styles, tab = name } = views[name];
  if (!mounted.has(name)) {
    const [module] = await Promise.all([load(), ...styles.map(loadStyles)]);
    if (mine !== turn) return;
    if (!mounted.has(name)) mounted.set(name, mount(name, module));
  }
  const view = mounted.get(name);
  const changed = current !== view;
  if (current && changed) leave(current);
  current = view;
  view.root.hidden = false;
  markTab(tab);
  document.title = `${t(`nav.${tab}`)} · Charloom`;
  view.enter?.(route);
  if (moved && changed) {
    scrollTo({ top: 0, behavior: "instant" });
    view.root.querySelector("h1")?.focus({ preventScroll: true });
  }
}

function mount(name, module) {
  const root = el("div", { class: `view ${name}` });
  const end = new AbortController();
  outlet.append(root);
  return { ...module.mount(root, { signal: end.signal }), name, root, end };
}

function leave(view) {
  view.leave?.();
  if (views[view.name].keep) {
    view.root.hidden = true;
    return;
  }
  view.end.abort();
  view.root.remove();
  mounted.delete(view.name);
}

// path: from static/
function loadStyles(path) {
  const href = new URL(`../${path}`, import.meta.url).href;
  if ([...document.styleSheets].some((sheet) => sheet.href === href)) return Promise.resolve();
  return new Promise((resolve) => document.head.append(el("link", { rel: "stylesheet", href, onload: resolve, onerror: resolve })));
}

function markTab(name) {
  for (const link of document.querySelectorAll(".tabs a")) {
    if (link.dataset.view === name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}
