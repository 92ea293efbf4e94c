"""Ending a text before any of some strings, while it streams.

One automaton per string (Knuth, Morris and Pratt 1977), so that a character costs the same however long the strings are, and no
character is let out that could still turn out to be the beginning of one.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Iterable


class StopWatch:
    """Watches a stream of characters for stop strings, none of them empty."""

    def __init__(self, stops: Iterable[str]) -> None:
        self._stops = [(stop, _failures(stop)) for stop in stops]
        self._begin()

    def _begin(self) -> None:
        self._matched = [0] * len(self._stops)  # how much of each stop string the stream ends with
        self._held: deque[str] = deque()
        self.stopped = False

    def again(self) -> StopWatch:
        """A watch for the same strings at the beginning of another text; it costs nothing however long they are."""
        watch = copy.copy(self)
        watch._begin()
        return watch

    def push(self, text: str, may_stop: bool = True) -> str:
        """Add characters; returns those that can be shown. `stopped` becomes true once a stop string is complete, and may stop.

        Where several are complete at the same character, the longest counts.
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
        """What was held back, at an end that is no stop."""
        return self._release(len(self._held))

    def _release(self, count: int) -> str:
        return "".join([self._held.popleft() for _ in range(count)])


def _failures(stop: str) -> list[int]:
    """For each position, the length of the longest proper prefix that ends there."""
    failures = [0] * len(stop)
    k = 0
    for index in range(1, len(stop)):
        while k and stop[k] != stop[index]:
            k = failures[k - 1]
        k += stop[k] == stop[index]
        failures[index] = k
    return failures
