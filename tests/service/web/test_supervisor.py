"""The worker beside the service: it is there as long as the service is."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from service.web import supervisor
from service.web.service_config import ServiceConfig
from service.web.supervisor import TrainingWorker


def eventually(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


@pytest.fixture
def worker(path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TrainingWorker]:
    """A supervisor, whose standard error goes where the test's goes."""
    monkeypatch.setattr(supervisor, "RESTART", 0.0)
    monkeypatch.setattr("sys.stderr.fileno", lambda: 2, raising=False)
    found = TrainingWorker(ServiceConfig(db=path, log_level="warning"))
    yield found
    found.terminate()
    found.wait()


def pid(worker: TrainingWorker) -> int:
    assert worker._process is not None
    return worker._process.pid


def test_one_that_died_is_replaced_and_it_ends_with_the_service(worker: TrainingWorker, caplog: pytest.LogCaptureFixture) -> None:
    worker.start()
    first = pid(worker)
    worker.restart_if_ended()
    assert pid(worker) == first
    os.kill(first, signal.SIGKILL)
    eventually(lambda: worker.restart_if_ended() or (worker._process is not None and pid(worker) != first))
    assert "the worker ended with status -9; another is started" in caplog.text
    worker.terminate()
    worker.wait()
    assert worker._process is not None
    assert worker._process.returncode in (0, -signal.SIGTERM)  # the latter before it had begun
    worker.restart_if_ended()
    assert worker._process is None  # and it stays so


def test_without_workers_none_is_started(path: Path) -> None:
    worker = TrainingWorker(ServiceConfig(db=path, workers=0))
    worker.start()
    worker.restart_if_ended()
    assert worker._process is None
    worker.terminate()
    worker.wait()


def test_one_that_cannot_be_started_is_reported(
    worker: TrainingWorker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    monkeypatch.setattr("service.web.supervisor.sys.executable", "/no/such/program")
    worker.start()
    assert "no worker could be started, so jobs wait" in caplog.text


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="this system has no /proc")
def test_one_that_does_not_end_is_killed(worker: TrainingWorker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(supervisor, "SAVING", 0.05)
    worker.start()
    os.kill(pid(worker), signal.SIGSTOP)
    eventually(lambda: Path(f"/proc/{pid(worker)}/stat").read_text().rpartition(")")[2].split()[0] == "T")
    worker.terminate()
    worker.wait()
    assert "did not end in" in caplog.text
    assert worker._process is not None
    assert worker._process.wait(10) == -signal.SIGKILL
