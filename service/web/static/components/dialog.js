// Modal dialogs, and copying to the clipboard, which opens one if the browser forbids it.

import { button } from "./buttons.js";
import { toast } from "./feedback.js";
import { field, textarea } from "./fields.js";
import { t } from "../i18n/i18n.js";
import { el, newId } from "../lib/dom.js";

// Asks the user; gives the values of the form's fields, or null if the dialog was closed. body: elements of the form.
export function dialog({ title, body, confirm, dismiss = t("cancel"), closable = true, kind = "primary" }) {
  const heading = el("h2", { id: newId("title") }, title);
  const form = el(
    "form",
    { method: "dialog" },
    heading,
    body,
    el(
      "div",
      { class: "actions" },
      button({ text: confirm, kind, type: "submit" }),
      closable && button({ text: dismiss, autofocus: kind === "danger", onclick: () => box.close() }),
    ),
  );
  const box = el("dialog", { class: "dialog", "aria-labelledby": heading.id }, form);
  document.body.append(box);
  return new Promise((resolve) => {
    let found = null;
    form.addEventListener("submit", () => (found = Object.fromEntries(new FormData(form))));
    box.addEventListener("cancel", (event) => !closable && event.preventDefault());
    box.addEventListener("close", () => {
      if (!found && !closable) return box.showModal();
      box.remove();
      resolve(found);
    });
    box.showModal();
  });
}

// Copies a text and shows `done` as a toast; if the browser forbids it, shows the text to copy by hand.
export async function copy(text, done) {
  try {
    await navigator.clipboard.writeText(text);
    toast(done);
  } catch {
    const shown = textarea({ rows: 5, readonly: true });
    shown.value = text;
    const asked = dialog({
      title: t("copy.byhand"),
      body: [field({ label: t("copy.text"), control: shown }).element],
      confirm: t("close"),
      closable: false,
    });
    shown.select();
    await asked;
  }
}
