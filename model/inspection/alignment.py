"""Characters and the symbols that they are made of: what people look at, and what a network reads."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.normalization import normalize
from model.vocabulary import Ids, Vocabulary


class Aligned(NamedTuple):
    """A text of N characters as S symbols."""

    text: str  # composed, unless the alphabet's normalisation is `none`
    ids: Ids  # (S,)
    ends: NDArray[np.intp]  # (N,) the place of each character's last symbol: only then was it read

    @property
    def starts(self) -> NDArray[np.intp]:
        """(N,) the place of each character's first symbol."""
        return np.append(0, self.ends[:-1] + 1)[: len(self.ends)]


def align(vocabulary: Vocabulary, text: str) -> Aligned:
    """A text over an alphabet. A character has one symbol, or at level `byte` its bytes, or with `nfd` its parts."""
    text = normalize(text, "none" if vocabulary.normalization == "none" else "nfc")
    sizes = {c: len(vocabulary.encode(c)) for c in set(text)}
    lengths = np.fromiter((sizes[c] for c in text), np.intp, len(text))
    return Aligned(text, vocabulary.encode(text), np.cumsum(lengths) - 1)
