"""The indexes of a database's corpora: opened once, and made in the background where they are missing."""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import numpy as np

from model.errors import IndexNotReady, IndexUnavailable, NothingToCompare
from service.blas import THREAD_VARIABLES
from service.cache import Cache
from service.novelty.building import REFUSED, key_of, refuse
from service.novelty.claims import STARTING, Progress, progress
from service.novelty.index import Index
from service.store import Corpus, Run, Store

ROOT = Path(__file__).parents[2]
BUILD = "import sys; from service.novelty.building import main; main(*sys.argv[1:])"
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
        self._making: dict[str, subprocess.Popen[str]] = {}
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
        if isinstance(found, Progress):
            raise IndexNotReady(corpus.name, found.share)
        return found

    def wait(self, corpus: Corpus, watch: Callable[[Progress], None] = lambda progress: None) -> Index:
        """The index of a corpus, as soon as it is there; `watch` is told again and again how far it is. Raises `IndexUnavailable`."""
        while isinstance(found := self._look(corpus), Progress):
            watch(found)
            time.sleep(LOOK)
        return found

    def progress(self, corpus: Corpus) -> Progress | None:
        """How far the index of a corpus is that somebody makes at this moment, be it another process."""
        return progress(self._cache.folder, key_of(corpus))

    def _look(self, corpus: Corpus) -> Index | Progress:
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

    def _made(self, corpus: Corpus) -> Index | Progress:
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

    def _start(self, corpus: Corpus) -> subprocess.Popen[str]:
        path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        return subprocess.Popen(
            [sys.executable, "-c", BUILD, str(self._store.path), corpus.name],
            stdin=subprocess.PIPE,  # the process ends when this end of it is closed
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**os.environ, **dict.fromkeys(THREAD_VARIABLES, "1"), "PYTHONPATH": path},
            text=True,
        )

    def _last_words(self, corpus: Corpus, process: subprocess.Popen[str]) -> str:
        """Why a process that has ended left no index, if it left none."""
        _, said = process.communicate()
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
