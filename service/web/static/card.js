// The card that tells about what is pointed at: one for the page, beside a box of the window.

import { el } from "./dom.js";

const card = el("div", { class: "text-card", "aria-hidden": "true", hidden: true });

// content: a node, or null, which takes the card away
export function showCard(content, box) {
  card.hidden = !content;
  if (!content) return;
  if (!card.isConnected) document.body.append(card);
  card.replaceChildren(content);
  const { width, height } = card.getBoundingClientRect();
  const left = Math.max(8, Math.min(innerWidth - width - 8, box.left + box.width / 2 - width / 2));
  const below = box.bottom + 8 + height < innerHeight;
  card.style.left = `${left}px`;
  card.style.top = `${below ? box.bottom + 8 : Math.max(8, box.top - 8 - height)}px`;
}
