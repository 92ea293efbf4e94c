// Choose how a text that could not be decoded is read: in a likely encoding, each with a sample; in another one; or past its bad bytes.

import { button } from "../../components/buttons.js";
import { field, select } from "../../components/fields.js";
import { t, translated } from "../../i18n/i18n.js";
import { el, newId } from "../../lib/dom.js";

const OTHERS = "cp1252 cp1250 cp1251 cp1253 cp1254 cp1255 cp1256 cp1257 cp874 cp949 cp932 euc_jis_2004 gb18030 big5hkscs koi8-r iso8859-2 mac-roman utf-16-le utf-16-be".split(" ");

const labelOf = (name) => translated(`teach.encoding.${name}`, name);

export class EncodingPicker {
  // onchoose({ encoding, errors }): fields of the upload
  constructor(onchoose) {
    this.onchoose = onchoose;
    this.element = el("div", { class: "encoding", hidden: true });
  }

  hide() {
    this.element.hidden = true;
  }

  // encodings: of the service's error, each { encoding, sample }; whether another encoding can be right at all
  show(encodings, damaged) {
    const mend = button({ text: t("teach.encoding.mend"), kind: "quiet", onclick: () => this.onchoose({ errors: "replace" }) });
    const parts = damaged ? [] : [this.#choices(encodings)];
    this.element.replaceChildren(...parts, el("div", { class: "actions" }, damaged || this.use, mend));
    this.element.hidden = false;
  }

  #choices(encodings) {
    const group = newId("encoding");
    const others = select({ options: OTHERS.map((name) => [name, labelOf(name)]) });
    const other = field({ label: t("teach.encoding"), control: others }).element;
    const radio = (value) => el("input", { type: "radio", name: group, value, onchange: () => (other.hidden = this.element.querySelector(":checked").value !== "") });
    const choice = (value, label, sample) => el("label", { class: "reading" }, radio(value), el("span", {}, label), sample && el("q", {}, sample));
    const list = el(
      "fieldset",
      { class: "readings" },
      el("legend", {}, t("teach.encoding.reads")),
      encodings.map(({ encoding, sample }) => choice(encoding, labelOf(encoding), sample)),
      choice("", t("teach.encoding.other"), null),
    );
    const first = list.querySelector("input");
    first.checked = true;
    other.hidden = first.value !== "";
    this.use = button({ text: t("teach.encoding.use"), onclick: () => this.onchoose({ encoding: list.querySelector(":checked").value || others.value }) });
    return el("div", { class: "readings-part" }, list, other);
  }
}
