"""The process that trains one run: whose run it is, and how it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from service.store import Corpus, Run, Store
from service.system import processes
from service.training import jobs
from service.training.jobs import JobSpec

ROOT = Path(__file__).resolve().parents[3]

Start = Callable[[str], "subprocess.Popen[str]"]


@pytest.fixture
def start(path: Path) -> Iterator[Start]:
    """Start the process of a run that this test has claimed."""
    started: list[subprocess.Popen[str]] = []

    def begin(name: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "service.training.train_process", str(path), name, "0"]
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdin is not None
        process.stdin.write(processes.identity() + "\n")
        process.stdin.flush()
        return process

    yield begin
    for process in started:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stderr):
            if pipe:
                pipe.close()


def end(process: subprocess.Popen[str]) -> tuple[int, str]:
    """The status of a process that ends by itself, and what it said; its standard input stays open."""
    assert process.stderr is not None
    return process.wait(60), process.stderr.read()


@pytest.fixture
def run(store: Store, corpus: Corpus) -> Run:
    """A run that would take for ever, claimed by this process."""
    training = {"steps": 10**8, "batch_size": 2, "seq_length": 8, "validation_interval": 20}
    jobs.submit(store, JobSpec(corpus=corpus.name, name="run", model={"hidden_size": 4}, training=training))
    claimed = store.queue.claim_next()
    assert claimed is not None
    return claimed


def eventually(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


@pytest.mark.parametrize("how", ["SIGTERM", "its worker is gone"])
def test_it_saves_and_gives_the_run_back(store: Store, run: Run, start: Start, how: str) -> None:
    process = start("run")
    eventually(lambda: store.runs.get("run").step > 0)
    assert process.stdin is not None
    if how == "SIGTERM":
        process.send_signal(signal.SIGTERM)
    else:
        process.stdin.close()
    assert end(process) == (0, "")
    found = store.runs.get("run")
    assert (found.state, found.message, found.owner, found.attempt) == ("queued", "its worker was stopped", None, 1)
    assert store.checkpoints.load_state(found)[0].step == found.step > 0


def test_a_stop_before_the_first_step_keeps_a_checkpoint_too(store: Store, run: Run, start: Start) -> None:
    process = start("run")
    eventually(lambda: store.runs.get("run").owner != run.owner)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    assert store.runs.get("run").state == "queued"
    assert store.runs.get("run").step > 0


def test_it_leaves_the_run_of_another_alone(store: Store, run: Run, start: Start) -> None:
    store.db.execute("UPDATE runs SET owner = ?", ('{"pid": 1, "host": "elsewhere"}',))
    status, errors = end(start("run"))
    assert status == 1
    assert errors == "run run is being trained by process 1 on elsewhere; wait for it, or stop that first\n"
    assert store.db.execute("SELECT state FROM runs").fetchone()[0] == "running"


def test_what_ends_it_is_told_and_stored(store: Store, run: Run, start: Start) -> None:
    store.runs.configure(run, training_config={**run.training_config, "learning_rate": 1000.0, "clip_norm": 0.0, "optimizer": "sgd"})
    linear = {**run.model_config, "cell": "rnn", "activation": "identity"}
    store.runs.configure(run, model_config=linear)
    status, errors = end(start("run"))
    assert status == 1
    found = store.runs.get("run")
    assert found.state == "failed"
    assert "not a finite number" in (found.message or "")
    assert errors == f"{found.message}\n"


@pytest.mark.skipif(not hasattr(os, "getpriority"), reason="this system has no niceness")
def test_it_gives_way_to_others(store: Store, run: Run, start: Start) -> None:
    process = start("run")
    eventually(lambda: store.runs.get("run").owner != run.owner)
    assert os.getpriority(os.PRIO_PROCESS, process.pid) == min(19, os.getpriority(os.PRIO_PROCESS, 0) + 10)
