// What a cell follows, in the language of the page: the service says it in English.

import { t, translated } from "../texts.js";

export function meaning(phrase) {
  if (phrase.startsWith("not ")) return t("meaning.not", { meaning: meaning(phrase.slice(4)) });
  const count = phrase.match(/\d+/)?.[0];
  const name = `meaning.${phrase.replace(/\d+/, "{count}")}`;
  return translated(name, null) === null ? phrase : t(name, { count });
}
