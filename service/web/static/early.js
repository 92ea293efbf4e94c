// Before anything is painted: the language and the appearance that were chosen here, or that the browser asks for.
(() => {
  const kept = (name) => {
    try {
      return localStorage.getItem(name);
    } catch {
      return null; // storage may be closed to us
    }
  };
  const spoken = navigator.languages.map((tag) => tag.slice(0, 2)).find((tag) => tag === "ko" || tag === "en");
  const root = document.documentElement;
  if (root.hasAttribute("data-languages")) root.lang = kept("language") ?? spoken ?? "en"; // other pages are in English alone
  const theme = kept("theme");
  if (theme) root.dataset.theme = theme;
})();
