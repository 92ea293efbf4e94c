// Create elements of HTML and SVG, and small helpers for the document.

const PROPERTIES = new Set(["value", "checked", "disabled", "hidden", "selected", "open", "indeterminate"]);

// el("p", { class: "quiet", onclick: () => …, style: { "--fill": 0.4 } }, "text", node, null, [more]) -> the element.
// Styles are set through the CSSOM, because the content security policy forbids style attributes.
export const el = (tag, props = {}, ...children) => fill(document.createElement(tag), props, children);

// svg("circle", { r: 2, class: "dot", onclick: () => … }, child, …) -> the element
export const svg = (tag, props = {}, ...children) => fill(document.createElementNS("http://www.w3.org/2000/svg", tag), props, children);

function fill(node, props, children) {
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || (value === false && !PROPERTIES.has(name))) continue;
    if (typeof value === "function") node.addEventListener(name.slice(2), value);
    else if (name === "style") for (const [key, each] of Object.entries(value)) node.style.setProperty(key, each);
    else if (PROPERTIES.has(name)) node[name] = value;
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

// newId("field") -> "field-7", unique in the document
let count = 0;
export const newId = (stem) => `${stem}-${++count}`;

// Parts of a line of facts, separated by dots, for replaceChildren(...); false and null are left out.
export const dotted = (parts) => parts.filter(Boolean).flatMap((part, index) => (index ? [" · ", part] : [part]));

// Replaces the children only if they differ, so that the focus stays where it is.
export function setChildren(parent, nodes) {
  if (nodes.length !== parent.children.length || nodes.some((node, index) => parent.children[index] !== node)) parent.replaceChildren(...nodes);
}

// Scrolls to an element that begins below the middle of the window, as on a phone.
export function scrollToIfBelow(element) {
  if (element.getBoundingClientRect().top > innerHeight * 0.6) element.scrollIntoView({ block: "start" });
}

// Calls fn at most once per `wait` milliseconds, and once more at the end with the last arguments.
export function throttled(fn, wait) {
  let timer = null;
  let waiting = null;
  const fire = () => {
    timer = waiting ? setTimeout(fire, wait) : null;
    if (waiting) fn(...waiting);
    waiting = null;
  };
  return (...values) => {
    waiting = values;
    if (timer === null) fire();
  };
}

// A decorative icon, hidden from screen readers: the text beside it has the words.
export const icon = (name) => svg("svg", { viewBox: "0 0 20 20", class: "icon", "aria-hidden": "true", focusable: "false" }, svg("path", { d: ICONS[name] }));

// SVG paths in a viewBox of 20 by 20, drawn as strokes
const ICONS = {
  play: "M6 4l10 6-10 6z",
  stop: "M5.5 5.5h9v9h-9z",
  pause: "M7 4.5v11M13 4.5v11",
  plus: "M10 4v12M4 10h12",
  close: "M5 5l10 10M15 5L5 15",
  copy: "M7 7h9v9H7zM13 7V4H4v9h3",
  download: "M10 3v10M6 9.5l4 4 4-4M4 16.5h12",
  again: "M15.5 10a5.5 5.5 0 1 1-1.7-4M14 2.5V6h-3.5",
  link: "M8.5 11.5l3-3M7 9l-2 2a2.8 2.8 0 0 0 4 4l2-2M13 11l2-2a2.8 2.8 0 0 0-4-4L9 7",
  check: "M4.5 10.5l4 4 7-9",
  warning: "M10 3.5l7.5 13h-15zM10 8.5v4M10 14.2v.1",
  info: "M10 9v5M10 6.2v.1M10 2.5a7.5 7.5 0 1 0 0 15 7.5 7.5 0 0 0 0-15z",
  sun: "M10 6.5a3.5 3.5 0 1 0 0 7 3.5 3.5 0 0 0 0-7zM10 2v1.5M10 16.5V18M2 10h1.5M16.5 10H18M4.3 4.3l1.1 1.1M14.6 14.6l1.1 1.1M15.7 4.3l-1.1 1.1M5.4 14.6l-1.1 1.1",
  moon: "M16.5 11.8A7 7 0 0 1 8.2 3.5a7 7 0 1 0 8.3 8.3z",
  auto: "M10 2.5a7.5 7.5 0 1 0 0 15 7.5 7.5 0 0 0 0-15zM10 2.5v15M12.5 4v12M15 5.5v9",
  left: "M12 5l-5 5 5 5",
  right: "M8 5l5 5-5 5",
  down: "M5 8l5 5 5-5",
  upload: "M10 13.5v-10M6 7l4-4 4 4M4 16.5h12",
  loom: "M3 2.5h14M3 17.5h14M5.5 2.5v15M10 2.5v15M14.5 2.5v15M3.5 14.5h3.5M9 14.5h7.5M4.5 11.8h7M13.5 11.8h2.5",
  trash: "M4 6h12M8 6V4h4v2M5.5 6l.7 10.5h7.6L14.5 6M8.5 9v4.5M11.5 9v4.5",
};
