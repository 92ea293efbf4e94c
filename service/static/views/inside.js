import { el } from "../dom.js";
import { t } from "../texts.js";

export function mount(root) {
  root.append(el("h1", { tabindex: -1 }, t("nav.teach")));
  return {};
}
