"""Surprise, activations and the liveliest unit, against a network that is read one symbol at a time."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from model.errors import InvalidSetting
from model.inspection import unit_activations
from model.inspection.alignment import align
from model.inspection.unit_activations import Unit, activations, activity, read_text, surprise
from model.language_model import LanguageModel
from model.vocabulary import Vocabulary

TEXT = "the (gold) 가각 é\nx"  # x is outside the alphabet
KINDS = [("char", "nfc"), ("char", "nfd"), ("byte", "nfc")]


def one_by_one(model: LanguageModel, vocabulary: Vocabulary, ids: list[int]) -> tuple[list[Any], list[Any]]:
    """Before each symbol the probabilities of all, and after each what the units of all layers hold."""
    state, expected, held = model.zero_state(1), [], []
    for symbol in [int(vocabulary.encode("\n")[0]), *ids]:
        logits, state, tape = model.forward(np.array([[symbol]]), state)
        p = np.exp(logits[0, 0])
        expected.append(p / p.sum())
        held.append([model.cell.signals(each).memory[0, 0].copy() for each in tape.cells])
    return expected[:-1], held[1:]


@pytest.mark.parametrize(("level", "normalization"), KINDS)
def test_bits_and_alternatives(
    make_vocabulary: Callable[..., Vocabulary], make_model: Callable[..., LanguageModel], level: str, normalization: str
) -> None:
    vocabulary = make_vocabulary(level=level, normalization=normalization)
    model, aligned = make_model(vocabulary.size), align(vocabulary, TEXT)
    expected, _ = one_by_one(model, vocabulary, aligned.ids.tolist())
    found = surprise(model, vocabulary, aligned, 3)
    place = 0
    for character, c in enumerate(aligned.text):
        symbols = vocabulary.encode(c).tolist()
        bits = 0.0
        for offset, symbol in enumerate(symbols):
            p = expected[place + offset]
            bits -= math.log2(p[symbol]) if symbol < vocabulary.size else -vocabulary.unknown_cost / math.log(2)
        assert found.bits[character] == pytest.approx(bits)
        order = sorted(range(vocabulary.size), key=lambda symbol: -expected[place][symbol])[:3]
        assert found.likeliest[character].tolist() == order
        assert found.probabilities[character] == pytest.approx(expected[place][order])
        place += len(symbols)
    assert place == len(aligned.ids)
    assert found.bits_per_char == pytest.approx(sum(found.bits) / len(aligned.text))


def test_a_separator_of_records_counts_once(make_vocabulary: Callable[..., Vocabulary], make_model: Callable[..., LanguageModel]) -> None:
    """All of its cost is at its first character, and what a unit holds there it holds at the others."""
    vocabulary = make_vocabulary(separator="\n%\n")
    boundary = vocabulary.size - 1
    model, aligned = make_model(vocabulary.size, boundary), align(vocabulary, "the\n%\ngold\n%\n")
    logits, _, _ = model.forward(np.array([[boundary], *([id_] for id_ in vocabulary.encode("the"))]), model.zero_state(1))
    p = np.exp(logits[-1, 0])
    found = surprise(model, vocabulary, aligned, 2)
    assert found.bits[3:6] == pytest.approx([-math.log2(p[boundary] / p.sum()), 0, 0])
    assert activity(model, vocabulary, aligned, alternatives=2).expected.bits == pytest.approx(found.bits)
    held = activations(model, vocabulary, aligned, [Unit(1, 2)])[:, 0]
    assert held[3] == held[4] == held[5] == held[-1] != held[2]


@pytest.mark.parametrize(("level", "normalization"), KINDS)
def test_activations_are_those_after_a_character_was_read(
    make_vocabulary: Callable[..., Vocabulary], make_model: Callable[..., LanguageModel], level: str, normalization: str
) -> None:
    vocabulary = make_vocabulary(level=level, normalization=normalization)
    model, aligned = make_model(vocabulary.size), align(vocabulary, TEXT)
    _, held = one_by_one(model, vocabulary, aligned.ids.tolist())
    units = [Unit(0, 4), Unit(1, 0)]
    found = activations(model, vocabulary, aligned, units)
    assert found.shape == (len(aligned.text), 2)
    for character, end in enumerate(aligned.ends.tolist()):
        assert found[character] == pytest.approx([held[end][unit.layer][unit.number] for unit in units], rel=1e-5)


def test_the_liveliest_unit_is_the_one_that_varies_most(
    make_vocabulary: Callable[..., Vocabulary], make_model: Callable[..., LanguageModel]
) -> None:
    vocabulary = make_vocabulary()
    model, aligned = make_model(vocabulary.size, cell="gru"), align(vocabulary, TEXT * 3)
    state, held = model.zero_state(1), []
    for symbol in [int(vocabulary.encode("\n")[0]), *aligned.ids.tolist()]:
        _, state, _ = model.forward(np.array([[symbol]]), state)
        held.append(state[:, 0, 0].copy())
    variance = np.var(held, axis=0)
    unit = activity(model, vocabulary, aligned).liveliest
    assert variance[unit] == variance.max()


@pytest.mark.parametrize(("level", "normalization"), KINDS)
def test_one_reading_tells_it_all(
    make_vocabulary: Callable[..., Vocabulary], make_model: Callable[..., LanguageModel], level: str, normalization: str
) -> None:
    vocabulary = make_vocabulary(level=level, normalization=normalization)
    model, aligned = make_model(vocabulary.size), align(vocabulary, TEXT * 9)  # of several slices
    expected, held = one_by_one(model, vocabulary, aligned.ids.tolist())
    found = activity(model, vocabulary, aligned, alternatives=2, keep=True)
    assert found.held is not None
    for character, end in enumerate(aligned.ends.tolist()):
        assert found.held[..., character] == pytest.approx(np.array(held[end]), abs=1e-3)
    alone = surprise(model, vocabulary, aligned, 2)
    assert found.expected is not None
    assert found.expected.bits == pytest.approx(alone.bits)
    assert found.expected.likeliest.tolist() == alone.likeliest.tolist()
    assert found.expected.probabilities == pytest.approx(alone.probabilities)
    assert found.expected.probabilities[0] == pytest.approx(sorted(expected[0], reverse=True)[:2])
    nothing = activity(model, vocabulary, align(vocabulary, ""), alternatives=2, keep=True)
    assert nothing.held is not None
    assert nothing.held.shape == (2, 5, 0)


def test_a_reading_can_be_ended(make_vocabulary: Callable[..., Vocabulary], make_model: Callable[..., LanguageModel]) -> None:
    vocabulary = make_vocabulary()
    model, aligned = make_model(vocabulary.size), align(vocabulary, TEXT * 20)
    ticks: list[int] = []

    def tick() -> None:
        ticks.append(1)
        if len(ticks) == 2:
            raise TimeoutError

    for read in (surprise, activity, lambda *known, tick: activations(*known, [Unit(0, 0)], tick)):
        ticks.clear()
        with pytest.raises(TimeoutError):
            read(model, vocabulary, aligned, tick=tick)  # type: ignore[operator]


@pytest.mark.parametrize("unit", [Unit(2, 0), Unit(0, 5), Unit(-1, 0)])
def test_a_unit_that_is_not_there_is_refused(
    make_vocabulary: Callable[..., Vocabulary], make_model: Callable[..., LanguageModel], unit: Unit
) -> None:
    vocabulary = make_vocabulary()
    with pytest.raises(InvalidSetting, match="a layer from 0 to 1 and a unit from 0 to 4"):
        activations(make_model(vocabulary.size), vocabulary, align(vocabulary, "the"), [unit])


@pytest.mark.parametrize("count", [21, 1000])
def test_a_text_that_is_too_long_is_refused(
    make_vocabulary: Callable[..., Vocabulary], count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unit_activations, "LONGEST", 20)
    assert read_text(make_vocabulary(), "t" * 20).text == "t" * 20
    with pytest.raises(InvalidSetting, match=rf"at most 20 characters to be looked at \(it has {count:,}\)") as caught:
        read_text(make_vocabulary(), "t" * count)
    assert caught.value.param == "text"


def test_the_empty_text(make_vocabulary: Callable[..., Vocabulary], make_model: Callable[..., LanguageModel]) -> None:
    vocabulary = make_vocabulary()
    model, aligned = make_model(vocabulary.size), align(vocabulary, "")
    found = surprise(model, vocabulary, aligned)
    assert found.bits_per_char == 0
    assert found.bits.shape == (0,)
    assert found.likeliest.shape == (0, unit_activations.ALTERNATIVES)
    assert activations(model, vocabulary, aligned, [Unit(0, 0)]).shape == (0, 1)


def test_a_network_that_diverges_is_still_shown(
    make_vocabulary: Callable[..., Vocabulary], make_model: Callable[..., LanguageModel]
) -> None:
    vocabulary = make_vocabulary()
    model = make_model(vocabulary.size, cell="rnn", activation="identity", num_layers=1)
    model.parameters["layers.0.Wh"][...] = 1e30
    aligned = align(vocabulary, "the gold")
    assert np.isfinite(activations(model, vocabulary, aligned, [Unit(0, 0)])).all()
    assert activity(model, vocabulary, aligned).liveliest.layer == 0
