"""Aligns the characters of a text with the symbols that a network reads."""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.normalization import normalize, with_lf
from model.vocabulary import Ids, Vocabulary


class Aligned(NamedTuple):
    """A text of N characters as S symbols. The characters of a separator share one symbol, the boundary."""

    text: str  # composed, unless the alphabet's normalisation is `none`
    ids: Ids  # (S,)
    ends: NDArray[np.intp]  # (N,) index of each character's last symbol, with which it is read

    @property
    def starts(self) -> NDArray[np.intp]:
        """(N,) index of each character's first symbol."""
        return np.where(self.leads, np.append(0, self.ends + 1)[:-1], self.ends)

    @property
    def leads(self) -> NDArray[np.bool_]:
        """(N,) whether a character is the first of its symbols, as all are but the further ones of a separator."""
        return np.diff(self.ends, prepend=-1) > 0


def align(vocabulary: Vocabulary, text: str) -> Aligned:
    """Aligns a text over an alphabet. A character has one symbol, or its bytes at level `byte`, or its parts with `nfd`."""
    text = normalize(with_lf(text), "none" if vocabulary.normalization == "none" else "nfc")
    sizes = {c: len(vocabulary.encode_record(c)) for c in set(text)}
    lengths = np.fromiter((sizes[c] for c in text), np.intp, len(text))
    for found in re.finditer(re.escape(vocabulary.separator), text) if vocabulary.separator else ():
        lengths[found.start() : found.end()] = 0
        lengths[found.start()] = 1
    return Aligned(text, vocabulary.encode(text), np.cumsum(lengths) - 1)
