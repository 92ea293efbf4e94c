"""Computes readable features of a text, which a single unit of a network may follow.

A feature is a yes or no, or a number, for every character of a text, once that character was read. It depends only on the text so far,
except for ends that are coming, which are true if the next character brings them. Each is a small function of a `FeatureText`;
`FEATURES` and `GRADED` list them all.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.inspection.feature_text import FeatureText, before, coming, since
from model.inspection.quoting import COMMENTS, QUOTATIONS, Kind

Array = NDArray[Any]

TAB = 8  # columns
SENTENCE_END = re.compile(r"[.!?…][\"'”’)\]]*(?=\s)|[。！？]|\n(?=[^\S\n]*\n)")
EMPTY_LINE = re.compile(r"\n(?=[^\S\n]*\n)")


# ── numbers ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def position_in_line(page: FeatureText) -> Array:
    """Characters read of the line; 0 at the line end before it."""
    return since(page.newline)


def position_in_word(page: FeatureText) -> Array:
    """Characters read of the word; 0 outside words."""
    return since(~page.word)


def position_in_sentence(page: FeatureText) -> Array:
    """Characters read since the last sentence or paragraph ended."""
    return since(page.at(SENTENCE_END))


def indentation(page: FeatureText) -> Array:
    """Columns before the first visible character of the line; until that is read, those of the last line with one. A tab counts as 8."""
    columns = np.cumsum(page.leading * np.where(page.where("\t".__eq__), TAB, 1))
    columns -= np.maximum.accumulate(np.where(page.newline, columns, 0))  # those of earlier lines
    visible = ~page.blank & ~page.newline
    first = visible & ~page.in_line(before(visible))
    places = np.maximum.accumulate(np.where(first, np.arange(len(first)), -1))
    return np.where(places >= 0, columns[places], 0)


def bracket_depth(page: FeatureText, brackets: str = "([{)]}") -> Array:
    """Open brackets. Those inside quotations in '...' or "..." do not count; an empty line closes all.

    `brackets` has the opening ones, then the closing ones in the same order.
    """
    opening, closing = brackets[: len(brackets) // 2], brackets[len(brackets) // 2 :]
    counts = ~within(page, Kind.SINGLE, Kind.DOUBLE)
    step = (page.where(opening.__contains__) & counts).astype(int) - (page.where(closing.__contains__) & counts)
    step[page.at(EMPTY_LINE)] = -len(step)
    changes = np.flatnonzero(step)
    depth = np.zeros(len(step), int)
    depth[changes] = np.diff(list(accumulate(step[changes].tolist(), lambda open_, change: max(0, open_ + change), initial=0)))
    return np.cumsum(depth)


# ── yes or no ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def within(page: FeatureText, *kinds: Kind) -> Array:
    """Inside quotations or comments of these kinds."""
    return np.isin(page.kinds, kinds)


def capital(page: FeatureText) -> Array:
    """A capital letter."""
    return page.where(str.isupper)


def capitals(page: FeatureText) -> Array:
    """A capital letter after another one."""
    mask = capital(page)
    return mask & before(mask)


def digit(page: FeatureText) -> Array:
    """A digit."""
    return page.where(str.isdigit)


def word_ends(page: FeatureText) -> Array:
    """The last character of a word."""
    return page.word & coming(~page.word)


def line_ends(page: FeatureText) -> Array:
    """The last character of a line."""
    return ~page.newline & coming(page.newline)


def sentence_ends(page: FeatureText) -> Array:
    """The last character before the end of a sentence or paragraph."""
    return coming(page.at(SENTENCE_END))


def leading_blank(page: FeatureText) -> Array:
    """A blank at the beginning of a line."""
    return page.leading


def first_word(page: FeatureText) -> Array:
    """In the first word of a line."""
    return page.word & ~page.in_line(~page.word & ~page.leading & ~page.newline)


def after_equals(page: FeatureText) -> Array:
    """After an equals sign in the same line."""
    return page.in_line(page.where("=".__eq__))


# ── all of them ───────────────────────────────────────────────────────────────────────────────────────────────────────


class Feature(NamedTuple):
    """A yes or no for every character."""

    name: str
    meaning: str  # a phrase for a character with the feature
    of: Callable[[FeatureText], Array]  # (N,)
    elsewhere: str = ""  # a phrase for a character without it; empty for "not" and the meaning

    @property
    def negation(self) -> str:
        """The phrase for a character without the feature."""
        return self.elsewhere or f"not {self.meaning}"


class Graded(NamedTuple):
    """A number for every character."""

    name: str
    meaning: str
    of: Callable[[FeatureText], Array]  # (N,)
    most: int  # larger numbers count as this one
    levels: tuple[int, ...]  # each makes a feature: this or more
    reached: str  # the meaning of such a feature, with {} for the level
    missed: str  # the meaning of its opposite

    def reaching(self, level: int) -> Feature:
        """Returns the feature that the number is `level` or more."""
        return Feature(
            f"{self.name}_{level}",
            self.reached.format(level),
            lambda page: page.once(self.of) >= level,
            self.missed.format(level),
        )


# fmt: off
GRADED = (
    Graded("line_position", "the position in the line", position_in_line, 120, (20, 40, 60),
           "{} or more characters into the line", "fewer than {} characters into the line"),
    Graded("word_position", "the position in the word", position_in_word, 20, (4, 8),
           "{} or more letters into a word", "fewer than {} letters into a word"),
    Graded("sentence_position", "the position in the sentence", position_in_sentence, 300, (50, 100),
           "{} or more characters into a sentence", "fewer than {} characters into a sentence"),
    Graded("indentation", "the depth of the indentation", indentation, 40, (4, 8, 12, 16),
           "in a line indented by {} or more columns", "in a line indented by fewer than {} columns"),
    Graded("bracket_depth", "the depth of the brackets", bracket_depth, 8, (2, 3),
           "inside {} or more pairs of brackets", "inside fewer than {} pairs of brackets"),
)
# fmt: on

FEATURES = (
    Feature("single_quotes", "inside '...'", lambda page: within(page, Kind.SINGLE)),
    Feature("double_quotes", 'inside "..."', lambda page: within(page, Kind.DOUBLE)),
    Feature("block_quotes", "inside three quotation marks (a docstring)", lambda page: within(page, Kind.BLOCK)),
    Feature("typographic_quotes", "inside typographic quotation marks", lambda page: within(page, Kind.TYPOGRAPHIC)),
    Feature("quotes", "inside quotation marks of any kind", lambda page: within(page, *QUOTATIONS)),
    Feature("hash_comment", "inside a comment that # begins", lambda page: within(page, Kind.HASH)),
    Feature("slash_comment", "inside a comment that /* or // begins", lambda page: within(page, Kind.SLASH)),
    Feature("comment", "inside a comment of any kind", lambda page: within(page, *COMMENTS)),
    Feature("round_brackets", "inside ( )", lambda page: bracket_depth(page, "()") > 0, "outside ( )"),
    Feature("square_brackets", "inside [ ]", lambda page: bracket_depth(page, "[]") > 0),
    Feature("curly_brackets", "inside { }", lambda page: bracket_depth(page, "{}") > 0),
    Feature("brackets", "inside brackets of any kind", lambda page: page.once(bracket_depth) > 0),
    Feature("leading_blank", "in the blanks at the beginning of a line", leading_blank),
    Feature("first_word", "in the first word of a line", first_word),
    Feature("after_equals", "behind an equals sign in the line", after_equals),
    Feature("line_ends", "at the end of a line, before the line end", line_ends),
    Feature("word", "inside a word", lambda page: page.word, "outside words"),
    Feature("word_ends", "at the last letter of a word", word_ends),
    Feature("sentence_ends", "at the end of a sentence, before its full stop", sentence_ends),
    Feature("capital", "at a capital letter", capital),
    Feature("capitals", "inside a word in capitals", capitals),
    Feature("digit", "at a digit", digit),
    *(each.reaching(level) for each in GRADED for level in each.levels),
)
