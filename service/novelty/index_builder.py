"""Makes the index of a corpus, in a process of its own: the memory it takes returns then to the system::

    python -m service.novelty.index_builder DATABASE CORPUS

It ends when its standard input does: whoever has started it holds the other end. Where it ends with status `REFUSED`, standard error
says why in a few words.

Who is making the index of a corpus, and how far it is: one process at a time, which all others can ask.

The claim is a lock (flock(2)) on a small file beside the index, so it ends with the process that has it, however that ends.
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
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from model.errors import CharloomError
from model.quick_check import normalized
from service.novelty.suffix_array import BLOCK, NEWLINE, file_size, offsets_of, starts_character
from service.store import Corpus, Store
from service.system import hardware
from service.system.disk import Cache, CacheKey
from service.system.errors import IndexTooLarge, IndexUnavailable
from service.system.processes import end_with_parent, lower_priority

# ── claims ───────────────────────────────────────────────────────────────────────────────────────────────────────────

WIDTH = 64  # bytes of the file: each report overwrites the one before


class IndexProgress(NamedTuple):
    """How far an index is."""

    doing: str  # "starting", "reading", "sorting" or "writing"
    share: float  # of the whole, 0 to 1; a guess


STARTING = IndexProgress("starting", 0.0)


def _path(folder: Path, key: CacheKey) -> Path:
    return folder / f"{key.file_name}.claim"


class Claim:
    """The right to make an index; entering waits for whoever has it. Raises `OSError` where its file cannot be made."""

    def __init__(self, folder: Path, key: CacheKey) -> None:
        self._folder, self._path = folder, _path(folder, key)

    def __enter__(self) -> Self:
        self._folder.mkdir(mode=0o700, exist_ok=True)
        while True:
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            with contextlib.suppress(OSError):  # some network file systems have no locks; there an index may be made twice
                fcntl.flock(self._file, fcntl.LOCK_EX)
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(self._file), os.stat(self._path)):
                    break
            os.close(self._file)  # its owner has removed it
        self.tell(*STARTING)
        return self

    def tell(self, doing: str, share: float) -> None:
        """Say how far it is."""
        os.pwrite(self._file, json.dumps([doing, round(share, 3)]).ljust(WIDTH).encode(), 0)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with contextlib.suppress(OSError):
            os.unlink(self._path)
        os.close(self._file)


def progress(folder: Path, key: CacheKey) -> IndexProgress | None:
    """How far the index of that key is, None where nobody makes it."""
    try:
        file = os.open(_path(folder, key), os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        with contextlib.suppress(ValueError, TypeError):
            return IndexProgress(*json.loads(os.read(file, WIDTH)))
        return STARTING
    else:
        return None
    finally:
        os.close(file)


# ── building ─────────────────────────────────────────────────────────────────────────────────────────────────────────

Array = NDArray[Any]
Tell = Callable[[str, float], None]  # what is being done, and which part of the whole is done

PART = 2**20  # suffixes that are picked at once
READ, SORTED = 0.1, 0.9  # parts of the time: decompressing, sorting, writing
PACE = 1e7  # bytes sorted in a second: a guess, only to show that something happens
TICK = 0.5  # seconds
REFUSED = 3  # the status with which the process ends where it has said why
OVERHEAD = 100_000_000  # bytes of Python, numpy and the library


def key_of(corpus: Corpus) -> CacheKey:
    """Under which the index of a corpus is kept."""
    return CacheKey(corpus.sha256, "suffixes", ("utf-8", "nfc", unicodedata.unidata_version))


def disk_needed(corpus: Corpus) -> int:
    """Bytes of the file."""
    return file_size(corpus.bytes, corpus.characters)


def memory_needed(corpus: Corpus) -> int:
    """Bytes that making it takes: the text and all of its suffixes."""
    return corpus.bytes * (1 + offsets_of(corpus.bytes).itemsize) + OVERHEAD


def refuse(corpus: Corpus, cache: Cache) -> None:
    """Raises `IndexTooLarge` where an index does not fit here, and `IndexUnavailable` where the library is missing."""
    free = hardware.free_memory()
    if free is not None and memory_needed(corpus) > free:
        raise IndexTooLarge(corpus.name, memory_needed(corpus), free, "memory")
    if not cache.has_room(disk_needed(corpus)):
        raise IndexTooLarge(corpus.name, disk_needed(corpus), None, f"disk in {cache.folder.name} (which takes half of what is free)")
    try:
        import pydivsufsort  # noqa: F401
    except ImportError as error:
        raise IndexUnavailable(corpus.name, f"pydivsufsort cannot be imported here ({error}); pip install pydivsufsort") from error


def parts(pieces: Iterable[str], expected: int, tell: Tell = lambda doing, share: None) -> Iterator[Array]:
    """The suffix array in parts, from a text in NFC of about `expected` bytes. It holds 5 bytes for each of them."""
    from pydivsufsort import divsufsort

    collected = bytearray()
    for piece in pieces:
        collected += piece.encode()
        tell("reading", READ * min(1.0, len(collected) / expected))
    text = np.frombuffer(collected, np.uint8)
    with _telling(tell, len(text)):
        suffixes = divsufsort(text)
    characters = 0
    for start in range(0, len(text), PART):
        part = suffixes[start : start + PART]
        part = part[starts_character(text[part])].astype(offsets_of(len(text)), copy=False)
        characters += len(part)
        yield part.view(np.uint8)
        tell("writing", SORTED + (1 - SORTED) * start / len(text))
    del suffixes
    yield text
    yield _marks(text).view(np.uint8)
    yield np.array([len(text), characters], np.int64).view(np.uint8)


def _marks(text: Array) -> Array:
    """Characters and line ends before each block, ``(b, 2)`` in one row."""
    blocks = [text[start : start + BLOCK] for start in range(0, len(text), BLOCK)]
    counts = [(np.count_nonzero(starts_character(block)), np.count_nonzero(block == NEWLINE)) for block in blocks]
    sums = np.cumsum(np.array([(0, 0), *counts[:-1]], np.int64), axis=0)
    return sums.ravel()


@contextlib.contextmanager
def _telling(tell: Tell, size: int) -> Iterator[None]:
    """Says every now and then how far sorting may be, which the library does not tell."""
    done, began = threading.Event(), time.monotonic()

    def work() -> None:
        while True:
            passed = time.monotonic() - began
            tell("sorting", READ + (SORTED - READ) * passed / (passed + size / PACE))
            if done.wait(TICK):
                return

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def build(store: Store, corpus: Corpus) -> None:
    """Make the index of a corpus and keep it, unless somebody else does so meanwhile.

    Raises `IndexUnavailable` (`IndexTooLarge`), `StoreError` and `MemoryError`.
    """
    cache, key = Cache(store.path), key_of(corpus)
    cache.tidy(each.sha256 for each in store.corpora.list())
    try:
        with Claim(cache.folder, key) as claim:
            if cache.load(key, np.uint8) is not None:
                return
            refuse(corpus, cache)
            pieces = normalized(store.corpora.pieces(corpus.name), "nfc", store.corpora.alphabet(corpus.name))
            cache.store(key, np.uint8, parts(pieces, corpus.bytes, claim.tell), disk_needed(corpus))
    except MemoryError as error:
        raise IndexTooLarge(corpus.name, memory_needed(corpus), hardware.free_memory(), "memory") from error
    except OSError as error:
        raise IndexUnavailable(corpus.name, f"its index cannot be kept in {cache.folder.name} ({error.strerror or error})") from error


def main(path: str, name: str) -> None:
    """What the process does."""
    end_with_parent()
    lower_priority()
    with Store(Path(path), create=False) as store:
        try:
            build(store, store.corpora.get(name))
        except CharloomError as error:
            sys.stderr.write(error.why if isinstance(error, IndexUnavailable) else str(error))
            sys.exit(REFUSED)


if __name__ == "__main__":
    main(*sys.argv[1:])
