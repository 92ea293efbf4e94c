"""Texts that must not copy: they never do, they are like others wherever these do not, and they end where nothing else can follow."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.backend import network_for
from model.config import ModelConfig, SamplingConfig
from model.errors import InvalidSetting
from model.language_model import LanguageModel
from model.normalization import normalize
from model.output_text import Piece, SymbolLogprob
from model.sampling import Sampler, generate
from model.vocabulary import SymbolCounts, Vocabulary

CORPUS = "그 사람이 abc 가 abd é e\u0301 하한 \U0001f600 abcabd\n" * 2
KINDS = [("lstm", "char", "nfc"), ("gru", "char", "nfd"), ("rnn", "byte", "nfc"), ("gru", "char", "none")]


class Source:
    """The corpus, searched from beginning to end."""

    def __init__(self, text: str) -> None:
        self.text = normalize(text, "nfc")

    def followers(self, text: str) -> frozenset[str]:
        places = range(len(self.text) - len(text))
        return frozenset(self.text[place + len(text)] for place in places if self.text.startswith(text, place))

    def known_suffix(self, text: str) -> int:
        return max(size for size in range(len(text) + 1) if text[len(text) - size :] in self.text)

    def longest(self, text: str) -> int:
        """The longest part of a text that stands in it."""
        text = normalize(text, "nfc")
        parts = ((start, stop) for start in range(len(text)) for stop in range(start + 1, len(text) + 1))
        return max((stop - start for start, stop in parts if text[start:stop] in self.text), default=0)


def model_of(cell: str, level: str, normalization: str) -> tuple[LanguageModel, Vocabulary]:
    words = Vocabulary.build(SymbolCounts(level, normalization).add([CORPUS]))
    model = LanguageModel.new(ModelConfig(cell=cell, hidden_size=12, level=level, normalization=normalization), words.size, seed=5)
    model.parameters.flat[:] *= 3
    return model, words


MODELS = {kind: model_of(*kind) for kind in KINDS}
SOURCE = Source(CORPUS)

asked = st.builds(
    SamplingConfig,
    prompt=st.sampled_from(["", "abc 가", "그 사람이 abc"]),
    length=st.integers(0, 40),
    temperature=st.sampled_from([0.0, 0.4, 1.0]),
    top_k=st.sampled_from([0, 1, 3]),
    min_p=st.sampled_from([0, 0.3]),
    logit_bias=st.dictionaries(st.integers(0, 20), st.sampled_from([-5.0, 5.0, 100.0]), max_size=4),
    stop=st.sampled_from([(), ("b",)]),
    logprobs=st.sampled_from([None, 1]),
    max_copy=st.one_of(st.none(), st.integers(1, 12)),
    seed=st.integers(0, 2**32),
    n=st.integers(1, 2),
)


def texts(pieces: list[Piece], n: int) -> list[tuple[str, str | None, int]]:
    """Of each choice: the text, why it ended, and the symbols."""
    found = []
    for choice in range(n):
        mine = [piece for piece in pieces if piece.choice == choice]
        found.append(("".join(piece.text for piece in mine), mine[-1].finish_reason, mine[-1].symbols))
    return found


def scores(pieces: list[Piece], choice: int) -> list[SymbolLogprob]:
    return [score for piece in pieces if piece.choice == choice for score in piece.logprobs]


@settings(max_examples=150)
@given(st.sampled_from(KINDS), asked)
def test_no_text_copies_more_and_what_does_not_copy_is_as_it_would_be(kind: tuple[str, str, str], config: SamplingConfig) -> None:
    model, words = MODELS[kind]
    found = texts(list(generate(network_for(model), words, config, source=SOURCE)), config.n)
    if config.max_copy is None:
        return
    free = texts(list(generate(network_for(model), words, SamplingConfig(**{**vars(config), "max_copy": None}))), config.n)
    for (text, reason, symbols), other in zip(found, free, strict=True):
        assert SOURCE.longest(text) <= config.max_copy
        assert reason in ("length", "stop", "max_copy")
        if reason == "max_copy":
            assert symbols < config.length
        same = next((place for place, (a, b) in enumerate(zip(text, other[0], strict=False)) if a != b), len(text))
        if kind[1:] == ("char", "nfc"):  # the first difference is where some character would have copied too much
            assert text == other[0] or any(SOURCE.longest(text[:same] + chr(c)) > config.max_copy for c in words.symbols)


@settings(max_examples=40)
@given(st.sampled_from(KINDS), st.lists(asked, min_size=2, max_size=8))
def test_alone_or_in_company(kind: tuple[str, str, str], requests: list[SamplingConfig]) -> None:
    model, words = MODELS[kind]
    sampler = Sampler(network_for(model), words)
    numbers = [sampler.add(config, SOURCE).request for config in requests]
    pieces: list[Piece] = []
    while sampler.active:
        pieces += sampler.step()
    for number, config in zip(numbers, requests, strict=True):
        mine = [piece for piece in pieces if piece.request == number]
        alone = list(generate(network_for(model), words, config, source=SOURCE))
        assert texts(mine, config.n) == texts(alone, config.n)
        for choice in range(config.n):
            assert scores(mine, choice) == scores(alone, choice)


def test_the_next_likeliest_is_taken_as_a_plain_loop_would() -> None:
    """At temperature 0, with what is forbidden found by trying."""
    model, words = MODELS["lstm", "char", "nfc"]
    config = SamplingConfig(prompt="abc", length=30, temperature=0, top_k=1, max_copy=2, seed=0)
    [(text, reason, _)] = texts(list(generate(network_for(model), words, config, source=SOURCE)), 1)
    written = ""
    ids, state = words.encode("abc"), model.zero_state(1)
    while len(written) < 30:
        logits, state, _ = model.forward(ids[:, None], state)
        order = [words.decode(np.array([each])) for each in np.argsort(-logits[-1, 0])]
        allowed = [c for c in order if SOURCE.longest(written + c) <= 2]
        if not allowed:
            break
        written += allowed[0]
        ids = words.encode(allowed[0])
    assert (text, reason) == (written, "length" if len(written) == 30 else "max_copy")


@pytest.mark.parametrize(("level", "size"), [("char", 2), ("byte", 2)])
@pytest.mark.parametrize("stop", [(), ("never",)])
def test_a_text_ends_where_nothing_else_can_follow(level: str, size: int, stop: tuple[str, ...]) -> None:
    """The corpus is one letter again and again, and so is the alphabet."""
    words = Vocabulary.build(SymbolCounts(level, "nfc").add(["aaaa"]))
    model = LanguageModel.new(ModelConfig(cell="rnn", hidden_size=4, level=level), words.size, seed=1)
    config = SamplingConfig(prompt="a", length=50, max_copy=size, seed=1, n=2, stop=stop, logprobs=0)
    pieces = list(generate(network_for(model), words, config, source=Source("aaaa")))
    assert texts(pieces, 2) == [("aa", "max_copy", 2)] * 2
    assert sum(len(piece.logprobs) for piece in pieces) == 4


def test_the_prompt_does_not_count() -> None:
    model, words = MODELS["lstm", "char", "nfc"]
    config = SamplingConfig(prompt="abcab", length=1, temperature=0, max_copy=1, seed=0, logit_bias={words.symbols.index(ord("d")): 100})
    assert texts(list(generate(network_for(model), words, config, source=SOURCE)), 1) == [("d", "length", 1)]


def test_there_must_be_something_not_to_copy() -> None:
    model, words = MODELS["lstm", "char", "nfc"]
    with pytest.raises(InvalidSetting, match="max_copy is 3"):
        list(generate(network_for(model), words, SamplingConfig(max_copy=3, seed=1)))
