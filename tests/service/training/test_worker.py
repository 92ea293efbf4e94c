"""Workers as they are: processes that claim, start, watch, and are killed."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from service.store import Corpus, Run, Store
from service.system.errors import DatabaseBusy
from service.training import jobs
from service.training.jobs import JobSpec
from service.training.worker import Worker

ROOT = Path(__file__).resolve().parents[3]
TINY = {"model": {"hidden_size": 4}, "training": {"batch_size": 2, "seq_length": 8, "validation_interval": 50}}

PLACE = """
    import datetime, os, socket
    from service.system import processes

    class Ahead(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return super().now(tz) + datetime.timedelta(seconds=int(os.environ["AHEAD"]))

    datetime.datetime = Ahead
    socket.gethostname = lambda: os.environ["PLACE"]
    processes.HEARTBEAT, processes.LEASE = 1.0, 8.0
"""  # another machine, for what begins with it; what is waited for takes less time

Launch = Callable[..., "subprocess.Popen[bytes]"]
needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="this system has no /proc")


def eventually(condition: Callable[[], Any], seconds: float = 60.0) -> None:
    """Wait for what another process does; the limit only keeps a broken one from hanging the tests."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


@pytest.fixture
def launch(path: Path, tmp_path: Path) -> Iterator[Launch]:
    """Start workers; those that still run at the end of the test are killed, and with them their children end."""
    started: list[subprocess.Popen[bytes]] = []

    def launched(*options: str, **environment: str) -> subprocess.Popen[bytes]:
        with (tmp_path / "log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "service.training.worker", str(path), *options],
                cwd=tmp_path,
                env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
                stdin=subprocess.PIPE,
                stderr=log,
            )
        started.append(process)
        return process

    yield launched
    with Store(path) as store:
        children = [pid_of(run) for run in store.runs.list() if run.state == "running"]
    for process in started:
        process.kill()
        process.communicate()
    for pid in children:
        eventually(lambda pid=pid: not Path(f"/proc/{pid}").exists() or is_zombie(pid))


def is_zombie(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def pid_of(run: Run) -> int:
    """The process that trains a run."""
    return int(json.loads(run.owner or '{"pid": 0}')["pid"])


def submit(store: Store, name: str, steps: int = 10**8) -> Run:
    spec = JobSpec(corpus="tale", name=name, model=TINY["model"], training={**TINY["training"], "steps": steps})
    return jobs.submit(store, spec)


def trained_by(store: Store, name: str, worker: subprocess.Popen[bytes]) -> int:
    """Wait until a child of the worker trains the run and has stored a checkpoint; its pid."""
    eventually(lambda: store.runs.get(name).step > 0 and pid_of(store.runs.get(name)) not in (0, worker.pid))
    return pid_of(store.runs.get(name))


def steps_told(store: Store, name: str) -> list[int]:
    """The steps of all validations that were told, in the order of events."""
    return [each.data["step"] for each in jobs.events(store, name) if each.data and each.data["valid_loss"] is not None]


# ── what a queue is for ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.usefixtures("corpus")
def test_two_workers_carry_out_twenty_jobs_each_once(store: Store, launch: Launch) -> None:
    names = [submit(store, f"job-{number}", steps=3).name for number in range(20)]
    workers = [launch("--jobs", "1"), launch("--jobs", "1")]
    eventually(lambda: all(store.runs.get(name).state == "succeeded" for name in names), 180)
    for name in names:
        told = [each.message.split()[0] for each in jobs.events(store, name) if each.type == "message"]
        assert told == ["queued,", "begins:", "has"]
        assert steps_told(store, name) == [3]
        assert (store.runs.get(name).attempt, store.runs.get(name).step) == (1, 3)
    for worker in workers:
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(60) == 0


@pytest.mark.usefixtures("corpus")
def test_a_job_is_paused_resumed_and_cancelled(store: Store, launch: Launch) -> None:
    submit(store, "run")
    worker = launch()
    trained_by(store, "run", worker)
    jobs.pause(store, "run")
    eventually(lambda: store.runs.get("run").state == "paused")
    run = store.runs.get("run")
    assert store.checkpoints.load_state(run)[0].step == run.step
    jobs.resume(store, "run")
    eventually(lambda: store.runs.get("run").step > run.step)
    jobs.cancel(store, "run")
    eventually(lambda: store.runs.get("run").state == "cancelled")
    run = store.runs.get("run")
    assert store.checkpoints.load_state(run)[0].step == run.step


@pytest.mark.usefixtures("corpus")
def test_a_worker_may_have_several_jobs_and_saves_all_of_them(store: Store, launch: Launch) -> None:
    for name in "ab":
        submit(store, name)
    worker = launch("--jobs", "2")
    for name in "ab":
        trained_by(store, name, worker)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(60) == 0
    for name in "ab":
        run = store.runs.get(name)
        assert (run.state, run.message, run.owner, run.attempt) == ("queued", "its worker was stopped", None, 1)
        assert store.checkpoints.load_state(run)[0].step == run.step > 0


# ── when something dies ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.usefixtures("corpus")
def test_a_trainer_that_is_killed_loses_nothing_beyond_its_last_checkpoint(store: Store, launch: Launch) -> None:
    submit(store, "run", steps=2000)
    worker = launch()
    for _ in range(2):
        before = store.runs.get("run").step
        os.kill(trained_by(store, "run", worker), signal.SIGKILL)
        kept = store.runs.get("run").step
        assert kept >= before
        eventually(lambda kept=kept: store.runs.get("run").step > kept)  # by another process
    eventually(lambda: store.runs.get("run").state == "succeeded")
    warnings = [each for each in jobs.events(store, "run") if each.level == "warn"]
    assert len(warnings) == 2
    assert all("was killed by signal 9; what was stored up to step" in each.message for each in warnings)
    told = steps_told(store, "run")
    assert told == sorted(set(told)) == list(range(50, 2001, 50))


@pytest.mark.usefixtures("corpus")
def test_when_a_worker_is_killed_its_trainer_saves_and_another_worker_goes_on(store: Store, launch: Launch) -> None:
    submit(store, "run", steps=3000)
    worker = launch()
    trained_by(store, "run", worker)
    worker.kill()
    eventually(lambda: store.runs.get("run").state == "queued")
    run = store.runs.get("run")
    assert (run.message, run.owner, run.attempt) == ("its worker was stopped", None, 1)
    assert store.checkpoints.load_state(run)[0].step == run.step
    launch()
    eventually(lambda: store.runs.get("run").state == "succeeded")
    assert steps_told(store, "run") == list(range(50, 3001, 50))


@pytest.mark.usefixtures("corpus")
def test_a_job_that_fails_three_times_at_the_same_step_has_failed(store: Store, launch: Launch, tmp_path: Path) -> None:
    submit(store, "broken")
    submit(store, "sound", steps=3)
    store.db.execute("UPDATE runs SET corpus = ? WHERE name = 'broken'", (store.corpora.add("lost", ["some text" * 50], "x").id,))
    store.db.execute("DELETE FROM text_chunks WHERE text = (SELECT text FROM corpora WHERE name = 'lost')")
    launch()
    eventually(lambda: store.runs.get("sound").state == "succeeded")  # a crash harms only its own run
    run = store.runs.get("broken")
    assert (run.state, run.attempt) == ("failed", 3)
    assert (run.message or "").startswith("it failed 3 times at step 0, the last time so: ")
    assert "chunk 0 of corpus lost is gone" in (run.message or "")
    log = (tmp_path / "log").read_text()
    assert log.count("run broken: ") >= 3
    assert "Traceback" not in log


@needs_proc
@pytest.mark.usefixtures("corpus")
def test_a_worker_ends_with_whoever_started_it(store: Store, launch: Launch, path: Path) -> None:
    script = """
        import sys
        from service.system.processes import start_child
        worker = start_child("service.training.worker", sys.argv[1])
        print(worker.pid, flush=True)
        input()
    """
    submit(store, "run")
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), str(path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        eventually(lambda: store.runs.get("run").step > 0)
        parent.kill()
    eventually(lambda: store.runs.get("run").state == "queued")
    eventually(lambda: not Path(f"/proc/{worker}").exists() or is_zombie(worker))


@needs_proc
@pytest.mark.usefixtures("corpus")
def test_in_different_places_the_lease_decides_also_if_a_clock_is_ahead(store: Store, launch: Launch, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(textwrap.dedent(PLACE))
    paths = f"{ROOT}{os.pathsep}{tmp_path}"
    submit(store, "run", steps=4000)
    here = launch(PLACE="here", AHEAD="0", PYTHONPATH=paths)
    child = trained_by(store, "run", here)
    there = launch(PLACE="there", AHEAD="150", PYTHONPATH=paths)
    submit(store, "next", steps=3)
    eventually(lambda: store.runs.get("next").state == "succeeded")  # by the second, which leaves the first one its run
    assert pid_of(store.runs.get("run")) == child
    for pid in (here.pid, child):
        os.kill(pid, signal.SIGSTOP)  # so that neither can tell of the other's end
    for pid in (here.pid, child):
        os.kill(pid, signal.SIGKILL)
    here.wait()
    submit(store, "last", steps=3)
    eventually(lambda: store.runs.get("last").state == "succeeded")
    assert store.runs.get("run").state == "running"  # as far as can be told from another place
    kept = store.runs.get("run").step
    eventually(lambda: store.runs.get("run").state == "succeeded")
    told = steps_told(store, "run")
    assert told == list(range(50, 4001, 50))
    assert [each for each in jobs.events(store, "run") if each.message.startswith(f"goes on from step {kept:,}")]
    there.send_signal(signal.SIGTERM)
    assert there.wait(60) == 0


# ── trouble of the worker's own ───────────────────────────────────────────────────────────────────────────────────────


def test_a_store_in_trouble_is_told_once_and_tried_again(
    store: Store, corpus: Corpus, path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "charloom")
    monkeypatch.setattr("service.training.worker.AFTER_TROUBLE", 0.0)
    worker, tried = Worker(path), []

    def busy() -> None:
        tried.append(1)
        raise DatabaseBusy("x.db", 10)

    monkeypatch.setattr(store.queue, "claim_next", busy)
    for _ in range(3):
        worker._look(store)
    assert len(tried) == 3
    assert [record.message.partition(":")[0] for record in caplog.records] == ["the queue cannot be worked on at this moment"]


def test_a_run_whose_process_cannot_be_started_waits(store: Store, corpus: Corpus, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    submit(store, "run")
    monkeypatch.setattr("service.training.worker.sys.executable", "/no/such/program")
    worker = Worker(path)
    worker._look(store)
    worker._look(store)  # not at once again
    run = store.runs.get("run")
    assert (run.state, run.owner, run.attempt) == ("queued", None, 1)
    [_, event] = jobs.events(store, "run")
    assert "no process could be started: No such file or directory" in event.message


def test_a_process_that_ends_before_it_begins_is_noticed(store: Store, corpus: Corpus, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    submit(store, "run")
    monkeypatch.setattr("service.training.worker.sys.executable", "/bin/false")
    worker = Worker(path)
    worker._look(store)
    assert store.runs.get("run").state == "running"
    worker._children[0].process.wait()
    worker._look(store)
    run = store.runs.get("run")
    assert (run.state, run.owner, run.attempt) == ("queued", None, 2)
    assert "ended with status 1" in (run.message or "")


def test_what_a_process_said_at_its_end_is_kept(
    store: Store, corpus: Corpus, path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Such as that the disk is full, when nothing could be stored any more."""
    submit(store, "run")
    program = path.with_name("program")
    program.write_text("#!/bin/sh\necho Traceback >&2\necho 'the disk is full; make room' >&2\nexit 1\n")
    program.chmod(0o700)
    monkeypatch.setattr("service.training.worker.sys.executable", str(program))
    worker = Worker(path)
    worker._look(store)
    worker._children[0].process.wait()
    worker._look(store)
    assert (store.runs.get("run").message or "").endswith("ended with status 1: the disk is full; make room")
    assert "Traceback\nthe disk is full; make room" in caplog.text
