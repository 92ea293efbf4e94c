"""A stored corpus as what training reads: ids, what of them validates, and the alphabet."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from model.batches import Ids, Split, split
from model.config import ModelConfig, TrainingConfig
from model.errors import InvalidSetting, TextTooShort
from model.vocabulary import SymbolCounts, Vocabulary
from service.cache import release
from service.encoding import Encoding
from service.intake import LEAST_TEXT
from service.store import Store


class Strangers(NamedTuple):
    """The symbols of a text that are not in an alphabet."""

    symbols: int
    different: int


class Text(NamedTuple):
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
) -> Text:
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
    return Text(vocabulary, ids, parts, symbols_per_char, note, other, _strangers(counts, vocabulary))


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
