"""The features, each against a loop that goes through the text character by character."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.inspection import features
from model.inspection.features import FEATURES, GRADED, FeatureText
from model.inspection.quoting import Kind, kinds

Naive = Callable[[str], list[int]]
texts = st.lists(st.sampled_from([*"aB_0 .!\n\t()[]{}'\"=#é가。", "\n\n", "    ", "AB", "“"]), max_size=25).map("".join)
BY_NAME = {feature.name: feature for feature in FEATURES}


def is_word(c: str) -> bool:
    return c.isalnum() or c == "_"


def is_blank(c: str) -> bool:
    return c.isspace() and c != "\n"


def lines_so_far(text: str) -> list[str]:
    """For each character the line that it ends, so far; a line end begins the next one."""
    return [text[: place + 1].rpartition("\n")[2] for place in range(len(text))]


def position_in_line(text: str) -> list[int]:
    return [len(line) for line in lines_so_far(text)]


def position_in_word(text: str) -> list[int]:
    found = []
    for c in text:
        found.append((found[-1] + 1 if found else 1) if is_word(c) else 0)
    return found


def indentation(text: str) -> list[int]:
    found, last = [], 0
    for line in lines_so_far(text):
        visible = line.lstrip("".join(c for c in set(line) if is_blank(c)))
        if visible:
            last = sum(8 if c == "\t" else 1 for c in line[: len(line) - len(visible)])
        found.append(last)
    return found


def bracket_depth(text: str, brackets: str = "([{)]}") -> list[int]:
    opening, closing = brackets[: len(brackets) // 2], brackets[len(brackets) // 2 :]
    quoted = np.isin(kinds(text), [Kind.SINGLE, Kind.DOUBLE]).tolist()
    found, depth = [], 0
    for place, c in enumerate(text):
        if c == "\n" and re.match(r"[^\S\n]*\n", text[place + 1 :]):
            depth = 0
        elif not quoted[place]:
            depth = max(0, depth + (c in opening) - (c in closing))
        found.append(depth)
    return found


def position_in_sentence(text: str) -> list[int]:
    found, count = [], 0
    for place in range(len(text)):
        count += 1
        before = text[: place + 1]
        ended = re.search(r"[.!?…][\"'”’)\]]*\Z", before) and place + 1 < len(text) and text[place + 1].isspace()
        paragraph = text[place] == "\n" and re.match(r"[^\S\n]*\n", text[place + 1 :])
        if ended or paragraph or text[place] in "。！？":
            count = 0
        found.append(count)
    return found


@pytest.mark.parametrize("naive", [position_in_line, position_in_word, indentation, bracket_depth, position_in_sentence])
@given(text=texts)
def test_numbers_are_what_a_loop_counts(naive: Naive, text: str) -> None:
    measured = getattr(features, naive.__name__)(FeatureText(text))
    assert measured.tolist() == naive(text)


def following_in(text: str) -> list[str]:
    return [*text[1:], ""][: len(text)]


def leading_blank(text: str) -> list[int]:
    return [line != "" and all(map(is_blank, line)) for line in lines_so_far(text)]


def first_word(text: str) -> list[int]:
    return [bool(re.fullmatch(r"[^\S\n]*\w+", line)) for line in lines_so_far(text)]


def after_equals(text: str) -> list[int]:
    return ["=" in line for line in lines_so_far(text)]


def word_ends(text: str) -> list[int]:
    return [is_word(c) and bool(following) and not is_word(following) for c, following in zip(text, following_in(text), strict=True)]


def line_ends(text: str) -> list[int]:
    return [c != "\n" and following == "\n" for c, following in zip(text, following_in(text), strict=True)]


def capitals(text: str) -> list[int]:
    return [text[place].isupper() and place > 0 and text[place - 1].isupper() for place in range(len(text))]


def capital(text: str) -> list[int]:
    return [c.isupper() for c in text]


def digit(text: str) -> list[int]:
    return [c.isdigit() for c in text]


def word(text: str) -> list[int]:
    return list(map(is_word, text))


def round_brackets(text: str) -> list[int]:
    return [depth > 0 for depth in bracket_depth(text, "()")]


def square_brackets(text: str) -> list[int]:
    return [depth > 0 for depth in bracket_depth(text, "[]")]


def curly_brackets(text: str) -> list[int]:
    return [depth > 0 for depth in bracket_depth(text, "{}")]


def sentence_ends(text: str) -> list[int]:
    return [following == 0 for following in position_in_sentence(text)[1:]] + [False] * bool(text)


NAIVE = [leading_blank, first_word, after_equals, word_ends, line_ends, capitals, capital, digit, word]
NAIVE += [round_brackets, square_brackets, curly_brackets, sentence_ends]


@pytest.mark.parametrize("naive", NAIVE)
@given(text=texts)
def test_yes_or_no_is_what_a_loop_says(naive: Naive, text: str) -> None:
    assert BY_NAME[naive.__name__].of(FeatureText(text)).tolist() == list(map(bool, naive(text)))


@given(texts)
def test_levels_are_cut_from_their_numbers(text: str) -> None:
    page = FeatureText(text)
    for graded in GRADED:
        for level in graded.levels:
            assert BY_NAME[f"{graded.name}_{level}"].of(page).tolist() == [number >= level for number in graded.of(page).tolist()]


@given(texts)
def test_kinds_of_quotations_and_comments_make_up_those_of_any_kind(text: str) -> None:
    page = FeatureText(text)
    found = {name: BY_NAME[name].of(page) for name in BY_NAME if name.endswith(("quotes", "comment"))}
    quotes = found["single_quotes"] | found["double_quotes"] | found["block_quotes"] | found["typographic_quotes"]
    assert (found["quotes"] == quotes).all()
    assert (found["comment"] == found["hash_comment"] | found["slash_comment"]).all()
    assert not (found["quotes"] & found["comment"]).any()


def test_a_feature_has_a_name_of_its_own_and_words_for_both_sides() -> None:
    assert len(BY_NAME) == len(FEATURES)
    for feature in FEATURES:
        assert feature.meaning
        assert feature.negation not in ("", feature.meaning)
        assert "{" not in (feature.meaning + feature.negation).replace("{ }", "")


def test_the_empty_text_has_all_features_and_no_characters() -> None:
    assert all(feature.of(FeatureText("")).shape == (0,) for feature in FEATURES)
    assert all(graded.of(FeatureText("")).shape == (0,) for graded in GRADED)
