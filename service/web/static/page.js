// The page: the shell around its views. README.md beside this file tells how it is made.

import { setDoor, takeKey } from "./api.js";
import { dialog, field, input, notice, toast } from "./components.js";
import { icon } from "./dom.js";
import { facts, look, watch } from "./facts.js";
import { address, start } from "./router.js";
import { LANGUAGES, language, t } from "./texts.js";
import { keep, nextTheme, theme } from "./theme.js";
import { percent } from "./words.js";

const find = (selector) => document.querySelector(selector);

function label() {
  for (const node of document.querySelectorAll("[data-t]")) node.textContent = t(node.dataset.t);
  for (const node of document.querySelectorAll("[data-label]")) node.setAttribute("aria-label", t(node.dataset.label));
}

function themeButton() {
  const button = find("#theme");
  const show = () => {
    button.replaceChildren(icon({ auto: "auto", light: "sun", dark: "moon" }[theme()]));
    button.ariaLabel = button.title = t(`shell.theme.${theme()}`);
  };
  button.addEventListener("click", () => (nextTheme(), show()));
  show();
}

function languageButton() {
  const other = Object.keys(LANGUAGES).find((each) => each !== language);
  const button = find("#language");
  button.textContent = LANGUAGES[other];
  button.lang = other;
  button.addEventListener("click", () => {
    keep("language", other);
    location.reload();
  });
}

async function askForKey(why) {
  const control = input({ type: "password", name: "key", required: true, autocomplete: "current-password" });
  const entry = field({ label: t("key.key"), control, hint: t("key.why") });
  entry.error(why);
  const answer = await dialog({ title: t("key.title"), body: [entry.element], confirm: t("key.enter"), closable: false });
  return answer.key.trim();
}

function showState({ health, error }) {
  const training = health?.training;
  const link = find("#training");
  link.hidden = !training;
  if (training) {
    link.href = training.run ? address("run", training.run) : address("teach");
    link.querySelector("span").textContent = t("shell.training", { name: training.run ?? t("shell.first") });
    link.querySelector("b").textContent = training.share === null ? "" : percent(training.share);
    link.style.setProperty("--share", training.share ?? 0);
  }
  banner.show(error ? (error.code === "unreachable" ? t("shell.unreachable") : error.message) : "", "bad");
}

const banner = notice();
find("#banner").append(banner.element);
label();
themeButton();
languageButton();
setDoor(askForKey);
takeKey();
find(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  find("main").focus();
});
// A key that is pasted into the address of a page that is open
addEventListener("hashchange", () => takeKey() && look(), { capture: true });
watch(showState);
look();
start(find("main"), (error) => toast(t("error.view", { message: error.message }), "bad"));
