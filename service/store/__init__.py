"""Stores everything the product knows in one SQLite file. The only code that knows SQL.

::

    store = Store("charloom.db")
    corpus = store.corpora.add("tale", ["It was the best of times"], origin="tale.txt")
    run = store.runs.claim(store.runs.create("first", corpus="tale", model_config={}, training_config={}).name)
    store.checkpoints.save(run, Metric(step=100, loss=2.1, validation_loss=2.2), model, state)
    store.runs.release(run, "succeeded")

A store may be used from any thread. What it returns is frozen and shows the moment when it was read.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from sqlite_utils import Database

from service.store import names
from service.store.api_keys import ApiKey, Keys
from service.store.backup import backup
from service.store.checkpoints import Checkpoints, StoredCheckpoint
from service.store.corpora import Corpora, Corpus
from service.store.database import BUSY_TIMEOUT, Connections
from service.store.integrity import IntegrityReport
from service.store.job_queue import JobQueue
from service.store.run_history import Event, Events, Metric, Metrics, Sample, Samples
from service.store.runs import STATES, Run, Runs, Which
from service.system.array_cache import Cache
from service.system.errors import StoreError

__all__ = ["STATES", "ApiKey", "Corpus", "Event", "Metric", "Run", "Sample", "Store", "StoredCheckpoint", "Which"]


class Store:
    """Opens the database file at ``path``, and makes it if it does not exist (unless ``create`` is False).

    Opening brings an older file to this release's schema and frees what killed processes left behind. What is stored leaves
    ``min_disk`` bytes on the disk.
    Raises `DatabaseUnusable`, `DatabaseTooNew` and `DatabaseBusy`, as does every method.
    """

    def __init__(self, path: str | Path, *, create: bool = True, busy_timeout: float = BUSY_TIMEOUT, min_disk: int = 0) -> None:
        self._file = Connections(path, create=create, busy_timeout=busy_timeout, min_disk=min_disk)
        self.path = self._file.path
        self.room = self._file.room
        self.cache = Cache(self.path, room=self.room)
        self.sqlite_version = self._file.sqlite_version
        self.journal_mode = self._file.journal_mode
        self.corpora = Corpora(self._file, self.cache)
        self.runs = Runs(self._file, self.corpora)
        self.events = Events(self._file)
        self.queue = JobQueue(self._file, self.runs, self.events)
        self.keys = Keys(self._file)
        self.metrics = Metrics(self._file)
        self.samples = Samples(self._file)
        self.checkpoints = Checkpoints(self._file, self.runs, self.metrics, self.samples, self.events)
        with contextlib.suppress(StoreError):  # leftovers can wait for a better moment
            self.sweep()
        self.room.keep_reserve()

    @property
    def db(self) -> Database:
        """This thread's connection."""
        return self._file.db

    def sweep(self) -> None:
        """Frees what killed processes left behind: texts, cached arrays of texts that are gone, and pages that were not given back."""
        self.corpora.sweep()
        with self._file.without_waiting():
            if not self.runs.any_owned():  # a trainer keeps some pages for its next checkpoint
                self._file.reclaim()

    def immediate(self, *, durable: bool = True, frees: bool = False) -> contextlib.AbstractContextManager[Database]:
        """Opens a transaction with the write lock from its start; methods of the store that are called inside are part of it.

        It survives a power cut once it has ended, unless it need not be ``durable``; with ``frees`` it has a reserve on a full disk.
        """
        return self._file.immediate(durable=durable, frees=frees)

    @property
    def damaged(self) -> list[str]:
        """What was found damaged while it was read, such as ``checkpoint first@100``, and has not been replaced since."""
        return self._file.damage.found()

    def check_writable(self) -> None:
        """Raises the `StoreError` that a write would raise now. Changes nothing."""
        self._file.check_writable()

    def backup(self, file: str | Path) -> IntegrityReport:
        """Copies the state of this moment to a new file while others write, and checks it. Raises `FileTaken`."""
        return backup(self._file, file)

    def position(self, table: Literal["corpora", "runs"], name: str) -> float | None:
        """Returns where a corpus or run stands in the order in which they were made, also one that was deleted within the last day.

        A deleted one stands before what may have its id now. None if there was none of that name.
        """
        name = names.stored(name)
        row = self._file.row(f"SELECT id AS position FROM {table} WHERE name = ?", name) or self._file.row(
            "SELECT position - 0.5 AS position FROM removed WHERE list = ? AND name = ?", table, name
        )
        return float(row["position"]) if row else None

    def close(self) -> None:
        """Closes the connections of all threads."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
