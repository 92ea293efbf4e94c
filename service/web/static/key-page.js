// The page that answers a browser without a key (templates/key.html): fetches the requested page with the key and shows it.

async function enter() {
  const key = sessionStorage.getItem("key");
  if (!key) return;
  if (!/^[!-~]+$/.test(key)) {
    document.querySelector("[role=status]").textContent = "A key contains only Latin letters, digits and punctuation.";
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
