// Store the user's choices (theme, language, …) in localStorage.

export function preference(name) {
  try {
    return localStorage.getItem(name);
  } catch {
    return null; // the browser may forbid storage
  }
}

// null removes it.
export function savePreference(name, value) {
  try {
    if (value === null) localStorage.removeItem(name);
    else localStorage.setItem(name, value);
  } catch {
    // Without storage the choice lasts until the page is closed.
  }
}
