"""A stored corpus as what training reads: ids, where to split them, and the alphabet."""

from __future__ import annotations

from typing import NamedTuple

from model.batches import Ids, Split, split
from model.config import ModelConfig, TrainingConfig
from model.errors import InvalidSetting, TextTooShort
from model.vocabulary import Vocabulary
from service.cache import release
from service.encoding import Encoding
from service.intake import LEAST_TEXT
from service.store import Store


class Text(NamedTuple):
    """A corpus ready to train on."""

    vocabulary: Vocabulary
    ids: Ids  # (N,), maybe memory-mapped; not to be written
    split: Split
    symbols_per_char: float  # in the validation symbols
    note: str | None = None  # what the user should know about it

    def release(self) -> None:
        """Give back the memory of the ids that were read so far, where a file keeps them. Long runs may call it now and then."""
        release(self.ids)


def read(store: Store, corpus: str, model: ModelConfig, training: TrainingConfig, vocabulary: Vocabulary | None = None) -> Text:
    """Read a corpus with the alphabet of a checkpoint, or with its own. What it takes of memory does not grow with the text.

    Raises `CorpusNotFound`, `TextTooShort`, `InvalidSetting` where `min_count` leaves no alphabet, `DatabaseUnusable`.
    """
    encoding = Encoding(store, store.corpora.get(corpus))
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
    validation = ids[parts.start : parts.stop]
    return Text(vocabulary, ids, parts, len(validation) / max(1, vocabulary.characters(validation)), note)
