"""Runs what other projects have against a real service: the tests of OpenAI's Python client, its Node client, lm-evaluation-harness.

``python -m tools.client_suites [openai-python] [lm-eval] [openai-node]`` fetches each from its registry into a temporary folder, with its
own environment, starts a service over a new database, and prints what passed. What cannot be fetched is skipped, and said so. Nothing of
theirs is kept. The status is 1 if something failed that can exist here.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from model.checkpoint import Checkpoint
from model.config import ModelConfig
from model.language_model import LanguageModel
from model.vocabulary import SymbolCounts, Vocabulary
from service.store import Metric, Run, Store
from tests.served import end, start
from tools import openai_ids

ROOT = Path(__file__).resolve().parent.parent
OPENAI_PYTHON, OPENAI_NODE, LM_EVAL = "3.3.1", "7.59.0", "0.4.13"
SUITES = ("test_completions.py", "test_models.py", "test_files.py", "fine_tuning/test_jobs.py", "fine_tuning/jobs/test_checkpoints.py")
PYTEST = ("pytest", "pytest-asyncio", "pytest-xdist", "rich", "aiohttp", "httpx-aiohttp")
# OpenAI's own service fails these as well: it answers null for the log-probability of the first symbol of an echoed prompt, where the
# client's type has no null.
CANNOT = re.compile(r"test_completions.*create_with_all_params_overload_1\[(strict|aiohttp)\]")


class Missing(Exception):
    """What a suite needs cannot be fetched."""


def command(*words: str | Path, folder: Path | None = None, **environment: str) -> str:
    """Return what a command prints. Raises `Missing` if it fails."""
    done = subprocess.run(words, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Missing(f"{' '.join(map(str, words[:4]))} failed: {(done.stdout + done.stderr)[-400:]}")
    return done.stdout


def environment(folder: Path, *packages: str | Path) -> Path:
    """Return the Python of a new environment that has these packages."""
    command(sys.executable, "-m", "venv", folder)
    python = folder / "bin" / "python"
    command(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages)
    return python


# ── service ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def fill(store: Store) -> None:
    """Store the texts, models and jobs that the suites name."""
    for name in openai_ids.FILES:
        store.corpora.add(name, [openai_ids.TEXT], "tale.txt")
    for name in ("after", "string", openai_ids.JOB, *openai_ids.MODELS):
        put(store, name)


def put(store: Store, name: str) -> Run:
    """Store a paused run of the text, with two checkpoints whose weights were drawn and never trained."""
    config = ModelConfig(cell="gru", hidden_size=8)
    vocabulary = Vocabulary.build(SymbolCounts(config.level, config.normalization).add([openai_ids.TEXT]))
    store.runs.create(name, corpus="file-abc123", model_config=config.to_dict(), training_config={"steps": 400}, queued=True)
    run = store.runs.claim(name, queued=True)
    for step in (100, 200):
        store.events.add(run, f"at step {step}")
        checkpoint = Checkpoint(LanguageModel.new(config, vocabulary.size, step), vocabulary, {"step": step})
        metric = Metric(step=step, epoch=step / 100, loss=2.0, validation_loss=2.0 - step / 1000, bits_per_char=2.9)
        store.checkpoints.save(run, metric, checkpoint.to_bytes(), b"a training state")
    return store.runs.release(run, "paused")


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Yield the address of a service without workers, over a new database."""
    with Store(folder / "charloom.db") as store:
        fill(store)
    server = start(folder / "charloom.db", max_jobs=1000, max_files=1000)
    try:
        yield server.url
    finally:
        server.stop()
        end(server)


# ── suites ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def openai_python(folder: Path, url: str) -> bool:
    """Run the tests of OpenAI's Python client for what this service has, with ids that exist here."""
    pip = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "openai", f"openai=={OPENAI_PYTHON}")
    command(*pip, "--dest", folder)
    with tarfile.open(folder / f"openai-{OPENAI_PYTHON}.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    source = folder / f"openai-{OPENAI_PYTHON}"
    python = environment(folder / "environment", *PYTEST, source)
    chosen = [source / "tests" / "api_resources" / name for name in SUITES]
    for each in chosen:
        each.write_text(openai_ids.adapted(each.name, each.read_text()))
    report = folder / "report.txt"
    with report.open("w") as log:
        subprocess.run(
            [python, "-m", "pytest", "-n0", "-q", "-rfE", "-p", "no:cacheprovider", "-p", "openai_ids", *chosen],
            cwd=source,
            env={**os.environ, "TEST_API_BASE_URL": f"{url}/v1", "PYTHONPATH": str(ROOT / "tools"), "NO_COLOR": "1"},
            stdout=log,
            stderr=subprocess.STDOUT,
            check=False,
        )
    said = report.read_text()
    failed = re.findall(r"^(?:FAILED|ERROR) (\S+)(.*)$", said, re.MULTILINE)
    passed = re.search(r"(\d+) passed", said)
    ours = [(name, why) for name, why in failed if not CANNOT.search(name)]
    print(f"openai-python {OPENAI_PYTHON}: {passed[1] if passed else 0} passed, {len(failed)} failed, of these {len(ours)} can exist here")
    for name, why in ours:
        print(f"  {name.rpartition('/')[2]}{why[:160]}")
    if not passed:
        print(said[-2000:])
    return bool(passed) and not ours


# The harness finds the ids at /tokenizer_info and /tokenize, and sends prompts of ids; in the last way it sends text.
EVALUATE = """
import json, sys
from lm_eval.api.instance import Instance
from lm_eval.models.openai_completions import LocalCompletionsAPI

def asked(kind, *arguments):
    return [Instance(request_type=kind, doc={}, arguments=each, idx=index) for index, each in enumerate(arguments)]

found = []
for options in json.loads(sys.argv[2]):
    model = LocalCompletionsAPI(base_url=sys.argv[1] + "/v1/completions", model="latest", **options)
    stop = {"until": ["e"], "max_gen_toks": 50, "temperature": 0, "do_sample": False}
    found.append({
        "tokenizer": model.tokenizer_backend,
        "conditional": [each[0] for each in model.loglikelihood(asked("loglikelihood", ("\\nthe loom", " weaves")))],
        "rolling": model.loglikelihood_rolling(asked("loglikelihood_rolling", ("the loom weaves",))),
        "whole": [each[0] for each in model.loglikelihood(asked("loglikelihood", ("", "the loom")))],
        "text": model.generate_until(asked("generate_until", ("the loom", stop))),
    })
print(json.dumps(found))
"""
WAYS: tuple[dict[str, Any], ...] = ({}, {"num_concurrent": 3}, {"batch_size": 2}, {"tokenized_requests": False})


def lm_eval(folder: Path, url: str) -> bool:
    """Let the harness measure what /v1/score says by another way: its texts, too, are read as after a line end."""
    python = environment(folder / "environment", f"lm-eval[api]=={LM_EVAL}")
    found = json.loads(command(python, "-c", EVALUATE, url, json.dumps(WAYS)).splitlines()[-1])
    whole, part = (post(url, "/v1/score", text=text)["data"][0]["log_likelihood"] for text in ("the loom weaves", "the loom"))
    text = post(url, "/v1/completions", prompt="the loom", max_tokens=50, temperature=0, stop=["e", "\n"])["choices"][0]["text"]
    expected = {"tokenizer": "remote", "conditional": [whole - part], "rolling": [whole], "whole": [part], "text": [text]}
    right = [options for options, each in zip(WAYS, found, strict=True) if near(each, expected)]
    print(f"lm-eval {LM_EVAL}: {len(right)} of {len(WAYS)} ways of its local-completions give what /v1/score gives")
    if len(right) < len(WAYS):
        print(f"  expected {expected}\n  found {found}")
    return len(right) == len(WAYS)


def near(found: Any, expected: Any) -> bool:
    """Whether two JSON values are equal, numbers to a hundred-thousandth."""
    if isinstance(expected, dict):
        return found.keys() == expected.keys() and all(near(found[key], expected[key]) for key in expected)
    if isinstance(expected, list):
        return len(found) == len(expected) and all(map(near, found, expected))
    return bool(abs(found - expected) < 1e-5) if isinstance(expected, float) else bool(found == expected)


def post(url: str, path: str, **body: Any) -> Any:
    """Return the answer to a body in JSON."""
    asked = urllib.request.Request(url + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(asked, timeout=60) as answer:
        return json.load(answer)


NODE = """
import OpenAI, { toFile } from "openai";
const client = new OpenAI({ baseURL: process.argv[2] + "/v1", apiKey: "none", maxRetries: 0 });
const passed = [];
const check = (name, right) => { if (!right) throw new Error(name); passed.push(name); };
const refused = async (name, kind, call) => {
  const error = await call().then(() => null, (error) => error);
  check(name, error instanceof kind && error.error?.message && error.type);
};

const models = [];
for await (const model of client.models.list()) models.push(model.id);
check("models are listed", models.includes("gpt-4o-mini"));
check("a checkpoint is a model", (await client.models.retrieve("gpt-4o-mini@100")).id === "gpt-4o-mini@100");

const text = "the loom weaves a thread\\n".repeat(20);
for (let number = 0; number < 5; number++) {
  await client.files.create({ file: await toFile(Buffer.from(number + text), `node-${number}.txt`), purpose: "fine-tune" });
}
const deleted = [];
for await (const file of client.files.list({ limit: 2, order: "asc" })) {
  if (file.id.startsWith("node-") && (await client.files.delete(file.id)).deleted) deleted.push(file.id);
}
check("files are deleted while they are listed", deleted.length === 5);

const asked = { model: "gpt-4o-mini", prompt: "the", max_tokens: 20, seed: 1 };
const whole = await client.completions.create(asked);
check("a text", whole.choices[0].text.length === 20 && whole.usage.completion_tokens === 20);
let streamed = "", usage = null;
for await (const part of await client.completions.create({ ...asked, stream: true, stream_options: { include_usage: true } })) {
  streamed += part.choices[0]?.text ?? "";
  usage = part.usage ?? usage;
}
check("a stream", streamed === whole.choices[0].text && usage.total_tokens === whole.usage.total_tokens);

const job = await client.fineTuning.jobs.create({ model: "gru", training_file: "file-abc123", suffix: "from node/한국 %" });
check("a job", (await client.fineTuning.jobs.retrieve(job.id)).status === "queued");
check("a paused job has a word that is known", (await client.fineTuning.jobs.pause(job.id)).status === "queued");
check("a cancelled job", (await client.fineTuning.jobs.cancel(job.id)).status === "cancelled");
const events = [];
for await (const event of client.fineTuning.jobs.listEvents(job.id, { limit: 1 })) events.push(event.message);
check("events come part by part", events.length > 1);
const checkpoints = [];
for await (const each of client.fineTuning.jobs.checkpoints.list("gpt-4o-mini", { limit: 1 })) checkpoints.push(each.step_number);
check("checkpoints come part by part", checkpoints.join() === "200,100");
check("a model is deleted", (await client.models.delete(job.id)).deleted);

await refused("a chat is refused", OpenAI.NotFoundError, () => client.chat.completions.create({ model: "x", messages: [] }));
await refused("an id with a slash is not found", OpenAI.NotFoundError, () => client.models.retrieve("a/b:c %"));
await refused("a wrong value is refused", OpenAI.BadRequestError, () => client.completions.create({ ...asked, temperature: -1 }));
console.log(JSON.stringify(passed));
"""


def openai_node(folder: Path, url: str) -> bool:
    """Let OpenAI's Node client list, delete while it lists, upload, write, stream, train, and be refused."""
    if not shutil.which("npm"):
        raise Missing("there is no npm")
    (folder / "package.json").write_text('{"type": "module"}')
    command("npm", "install", "--silent", "--no-audit", "--no-fund", f"openai@{OPENAI_NODE}", folder=folder)
    (folder / "suite.mjs").write_text(NODE)
    done = subprocess.run(["node", "suite.mjs", url], cwd=folder, capture_output=True, text=True, check=False)
    passed = json.loads(done.stdout) if done.returncode == 0 else []
    checks = NODE.count('check("') + NODE.count("await refused(")
    print(f"openai-node {OPENAI_NODE}: {len(passed)} of {checks} checks passed")
    if done.returncode:
        print(done.stderr[-1000:])
    return done.returncode == 0


# ── command ──────────────────────────────────────────────────────────────────────────────────────────────────────────

CLIENTS: dict[str, Callable[[Path, str], bool]] = {"openai-python": openai_python, "lm-eval": lm_eval, "openai-node": openai_node}


def main() -> None:
    """Read the arguments, run the suites, exit 1 if something failed that can exist."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.client_suites", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("clients", nargs="*", metavar="CLIENT", default=list(CLIENTS), help=f"{', '.join(CLIENTS)} (default: all)")
    failed = False
    for name in parser.parse_args().clients:
        with tempfile.TemporaryDirectory() as made, serving(Path(made)) as url:
            try:
                failed |= not CLIENTS[name](Path(made), url)
            except Missing as why:
                print(f"{name}: skipped, since it cannot be fetched or started here: {why}")
    sys.exit(int(failed))


if __name__ == "__main__":
    main()
