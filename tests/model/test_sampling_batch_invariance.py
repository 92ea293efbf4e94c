"""A text and its log-probabilities are the same alone and in company, and are made again from what was told of them."""

from __future__ import annotations

import dataclasses
import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.backend import network_for
from model.config import ModelConfig, SamplingConfig
from model.language_model import LanguageModel
from model.output_text import Piece, SymbolLogprob
from model.sampling import MAX_BURST, MIN_BURST, Sampler, generate
from model.vocabulary import SymbolCounts, Vocabulary

CORPUS = "가각힣 abc é 中\n\U0001f600 ñ 나다라 e\u0301"
KINDS = [("lstm", "char", "nfc"), ("gru", "char", "nfd"), ("rnn", "byte", "nfc"), ("gru", "byte", "none")]


def model_of(cell: str, level: str, normalization: str) -> tuple[LanguageModel, Vocabulary]:
    """One whose every symbol depends strongly on all that it has read."""
    words = Vocabulary.build(SymbolCounts(level, normalization).add([CORPUS]))
    model = LanguageModel.new(ModelConfig(cell=cell, hidden_size=12, level=level, normalization=normalization), words.size, seed=5)
    model.parameters.flat[:] *= 3
    return model, words


MODELS = {kind: model_of(*kind) for kind in KINDS}

courses = st.one_of(
    st.sampled_from([0.0, 0.7, 1.5]),
    st.dictionaries(st.integers(1, 30), st.sampled_from([0.0, 0.5, 2.0]), max_size=3).map(lambda later: ((0, 1.0), *sorted(later.items()))),
)
asked = st.builds(
    SamplingConfig,
    prompt=st.one_of(
        st.text(CORPUS + "Zß", max_size=9), st.integers(250, 270).map(lambda length: "ab c"[: length % 4] + "ab " * (length // 3))
    ),
    length=st.integers(0, 40),
    min_length=st.sampled_from([0, 0, 5, 50]),
    temperature=courses,
    top_k=st.sampled_from([0, 0, 3]),
    top_p=st.sampled_from([1, 1, 0.8]),
    min_p=st.sampled_from([0, 0, 0.1]),
    repetition_penalty=st.sampled_from([1, 1, 1.5, 0.7]),
    presence_penalty=st.sampled_from([0, 0, 1.5]),
    frequency_penalty=st.sampled_from([0, 0, -0.5]),
    logit_bias=st.dictionaries(st.integers(-1, 40), st.floats(-20, 20), max_size=2),
    stop=st.lists(st.sampled_from(["a", "가", " a", "é", "aa"]), max_size=2),
    logprobs=st.sampled_from([None, None, 0, 3]),
    echo=st.booleans(),
    seed=st.integers(0, 2**63 - 1),
    n=st.integers(1, 3),
)

Written = tuple[str, tuple[SymbolLogprob, ...], int, str | None]  # text, scores, symbols, why it ended


def written(pieces: list[Piece], n: int) -> list[Written]:
    """What the pieces of one request make up."""
    mine = [[piece for piece in pieces if piece.choice == choice] for choice in range(n)]
    for each in mine:
        assert [piece.finish_reason for piece in each[:-1]] == [None] * len(each[:-1])
    return [
        (
            "".join(piece.text for piece in each),
            tuple(score for piece in each for score in piece.logprobs),
            each[-1].symbols,
            each[-1].finish_reason,
        )
        for each in mine
    ]


def again(model: LanguageModel, words: Vocabulary, config: SamplingConfig) -> list[Written]:
    """The texts of a request by itself."""
    return written(list(generate(network_for(model), words, config)), config.n)


@settings(max_examples=60)
@given(
    st.sampled_from(KINDS),
    st.lists(asked, min_size=1, max_size=20),
    st.randoms(use_true_random=False),
    st.sampled_from([1, 3]),
)
def test_what_others_do_changes_nothing(
    kind: tuple[str, str, str], requests: list[SamplingConfig], rng: random.Random, threads: int
) -> None:
    """Others join, leave and rest at any moment, and their temperatures are moved; so are those of a request itself, and then it is
    made again by itself from the course that was told. Rows may be divided among threads."""
    model, words = MODELS[kind]
    sampler = Sampler(network_for(model, threads), words)
    numbers: dict[int, int] = {}  # of a request -> its place in the list
    found: dict[int, list[Piece]] = {}
    courses: dict[int, Any] = {}
    waiting, cancelled, resting = list(requests), set(), {}
    while waiting or sampler.active:
        while waiting and rng.random() < 0.6:
            config = waiting.pop(0)
            number = sampler.add(config).request
            numbers[number], found[number], courses[number] = len(numbers), [], config.temperature_schedule
        for piece in sampler.step():
            found[piece.request].append(piece)
        assert all(symbols(found[number]) == drawn for number, drawn in resting.items()), "one that rests was written on"
        alive = [number for number in numbers if number not in cancelled and not ended(found[number], requests[numbers[number]].n)]
        if alive and rng.random() < 0.3:
            number = rng.choice(alive)
            sampler.set_temperature(number, rng.choice([0.0, 0.3, 1.0, 3.0]))
            courses[number] = sampler.schedule(number)
        if alive and rng.random() < 0.05:
            number = rng.choice(alive)
            sampler.cancel(number)
            cancelled.add(number)
            resting.pop(number, None)
        resumed = [number for number in resting if rng.random() < 0.5 or not sampler.busy]
        for number in resumed:
            sampler.resume(number)
            del resting[number]
        if alive and rng.random() < 0.3:
            number = rng.choice(alive)
            if number not in cancelled and number not in resting:
                sampler.pause(number)
                resting[number] = symbols(found[number])
    for number, index in numbers.items():
        config = dataclasses.replace(requests[index], temperature=courses[number])
        if number not in cancelled:
            assert written(found[number], config.n) == again(model, words, config)


def symbols(pieces: list[Piece]) -> int:
    return max((piece.symbols for piece in pieces), default=0)


def ended(pieces: list[Piece], n: int) -> bool:
    return sum(piece.finish_reason is not None for piece in pieces) == n


def test_a_moved_temperature_is_in_force_in_all_texts_from_the_same_position_on() -> None:
    model, words = MODELS["lstm", "char", "nfc"]
    sampler = Sampler(network_for(model), words)
    config = SamplingConfig(prompt="abc", length=160, n=3, seed=4, temperature=2)
    number = sampler.add(config).request
    pieces = sampler.step() + sampler.step()
    moved = MIN_BURST + MAX_BURST
    assert sampler.set_temperature(number, 0) == moved
    assert sampler.schedule(number) == ((0, 2.0), (moved, 0.0))
    while sampler.active:
        pieces += sampler.step()
    before = again(model, words, config)
    after = written(pieces, 3)
    assert [text[:moved] for text, *_ in after] == [text[:moved] for text, *_ in before]
    for choice, (text, *_) in enumerate(after):
        greedy = generate(
            network_for(model), words, SamplingConfig(prompt="abc" + text[:moved], length=160 - moved, temperature=0, seed=choice)
        )
        assert text[moved:] == "".join(piece.text for piece in greedy)


def test_a_temperature_is_moved_while_the_prompt_is_read_and_not_afterwards() -> None:
    model, words = MODELS["lstm", "char", "nfc"]
    sampler = Sampler(network_for(model), words)
    number = sampler.add(SamplingConfig(prompt="abc" * 300, length=5, seed=4, temperature=((0, 1.0), (3, 2.0)))).request
    sampler.step()
    assert sampler.set_temperature(number, 0.5) == 0
    assert sampler.schedule(number) == ((0, 0.5),)
    while sampler.active:
        sampler.step()
    for ask in (lambda: sampler.set_temperature(number, 1.0), lambda: sampler.schedule(number)):
        with pytest.raises(KeyError):
            ask()


def test_a_request_that_is_ended_shows_all_that_was_written() -> None:
    model, words = MODELS["gru", "char", "nfd"]
    sampler = Sampler(network_for(model), words)
    config = SamplingConfig(prompt="abc", length=100, n=2, seed=4, temperature=1, stop=("never there",), logprobs=1, echo=True)
    number, other = sampler.add(config).request, sampler.add(dataclasses.replace(config, echo=False)).request
    pieces = [*sampler.step(), *sampler.step(), *sampler.step()]
    last = sampler.end(number)
    symbols = last[0].symbols
    assert [(piece.finish_reason, piece.symbols) for piece in last] == [("length", symbols)] * 2
    mine = written([piece for piece in pieces if piece.request == number] + last, 2)
    assert mine == again(model, words, dataclasses.replace(config, length=symbols))
    assert sampler.end(other)[0].text
    assert sampler.active == 0
    assert sampler.end(other) == []


def test_a_request_that_is_ended_while_its_prompt_is_read() -> None:
    model, words = MODELS["gru", "char", "nfd"]
    sampler = Sampler(network_for(model), words)
    number = sampler.add(SamplingConfig(prompt="abc" * 300, seed=4, n=2, echo=True)).request
    sampler.step()
    assert [(piece.text, piece.symbols, piece.finish_reason) for piece in sampler.end(number)] == [("abc" * 300, 0, "length")] * 2
    assert sampler.active == 0


def test_the_unknown_symbol_is_never_drawn_however_it_is_biased() -> None:
    model, words = MODELS["lstm", "char", "nfc"]
    bias = {words.size: 100.0, -1: 100.0, 10**15: 100.0, 3: 100.0}
    text = again(model, words, SamplingConfig(length=30, seed=1, logit_bias=bias))[0][0]
    assert text == words.decode(np.full(30, 3))
