"""Texts that the kernels write are those of the definition in numpy, and depend neither on threads nor on the instruction set."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.backend import NumpyNetwork
from model.config import ModelConfig, SamplingConfig
from model.kernels.library import Library
from model.kernels.network import KernelNetwork
from model.language_model import LanguageModel
from model.output_text import Piece
from model.sampling import Sampler, generate
from model.vocabulary import SymbolCounts, Vocabulary

TEXT = "abc é 가각 héllo\n中文 ab"
KINDS = [("lstm", "char", "nfc", 0), ("gru", "char", "nfd", 5), ("rnn", "byte", "none", 0), ("lstm", "byte", "nfc", 3)]


def model_of(cell: str, level: str, normalization: str, embedding: int, seed: int = 3) -> tuple[LanguageModel, Vocabulary]:
    words = Vocabulary.build(SymbolCounts(level, normalization).add([TEXT]))
    config = ModelConfig(cell=cell, hidden_size=13, num_layers=2, level=level, normalization=normalization, embedding_size=embedding)
    model = LanguageModel.new(config, words.size, seed)
    return model, words


MODELS = [model_of(*kind) for kind in KINDS]
asked = st.builds(
    SamplingConfig,
    prompt=st.text(TEXT, max_size=6),
    length=st.integers(1, 70),
    n=st.integers(1, 3),
    temperature=st.one_of(st.floats(0, 3), st.just(((0, 1.0), (3, 0.0), (9, 2.0)))),
    top_k=st.sampled_from([0, 0, 4]),
    top_p=st.sampled_from([1, 0.8]),
    min_p=st.sampled_from([0, 0.1]),
    repetition_penalty=st.sampled_from([1, 1.7]),
    frequency_penalty=st.sampled_from([0, 0.3]),
    logit_bias=st.dictionaries(st.integers(0, 9), st.floats(-5, 5), max_size=2),
    stop=st.sampled_from([(), ("ab",)]),
    logprobs=st.sampled_from([None, 0, 3, 20]),
    seed=st.integers(0, 2**32),
)


def same(found: list[Piece], expected: list[Piece]) -> None:
    """The same texts; log-probabilities to rounding."""
    for choice in {piece.choice for piece in expected}:
        mine, theirs = ([piece for piece in pieces if piece.choice == choice] for pieces in (found, expected))
        assert "".join(piece.text for piece in mine) == "".join(piece.text for piece in theirs)
        assert mine[-1].finish_reason == theirs[-1].finish_reason
        for one, other in zip(logs_of(mine), logs_of(theirs), strict=True):
            assert one.text == other.text
            assert one.logprob == pytest.approx(other.logprob, abs=1e-4)
            assert [log for _, log in one.alternatives] == pytest.approx([log for _, log in other.alternatives], abs=1e-4)


def logs_of(pieces: list[Piece]) -> list[Any]:
    return [each for piece in pieces for each in piece.logprobs]


@settings(max_examples=60)
@given(st.sampled_from(MODELS), asked)
def test_the_text_of_a_request_is_that_of_numpy(library: Library, made: tuple[LanguageModel, Vocabulary], config: SamplingConfig) -> None:
    model, words = made
    same(list(generate(KernelNetwork(library, model), words, config)), list(generate(NumpyNetwork(model), words, config)))


@pytest.mark.parametrize("made", MODELS)
def test_threads_and_company_change_nothing(library: Library, made: tuple[LanguageModel, Vocabulary]) -> None:
    model, words = made
    configs = [SamplingConfig(prompt="ab", length=150, n=7, seed=seed, temperature=1, logprobs=2, top_p=0.9) for seed in range(0, 70, 7)]
    alone = [list(generate(KernelNetwork(library, model), words, config)) for config in configs]
    for threads in (1, 2, 3, 8):
        sampler, pieces = Sampler(KernelNetwork(library, model, threads=threads), words), []
        numbers = [sampler.add(config).request for config in configs]
        while sampler.active:
            pieces += sampler.step()
        for number, expected in zip(numbers, alone, strict=True):
            mine = [piece for piece in pieces if piece.request == number]
            assert shown(mine) == shown(expected)


def shown(pieces: list[Piece]) -> list[Any]:
    return [("".join(piece.text for piece in pieces if piece.choice == c), logs_of([p for p in pieces if p.choice == c])) for c in range(7)]


@pytest.mark.parametrize("huge", [np.nan, np.inf, -np.inf, 3e38])
def test_logits_that_are_not_finite_still_give_a_text(library: Library, huge: float) -> None:
    model, words = model_of(*KINDS[0])
    model.parameters["by"][2] = huge
    model.parameters["Wy"][:, 3] = 3e38
    config = SamplingConfig(length=40, seed=1, logprobs=2)
    found = list(generate(KernelNetwork(library, model), words, config))
    assert "".join(each.text for each in found) == "".join(each.text for each in generate(NumpyNetwork(model), words, config))
    assert all(np.isfinite([each.logprob, *(log for _, log in each.alternatives)]).all() for each in logs_of(found))
