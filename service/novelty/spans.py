"""Which spans of a text stand in its corpus word for word.

A span is maximal where it is not part of a longer one. Of all maximal spans, both the beginnings and the ends ascend, so one goes from
each to the next by two searches for what is longest.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from service.novelty.index import Index


class Span(NamedTuple):
    """A part of a text, in characters."""

    start: int
    stop: int

    @property
    def length(self) -> int:
        """Characters."""
        return self.stop - self.start


def borders(text: str, data: bytes) -> list[int] | range:
    """Where each character of a text begins in its UTF-8, and where the last one ends."""
    if len(data) == len(text):
        return range(len(text) + 1)
    return [place for place, byte in enumerate(data) if byte & 0xC0 != 0x80] + [len(data)]


def maximal(index: Index, text: str) -> Iterator[Span]:
    """All maximal spans of a text in NFC that are copied, in order; a text of n characters has at most n of them."""
    data = text.encode("utf-8", "surrogatepass")
    places = borders(text, data)
    start = 0
    while start < len(text):
        begin = places[start]
        stop = bisect_left(places, begin + index.common(data, begin))
        if stop > start:
            yield Span(start, stop)
        if stop == len(text):
            return
        # The next one ends behind this one, and begins where all that stands up to there is copied.
        behind = places[stop + 1]
        further = range(start + 1, stop + 1)
        start += 1 + bisect_left(further, True, key=lambda place: index.occurs(data[places[place] : behind]))


def fewest(spans: Iterable[Span]) -> list[Span]:
    """As few of some maximal spans as cover what all of them do together, in order."""
    chosen: list[Span] = []
    for span in spans:
        if len(chosen) > 1 and chosen[-2].stop >= span.start:
            chosen.pop()
        chosen.append(span)
    return chosen


def covered(spans: Iterable[Span]) -> list[Span]:
    """What spans in order cover together, as spans that neither overlap nor touch."""
    joined: list[Span] = []
    for span in spans:
        if joined and span.start <= joined[-1].stop:
            joined[-1] = Span(joined[-1].start, max(joined[-1].stop, span.stop))
        else:
            joined.append(span)
    return joined
