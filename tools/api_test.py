"""Fuzzes the HTTP API: schemathesis sends a real service thousands of valid and invalid requests made from its `/openapi.json`.

``python -m tools.api_test`` starts a service over a new database, with a text, a model that stays, and a limit of one step for jobs, and
runs every check of schemathesis with every phase: no answer may be an error of the service (5xx), or one that is not documented
in status, type, headers or fields; right requests must be accepted, wrong ones refused. Then the service must still answer, have said
nothing in its log, and stop as it should. About `--requests` are sent (by default at least 5,000; that takes some minutes); `--seed`
chooses others. The status is 1 if something was found.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from model.checkpoint import Checkpoint
from model.config import ModelConfig, TrainingConfig
from model.language_model import LanguageModel
from model.vocabulary import SymbolCounts, Vocabulary
from service.store import Metric, Store

ROOT = Path(__file__).resolve().parent.parent
TEXT = "the loom weaves a thread of red and gold\n" * 40
PER_EXAMPLE = 26  # requests that one more example for each route makes, at least
# No proxy, even if the environment names one.
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
SERVE = """
import os, sys
from pathlib import Path
os.environ["OPENBLAS_NUM_THREADS"] = "1"  # the process that forks must have no second thread
from service.web.api import fine_tuning
from service.web.server import ServerSettings, serve
fine_tuning.CHANGE = 0.2  # seconds: no process polls the run that this test keeps active
serve(ServerSettings(db=Path(sys.argv[1]), port=0, max_job_steps=1, max_length=500, max_followers=4, log_level="warning"))
"""


class Found(NamedTuple):
    """What a run of schemathesis came to."""

    status: int
    requests: int
    report: str
    faults: str = ""  # of the service: what its log says about them


def fill(store: Store) -> None:
    """Stores a text, and a model that cannot be deleted, since this process claims to be training it."""
    store.corpora.add("tale", [TEXT], "tale.txt")
    config = ModelConfig(cell="gru", hidden_size=8)
    vocabulary = Vocabulary.build(SymbolCounts(config.level, config.normalization).add([TEXT]))
    settings = TrainingConfig(steps=10**9).to_dict()
    run = store.runs.claim(store.runs.create("tale-lstm", corpus="tale", model_config=config.to_dict(), training_config=settings).name)
    for step in (100, 200):
        checkpoint = Checkpoint(LanguageModel.new(config, vocabulary.size, step), vocabulary, {"step": step})
        metric = Metric(step=step, loss=2.0, validation_loss=2.0 - step / 1000, bits_per_char=2.9)
        store.checkpoints.save(run, metric, checkpoint.to_bytes(), b"a training state")


@contextmanager
def serving(db: Path) -> Iterator[tuple[str, list[str]]]:
    """A service in another process: its URL, and a list that holds what is wrong with it once it has ended."""
    command = [sys.executable, "-c", SERVE, str(db)]
    faults: list[str] = []
    with subprocess.Popen(
        command, cwd=ROOT, env={**ENVIRONMENT, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            found = re.search(r"http://[\d.:]+", "".join(process.stdout.readline() for _ in range(5)) if process.stdout else "")
            assert found is not None, "the service did not start"
            yield found[0], faults
            with urllib.request.urlopen(f"{found[0]}/health", timeout=30) as answer:
                health = json.load(answer)
            if health["rows"] or health["waiting"]:
                faults.append(f"texts are still being written: {health}")
            process.terminate()
            _, said = process.communicate(timeout=90)
            if process.returncode:
                faults.append(f"the service ended with {process.returncode}")
            if "Traceback" in said:
                faults.append(said)
        finally:
            process.kill()


def attack(url: str, folder: Path, examples: int, seed: int, *options: str) -> Found:
    """Let schemathesis try `examples` for each route and more."""
    config = ["--config-file", str(ROOT / "tools" / "schemathesis.toml")]
    given = ["--max-examples", str(examples), "--seed", str(seed), "--continue-on-failure", "--request-timeout", "60", *options]
    answer = subprocess.run(
        [sys.executable, "-m", "schemathesis.cli", *config, "run", f"{url}/openapi.json", *given],
        cwd=folder,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    counted = re.search(r"([\d,]+) generated", answer.stdout)
    return Found(answer.returncode, int(counted[1].replace(",", "")) if counted else 0, answer.stdout + answer.stderr)


def run(requests: int, seed: int, *options: str) -> Found:
    """All of it, over a new database."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with Store(folder / "charloom.db") as store:
            fill(store)
            with serving(folder / "charloom.db") as (url, faults):
                found = attack(url, folder, max(1, requests // PER_EXAMPLE), seed, *options)
            return found._replace(faults="\n".join(faults))


def main() -> None:
    """Read the arguments, attack, exit 1 where something was found."""
    parser = argparse.ArgumentParser(prog="python -m tools.api_test", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--requests", type=int, default=5000, help="how many to send, about (default 5000)")
    parser.add_argument("--seed", type=int, default=1, help="of the requests (default 1)")
    given = parser.parse_args()
    found = run(given.requests, given.seed)
    print(found.report, found.faults)
    if found.status or found.faults or found.requests < given.requests:
        sys.exit(f"FOUND: status {found.status} after {found.requests:,} of {given.requests:,} requests")


if __name__ == "__main__":
    main()
