"""Opens the indexes of corpora, builds missing ones in the background and compares texts with them."""

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

from corpora import RecordFormat
from model.errors import CharloomError
from service.novelty.corpus_records import CorpusRecords, form_of, of_corpus
from service.novelty.index_builder import REFUSED, build_progress, check_resources, index_key
from service.novelty.report import MIN_LENGTH, TextNovelty, compare
from service.novelty.suffix_array import Index
from service.store import Corpus, Run, Store
from service.system.concurrency import LruCache, Turns
from service.system.errors import IndexNotReady, IndexUnavailable, NothingToCompare, WaitedTooLong
from service.system.processes import start_child

# ── indexes ──────────────────────────────────────────────────────────────────────────────────────────────────────────

MAX_OPEN = 8  # indexes, each a mapped file
RECORDS_MEMORY = 2**28  # bytes for the records of corpora, 8 for each
RETRY_PERIOD = 60.0  # seconds after a failure before an index is built again
POLL_PERIOD = 0.05  # seconds between two looks whether an index is ready

log = logging.getLogger("charloom")


class _Failure(NamedTuple):
    error: IndexUnavailable
    when: float  # of the monotonic clock


class Indexes:
    """Provides the indexes of corpora. Safe for use by several threads; `close` (or leaving the context) ends its builder processes."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._cache = store.cache
        self._lock = threading.Lock()
        self._open: OrderedDict[str, Index] = OrderedDict()  # by the corpus' SHA-256, the most recently used last
        self._builders: dict[str, subprocess.Popen[bytes]] = {}
        self._failures: dict[str, _Failure] = {}

    def corpus_of(self, run: Run) -> Corpus:
        """Returns the corpus that a model was trained on. Raises `NothingToCompare` if it is not stored here."""
        if run.corpus_id is None:
            raise NothingToCompare(run.name)
        return self._store.corpora.get(run.corpus_id)

    def get(self, corpus: Corpus) -> Index:
        """Returns the index of a corpus at once; starts to build it if it is missing.

        Raises `IndexNotReady` while it is being built, by this process or another, and `IndexUnavailable` (`IndexTooLarge`) if that fails.
        """
        with self._lock:
            builder = self._builders.get(corpus.sha256)
            ended = builder is not None and builder.poll() is not None  # polled first, since a builder stores its file before it ends
            index = self._load(corpus)
            if index is not None:
                if builder is not None:
                    self._builders.pop(corpus.sha256).communicate()
                return index
            if builder is not None:
                if not ended:
                    raise IndexNotReady(corpus.name, self.progress(corpus) or 0.0)
                del self._builders[corpus.sha256]
                error = IndexUnavailable(corpus.name, self._failure_of(corpus, builder))
                recent = {key: each for key, each in self._failures.items() if time.monotonic() - each.when < RETRY_PERIOD}
                self._failures = recent | {corpus.sha256: _Failure(error, time.monotonic())}
            failure = self._failures.get(corpus.sha256)
            if failure and time.monotonic() - failure.when < RETRY_PERIOD:
                raise failure.error
            progress = self.progress(corpus)
            if progress is None:
                check_resources(corpus, self._cache)
                self._builders[corpus.sha256] = self._start(corpus)
            raise IndexNotReady(corpus.name, progress or 0.0)

    def wait(self, corpus: Corpus, watch: Callable[[float], None] = lambda progress: None) -> Index:
        """Returns the index of a corpus as soon as it is built; `watch` is called with the progress, 0 to 1, and may raise.

        Raises `IndexUnavailable`.
        """
        while True:
            try:
                return self.get(corpus)
            except IndexNotReady as error:
                watch(error.share)
            time.sleep(POLL_PERIOD)

    def progress(self, corpus: Corpus) -> float | None:
        """Returns the share of a corpus' index that any process has built, or None if none is building it."""
        return build_progress(self._cache.folder, index_key(corpus))

    def forget_removed(self) -> None:
        """Closes the indexes of corpora that are not stored any more, so that nothing of their texts stays on the disk."""
        kept = {corpus.sha256 for corpus in self._store.corpora.list()}
        with self._lock:
            for text in self._open.keys() - kept:
                del self._open[text]

    def _load(self, corpus: Corpus) -> Index | None:
        index = self._open.get(corpus.sha256)
        if index is None:
            array = self._cache.load(index_key(corpus), np.uint8)
            if array is None:
                return None
            index = self._open[corpus.sha256] = Index(array)
        self._open.move_to_end(corpus.sha256)
        while len(self._open) > MAX_OPEN:
            self._open.popitem(last=False)  # a caller that still uses it keeps it open
        return index

    def _start(self, corpus: Corpus) -> subprocess.Popen[bytes]:
        return start_child("service.novelty.index_builder", self._store.path, corpus.id, self._store.room.least, stderr=subprocess.PIPE)

    def _failure_of(self, corpus: Corpus, builder: subprocess.Popen[bytes]) -> str:
        """Returns why a builder that has ended left no index."""
        message = builder.communicate()[1].decode(errors="replace")
        if builder.returncode == REFUSED:
            return message.strip().rpartition("\n")[2]  # the reason comes last, after any warnings
        if builder.returncode < 0:
            return "making its index was stopped, perhaps for want of memory"
        if builder.returncode > 0:
            log.error("building the index of corpus %s failed\n%s", corpus.name, message)
            return "making its index failed, and the log says why"
        return "its index was made, but is not there or is not sound"

    def close(self) -> None:
        """Closes all indexes and kills the builder processes."""
        with self._lock:
            self._open.clear()
            for builder in self._builders.values():
                builder.kill()
                with contextlib.suppress(OSError):
                    builder.communicate()
            self._builders.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


# ── shared among requests ────────────────────────────────────────────────────────────────────────────────────────────

GENERATION_WAIT = 5.0  # seconds that a generated text waits for an index being built: enough for a corpus of some megabytes
NOVELTY_WAIT = 30.0  # the same for a request of novelty alone
AT_ONCE, WAITING = 4, 16  # requests of novelty alone


class Comparer:
    """Compares texts with the corpora of their models. Safe for use by several threads; `close` ends the builder processes."""

    def __init__(self, store: Store, seconds: float, writing: Callable[[], bool] = lambda: False) -> None:
        """`seconds` is the limit of one request, waiting included.

        While `writing()` is true, comparing pauses repeatedly, so that it hardly delays generation.
        """
        self._store, self._indexes = store, Indexes(store)
        self._records: LruCache[tuple[str, str, RecordFormat], CorpusRecords] = LruCache(RECORDS_MEMORY, lambda each: each.nbytes + 1)
        self._seconds = seconds
        self._turns = Turns(AT_ONCE, WAITING, seconds, writing)
        self._comparing = threading.Lock()  # comparing holds Python's own lock, so two at once would be no faster

    def prepare(self, run: Run) -> None:
        """Starts to build the index of a model's corpus if it is missing.

        Raises `NothingToCompare`, `IndexUnavailable` and `StoreError`.
        """
        with contextlib.suppress(IndexNotReady):
            self._indexes.get(self._indexes.corpus_of(run))

    def source(self, run: Run) -> Index:
        """Returns the index of a model's corpus, after `GENERATION_WAIT` at most. Raises `IndexNotReady`, and as `prepare`."""
        return self._wait(self._indexes.corpus_of(run), GENERATION_WAIT)

    def records(self, run: Run, separator: str | None) -> CorpusRecords:
        """Returns the records of a model's corpus, cut at `separator` if it is stored as prose.

        Raises `NothingToCompare`, `WaitedTooLong` and `StoreError`.
        """
        corpus = self._indexes.corpus_of(run)
        form = form_of(run, corpus, separator)
        key = (corpus.name, corpus.sha256, form)
        found = self._records.get(key)
        if found is None:
            if not self._comparing.acquire(timeout=self._seconds):
                raise WaitedTooLong(self._seconds)
            try:
                found = self._records.get(key) or of_corpus(self._store, corpus, form)
                self._records.put(key, found)
            finally:
                self._comparing.release()
        return found

    def compare(
        self,
        run: Run,
        text: str,
        left: Callable[[], bool],
        *,
        prompt: str = "",
        ended: bool = True,
        min_length: int = MIN_LENGTH,
        caller: str = "",
    ) -> TextNovelty:
        """Compares a text with a model's corpus, for whose index it waits `NOVELTY_WAIT` at most; stops once the client has `left`.

        Callers take turns. Raises `TooManyRequests`, `WaitedTooLong`, `TookTooLong`, `ClientDisconnected`, and as `source`.
        """
        tick = self._turns.clock(left)
        with self._turns.turn(caller):
            return self._compare(run, text, prompt, ended, min_length, NOVELTY_WAIT, tick)

    def try_compare(self, run: Run, text: str, *, prompt: str, ended: bool) -> TextNovelty | CharloomError:
        """Compares a generated text, and returns an error instead of raising it, so that the text is not lost."""
        try:
            return self._compare(run, text, prompt, ended, MIN_LENGTH, GENERATION_WAIT, self._turns.pause)
        except CharloomError as error:
            return error

    def _compare(
        self, run: Run, text: str, prompt: str, ended: bool, min_length: int, seconds: float, tick: Callable[[], None]
    ) -> TextNovelty:
        corpus = self._indexes.corpus_of(run)
        index = self._wait(corpus, seconds, tick)
        known = self.records(run, None) if run.request.get("records") else None
        if not self._comparing.acquire(timeout=self._seconds):
            raise WaitedTooLong(self._seconds)
        try:
            return compare(index, text, corpus=corpus.name, prompt=prompt, ended=ended, min_length=min_length, tick=tick, known=known)
        finally:
            self._comparing.release()

    def _wait(self, corpus: Corpus, seconds: float, tick: Callable[[], None] = lambda: None) -> Index:
        deadline = time.monotonic() + seconds

        def watch(progress: float) -> None:
            if time.monotonic() > deadline:
                raise IndexNotReady(corpus.name, progress)
            tick()

        return self._indexes.wait(corpus, watch)

    def forget_removed(self) -> None:
        """Closes the indexes of corpora that were removed. Raises `StoreError`."""
        self._indexes.forget_removed()

    def close(self) -> None:
        """Closes all indexes."""
        self._indexes.close()
