"""What features are made of, against loops."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.inspection.feature_text import FeatureText, before, coming, since

masks = st.lists(st.booleans(), max_size=20)
texts = st.text(st.sampled_from("aB_9 .\n\té가\U0001f600"), max_size=30)


@given(masks)
def test_since_counts_back_to_the_last_time(mask: list[bool]) -> None:
    expected, count = [], 0
    for value in mask:
        count = 0 if value else count + 1
        expected.append(count)
    assert since(np.array(mask, bool)).tolist() == expected


@given(masks)
def test_coming_and_before_look_one_place_ahead_and_back(mask: list[bool]) -> None:
    assert coming(np.array(mask, bool)).tolist() == ([*mask[1:], False] if mask else [])
    assert before(np.array(mask, bool)).tolist() == ([False, *mask[:-1]] if mask else [])


@given(texts)
def test_masks_of_characters(text: str) -> None:
    page = FeatureText(text)
    assert page.newline.tolist() == [c == "\n" for c in text]
    assert page.blank.tolist() == [c.isspace() and c != "\n" for c in text]
    assert page.word.tolist() == [c.isalnum() or c == "_" for c in text]
    lines = [text[: place + 1].rpartition("\n")[2] for place in range(len(text))]
    assert page.leading.tolist() == [line.isspace() for line in lines]
    assert page.in_line(page.where("a".__eq__)).tolist() == ["a" in line for line in lines]


def test_places_of_a_pattern_are_those_of_its_last_characters() -> None:
    assert FeatureText("ab cabb").at(re.compile("ab+")).tolist() == [False, True, False, False, False, False, True]


def test_what_was_computed_once_is_not_computed_again() -> None:
    page, calls = FeatureText("ab"), []

    def count(page: FeatureText) -> np.ndarray:
        calls.append(page)
        return np.arange(2)

    assert page.once(count) is page.once(count)
    assert calls == [page]


@pytest.mark.parametrize("text", ["", "\ud800"])
def test_any_text_has_a_page(text: str) -> None:
    assert len(FeatureText(text).word) == len(text)
