// The entry module: the table of views, and the shell around them (navigation, language, theme, key, state of the service).

import { dialog } from "./components/dialog.js";
import { notice, toast } from "./components/feedback.js";
import { field, input } from "./components/fields.js";
import { LANGUAGES, language, t } from "./i18n/i18n.js";
import { address } from "./lib/address.js";
import { onKeyNeeded, takeKey } from "./lib/api.js";
import { icon } from "./lib/dom.js";
import { percent } from "./lib/format.js";
import { savePreference } from "./lib/preferences.js";
import { startRouter } from "./lib/router.js";
import { refreshService, watchService } from "./lib/service.js";
import { nextTheme, theme } from "./lib/theme.js";

// keep: the view is only hidden while another one is shown; without it, it is removed. tab: the tab that is marked, if not its own.
const VIEWS = {
  write: { load: () => import("./views/write/write.js"), styles: ["views/write/write.css"], keep: true },
  teach: { load: () => import("./views/teach/teach.js"), styles: ["views/teach/teach.css"], keep: true },
  run: { load: () => import("./views/run/run.js"), styles: ["components/plot.css", "views/run/run.css"], tab: "teach" },
  compare: { load: () => import("./views/run/compare.js"), styles: ["components/plot.css", "views/run/compare.css"], tab: "teach" },
  inside: { load: () => import("./views/inside/inside.js"), styles: ["views/inside/inside.css"], keep: true },
};

const find = (selector) => document.querySelector(selector);

function translatePage() {
  for (const node of document.querySelectorAll("[data-t]")) node.textContent = t(node.dataset.t);
  for (const node of document.querySelectorAll("[data-label]")) node.setAttribute("aria-label", t(node.dataset.label));
}

function initThemeButton() {
  const button = find("#theme");
  const show = () => {
    button.replaceChildren(icon({ auto: "auto", light: "sun", dark: "moon" }[theme()]));
    button.ariaLabel = button.title = t(`shell.theme.${theme()}`);
  };
  button.addEventListener("click", () => (nextTheme(), show()));
  show();
}

function initLanguageButton() {
  const other = Object.keys(LANGUAGES).find((each) => each !== language);
  const button = find("#language");
  button.textContent = LANGUAGES[other];
  button.lang = other;
  button.addEventListener("click", () => {
    savePreference("language", other);
    location.reload();
  });
}

async function askForKey(reason) {
  const control = input({ type: "password", name: "key", required: true, autocomplete: "current-password" });
  const entry = field({ label: t("key.key"), control, hint: t("key.why") });
  entry.error(reason);
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
translatePage();
initThemeButton();
initLanguageButton();
onKeyNeeded(askForKey);
takeKey();
find(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  find("main").focus();
});
// The user may paste a key into the address of a page that is already open.
addEventListener("hashchange", () => takeKey() && refreshService(), { capture: true });
watchService(showState);
refreshService();
startRouter(find("main"), VIEWS, (error) => toast(t("error.view", { message: error.message }), "bad"));
