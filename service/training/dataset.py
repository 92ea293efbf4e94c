"""A stored corpus as what training reads: ids, what of them validates, and the alphabet.

The text of a corpus as ids: in files where it is long, so that neither memory nor the next start grows with it.

What is kept (see `service.system.disk`) are the ids over an alphabet and, where only reading a text tells them, its counts.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np

from model.batches import Ids, Split, split
from model.config import ModelConfig, TrainingConfig
from model.errors import InvalidSetting, TextTooShort
from model.quick_check import normalized, reachable
from model.vocabulary import SymbolCounts, Vocabulary
from service.store import Corpus, Store
from service.system import hardware
from service.system.disk import Cache, CacheKey, release
from service.training.corpus_import import LEAST_TEXT

# ── encoding ─────────────────────────────────────────────────────────────────────────────────────────────────────────

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
        key = CacheKey(self._corpus.sha256, "counts", (level, normalization, unicodedata.unidata_version))
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

    def _count_with_draft(self, key: CacheKey, counts: SymbolCounts) -> None:
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
        key = CacheKey(self._corpus.sha256, "ids", (vocabulary.to_dict(), vocabulary.dtype.str, unicodedata.unidata_version))
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
        free = hardware.free_memory()
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


# ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class Strangers(NamedTuple):
    """The symbols of a text that are not in an alphabet."""

    symbols: int
    different: int


class Dataset(NamedTuple):
    """A corpus ready to train on: ids[:split.training] are learned from, and validation[split.start:split.stop] validate."""

    vocabulary: Vocabulary
    ids: Ids  # (N,), maybe memory-mapped; not to be written
    split: Split
    symbols_per_char: float  # in the validation symbols
    note: str | None = None  # what the user should know about it
    other: Ids | None = None  # (M,) the ids of the corpus that validates, where that is another one
    strangers: Strangers = Strangers(0, 0)

    @property
    def validation(self) -> Ids:
        """The ids that the split's start and stop are places in."""
        return self.ids if self.other is None else self.other

    def after(self, count: int) -> tuple[Ids, int, int]:
        """The last `count` symbols of the training part with the validating ones behind them: ids, and their start and stop."""
        first, stop = self.split.training - count, self.split.stop
        if self.other is None:
            return self.ids[first:], self.split.start - first, stop - first
        return np.concatenate([self.ids[first : self.split.training], self.other[:stop]]), self.split.start + count, stop + count

    def release(self) -> None:
        """Give back the memory of the ids that were read so far, where a file keeps them. Long runs may call it now and then."""
        release(self.ids)
        release(self.validation)


def read(
    store: Store,
    corpus: str,
    model: ModelConfig,
    training: TrainingConfig,
    vocabulary: Vocabulary | None = None,
    validation_corpus: str | None = None,
    tick: Callable[[], None] | None = None,
) -> Dataset:
    """Read a corpus with the alphabet of a checkpoint, or with its own. What it takes of memory does not grow with the text.

    With a `validation_corpus` all of `corpus` is learned from. `tick` is called now and then; what it raises ends the reading.
    Raises `CorpusNotFound`, `TextTooShort`, `InvalidSetting` where `min_count` leaves no alphabet, `DatabaseUnusable`.
    """
    encoding = Encoding(store, store.corpora.get(corpus), tick)
    counts = encoding.counts(model.level, model.normalization)
    if vocabulary is None:
        vocabulary = Vocabulary.build(counts, model.min_count)
        if not vocabulary.size:
            most = int(counts.counts.max())
            raise InvalidSetting("min_count", model.min_count, f"at most {most:,} for corpus {corpus}", "no symbol occurs more often")
    parts = split(counts.total, training.validation_fraction, training.validation_size)
    if parts.training < 2:
        raise TextTooShort(f"corpus {corpus}", counts.total, LEAST_TEXT)
    ids, note = encoding.ids(vocabulary, counts.total)
    other = None
    if validation_corpus is not None:
        other = _other(Encoding(store, store.corpora.get(validation_corpus), tick), validation_corpus, vocabulary)
        # The first symbol has nothing before it to be predicted from.
        parts = Split(counts.total, 1, min(len(other), 1 + training.validation_size) if training.validation_size else len(other))
    validation = (ids if other is None else other)[parts.start : parts.stop]
    symbols_per_char = len(validation) / max(1, vocabulary.characters(validation))
    return Dataset(vocabulary, ids, parts, symbols_per_char, note, other, _strangers(counts, vocabulary))


def _other(encoding: Encoding, name: str, vocabulary: Vocabulary) -> Ids:
    """The ids of the corpus that validates."""
    total = encoding.counts(vocabulary.level, vocabulary.normalization).total
    if total < 2:
        raise TextTooShort(f"corpus {name}", total, LEAST_TEXT)
    ids, _ = encoding.ids(vocabulary, total)
    return ids


def _strangers(counts: SymbolCounts, vocabulary: Vocabulary) -> Strangers:
    known = counts.counts[list(vocabulary.symbols)]
    return Strangers(counts.total - int(known.sum()), int(np.count_nonzero(counts.counts) - np.count_nonzero(known)))
