// Choose the column of a table that is read.

import { button } from "../../components/buttons.js";
import { field, select } from "../../components/fields.js";
import { t } from "../../i18n/i18n.js";
import { el } from "../../lib/dom.js";

export class ColumnPicker {
  // onchoose({ column }): fields of the upload
  constructor(onchoose) {
    this.onchoose = onchoose;
    this.element = el("div", { class: "column", hidden: true });
  }

  hide() {
    this.element.hidden = true;
  }

  // columns: of the service's error
  show(columns) {
    const choice = select({ options: columns.map((name) => [name, name]), value: columns[0] });
    const use = button({ text: t("teach.column.use"), onclick: () => this.onchoose({ column: choice.value }) });
    this.element.replaceChildren(field({ label: t("teach.column"), control: choice }).element, use);
    this.element.hidden = false;
  }
}
