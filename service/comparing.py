"""Holding texts against the corpora of their models for whoever asks over HTTP: the index at once or after a moment, one text at a time."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from model.errors import CharloomError, IndexNotReady, WaitedTooLong
from service.novelty import MIN_LENGTH, Index, Indexes, Novelty, compare
from service.store import Run, Store
from service.turns import Turns

MOMENT = 5.0  # seconds that a text waits for an index that is being made: enough for a corpus of some megabytes
LONG = 30.0  # the same for whoever wants nothing else
LOOK = 0.05
AT_ONCE, WAITING = 4, 12  # requests that want nothing else


class Compared(NamedTuple):
    """What a text has in common with its corpus, or why nobody can tell."""

    novelty: Novelty | None
    error: CharloomError | None = None


class Comparer:
    """May be used from any thread; `close` ends what is being made."""

    def __init__(self, store: Store, seconds: float, writing: Callable[[], bool] = lambda: False) -> None:
        """`seconds` is what one request may take, waiting included.

        While texts are being written, which `writing` tells, comparing pauses again and again, so that they hardly wait.
        """
        self._indexes = Indexes(store)
        self._seconds = seconds
        self._turns = Turns(AT_ONCE, WAITING, seconds, writing)
        self._comparing = threading.Lock()  # it keeps Python's own lock busy, so two at once would be no faster

    def prepare(self, run: Run) -> None:
        """See to it that the index of a model's corpus is there or being made.

        Raises `NothingToCompare`, `IndexUnavailable` and `StoreError`.
        """
        with contextlib.suppress(IndexNotReady):  # it will be, perhaps before it is needed
            self._indexes.get(self._indexes.corpus_of(run))

    def source(self, run: Run, seconds: float | None = None, tick: Callable[[], None] = lambda: None) -> Index:
        """The index of a model's corpus, after some `seconds` at most, by default a `MOMENT`; `tick` is called while it is waited for.

        Raises `IndexNotReady`, and as `prepare`.
        """
        corpus, deadline = self._indexes.corpus_of(run), time.monotonic() + (MOMENT if seconds is None else seconds)
        while True:
            try:
                return self._indexes.get(corpus)
            except IndexNotReady:
                if time.monotonic() > deadline:
                    raise
            tick()
            time.sleep(LOOK)

    def compare(
        self, run: Run, text: str, left: Callable[[], bool], *, prompt: str = "", ended: bool = True, min_length: int = MIN_LENGTH
    ) -> Novelty:
        """Hold a text against a model's corpus, for whose index it waits `LONG` at most, and while whoever asked has not `left`.

        Raises `TooManyRequests`, `WaitedTooLong`, `TookTooLong`, `ClientDisconnected`, and as `source`.
        """
        tick = self._turns.clock(left)
        with self._turns.turn():
            index = self.source(run, LONG, tick)
            return self._compare(index, run, text, prompt, ended, min_length, tick)

    def try_compare(self, run: Run, text: str, *, prompt: str, ended: bool) -> Compared:
        """The same for a text that has just been written: it should not be lost because of this."""
        try:
            return Compared(self._compare(self.source(run), run, text, prompt, ended, MIN_LENGTH, self._turns.pause))
        except CharloomError as error:
            return Compared(None, error)

    def _compare(self, index: Index, run: Run, text: str, prompt: str, ended: bool, min_length: int, tick: Callable[[], None]) -> Novelty:
        if not self._comparing.acquire(timeout=self._seconds):
            raise WaitedTooLong(self._seconds)
        try:
            return compare(index, text, corpus=run.corpus or "", prompt=prompt, ended=ended, min_length=min_length, tick=tick)
        finally:
            self._comparing.release()

    def close(self) -> None:
        """Let go of all indexes."""
        self._indexes.close()
