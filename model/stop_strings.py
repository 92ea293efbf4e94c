"""Ends a text before the first stop string, while the text streams.

One automaton per string (Knuth, Morris and Pratt 1977), so that a character costs the same however long the strings are, and no
character is released that could still turn out to be the beginning of one.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Iterable


class StopStringMatcher:
    """Finds stop strings, none of them empty, in a stream of characters."""

    def __init__(self, stops: Iterable[str]) -> None:
        self._stops = [(stop, _failures(stop)) for stop in stops]
        self._begin()

    def _begin(self) -> None:
        self._matched = [0] * len(self._stops)  # how much of each stop string the stream ends with
        self._held: deque[str] = deque()
        self.stopped = False

    def restarted(self) -> StopStringMatcher:
        """Returns a matcher of the same strings at the beginning of another text; the automata are shared."""
        matcher = copy.copy(self)
        matcher._begin()
        return matcher

    def push(self, text: str, may_stop: bool = True) -> str:
        """Adds characters; returns those that can be shown. Sets `stopped` when a stop string is complete, if `may_stop`.

        If several are complete at the same character, the longest counts.
        """
        if not self._stops:
            return text
        for c in text:
            self._held.append(c)
            complete = 0
            for index, (stop, failures) in enumerate(self._stops):
                k = self._matched[index]
                while k and stop[k] != c:
                    k = failures[k - 1]
                k += stop[k] == c
                if k == len(stop):
                    complete = max(complete, k)
                    k = failures[k - 1]
                self._matched[index] = k
            if complete and may_stop:
                self.stopped = True
                for _ in range(complete):
                    self._held.pop()
                return self.flush()
        return self._release(len(self._held) - max(self._matched))

    def flush(self) -> str:
        """Returns what was held back, if the text ends without a stop string."""
        return self._release(len(self._held))

    def _release(self, count: int) -> str:
        return "".join([self._held.popleft() for _ in range(count)])


def _failures(stop: str) -> list[int]:
    """Returns, for each position, the length of the longest proper prefix that ends there."""
    failures = [0] * len(stop)
    k = 0
    for index in range(1, len(stop)):
        while k and stop[k] != stop[index]:
            k = failures[k - 1]
        k += stop[k] == stop[index]
        failures[index] = k
    return failures
