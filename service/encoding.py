"""The text of a corpus as ids: in files where it is long, so that neither memory nor the next start grows with it.

What is kept (see `service.cache`) are the ids over an alphabet and, where only reading a text tells them, its counts.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np

from model.batches import Ids
from model.quick_check import normalized, reachable
from model.vocabulary import SymbolCounts, Vocabulary
from service import machine
from service.cache import Cache, Key, release
from service.store import Corpus, Store

SMALL = 8_000_000  # symbols: fewer are encoded in about 0.1 s and need no file
BLOCK = 2**20  # ids that are translated at once
UTF8_BYTES = range(0xF5)  # no higher ones occur (RFC 3629)


class _Draft(NamedTuple):
    """A text over an alphabet of all symbols that it might have."""

    vocabulary: Vocabulary
    ids: Ids


class Encoding:
    """A stored corpus on its way to ids. Counting may prepare what `ids` uses, so that a long text is normalised once."""

    def __init__(self, store: Store, corpus: Corpus, tick: Callable[[], None] | None = None) -> None:
        """`tick` is called now and then while the text is read; what it raises ends the reading."""
        self._store, self._corpus, self._tick = store, corpus, tick
        self._cache = Cache(store.path)
        self._cache.tidy(each.sha256 for each in store.corpora.list())
        self._characters = store.corpora.alphabet(corpus.name)
        self._draft: _Draft | None = None

    def counts(self, level: str, normalization: str) -> SymbolCounts:
        """How often each symbol occurs. Mostly the stored counts of characters tell; a long text that must be read is read once."""
        told = SymbolCounts.from_characters(level, normalization, self._characters)
        if told is not None:
            return told
        counts = SymbolCounts(level, normalization)
        if self._corpus.characters < SMALL:
            return counts.add(self._pieces(normalization), normal=True)
        key = Key(self._corpus.sha256, "counts", (level, normalization, unicodedata.unidata_version))
        known = self._cache.load(key, np.int64)
        if known is not None:
            symbols, times = known.reshape(2, -1)
            counts.counts[symbols] = times
            return counts
        try:
            self._count_with_draft(key, counts)
            symbols = np.flatnonzero(counts.counts)
            pairs = np.stack([symbols, counts.counts[symbols]])  # (2, symbols)
            self._cache.store(key, np.int64, [pairs], pairs.nbytes)
        except OSError:  # nothing can be kept
            if self._draft is None:
                counts.add(self._pieces(normalization), normal=True)
        return counts

    def _count_with_draft(self, key: Key, counts: SymbolCounts) -> None:
        possible = UTF8_BYTES if counts.level == "byte" else sorted(map(ord, reachable(self._characters, counts.normalization)))
        vocabulary = Vocabulary(counts.level, counts.normalization, possible)
        times = np.zeros(vocabulary.size + 1, np.int64)

        def parts() -> Iterator[Ids]:
            for part in vocabulary.encode_pieces(self._pieces(counts.normalization), normal=True):
                times[:] += np.bincount(part, minlength=len(times))
                yield part

        size = (self._corpus.bytes if counts.level == "byte" else self._corpus.characters) * vocabulary.dtype.itemsize
        self._draft = _Draft(vocabulary, self._cache.store(key, vocabulary.dtype, parts(), size, keep=False))
        counts.counts[list(vocabulary.symbols)] = times[:-1]

    def ids(self, vocabulary: Vocabulary, total: int) -> tuple[Ids, str | None]:
        """The ids of a text of `total` symbols over an alphabet, and a note where they take more memory than there is."""
        if total < SMALL:
            return self._in_memory(vocabulary, total), None
        size = total * vocabulary.dtype.itemsize
        key = Key(self._corpus.sha256, "ids", (vocabulary.to_dict(), vocabulary.dtype.str, unicodedata.unidata_version))
        known = self._cache.load(key, vocabulary.dtype)
        if known is not None and len(known) == total:
            return known, None
        try:
            return self._cache.store(key, vocabulary.dtype, self._parts(vocabulary), size), None
        except OSError as error:
            return self._in_memory(vocabulary, total), self._shortage(size, error)

    def _pieces(self, normalization: str) -> Iterator[str]:
        return normalized(self._ticking(self._store.corpora.pieces(self._corpus.name)), normalization, self._characters)

    def _ticking(self, pieces: Iterable[str]) -> Iterator[str]:
        for piece in pieces:
            if self._tick:
                self._tick()
            yield piece

    def _parts(self, vocabulary: Vocabulary) -> Iterator[Ids]:
        draft = self._draft
        if draft is None or draft.vocabulary.normalization != vocabulary.normalization:
            yield from vocabulary.encode_pieces(self._pieces(vocabulary.normalization), normal=True)
            return
        table = vocabulary.translation(draft.vocabulary)
        for start in range(0, len(draft.ids), BLOCK):
            if self._tick:
                self._tick()
            yield table.take(draft.ids[start : start + BLOCK])
            release(draft.ids)

    def _in_memory(self, vocabulary: Vocabulary, total: int) -> Ids:
        return _joined(self._parts(vocabulary), np.empty(total, vocabulary.dtype))

    def _shortage(self, size: int, error: OSError) -> str | None:
        """What to tell the user where ids must stay in memory and that has no room for them."""
        free = machine.free_memory()
        if free is None or size <= free:
            return None
        return (
            f"the text takes {size / 1e9:.1f} GB of memory and {free / 1e9:.1f} GB are free;"
            f" it would take next to none if {self._cache.folder} could be written ({error.strerror or error})"
        )


def _joined(parts: Iterable[Ids], ids: Ids) -> Ids:
    """Fill `ids` with parts that come one by one."""
    start = 0
    for part in parts:
        ids[start : start + len(part)] = part
        start += len(part)
    return ids
