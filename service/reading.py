"""A stored corpus as ids: what training reads."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from model.batches import Ids, Split, split
from model.config import ModelConfig, TrainingConfig
from model.errors import InvalidSetting, TextTooShort
from model.vocabulary import SymbolCounts, Vocabulary
from service.intake import LEAST_TEXT
from service.store import Store


class Text(NamedTuple):
    """A corpus ready to train on."""

    vocabulary: Vocabulary
    ids: Ids
    split: Split
    symbols_per_char: float  # in the validation symbols


def read(store: Store, corpus: str, model: ModelConfig, training: TrainingConfig, vocabulary: Vocabulary | None = None) -> Text:
    """Read a corpus with the alphabet of a checkpoint, or with its own. Memory is a byte or two for each symbol.

    Raises `CorpusNotFound`, `TextTooShort`, `InvalidSetting` where `min_count` leaves no alphabet, `DatabaseUnusable`.
    """
    counts = SymbolCounts(model.level, model.normalization).add(store.corpora.pieces(corpus))
    if vocabulary is None:
        vocabulary = Vocabulary.build(counts, model.min_count)
        if not vocabulary.size:
            most = int(counts.counts.max())
            raise InvalidSetting("min_count", model.min_count, f"at most {most:,} for corpus {corpus}", "no symbol occurs more often")
    ids = np.empty(counts.total, vocabulary.dtype)
    start = 0
    for part in vocabulary.encode_pieces(store.corpora.pieces(corpus)):
        ids[start : start + len(part)] = part
        start += len(part)
    parts = split(len(ids), training.validation_fraction, training.validation_size)
    if parts.training < 2:
        raise TextTooShort(f"corpus {corpus}", counts.total, LEAST_TEXT)
    validation = ids[parts.start : parts.stop]
    return Text(vocabulary, ids, parts, len(validation) / max(1, vocabulary.characters(validation)))
