"""Fixtures: small networks of every kind, and alphabets of every level."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from model.config import ModelConfig
from model.language_model import LanguageModel
from model.vocabulary import SymbolCounts, Vocabulary

TEXT = "the (red) thread, again: 'gold' 12 가각 é\n"


@pytest.fixture
def make_vocabulary() -> Callable[..., Vocabulary]:
    """``make_vocabulary(text=..., level="char", normalization="nfc", separator=None)``: the alphabet of a text."""
    return lambda text=TEXT, level="char", normalization="nfc", separator=None: Vocabulary.build(
        SymbolCounts(level, normalization).add([text]), separator=separator
    )


@pytest.fixture
def make_model() -> Callable[..., LanguageModel]:
    """``make_model(vocabulary_size, boundary=None, **config)``: a network in float64 with weights that make its gates move."""

    def made(vocabulary_size: int, boundary: int | None = None, **config: object) -> LanguageModel:
        settings = {"cell": "lstm", "hidden_size": 5, "num_layers": 2, **config}
        model = LanguageModel.new(ModelConfig.from_dict(settings), vocabulary_size, 3, np.float64, boundary)
        model.parameters.flat *= 2
        return model

    return made
