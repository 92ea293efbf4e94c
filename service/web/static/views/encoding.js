// A text that is not in UTF-8 and does not say what it is in: somebody has to.

import { button, field, select } from "../components.js";
import { el } from "../dom.js";
import { language, t } from "../texts.js";

const ENCODINGS = ["cp1252", "cp1250", "cp1251", "cp949", "cp932", "gb18030", "big5"];

export class Encoding {
  // chosen(encoding)
  constructor(chosen) {
    this.choice = select({ options: ENCODINGS.map((name) => [name, t(`teach.encoding.${name}`)]), value: language === "ko" ? "cp949" : "cp1252" });
    this.field = field({ label: t("teach.encoding"), control: this.choice, hint: t("teach.encoding.hint") });
    const again = button({ text: t("teach.encoding.use"), onclick: () => chosen(this.choice.value) });
    this.element = el("div", { class: "encoding", hidden: true }, this.field.element, again);
  }

  show(on) {
    this.element.hidden = !on;
  }
}
