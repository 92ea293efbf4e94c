"""Trains one claimed run in a process of its own: ``python -m service.training.train_process DB RUN MIN_DISK``, as a worker starts it.

The worker writes the run's owner to standard input and keeps that pipe open. When the pipe closes, the worker is gone: this process
then saves and gives the run back to the queue, as it does after SIGTERM. A crash harms only this run, and the worker notices it.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import time

from model.errors import CharloomError
from service.store import Run, Store
from service.system.processes import end_with_parent, lower_priority
from service.training import event_log
from service.training.hyperparameters import settle
from service.training.trainer import Trainer

BEGAN = time.monotonic()  # a budget covers the whole process
STOPPED = "its worker was stopped"


class TrainProcess:
    """Trains one claimed run in this process. `stop` may be called from a signal handler."""

    def __init__(self, store: Store, run: Run) -> None:
        self._store, self.run = store, run
        self._work: Trainer | None = None
        self._stopping = ""

    def stop(self, reason: str) -> None:
        """Saves, and gives the run back to the queue."""
        self._stopping = reason
        if self._work:
            self._work.stop(reason, "queued")

    def carry_out(self) -> None:
        """Trains to the end, or until stopped. Raises the error that ends training early; the run is given back in any case."""
        try:
            self.run, notes = settle(self._store, self.run, spent=lambda: time.monotonic() - BEGAN)
        except BaseException as error:
            with contextlib.suppress(CharloomError):  # if it fails, the worker gives the run back after this process
                event_log.given_up(self._store, self.run, error)
            raise
        self._work = Trainer(self._store, self.run, began=BEGAN, notes=notes)
        if self._stopping:
            self._work.stop(self._stopping, "queued")
        for _ in self._work.events():
            pass


def main() -> int:
    """Trains the run that the arguments name, and returns the exit status."""
    database, name, min_disk = sys.argv[1:]
    early: list[str] = []
    signal.signal(signal.SIGTERM, lambda *_: early.append(STOPPED))
    lower_priority()
    owner = sys.stdin.readline().strip()
    end_with_parent(signal.SIGTERM)
    try:
        with Store(database, create=False, min_disk=int(min_disk)) as store:
            job = TrainProcess(store, store.queue.adopt(name, owner))
            signal.signal(signal.SIGTERM, lambda *_: job.stop(STOPPED))
            if early:
                job.stop(STOPPED)
            job.carry_out()
    except CharloomError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # all is stored; a signal could else kill Python while it exits
    return 0


if __name__ == "__main__":
    sys.exit(main())
