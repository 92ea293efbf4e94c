"""The automaton that compares paths with patterns."""

from __future__ import annotations

from fnmatch import fnmatchcase

from hypothesis import given
from hypothesis import strategies as st

from corpora import globs
from corpora.globs import Globs

WORDS = st.lists(st.sampled_from(["a", "b", "*", "**", "?", "[ab]", "[!a]", "[a-c]", "[]a]", "[!]]", "[", "]", "[a", "!", "-"]), max_size=4)
PATTERNS = st.lists(WORDS.map("".join), min_size=1, max_size=4).map("/".join)
NAMES = st.text("ab-[]c!\n\U0001f600", min_size=1, max_size=4)


def naive(names: list[str], wanted: list[str]) -> bool:
    """Compares part by part, with every number of folders for ``**``."""
    if not wanted:
        return not names
    if wanted[0] == "**":
        return any(naive(names[i:], wanted[1:]) for i in range(len(names) + 1))
    return bool(names) and fnmatchcase(names[0], wanted[0]) and naive(names[1:], wanted[1:])


def parts(pattern: str) -> list[str]:
    wanted = pattern.split("/") if "/" in pattern else ["**", pattern]
    return [part for part in wanted if part] + ([] if wanted[-1] else ["**"])


@given(st.lists(PATTERNS, min_size=1, max_size=3), st.lists(NAMES, min_size=1, max_size=4))
def test_matches_as_the_standard_library_does(patterns: list[str], names: list[str]) -> None:
    assert Globs(patterns).match("/".join(names)) == any(naive(names, parts(pattern)) for pattern in patterns)


def test_forgotten_steps_change_nothing() -> None:
    before, globs.MOST_STEPS = globs.MOST_STEPS, 3
    try:
        few = Globs(["**/[a-z]*x?/**/*.[ch]", "*.txt"])
        for path in ("a/bxy/c/d.c", "a/bxy/c/d.h", "a/b/c/d.txt", "bxy/d.c"):
            assert few.match(path)
            assert not few.match(path + "x")
            assert few._steps <= 3
    finally:
        globs.MOST_STEPS = before


def test_hard_patterns_take_few_steps() -> None:
    """A matcher that goes back tries each way of dividing the path among the stars; `fnmatch` compares 200 letters at each place."""
    hard = Globs(["*" + "a?" * 90 + "b" + str(number) for number in range(16)])
    assert not hard.match("a" * 4096 + "b")
    assert hard._steps < 200
    stars = Globs(["/".join(["**", "*a"] * 30) + "/x"])
    assert not stars.match("/".join(["aa"] * 1000))
    assert stars._steps < 200
