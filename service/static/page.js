// The page: it shows what /health and /v1/models say, sends the form to /generate and writes down what comes back.

const form = document.forms[0];
const [article, facts, notice] = ["article", "#facts", "#notice"].map((name) => document.querySelector(name));
const [writeButton, stopButton] = ["#write", "#stop"].map((name) => document.querySelector(name));
const [prompt, text] = article.children;
let writing = null; // what stops the text that is being written

function tell(sentence, bad = false) {
  facts.textContent = sentence;
  facts.classList.toggle("bad", bad);
}

async function look() {
  let wait = 15000;
  try {
    const health = await (await fetch("/health")).json();
    if (health.error) throw new Error(health.error.message);
    const { data } = await (await fetch("/v1/models")).json();
    showModels(data);
    showTraining(health.training, data.length);
    if (health.training) wait = 1000;
  } catch (error) {
    showNotice(`The service does not answer: ${error.message}`);
    wait = 3000;
  }
  setTimeout(look, wait);
}

function showModels(models) {
  const chosen = form.model.value || "latest";
  const options = models.map(({ id, meta }) => {
    const bits = meta.bits_per_char === null ? "" : `, ${meta.bits_per_char.toFixed(2)} bits/character`;
    return new Option(`${id} (${meta.cell} ${meta.num_layers}×${meta.hidden_size}${bits}${meta.state === "running" ? ", in training" : ""})`, id);
  });
  if (models.length) options.unshift(new Option("the latest", "latest"));
  else options.push(new Option("none yet", ""));
  if (options.map((option) => option.text).join() !== [...form.model.options].map((option) => option.text).join()) {
    form.model.replaceChildren(...options);
    form.model.value = options.some((option) => option.value === chosen) ? chosen : options[0].value;
  }
  form.model.disabled = !models.length;
  writeButton.disabled = !models.length || writing !== null;
}

function showTraining(training, models) {
  if (!training) return showNotice(models ? "" : "There is no model yet. Train one with: charloom train python");
  const losses = training.validation_loss === null ? "" : `, validation loss ${training.validation_loss.toFixed(3)} nats`;
  const name = training.run === null ? "The first model" : `The model ${training.run}`;
  showNotice(`${name} is being trained: step ${training.step.toLocaleString("en")}${losses}.`, training.share);
}

function showNotice(sentence, share = null) {
  const bar = notice.querySelector("progress");
  notice.hidden = !sentence;
  notice.querySelector("p").textContent = sentence;
  bar.hidden = share === null;
  bar.value = share ?? 0;
}

async function write() {
  const request = { stream: true };
  for (const field of ["model", "prompt"]) request[field] = form[field].value;
  for (const field of ["temperature", "length", "seed"]) if (form[field].value) request[field] = Number(form[field].value);
  writing = new AbortController();
  [writeButton.disabled, stopButton.disabled] = [true, false];
  [prompt.textContent, text.textContent] = [request.prompt, ""];
  article.ariaBusy = "true";
  tell("Writing …");
  try {
    const headers = { "Content-Type": "application/json" };
    const answer = await fetch("/generate", { method: "POST", headers, body: JSON.stringify(request), signal: writing.signal });
    if (!answer.ok) throw new Error((await answer.json()).error.message);
    for await (const event of events(answer.body)) show(event);
  } catch (error) {
    if (error.name === "AbortError") tell("Stopped.");
    else tell(error.message, true);
  }
  writing = null;
  article.ariaBusy = "false";
  [writeButton.disabled, stopButton.disabled] = [form.model.disabled, true];
}

async function* events(body) {
  let rest = "";
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  for (let { value, done } = await reader.read(); !done; { value, done } = await reader.read()) {
    const parts = (rest + value).split("\n\n");
    rest = parts.pop();
    for (const part of parts) if (part !== "data: [DONE]") yield JSON.parse(part.slice("data: ".length));
  }
}

function show(event) {
  if (event.error) throw new Error(event.error.message);
  if (event.text !== undefined) return text.append(event.text);
  const replaced = event.substituted.map(({ character, by }) => `${character} was read as ${by ?? "an unknown character"}`);
  const speed = `${Math.round(event.characters_per_second).toLocaleString("en")} characters/s`;
  tell([`Written by ${event.checkpoint} with seed ${event.seed}, ${speed}`, ...replaced].join(" · "));
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  if (!writing && !writeButton.disabled) write();
});
form.prompt.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit(writeButton);
});
document.addEventListener("keydown", (event) => event.key === "Escape" && writing?.abort());
stopButton.addEventListener("click", () => writing.abort());
const slider = form.temperature;
slider.addEventListener("input", () => (document.querySelector("output").value = Number(slider.value).toFixed(2)));
look();
