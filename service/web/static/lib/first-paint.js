// Applies the stored language and theme before the first paint. A classic script in <head>: it blocks rendering and cannot import.
(() => {
  const stored = (name) => {
    try {
      return localStorage.getItem(name);
    } catch {
      return null; // the browser may forbid storage
    }
  };
  const preferred = navigator.languages.map((tag) => tag.slice(0, 2)).find((tag) => tag === "ko" || tag === "en");
  const root = document.documentElement;
  if (root.hasAttribute("data-languages")) root.lang = stored("language") ?? preferred ?? "en"; // other pages exist only in English
  const theme = stored("theme");
  if (theme) root.dataset.theme = theme;
})();
