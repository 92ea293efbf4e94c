"""Scores of a text against the chain rule, one symbol at a time in double precision."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.backend import network_for
from model.config import CELLS, ModelConfig
from model.language_model import LanguageModel
from model.log_likelihood import SLICE, likeliest, score
from model.vocabulary import SymbolCounts, Vocabulary

CORPUS = "가각 abc é\n"


def pair(cell: str = "lstm", level: str = "char", normalization: str = "nfc", text: str = CORPUS) -> tuple[LanguageModel, Vocabulary]:
    words = Vocabulary.build(SymbolCounts(level, normalization).add([text]))
    model = LanguageModel.new(ModelConfig(cell=cell, hidden_size=9, num_layers=2), words.size, seed=5)
    model.parameters.flat[:] *= 3
    return model, words


def naive(model: LanguageModel, words: Vocabulary, text: str) -> list[list[float]]:
    """ln p of every symbol at each place of a text, which is read from a line end on."""
    double = LanguageModel(model.config, words.size, model.parameters.astype(np.float64))
    found, state = [], double.zero_state(1)
    for symbol in [int(words.encode("\n")[0]), *words.encode(text).tolist()][:-1]:
        logits, state, _ = double.forward(np.array([[symbol]]), state)
        row = [float(each) for each in logits[0, 0]]
        total = math.log(sum(math.exp(each - max(row)) for each in row)) + max(row)
        found.append([each - total for each in row])
    return found


@settings(max_examples=25)
@given(st.sampled_from(CELLS), st.sampled_from(["char", "byte"]), st.text(CORPUS + "Z中", max_size=40), st.integers(0, 4))
def test_against_the_chain_rule(cell: str, level: str, text: str, alternatives: int) -> None:
    model, words = pair(cell, level)
    ids = words.encode(text)
    parts = list(score(network_for(model), words, ids, alternatives))
    rows = naive(model, words, text)
    got = [each for part in parts for each in zip(*(array.tolist() for array in part), strict=True)]
    assert [symbol for symbol, *_ in got] == ids.tolist()
    for row, (symbol, logprob, best, logs) in zip(rows, got, strict=True):
        expected = row[symbol] if symbol < words.size else -(math.log(1_114_112) if level == "char" else math.log(256))
        assert logprob == pytest.approx(expected, abs=1e-3)
        assert logs == pytest.approx(sorted(row, reverse=True)[:alternatives], abs=1e-3)
        assert logs == pytest.approx([row[each] for each in best], abs=1e-3)


def test_slices_are_a_whole() -> None:
    model, words = pair("gru")
    text = "".join(np.random.default_rng(0).choice(list("abc "), 2 * SLICE + 7))
    parts = list(score(network_for(model), words, words.encode(text)))
    assert [len(part.ids) for part in parts] == [SLICE, SLICE, 7]
    rows = naive(model, words, text)
    expected = [row[symbol] for row, symbol in zip(rows, words.encode(text).tolist(), strict=True)]
    assert np.concatenate([part.logprobs for part in parts]).tolist() == pytest.approx(expected, abs=1e-2)
    assert list(score(network_for(model), words, words.encode(""))) == []


def test_of_equals_the_first_come_first() -> None:
    assert likeliest(np.array([[-3.0, -1, -2, -1], [0, 0, 0, 0]]), 3).tolist() == [[1, 3, 2], [0, 1, 2]]
    assert likeliest(np.zeros((2, 3)), 0).shape == (2, 0)
    assert likeliest(np.zeros((2, 3)), 9).shape == (2, 3)


def test_memory_does_not_grow_with_the_text() -> None:
    model, words = pair()

    def most(length: int) -> int:
        ids = words.encode("ab" * length)
        tracemalloc.start()
        for _ in score(network_for(model), words, ids, 3):
            pass
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak - ids.nbytes

    most(300)
    assert most(5_000) < most(500) + 20_000
