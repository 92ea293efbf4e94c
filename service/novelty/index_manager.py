"""Holding texts against the corpora of their models for whoever asks over HTTP: the index at once or after a moment, one text at a time.

The indexes of a database's corpora: opened once, and made in the background where they are missing.
"""

from __future__ import annotations

import contextlib
import logging
import subprocess
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from types import TracebackType
from typing import NamedTuple, Self

import numpy as np

from model.errors import CharloomError
from service.novelty.index_builder import REFUSED, STARTING, IndexProgress, key_of, progress, refuse
from service.novelty.report import MIN_LENGTH, Novelty, compare
from service.novelty.suffix_array import Index
from service.store import Corpus, Run, Store
from service.system.concurrency import Turns
from service.system.disk import Cache
from service.system.errors import IndexNotReady, IndexUnavailable, NothingToCompare, WaitedTooLong
from service.system.processes import start_child

# ── indexes ──────────────────────────────────────────────────────────────────────────────────────────────────────────

OPEN = 8  # indexes that stay open, each a mapped file
PATIENCE = 60.0  # seconds after which making an index that has failed is tried again
LOOK = 0.1  # seconds between two looks of who waits for an index

log = logging.getLogger("charloom")


class _Failure(NamedTuple):
    error: IndexUnavailable
    when: float


class Indexes:
    """Hands out indexes. May be used by any thread; `close` (or leaving the context) ends the processes that it has started."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._cache = Cache(store.path)
        self._lock = threading.Lock()
        self._open: OrderedDict[str, Index] = OrderedDict()  # by the corpus' SHA-256; the one used last stands last
        self._making: dict[str, subprocess.Popen[bytes]] = {}
        self._failed: dict[str, _Failure] = {}

    def corpus_of(self, run: Run) -> Corpus:
        """The corpus that a model was trained on. Raises `NothingToCompare` where it is not stored here."""
        if run.corpus is None:
            raise NothingToCompare(run.name)
        return self._store.corpora.get(run.corpus)

    def get(self, corpus: Corpus) -> Index:
        """The index of a corpus, at once; where it is missing, somebody begins to make it.

        Raises `IndexNotReady` while it is being made, and `IndexUnavailable` (`IndexTooLarge`) where it cannot be.
        """
        found = self._look(corpus)
        if isinstance(found, IndexProgress):
            raise IndexNotReady(corpus.name, found.share)
        return found

    def wait(self, corpus: Corpus, watch: Callable[[IndexProgress], None] = lambda progress: None) -> Index:
        """The index of a corpus, as soon as it is there; `watch` is told again and again how far it is. Raises `IndexUnavailable`."""
        while isinstance(found := self._look(corpus), IndexProgress):
            watch(found)
            time.sleep(LOOK)
        return found

    def progress(self, corpus: Corpus) -> IndexProgress | None:
        """How far the index of a corpus is that somebody makes at this moment, be it another process."""
        return progress(self._cache.folder, key_of(corpus))

    def _look(self, corpus: Corpus) -> Index | IndexProgress:
        with self._lock:
            index = self._opened(corpus)
            if index is None:
                return self._made(corpus)
            if corpus.sha256 in self._making:  # the process has nothing more to do
                self._making.pop(corpus.sha256).communicate()
            return index

    def _opened(self, corpus: Corpus) -> Index | None:
        index = self._open.get(corpus.sha256)
        if index is None:
            array = self._cache.load(key_of(corpus), np.uint8)
            if array is None:
                return None
            index = self._open[corpus.sha256] = Index(array)
        self._open.move_to_end(corpus.sha256)
        while len(self._open) > OPEN:
            self._open.popitem(last=False)  # whoever still uses it keeps it
        return index

    def _made(self, corpus: Corpus) -> Index | IndexProgress:
        """How far the index is that is not there; what is needed to make it is done first."""
        process = self._making.get(corpus.sha256)
        if process is not None:
            if process.poll() is None:
                return self.progress(corpus) or STARTING
            del self._making[corpus.sha256]
            said = self._last_words(corpus, process)
            index = self._opened(corpus)
            if index:
                return index
            self._failed[corpus.sha256] = _Failure(IndexUnavailable(corpus.name, said), time.monotonic())
        failure = self._failed.get(corpus.sha256)
        if failure and time.monotonic() - failure.when < PATIENCE:
            raise failure.error
        somebody = self.progress(corpus)
        if somebody:
            return somebody
        refuse(corpus, self._cache)
        self._making[corpus.sha256] = self._start(corpus)
        return STARTING

    def _start(self, corpus: Corpus) -> subprocess.Popen[bytes]:
        return start_child("service.novelty.index_builder", self._store.path, corpus.name, stderr=subprocess.PIPE)

    def _last_words(self, corpus: Corpus, process: subprocess.Popen[bytes]) -> str:
        """Why a process that has ended left no index, if it left none."""
        said = process.communicate()[1].decode(errors="replace")
        if process.returncode == REFUSED:
            return said.strip().rpartition("\n")[2]  # whatever else may have been said, the reason comes last
        if process.returncode < 0:
            return "making its index was stopped, perhaps for want of memory"
        if process.returncode > 0:
            log.error("making the index of corpus %s failed\n%s", corpus.name, said)
            return "making its index failed, and the log says why"
        return "its index was made, but is not there or is not sound"

    def close(self) -> None:
        """Let go of all indexes, and end what is being made."""
        with self._lock:
            self._open.clear()
            for process in self._making.values():
                process.kill()
                with contextlib.suppress(OSError):
                    process.communicate()
            self._making.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


# ── comparing ────────────────────────────────────────────────────────────────────────────────────────────────────────

MOMENT = 5.0  # seconds that a text waits for an index that is being made: enough for a corpus of some megabytes
LONG = 30.0  # the same for whoever wants nothing else
POLL = 0.05
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
            time.sleep(POLL)

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
