"""Compares paths with glob patterns, in a time that grows with the path alone.

All patterns become one automaton whose states are the places in them that the path read so far may have reached, one bit each. Its steps
are found when they are first needed and kept, up to a limit.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import translate

MOST_STEPS = 20_000  # that are kept; then they are forgotten, and found again


@dataclass(frozen=True)
class _Token:
    """What one place of a pattern reads: one character that it `takes`, then the next place; or any number of them, if it `repeats`."""

    takes: Callable[[str], bool]
    repeats: bool = False
    folders: bool = False  # whole folders: the next place is reached behind a slash, or at once


def _parts(pattern: str) -> list[str]:
    """Splits a pattern at its slashes; without any, it matches in every folder."""
    parts: list[str] = []
    for part in pattern.split("/") if "/" in pattern else ["**", pattern]:
        if part not in ("", ".") and not (part == "**" and parts[-1:] == ["**"]):
            parts.append(part)
    return parts if (parts and not pattern.endswith("/")) or parts[-1:] == ["**"] else [*parts, "**"]


def _within(part: str) -> list[_Token]:
    """Returns the tokens of the part of a pattern between two slashes."""
    words = re.findall(r"\*+|\[!?+\]?+[^\]]*\]|.", part, re.DOTALL)
    return [_Token(_taking("*"), repeats=True) if word[0] == "*" else _Token(_taking(word)) for word in words]


def _taking(word: str) -> Callable[[str], bool]:
    """Returns whether a character other than a slash matches ``a``, ``?``, ``*``, ``[a-z]`` or ``[!a-z]``."""
    one = re.compile(translate(word))
    return lambda character: character != "/" and one.match(character) is not None


@dataclass(frozen=True, eq=False)
class _State:
    """Places that may have been reached, one bit each, and the states that follow by the next character."""

    places: int
    steps: dict[str, _State]


class Globs:
    """Some patterns, any of which suffices. Not thread-safe."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self._tokens: list[_Token | None] = []  # None stands behind the last token of each pattern
        self._start = self._ends = 0
        edges = {0, ord("/"), ord("/") + 1}
        for pattern in patterns:
            self._start |= 1 << len(self._tokens)
            parts = _parts(pattern)
            for index, part in enumerate(parts):
                self._add(part, is_last=index == len(parts) - 1, ends_in_folders=parts[index + 1 :] == ["**"])
            self._ends |= 1 << len(self._tokens)
            self._tokens.append(None)
            for character in pattern:
                edges |= {ord(character), ord(character) + 1}
        self._edges = sorted(edges)
        self._at_once = self._bits(lambda token: token.repeats and not token.folders)
        self._repeating, self._folders = self._bits(lambda token: token.repeats), self._bits(lambda token: token.folders)
        self._taking: dict[int, int] = {}  # by range between two edges: the places that take its characters
        self._forget()

    def _add(self, part: str, *, is_last: bool, ends_in_folders: bool) -> None:
        if part != "**":
            self._tokens += _within(part)
            if ends_in_folders:
                self._ends |= 1 << len(self._tokens)  # the folder itself
            if not is_last:
                self._tokens.append(_Token(lambda character: character == "/"))
        else:
            self._tokens.append(_Token(lambda character: True, repeats=True, folders=not is_last))

    def _bits(self, which: Callable[[_Token], bool]) -> int:
        return sum(1 << place for place, token in enumerate(self._tokens) if token and which(token))

    def _forget(self) -> None:
        self._states: dict[int, _State] = {}
        self._steps = 0
        self._first = self._state(self._closed(self._start, self._start))

    def _state(self, places: int) -> _State:
        return self._states.setdefault(places, _State(places, {}))

    def match(self, path: str) -> bool:
        """Returns whether a path of names with one slash between them matches any pattern."""
        state = self._first
        for character in path:
            state = state.steps.get(character) or self._step(state, character)
            if not state.places:
                return False
        return bool(state.places & self._ends)

    def _step(self, state: _State, character: str) -> _State:
        if self._steps >= MOST_STEPS:
            self._forget()
        taking = state.places & self._taken_by(character)
        entered = (taking & ~self._repeating) << 1
        if character == "/":
            entered |= (taking & self._folders) << 1
        state.steps[character] = found = self._state(self._closed(entered | (taking & self._repeating), entered))
        self._steps += 1
        return found

    def _taken_by(self, character: str) -> int:
        kind = bisect.bisect_right(self._edges, ord(character)) - 1
        if kind not in self._taking:
            like = chr(self._edges[kind])
            self._taking[kind] = self._bits(lambda token: token.takes(like))
        return self._taking[kind]

    def _closed(self, places: int, entered: int) -> int:
        """Adds the places that are reached without a further character: behind a star, and behind folders that have just been entered."""
        while further := ((places & self._at_once) | (entered & self._folders)) << 1 & ~places:
            places, entered = places | further, further
        return places
