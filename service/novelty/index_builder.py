"""Builds the index of a corpus in a process of its own, which returns the memory to the system.

::

    python -m service.novelty.index_builder DATABASE CORPUS [MIN_DISK]

The process ends when its standard input is closed. If it exits with status `REFUSED`, standard error says why in a few words.

One process at a time builds the index of a corpus; all others can read its progress. Its claim is a lock (flock(2)) on a small file
beside the index, so it ends with the process that holds it, however that ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import sys
import threading
import time
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from model.errors import CharloomError
from model.quick_check import normalized
from service.novelty.suffix_array import BLOCK, NEWLINE, file_size, offsets_of, starts_character
from service.store import Corpus, Store
from service.system import hardware
from service.system.array_cache import Cache, CacheKey
from service.system.errors import IndexTooLarge, IndexUnavailable
from service.system.processes import end_with_parent, lower_priority

Array = NDArray[Any]
Report = Callable[[float], None]  # is called with the share of the work that is done, 0 to 1

PART = 2**20  # suffixes that are converted at once
READ, SORTED = 0.1, 0.9  # shares of the time after which decompressing and sorting are done; the rest is writing
SORT_RATE = 1e7  # bytes a second: an estimate, used for progress alone
REPORT_PERIOD = 0.5  # seconds between two reports while sorting
REFUSED = 3  # the exit status if standard error has the reason
OVERHEAD = 100_000_000  # bytes of Python, numpy and the library
CLAIM_SIZE = 64  # bytes of the claim's file: each report overwrites the one before

# ── claim ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _path(folder: Path, key: CacheKey) -> Path:
    return folder / f"{key.file_name}.claim"


class Claim:
    """The right to build an index; entering waits for the process that holds it. Raises `OSError` if its file cannot be made."""

    def __init__(self, folder: Path, key: CacheKey) -> None:
        self._folder, self._path = folder, _path(folder, key)

    def __enter__(self) -> Self:
        self._folder.mkdir(mode=0o700, exist_ok=True)
        while True:
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            with contextlib.suppress(OSError):  # some network file systems have no locks; there an index may be built twice
                fcntl.flock(self._file, fcntl.LOCK_EX)
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(self._file), os.stat(self._path)):
                    break
            os.close(self._file)  # the holder has removed it
        self.report(0.0)
        return self

    def report(self, share: float) -> None:
        """Writes the share of the work that is done."""
        os.pwrite(self._file, json.dumps(round(share, 3)).ljust(CLAIM_SIZE).encode(), 0)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with contextlib.suppress(OSError):
            os.unlink(self._path)
        os.close(self._file)


def build_progress(folder: Path, key: CacheKey) -> float | None:
    """Returns the share of an index that is built, 0 to 1, or None if no process is building it."""
    try:
        file = os.open(_path(folder, key), os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        with contextlib.suppress(ValueError, TypeError):
            return float(json.loads(os.read(file, CLAIM_SIZE)))
        return 0.0
    else:
        return None
    finally:
        os.close(file)


# ── resources ────────────────────────────────────────────────────────────────────────────────────────────────────────


def index_key(corpus: Corpus) -> CacheKey:
    """Returns the key of a corpus' index in the cache."""
    return CacheKey(corpus.sha256, "suffixes", ("utf-8", "nfc", unicodedata.unidata_version))


def disk_needed(corpus: Corpus) -> int:
    """Returns the bytes of the index's file."""
    return file_size(corpus.bytes, corpus.characters)


def memory_needed(corpus: Corpus) -> int:
    """Returns the bytes that building takes: the text and all of its suffixes."""
    return corpus.bytes * (1 + offsets_of(corpus.bytes).itemsize) + OVERHEAD


def check_resources(corpus: Corpus, cache: Cache) -> None:
    """Raises `IndexTooLarge` if memory or disk do not suffice, and `IndexUnavailable` if the library is missing."""
    free = hardware.free_memory()
    if free is not None and memory_needed(corpus) > free:
        raise IndexTooLarge(corpus.name, memory_needed(corpus), free, "memory")
    if not cache.has_room(disk_needed(corpus)):
        raise IndexTooLarge(corpus.name, disk_needed(corpus), None, f"disk in {cache.folder.name} (which takes half of what is free)")
    try:
        import pydivsufsort  # noqa: F401
    except ImportError as error:
        raise IndexUnavailable(corpus.name, f"pydivsufsort cannot be imported here ({error}); pip install pydivsufsort") from error


# ── building ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def index_parts(pieces: Iterable[str], expected: int, report: Report = lambda share: None) -> Iterator[Array]:
    """Yields the bytes of an index in parts, from a text in NFC of about `expected` bytes. It holds 5 bytes for each of them."""
    from pydivsufsort import divsufsort

    collected = bytearray()
    for piece in pieces:
        collected += piece.encode()
        report(READ * min(1.0, len(collected) / expected))
    text = np.frombuffer(collected, np.uint8)
    with _estimated_progress(report, len(text)):
        suffixes = divsufsort(text)
    characters = 0
    for start in range(0, len(text), PART):
        part = suffixes[start : start + PART]
        part = part[starts_character(text[part])].astype(offsets_of(len(text)), copy=False)
        characters += len(part)
        yield part.view(np.uint8)
        report(SORTED + (1 - SORTED) * start / len(text))
    del suffixes
    yield text
    yield _marks(text).view(np.uint8)
    yield np.array([len(text), characters], np.int64).view(np.uint8)


def _marks(text: Array) -> Array:
    """Returns the characters and line ends before each block, ``(b, 2)`` in one row."""
    blocks = [text[start : start + BLOCK] for start in range(0, len(text), BLOCK)]
    counts = [(np.count_nonzero(starts_character(block)), np.count_nonzero(block == NEWLINE)) for block in blocks]
    sums = np.cumsum(np.array([(0, 0), *counts[:-1]], np.int64), axis=0)
    return sums.ravel()


@contextlib.contextmanager
def _estimated_progress(report: Report, size: int) -> Iterator[None]:
    """Reports an estimate of the progress of sorting, which the library does not tell."""
    done, began = threading.Event(), time.monotonic()

    def work() -> None:
        while True:
            passed = time.monotonic() - began
            report(READ + (SORTED - READ) * passed / (passed + size / SORT_RATE))
            if done.wait(REPORT_PERIOD):
                return

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def build(store: Store, corpus: Corpus) -> None:
    """Builds the index of a corpus and stores it in the cache, unless another process does so meanwhile.

    Raises `IndexUnavailable` (`IndexTooLarge`), `StoreError` and `MemoryError`.
    """
    cache, key = store.cache, index_key(corpus)
    store.corpora.sweep()
    try:
        with Claim(cache.folder, key) as claim:
            if cache.load(key, np.uint8) is not None:
                return
            check_resources(corpus, cache)
            pieces = normalized(store.corpora.pieces(corpus), "nfc", store.corpora.alphabet(corpus))
            cache.store(key, np.uint8, index_parts(pieces, corpus.bytes, claim.report), disk_needed(corpus))
        store.corpora.sweep()  # the corpus may have been removed meanwhile
    except MemoryError as error:
        raise IndexTooLarge(corpus.name, memory_needed(corpus), hardware.free_memory(), "memory") from error
    except OSError as error:
        raise IndexUnavailable(corpus.name, f"its index cannot be kept in {cache.folder.name} ({error.strerror or error})") from error


def main(path: str, corpus: str, min_disk: str = "0") -> None:
    """Runs the process, for the corpus of an id."""
    end_with_parent()
    lower_priority()
    with Store(Path(path), create=False, min_disk=int(min_disk)) as store:
        try:
            build(store, store.corpora.get(int(corpus)))
        except CharloomError as error:
            sys.stderr.write(error.why if isinstance(error, IndexUnavailable) else str(error))
            sys.exit(REFUSED)


if __name__ == "__main__":
    main(*sys.argv[1:])
