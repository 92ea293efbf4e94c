"""A stream with stop strings shows what str.find says it should, however it is cut."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from model.stop_strings import StopStringMatcher


def oracle(text: str, stops: list[str]) -> tuple[str, bool]:
    """What is shown of a text: all before the stop string that is complete first, of several the longest."""
    ends = {stop: text.find(stop) + len(stop) for stop in stops if stop in text}
    if not ends:
        return text, False
    first = min(ends.values())
    return text[: first - max(len(stop) for stop, end in ends.items() if end == first)], True


few_letters = st.text("ab", min_size=1, max_size=6)


@given(st.lists(few_letters, max_size=4), st.lists(st.text("abc", max_size=5), max_size=20))
@example(["aab", "ab"], ["caab"])
@example(["ab", "aab"], ["caab"])
@example(["aaab"], ["aa", "aaab"])
@example(["abab", "bb"], ["aba", "bab"])
def test_what_is_shown_is_what_find_finds(stops: list[str], pieces: list[str]) -> None:
    matcher = StopStringMatcher(stops)
    shown, given_so_far = "", ""
    for piece in pieces:
        given_so_far += piece
        shown += matcher.push(piece)
        expected, stopped = oracle(given_so_far, stops)
        assert matcher.stopped == stopped
        assert expected.startswith(shown)
        if stopped:
            assert shown == expected
            assert matcher.flush() == ""
            return
        # Held back is exactly what could still turn out to be the beginning of a stop string.
        longest = max((k for stop in stops for k in range(len(stop)) if given_so_far.endswith(stop[:k])), default=0)
        assert shown == given_so_far[: len(given_so_far) - longest]
    assert shown + matcher.flush() == given_so_far
    assert matcher.flush() == ""


@given(st.lists(few_letters, min_size=1, max_size=3), st.text("ab", max_size=10), st.text("ab", max_size=10))
def test_a_restarted_matcher_begins_anew_and_apart(stops: list[str], first: str, second: str) -> None:
    matcher = StopStringMatcher(stops)
    matcher.push(first)
    other, fresh = matcher.restarted(), StopStringMatcher(stops)
    assert not other.stopped
    assert (other.push(second), other.stopped) == (fresh.push(second), fresh.stopped)
    assert StopStringMatcher(stops).push(first) + matcher.flush() == (oracle(first, stops)[0] if matcher.stopped else first)


def test_without_stop_strings_everything_is_shown_at_once() -> None:
    matcher = StopStringMatcher(())
    assert (matcher.push("abc"), matcher.stopped, matcher.flush()) == ("abc", False, "")


@pytest.mark.parametrize("text", ["a" * 200_000, "ab" * 100_000])
def test_a_very_long_stop_string_costs_no_more_than_a_short_one(text: str) -> None:
    """Symbol by symbol, with all of it held back: anything that touched the held text at each symbol would take minutes."""
    matcher = StopStringMatcher([text + "c", text[: len(text) // 2] + "d"])
    assert "".join([matcher.push(c) for c in text]) == ""
    assert matcher.push("x") == text + "x"
    assert "".join([matcher.push(c) for c in text + "c"]) == ""
    assert matcher.stopped
