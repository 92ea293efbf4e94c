"""Holding texts against the corpora of their models for whoever asks over HTTP: the index at once or after a moment, one text at a time."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import NamedTuple

from model.errors import CharloomError, IndexNotReady, WaitedTooLong
from service.novelty import MIN_LENGTH, Index, Indexes, Novelty, compare
from service.store import Run, Store

MOMENT = 5.0  # seconds that a request waits for an index that is being made: enough for a corpus of some megabytes
LOOK = 0.05


class Compared(NamedTuple):
    """What a text has in common with its corpus, or why nobody can tell."""

    novelty: Novelty | None
    error: CharloomError | None = None


class Comparer:
    """May be used from any thread; `close` ends what is being made."""

    def __init__(self, store: Store, seconds: float) -> None:
        """`seconds` is what one request may take, waiting included."""
        self._indexes = Indexes(store)
        self._seconds = seconds
        self._turn = threading.Lock()  # it keeps Python's own lock busy, so two at once would be no faster

    def prepare(self, run: Run) -> None:
        """See to it that the index of a model's corpus is there or being made.

        Raises `NothingToCompare`, `IndexUnavailable` and `StoreError`.
        """
        with contextlib.suppress(IndexNotReady):  # it will be, perhaps before it is needed
            self._indexes.get(self._indexes.corpus_of(run))

    def source(self, run: Run) -> Index:
        """The index of a model's corpus, after a `MOMENT` at most. Raises `IndexNotReady`, and as `prepare`."""
        corpus, deadline = self._indexes.corpus_of(run), time.monotonic() + MOMENT
        while True:
            try:
                return self._indexes.get(corpus)
            except IndexNotReady:
                if time.monotonic() > deadline:
                    raise
                time.sleep(LOOK)

    def compare(self, run: Run, text: str, *, prompt: str = "", ended: bool = True, min_length: int = MIN_LENGTH) -> Novelty:
        """Hold a text against a model's corpus. Raises `WaitedTooLong`, and as `source`."""
        index = self.source(run)
        if not self._turn.acquire(timeout=self._seconds):
            raise WaitedTooLong(self._seconds)
        try:
            return compare(index, text, corpus=run.corpus or "", prompt=prompt, ended=ended, min_length=min_length)
        finally:
            self._turn.release()

    def try_compare(self, run: Run, text: str, *, prompt: str, ended: bool) -> Compared:
        """The same for a text that has just been written: it should not be lost because of this."""
        try:
            return Compared(self.compare(run, text, prompt=prompt, ended=ended))
        except CharloomError as error:
            return Compared(None, error)

    def close(self) -> None:
        """Let go of all indexes."""
        self._indexes.close()
