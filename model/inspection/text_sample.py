"""Samples stretches from all over a text, with the features of each character: the search for interpretable cells reads them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from model.functions import Array, Ids
from model.inspection.alignment import align
from model.inspection.feature_text import FeatureText
from model.inspection.features import FEATURES, GRADED
from model.vocabulary import Vocabulary

STRETCHES = 128
LENGTH = 512  # symbols of each that count
WARM_UP = 256  # symbols that the network reads before them, as context
LOOK_BACK = 3072  # symbols before them that the features depend on


class TextSample(NamedTuple):
    """B stretches of T symbols."""

    ids: Ids  # (T, B)
    counts: Array  # (T, B) whether a symbol is the last one of a character that counts
    labels: Array  # (T, B, F) bool, what holds by `FEATURES`; of symbols that do not count it means nothing
    numbers: Array  # (T, B, G) float32, by `GRADED`
    texts: list[str]  # the characters that count of each stretch

    def halves(self) -> tuple[TextSample, TextSample]:
        """Returns every other stretch, and those between them: text of the same kind, but not the same text."""
        even, odd = slice(0, None, 2), slice(1, None, 2)
        first, second = (
            TextSample(self.ids[:, part], self.counts[:, part], self.labels[:, part], self.numbers[:, part], self.texts[part])
            for part in (even, odd)
        )
        return first, second


def sample(vocabulary: Vocabulary, ids: Ids, start: int, stop: int, stretches: int = STRETCHES, length: int = LENGTH) -> TextSample:
    """Returns up to `stretches` stretches of ids[start:stop], evenly spread; of a short text fewer or shorter ones, but at least two.

    The symbols before `start` serve as context. `ids` may be memory-mapped: little of it is read.
    """
    length = max(1, min(length, (stop - start) // 2))
    B = max(1, min(stretches, (stop - start) // length))
    T = WARM_UP + length
    found = TextSample(
        np.full((T, B), vocabulary.encode_prompt("", 1).ids[0]),
        np.zeros((T, B), bool),
        np.zeros((T, B, len(FEATURES)), bool),
        np.zeros((T, B, len(GRADED)), np.float32),
        [],
    )
    for column, first in enumerate(np.linspace(start, stop - length, B).astype(int).tolist()):
        # The last character is only the one that is coming. Bytes of one that is cut in two show as U+FFFD.
        window = ids[max(0, first - LOOK_BACK) : first + length + 1]
        text = vocabulary.decode(window).rstrip("\ufffd") + ("\n" if first + length >= len(ids) else "")
        aligned, page = align(vocabulary, text), FeatureText(text, piece=first > LOOK_BACK)
        end = int(aligned.starts[-1]) if text else 0
        read = aligned.ids[:end][-T:]
        found.ids[T - len(read) :, column] = read
        places = aligned.ends[:-1] - end + T  # of the characters, among the T steps
        counted = np.flatnonzero((places >= WARM_UP) & aligned.leads[1:])  # of a separator only the last character
        places = places[counted]
        found.counts[places, column] = True
        for number, feature in enumerate(FEATURES):
            found.labels[places, column, number] = feature.of(page)[counted]
        for number, graded in enumerate(GRADED):
            found.numbers[places, column, number] = np.minimum(page.once(graded.of)[counted], graded.most)
        found.texts.append("".join(aligned.text[place] for place in counted.tolist()))
    return found
