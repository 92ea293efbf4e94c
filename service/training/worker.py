"""Works through the queue: claims runs, trains each in a process of its own (`train_process`), and supervises these processes.

A worker sleeps nearly all the time. Any number of workers may share a database, also from several containers on one machine: a run
is claimed under the database's lock, and the other workers notice a run whose worker or process is gone.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

from model.errors import CharloomError
from service.store import Run, Store
from service.system.disk import LEAST
from service.system.errors import StoreError
from service.system.log_format import log_to_stderr
from service.system.processes import POLL, end_with_parent, start_child

AFTER_TROUBLE = 2.0  # seconds until the next claim after a process ended early, or the database could not be used
SAVING = 50.0  # seconds that the processes have to save when the worker is stopped; then they are killed
MESSAGE = 4096  # bytes of a process's standard error that are kept, at the end

log = logging.getLogger("charloom")


class Child(NamedTuple):
    """Holds a run and the process that trains it."""

    run: Run
    process: subprocess.Popen[bytes]
    errors: IO[bytes] | None  # its standard error; None if no file could be made for that

    def last_words(self) -> str:
        """Returns the end of the standard error, up to `MESSAGE` bytes."""
        if self.errors is None:
            return ""
        with contextlib.suppress(OSError):
            self.errors.seek(max(0, self.errors.seek(0, os.SEEK_END) - MESSAGE))
            return self.errors.read().decode("utf-8", "replace").strip()
        return ""


class Worker:
    """Trains up to `jobs` runs at the same time. `stop` may be called from a signal handler."""

    def __init__(self, db: Path, jobs: int = 1, min_disk: int = 0, *, create: bool = True) -> None:
        """What is stored leaves `min_disk` bytes on the disk; no run is begun with less. `create`: whether it makes a missing file."""
        self._db, self._jobs, self._min_disk, self._create = db, jobs, min_disk, create
        self._children: list[Child] = []
        self._stopping = False
        self._rest = 0.0  # no run is claimed before this moment
        self._logged = ""  # the last error, which is logged once

    def stop(self) -> None:
        """Ends the worker, after the processes have saved and given their runs back."""
        self._stopping = True

    def carry_out(self, wake: int) -> None:
        """Works until stopped; a byte in the pipe `wake` ends a sleep.

        Raises `StoreError` if the database cannot be opened.
        """
        with Store(self._db, create=self._create, min_disk=self._min_disk) as store:
            for note in store.room.notes() if self._create else ():  # a service tells it itself
                log.warning(note)
            try:
                while not self._stopping:
                    self._look(store)
                    if select.select([wake], [], [], POLL)[0]:
                        os.read(wake, 1024)
            finally:
                self._end(store)

    def _look(self, store: Store) -> None:
        """Removes ended processes, and starts others."""
        try:
            self._reap(store)
            store.room.keep_reserve()
            while not self._stopping and len(self._children) < self._jobs and time.monotonic() >= self._rest:
                run = store.queue.claim_next()
                if run is None:
                    break
                self._start(store, run)
            self._logged = ""
        except StoreError as error:  # it may pass: a full disk, a locked file
            if str(error) != self._logged:
                log.error("the queue cannot be worked on at this moment: %s", error)
            self._logged = str(error)
            self._rest = time.monotonic() + AFTER_TROUBLE

    def _start(self, store: Store, run: Run) -> None:
        """Starts a process that trains a claimed run."""
        errors: IO[bytes] | None = None
        with contextlib.suppress(OSError):
            errors = tempfile.TemporaryFile()  # noqa: SIM115  (closed when the process is reaped)
        try:
            process = start_child("service.training.train_process", self._db, run.name, self._min_disk, blas_threads=None, stderr=errors)
        except OSError as error:
            self._rest = time.monotonic() + AFTER_TROUBLE
            if errors:
                errors.close()
            store.queue.left(run, f"no process could be started: {error.strerror or error}", blame=False)
            return
        self._children.append(Child(run, process, errors))
        log.info("run %s: process %s trains it", run.name, process.pid)
        with contextlib.suppress(OSError):  # it has ended already
            assert process.stdin is not None
            process.stdin.write((run.owner or "").encode() + b"\n")
            process.stdin.flush()

    def _reap(self, store: Store) -> None:
        """Gives the runs of ended processes back, unless the processes did so, and logs how they ended."""
        for child in [each for each in self._children if each.process.poll() is not None]:
            status = child.process.returncode
            how = f"its process {child.process.pid} " + (f"was killed by signal {-status}" if status < 0 else f"ended with status {status}")
            words = child.last_words()
            if status and words:
                how += f": {words.rpartition(chr(10))[2]}"
            stopped = self._stopping and status == -signal.SIGTERM  # before its signal handler was set
            left = store.queue.left(child.run, "its worker was stopped" if stopped else how, blame=not self._stopping)
            self._children.remove(child)
            if not stopped and (left or status):
                self._rest = time.monotonic() + AFTER_TROUBLE
                trace = f"\n{words}" if "\n" in words else ""
                log.error("run %s: %s; it is %s%s", child.run.name, how, self._state(store, child.run), trace)
            else:
                log.info("run %s is %s", child.run.name, self._state(store, child.run))
            for stream in (child.process.stdin, child.errors):
                with contextlib.suppress(OSError):
                    if stream:
                        stream.close()

    def _state(self, store: Store, run: Run) -> str:
        with contextlib.suppress(CharloomError):
            return store.runs.get(run.id).state
        return "gone"

    def _end(self, store: Store) -> None:
        """Lets all processes save, and kills those that take longer than `SAVING` seconds."""
        self._stopping = True
        for child in self._children:
            child.process.terminate()
        deadline = time.monotonic() + SAVING
        for child in self._children:
            try:
                child.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                log.error(
                    "run %s: its process did not end in %.0f seconds and was killed; its last checkpoint is kept", child.run.name, SAVING
                )
                child.process.kill()
                child.process.wait()
        with contextlib.suppress(StoreError):  # other workers will notice
            self._reap(store)


@contextlib.contextmanager
def woken_by_signals(worker: Worker) -> Iterator[int]:
    """Makes SIGTERM and SIGINT stop the worker, and the end of a child wake it; yields a pipe to which each signal writes a byte."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    handlers = {number: signal.signal(number, lambda *_: worker.stop()) for number in (signal.SIGTERM, signal.SIGINT)}
    handlers[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda *_: None)
    before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    try:
        yield reading
    finally:
        signal.set_wakeup_fd(before)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        os.close(reading)
        os.close(writing)


def carry_out(db: Path, jobs: int, min_disk: int, form: str = "lines", level: str = "info", *, create: bool = True) -> None:
    """Runs a worker until SIGTERM or Ctrl-C, and logs in `form`. Raises as `Worker.carry_out`."""
    handler = log_to_stderr(form, level)
    worker = Worker(db, jobs, min_disk, create=create)
    try:
        with woken_by_signals(worker) as wake:
            log.info("this worker trains the jobs of %s, up to %s at a time", db, "1 job" if jobs == 1 else f"{jobs} jobs")
            worker.carry_out(wake)
    finally:
        logging.getLogger().removeHandler(handler)


def main() -> None:
    """Runs ``python -m service.training.worker DB``, as the service starts it; it ends with the service."""
    parser = argparse.ArgumentParser(prog="python -m service.training.worker")
    parser.add_argument("db", type=Path)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--min-disk", type=int, default=LEAST)
    parser.add_argument("--log-format", default="lines")
    parser.add_argument("--log-level", default="info")
    given = parser.parse_args()
    end_with_parent(signal.SIGTERM)
    try:
        # The service has made the file. If it is gone, a new one would hide that.
        carry_out(given.db, given.jobs, given.min_disk, given.log_format, given.log_level, create=False)
    except CharloomError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
