"""Stretches of a text: what the network reads, what counts, and what holds there, against the features of the whole text."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest

from model.inspection import text_sample as module
from model.inspection.features import FEATURES, GRADED, FeatureText
from model.inspection.text_sample import sample
from model.vocabulary import Vocabulary

KINDS = [("char", "nfc"), ("char", "nfd"), ("byte", "nfc")]


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WARM_UP", 7)
    monkeypatch.setattr(module, "LOOK_BACK", 10_000)  # to the beginning: the features of the stretch are those of the whole text


def long_text(count: int = 400) -> str:
    rng = random.Random(4)
    words = ["the ", "(red) ", "'gold' ", "\n", "12, ", "가각 ", "A_B = "]
    return "".join(rng.choice(words) + f"{number} " for number in range(count))  # no stretch occurs twice


@pytest.mark.parametrize(("level", "normalization"), KINDS)
def test_what_holds_in_a_stretch_is_what_holds_there_in_the_text(
    make_vocabulary: Callable[..., Vocabulary], level: str, normalization: str
) -> None:
    text = long_text()
    vocabulary = make_vocabulary(text, level, normalization)
    ids, page = vocabulary.encode(text), FeatureText(text)
    labels = [feature.of(page) for feature in FEATURES]
    numbers = [np.minimum(graded.of(page), graded.most) for graded in GRADED]
    found = sample(vocabulary, ids, 200, len(ids) - 50, 6, 30)
    assert found.ids.shape == found.counts.shape == (37, 6)
    for column in range(6):
        assert 20 / 3 < len(found.texts[column]) <= 30
        place = text.index(found.texts[column])
        assert text[:place].endswith(vocabulary.decode(found.ids[:7, column])[-1])
        inside = slice(place, place + len(found.texts[column]))
        counts = found.counts[:, column]
        for number, label in enumerate(labels):
            assert found.labels[counts, column, number].tolist() == label[inside].tolist(), FEATURES[number].name
        for number, measured in enumerate(numbers):
            assert found.numbers[counts, column, number].tolist() == measured[inside].tolist()


def test_of_a_separator_only_the_last_character_counts(make_vocabulary: Callable[..., Vocabulary]) -> None:
    text = "".join(f"{number:03}\n%\n" for number in range(60))
    vocabulary = make_vocabulary(text, separator="\n%\n")
    ids = vocabulary.encode(text)
    for start in range(100, 104):  # a stretch ends before, in and after a boundary
        found = sample(vocabulary, ids, start, start + 60, 6, 10)
        for column, counted in enumerate(found.texts):
            assert counted in text.replace("\n%\n", "\n")
            assert found.counts[:, column].sum() == len(counted)
            assert [vocabulary.symbol(id_)[-1] for id_ in found.ids[found.counts[:, column], column]] == list(counted)


def test_stretches_are_spread_over_the_part_that_was_asked_for(make_vocabulary: Callable[..., Vocabulary]) -> None:
    text = "".join(chr(0x4E00 + place) for place in range(1000))  # each character says where it stands
    vocabulary = make_vocabulary(text)
    found = sample(vocabulary, vocabulary.encode(text), 300, 900, 4, 100)
    firsts = [ord(each[0]) - 0x4E00 for each in found.texts]
    assert firsts == [300, 466, 633, 800]
    assert [len(each) for each in found.texts] == [100] * 4
    assert found.counts[:7].sum() == 0, "what is read to warm up does not count"
    assert [ord(vocabulary.symbol(id_)) - 0x4E00 for id_ in found.ids[:, 0].tolist()] == list(range(293, 400))


@pytest.mark.parametrize("length", [2, 9, 60])
def test_little_text_makes_fewer_and_shorter_stretches_but_two(make_vocabulary: Callable[..., Vocabulary], length: int) -> None:
    vocabulary = make_vocabulary("the\n ")
    ids = vocabulary.encode(("the the\n" * 10)[:length])
    found = sample(vocabulary, ids, 0, length, 8, 512)
    first, second = found.halves()
    assert first.ids.shape[1] == second.ids.shape[1] == 1
    assert first.counts.sum() == second.counts.sum() == length // 2
    assert ("the the\n" * 10).startswith(first.texts[0])
    assert ("the the\n" * 10)[:length].endswith(second.texts[0])


def test_halves_have_no_stretch_in_common_and_nothing_is_lost(make_vocabulary: Callable[..., Vocabulary]) -> None:
    text = long_text()
    vocabulary = make_vocabulary(text)
    whole = sample(vocabulary, vocabulary.encode(text), 0, len(text), 7, 20)
    first, second = whole.halves()
    assert [*first.texts, *second.texts] == whole.texts[::2] + whole.texts[1::2]
    for half, start in ((first, 0), (second, 1)):
        for part, of_whole in zip(half[:4], whole[:4], strict=True):
            np.testing.assert_array_equal(part, of_whole[:, start::2])
