// Buttons, links that look like buttons, and disclosures.

import { el, icon } from "../lib/dom.js";

// kind: primary, plain, quiet (no border) or danger. Without text, `label` is its accessible name and its tooltip.
export function button({ text = "", icon: drawing = null, label = null, kind = "plain", onclick = null, type = "button", ...rest }) {
  return el(
    "button",
    { type, class: `button ${kind}${text ? "" : " square"}`, "aria-label": label, title: text ? null : label, onclick, ...rest },
    drawing && icon(drawing),
    text && el("span", {}, text),
  );
}

// A link that looks like a button
export const linkButton = ({ text, href, kind = "plain", icon: drawing = null }) =>
  el("a", { class: `button ${kind}`, href }, drawing && icon(drawing), el("span", {}, text));

// Content that is folded away until the user opens it
export const disclosure = (summary, ...children) =>
  el("details", { class: "more" }, el("summary", {}, icon("right"), el("span", {}, summary)), el("div", { class: "more-body" }, children));
