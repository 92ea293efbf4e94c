// What a browser gets in the place of a page that needs a key: with the key that this tab has, or is given, it shows that page.

async function enter() {
  const key = sessionStorage.getItem("key");
  if (!key) return;
  if (!/^[!-~]+$/.test(key)) {
    document.querySelector("[role=status]").textContent = "A key has only Latin letters, digits and signs.";
    return;
  }
  const answer = await fetch(location.href, { headers: { Authorization: `Bearer ${key}`, Accept: "*/*" } });
  if (answer.status === 401) {
    document.querySelector("[role=status]").textContent = (await answer.json()).error.message;
  } else if (answer.headers.get("Content-Type").startsWith("text/html")) {
    document.open();
    document.write(await answer.text());
    document.close();
  } else {
    const text = document.createElement("pre");
    text.textContent = await answer.text();
    document.body.replaceChildren(text);
  }
}

document.forms[0].addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("key", event.target.key.value);
  enter();
});
enter();
