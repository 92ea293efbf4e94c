"""Encodes a stored corpus as ids: the alphabet, the training part and the validation part.

The ids of a long text lie in a memory-mapped file (see `service.system.array_cache`), so that neither memory nor the next start grows with
the text. A chunk of text goes one way: `Corpora.pieces`, normalised, encoded, into that file; `model.batches.Streams` reads it from there.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from model.batches import Ids, Split, split
from model.config import ModelConfig, TrainingConfig
from model.errors import InvalidSetting, TextTooShort
from model.quick_check import normalized
from model.vocabulary import SymbolCounts, Vocabulary
from service.store import Corpus, Store
from service.system import hardware
from service.system.array_cache import Cache, CacheKey, release
from service.training.corpus_import import LEAST_TEXT

SMALL = 8_000_000  # symbols: fewer are encoded in about 0.1 s and need no file

Tick = Callable[[], None]  # called now and then while a text is read; what it raises ends the reading


class UnknownSymbols(NamedTuple):
    """The symbols of a text that are not in an alphabet."""

    symbols: int
    different: int


class Dataset(NamedTuple):
    """A corpus ready to train on: ids[:split.training] are trained on, and validation[split.start:split.stop] validate."""

    vocabulary: Vocabulary
    ids: Ids  # (N,), maybe memory-mapped; not to be written
    split: Split
    symbols_per_char: float  # in the validation symbols
    note: str | None = None  # a sentence for the user
    other: Ids | None = None  # (M,) the ids of the corpus that validates, if that is another one
    unknown: UnknownSymbols = UnknownSymbols(0, 0)

    @property
    def validation(self) -> Ids:
        """The ids into which the split's start and stop point."""
        return self.ids if self.other is None else self.other

    def after(self, count: int) -> tuple[Ids, int, int]:
        """Returns the last `count` symbols of the training part followed by the validation part, whose start and stop come with them."""
        first, stop = self.split.training - count, self.split.stop
        if self.other is None:
            return self.ids[first:], self.split.start - first, stop - first
        return np.concatenate([self.ids[first : self.split.training], self.other[:stop]]), self.split.start + count, stop + count

    def release(self) -> None:
        """Gives back the memory of the ids that were read so far, if a file keeps them. Long runs call it now and then."""
        release(self.ids)
        release(self.validation)


def read(
    store: Store,
    corpus: str,
    model: ModelConfig,
    training: TrainingConfig,
    vocabulary: Vocabulary | None = None,
    validation_corpus: str | None = None,
    tick: Tick | None = None,
) -> Dataset:
    """Reads a corpus with the alphabet of a checkpoint, or with its own. The memory that it takes does not grow with the text.

    With a `validation_corpus` all of `corpus` is trained on.
    Raises `CorpusNotFound`, `TextTooShort`, `InvalidSetting` if `min_count` leaves no alphabet, `DatabaseUnusable`.
    """
    store.corpora.sweep()
    counts = store.corpora.counts(corpus, model.level, model.normalization, tick)
    if vocabulary is None:
        vocabulary = Vocabulary.build(counts, model.min_count)
        if not vocabulary.size:
            most = int(counts.counts.max())
            raise InvalidSetting("min_count", model.min_count, f"at most {most:,} for corpus {corpus}", "no symbol occurs more often")
    parts = split(counts.total, training.validation_fraction, training.validation_size)
    if parts.training < 2:
        raise TextTooShort(f"corpus {corpus}", counts.total, LEAST_TEXT)
    ids, note = _encode(store, store.corpora.get(corpus), vocabulary, counts.total, tick)
    other = None
    if validation_corpus is not None:
        total = store.corpora.counts(validation_corpus, vocabulary.level, vocabulary.normalization, tick).total
        if total < 2:
            raise TextTooShort(f"corpus {validation_corpus}", total, LEAST_TEXT)
        other, _ = _encode(store, store.corpora.get(validation_corpus), vocabulary, total, tick)
        # The first symbol has nothing before it to be predicted from.
        parts = Split(counts.total, 1, min(total, 1 + training.validation_size) if training.validation_size else total)
    validation = (ids if other is None else other)[parts.start : parts.stop]
    symbols_per_char = len(validation) / max(1, vocabulary.characters(validation))
    return Dataset(vocabulary, ids, parts, symbols_per_char, note, other, _unknown(counts, vocabulary))


def _encode(store: Store, corpus: Corpus, vocabulary: Vocabulary, total: int, tick: Tick | None) -> tuple[Ids, str | None]:
    """Returns the ids of a text of `total` symbols, and a note for the user if they take more memory than there is."""

    def parts() -> Iterator[Ids]:
        pieces = store.corpora.pieces(corpus.name)
        for piece in normalized(pieces, vocabulary.normalization, store.corpora.alphabet(corpus.name)):
            if tick:
                tick()
            yield from vocabulary.encode_pieces([piece], normal=True)

    note = None
    if total >= SMALL:
        cache, size = store.cache, total * vocabulary.dtype.itemsize
        key = CacheKey(corpus.sha256, "ids", (vocabulary.to_dict(), vocabulary.dtype.str, unicodedata.unidata_version))
        known = cache.load(key, vocabulary.dtype)
        if known is not None and len(known) == total:
            return known, None
        try:
            return cache.store(key, vocabulary.dtype, parts(), size), None
        except OSError as error:
            note = _shortage(cache, size, error)
    ids, start = np.empty(total, vocabulary.dtype), 0
    for part in parts():
        ids[start : start + len(part)] = part
        start += len(part)
    return ids, note


def _shortage(cache: Cache, size: int, error: OSError) -> str | None:
    """Returns a note for the user if ids must stay in memory and do not fit there."""
    free = hardware.free_memory()
    if free is None or size <= free:
        return None
    return (
        f"the text takes {size / 1e9:.1f} GB of memory and {free / 1e9:.1f} GB are free;"
        f" it would take next to none if {cache.folder} could be written ({error.strerror or error})"
    )


def _unknown(counts: SymbolCounts, vocabulary: Vocabulary) -> UnknownSymbols:
    known = counts.counts[list(vocabulary.symbols)]
    return UnknownSymbols(counts.total - int(known.sum()), int(np.count_nonzero(counts.counts) - np.count_nonzero(known)))
