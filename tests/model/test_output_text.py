"""What is shown of a text, and when: stop strings before and after the least length, prompts that are repeated, scores in step."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.backend import network_for
from model.config import ModelConfig, SamplingConfig
from model.language_model import LanguageModel
from model.normalization import normalize
from model.output_text import Piece, SymbolLogprob
from model.sampling import PREFILL_CHUNK, generate
from model.vocabulary import SymbolCounts, Vocabulary

KINDS = [(level, normalization) for level in ("char", "byte") for normalization in ("nfc", "nfd", "none")]
CORPUS = "가각힣 ab é\n\U0001f600"


def vocabulary(text: str, level: str = "char", normalization: str = "nfc") -> Vocabulary:
    return Vocabulary.build(SymbolCounts(level, normalization).add([text]))


def even(words: Vocabulary) -> LanguageModel:
    """A model to which all symbols are equally likely."""
    model = LanguageModel.new(ModelConfig(hidden_size=1), words.size)
    model.parameters.flat[:] = 0
    return model


def wild(words: Vocabulary) -> LanguageModel:
    model = LanguageModel.new(ModelConfig(hidden_size=8), words.size, seed=3)
    model.parameters.flat[:] *= 3
    return model


def pieces_of(model: LanguageModel, words: Vocabulary, **settings: Any) -> list[Piece]:
    return list(generate(network_for(model), words, SamplingConfig(**({"seed": 1, "temperature": 1} | settings))))


def text_of(pieces: list[Piece]) -> str:
    return "".join(piece.text for piece in pieces)


def scores_of(pieces: list[Piece]) -> list[SymbolLogprob]:
    return [score for piece in pieces for score in piece.logprobs]


# ── the least length ──────────────────────────────────────────────────────────────────────────────────────────────────


@given(st.integers(0, 2**32), st.integers(0, 30), st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, max_size=3))
@pytest.mark.parametrize("normalization", ["nfc", "none"])
def test_no_stop_string_ends_a_text_before_its_least_length(normalization: str, seed: int, least: int, stop: list[str]) -> None:
    words = vocabulary("ab", normalization=normalization)
    whole = text_of(pieces_of(even(words), words, length=40, seed=seed))
    ends = [end for end in range(max(1, least), 41) if any(whole[:end].endswith(each) for each in stop)]
    pieces = pieces_of(even(words), words, length=40, seed=seed, stop=tuple(stop), min_length=least)
    if ends:
        longest = max(len(each) for each in stop if whole[: ends[0]].endswith(each))
        assert (text_of(pieces), pieces[-1].finish_reason) == (whole[: ends[0] - longest], "stop")
    else:
        assert (text_of(pieces), pieces[-1].finish_reason) == (whole, "length")


# ── prompts that are repeated ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("level", "normalization"), KINDS)
@pytest.mark.parametrize("prompt", ["", "ab é가각", "Zß中", "ab" * PREFILL_CHUNK])
def test_a_text_begins_with_its_prompt_as_it_was_read(level: str, normalization: str, prompt: str) -> None:
    words = vocabulary(CORPUS, level, normalization)
    read = words.decode(words.encode_prompt(prompt, 10**6).ids)
    for settings in ({}, {"logprobs": 2}):
        alone = pieces_of(wild(words), words, prompt=prompt, length=20, **settings)
        pieces = pieces_of(wild(words), words, prompt=prompt, length=20, echo=True, n=2, **settings)
        first = [piece for piece in pieces if piece.choice == 0]
        assert (first[0].text, first[0].symbols) == (read, 0), "before anything is drawn"
        assert text_of(first) == read + text_of(alone)
        assert text_of(pieces_of(wild(words), words, prompt=prompt, length=0, echo=True, **settings)) == read


@pytest.mark.parametrize(("level", "normalization"), KINDS)
def test_scores_of_a_prompt_do_not_depend_on_slices_and_have_its_unknown_symbols(level: str, normalization: str) -> None:
    words = vocabulary(CORPUS, level, normalization)
    model, prompt = wild(words), "abé 가中 " * PREFILL_CHUNK
    ids = words.encode_prompt(prompt, 8192).ids
    [piece] = pieces_of(model, words, prompt=prompt, length=0, echo=True, logprobs=2)
    logits, _, _ = model.forward(ids[:-1, None].astype(int), model.zero_state(1))
    logs = logits[:, 0].astype(float) - np.log(np.exp(logits[:, 0].astype(float)).sum(axis=1, keepdims=True))
    assert len(piece.logprobs) == len(ids)
    assert piece.logprobs[0][1:3] == (None, [])
    for row, symbol, score in zip(logs, ids[1:].tolist(), piece.logprobs[1:], strict=True):
        known = symbol < words.size
        assert score.text == (words.symbol(symbol) if known else "\ufffd")
        assert score.logprob == pytest.approx(row[symbol] if known else -words.unknown_cost, abs=1e-3)
        assert [log for _, log in score.alternatives] == pytest.approx(np.sort(row)[::-1][:2].tolist(), abs=1e-3)


# ── scores ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("level", "normalization"), KINDS)
@pytest.mark.parametrize("stop", [(), ("a",), (" b",), ("é",), ("never there",)])
@pytest.mark.parametrize("seed", range(8))
def test_scores_come_with_the_characters_of_their_symbols(level: str, normalization: str, stop: tuple[str, ...], seed: int) -> None:
    words = vocabulary(CORPUS, level, normalization)
    pieces = pieces_of(even(words), words, length=60, stop=stop, seed=seed, logprobs=1)
    shown, joins = 0, (level, normalization) == ("byte", "nfd")  # its last byte tells whether a character joins the one before
    for piece in pieces:
        last = piece.finish_reason is not None
        assert all(shown - joins <= score.position < shown + len(piece.text) or last for score in piece.logprobs)
        shown += len(piece.text)
    assert text_of(pieces) == text_of(pieces_of(even(words), words, length=60, stop=stop, seed=seed))
    scores = scores_of(pieces)
    assert all(a.position <= b.position + joins for a, b in itertools.pairwise(scores))
    assert [score.logprob for score in scores] == pytest.approx([-np.log(words.size)] * len(scores))
    if level == "char":
        assert normalize("".join(score.text for score in scores), "nfc" if normalization != "none" else "none") == text_of(pieces)
    if pieces[-1].finish_reason == "length":
        assert len(scores) == pieces[-1].symbols


def test_alternatives_are_the_likeliest_and_of_equals_the_first() -> None:
    words = vocabulary("abcde")
    model = even(words)
    model.parameters["by"][:] = np.log([0.1, 0.3, 0.3, 0.2, 0.1])
    [score] = scores_of(pieces_of(model, words, length=1, logprobs=4, temperature=0))
    assert score.text == "b"
    assert score.alternatives == [(c, pytest.approx(np.log(p), abs=1e-6)) for c, p in [("b", 0.3), ("c", 0.3), ("d", 0.2), ("a", 0.1)]]
    [score] = scores_of(pieces_of(model, words, length=1, logprobs=20))
    assert len(score.alternatives) == 5


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_scores_of_a_model_that_overflows_are_numbers(bad: float) -> None:
    words = vocabulary("abc")
    model = even(words)
    model.parameters["by"][1] = bad
    scores = scores_of(pieces_of(model, words, prompt="ab", length=20, logprobs=3, echo=True))[1:]
    assert all(np.isfinite([score.logprob, *(log for _, log in score.alternatives)]).all() for score in scores)


# ── prompts as ids ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_prompt_of_ids_is_the_prompt_of_their_symbols() -> None:
    words = vocabulary("abcde")
    for ids, prompt in [((0, 1, 2), "abc"), ((), ""), ((4,) * 9000, "e" * 9000), ((0, 99, 1), "a中b"), ((2**70, -1), "中中")]:
        by_ids = pieces_of(wild(words), words, prompt_ids=ids, length=30, echo=True)
        assert text_of(by_ids) == text_of(pieces_of(wild(words), words, prompt=prompt, length=30, echo=True))
