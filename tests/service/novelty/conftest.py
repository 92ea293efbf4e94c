"""Builds indexes of texts in this process and in memory."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from model.normalization import normalize
from service.novelty.index_builder import index_parts
from service.novelty.suffix_array import Index


def make(text: str) -> Index:
    """The index of a text as a corpus."""
    text = normalize(text, "nfc")
    return Index(np.concatenate(list(index_parts([text[:7], text[7:]], len(text)))))


@pytest.fixture(scope="session")
def index_of() -> Callable[[str], Index]:
    """Makes the index of a text."""
    return make
