"""Fixtures, beside those of the folder above: a claimed run, and a way to run Python in another process."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from service.store import Run, Store

ROOT = Path(__file__).resolve().parents[3]

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def make_run(store: Store) -> Callable[..., Run]:
    """A claimed run without a corpus."""

    def make(name: str = "first") -> Run:
        store.runs.create(name, corpus=None, model_config={"cell": "gru"}, training_config={"steps": 10})
        return store.runs.claim(name)

    return make


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a Python script in another process; what still runs at the end of the test is killed."""
    started: list[subprocess.Popen[str]] = []

    def launch(script: str, *arguments: object) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)],
            cwd=ROOT,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        started.append(process)
        return process

    yield launch
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def together(start: Start) -> Callable[..., None]:
    """Run a script in several processes, which begin what follows the line ``# now`` at the same moment; all must succeed."""

    def run(script: str, path: Path, processes: int) -> None:
        script = textwrap.dedent(script).replace("# now", "print('ready', flush=True); sys.stdin.readline()")
        started = [start(script, path, number) for number in range(processes)]
        for process in started:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in started:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        for process in started:
            _, errors = process.communicate(timeout=60)
            assert process.returncode == 0, errors

    return run
