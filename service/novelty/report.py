"""Is it new? What a text has in common with its corpus, as plain data.

Which spans of a text stand in its corpus word for word.

A span is maximal where it is not part of a longer one. Of all maximal spans, both the beginnings and the ends ascend, so one goes from
each to the next by two searches for what is longest.

A text as it is compared with a corpus, and the way back to the text as it was.
"""

from __future__ import annotations

import dataclasses
import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from model.errors import InvalidSetting
from model.normalization import Composer, normalize
from service.novelty.suffix_array import Index

# ── spans ────────────────────────────────────────────────────────────────────────────────────────────────────────────


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


# ── forms ────────────────────────────────────────────────────────────────────────────────────────────────────────────


class Comparable:
    """A text in NFC and with LF line ends, as `text`. Most texts are so already."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._clusters: list[Span] | None = None  # for each character, the part of the text that became it and its neighbours
        if "\r" in text or normalize(text, "nfc") != text:
            self._compose(text)

    def _compose(self, text: str) -> None:
        composer, composed = Composer(), ""
        clusters: list[Span] = []
        begin = 0
        for found in re.finditer(r"\r\n?|[^\r]", text):
            done = composer.push(found[0].replace("\r", "\n")[:1])
            if done:
                composed += done
                clusters += [Span(begin, found.start())] * len(done)
                begin = found.start()
        done = composer.flush()
        self.text = composed + done
        self._clusters = clusters + [Span(begin, len(text))] * len(done)

    def original(self, span: Span) -> Span:
        """Where a span of the comparable text stands in the text as it was, with all of the characters that it has a part of."""
        if self._clusters is None:
            return span
        return Span(self._clusters[span.start].start, self._clusters[span.stop - 1].stop)


# ── report ───────────────────────────────────────────────────────────────────────────────────────────────────────────

MIN_LENGTH = 30  # characters, about five words; by chance alone, log2(100 MB) / 2 bits a character = 13 in a row are in a corpus so large
CONTEXT = 40  # characters of the corpus that are shown on either side
LISTED = 1000  # spans that are told, the longest ones
EVERY = 64  # spans that are found between two calls of tick


@dataclass(frozen=True, kw_only=True)
class Copied:
    """A span of the text, given in its characters (code points), that stands in the corpus."""

    start: int
    stop: int
    length: int  # characters of its NFC form
    times: int  # that it stands in the corpus
    offset: int  # where it stands there first: characters before it, in the NFC form of the corpus
    line: int  # and the line, from 1
    before: str  # what stands before it there
    after: str  # and behind


@dataclass(frozen=True, kw_only=True)
class Record:
    """A whole line of the text, together with what the prompt began of it; `start` and `stop` are in the text."""

    start: int
    stop: int
    text: str
    new: bool  # no line of the corpus is the same


@dataclass(frozen=True, kw_only=True)
class Novelty:
    """What a text has in common with a corpus."""

    corpus: str
    characters: int  # of the text, in its NFC form
    min_length: int  # of the spans that are listed
    copied: int  # characters that are part of any such span
    longest: Copied | None  # however short; None where no character of the text is in the corpus
    found: int  # spans: as few as cover all that is copied
    spans: tuple[Copied, ...]  # in order, the longest `LISTED` of them; they may overlap
    records: tuple[Record, ...] | None  # None where the corpus is no list

    @property
    def share(self) -> float:
        """The part of the text that is copied, 0 to 1."""
        return self.copied / self.characters if self.characters else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON, with `share` in four digits."""
        return {**dataclasses.asdict(self), "share": round(self.share, 4)}


def compare(
    index: Index,
    text: str,
    *,
    corpus: str,
    prompt: str = "",
    ended: bool = True,
    min_length: int = MIN_LENGTH,
    records: bool | None = None,
    tick: Callable[[], None] = lambda: None,
) -> Novelty:
    """Hold a text against the corpus of that index.

    Spans are of the text alone. `records` says whether lines are looked up, too: by default where the corpus is a list. The first
    line begins with the end of the prompt, and the last one counts where the text `ended` by itself (at a stop string).
    `tick` is called again and again, and may raise. Raises `InvalidSetting` for a `min_length` below 1.
    """
    if min_length < 1:
        raise InvalidSetting("min_length", min_length, "a whole number of 1 or more")
    form = Comparable(text)
    spans = []
    for number, span in enumerate(maximal(index, form.text)):
        spans.append(span)
        if number % EVERY == 0:
            tick()
    shown = fewest(span for span in spans if span.length >= min_length)
    least = sorted((span.length for span in shown), reverse=True)[:LISTED]
    listed = [span for span in shown if span.length >= least[-1]][:LISTED] if least else []
    longest = max(spans, key=lambda span: span.length, default=None)
    looks_up_lines = index.is_list if records is None else records
    return Novelty(
        corpus=corpus,
        characters=len(form.text),
        min_length=min_length,
        copied=sum(span.length for span in covered(shown)),
        longest=_copied(index, form, longest) if longest else None,
        found=len(shown),
        spans=tuple(_copied(index, form, span) for span in listed),
        records=tuple(_records(index, text, prompt, ended)) if looks_up_lines else None,
    )


def _copied(index: Index, form: Comparable, span: Span) -> Copied:
    pattern = form.text[span.start : span.stop].encode()
    ranks = index.ranks(pattern)
    start = index.first(ranks)
    original = form.original(span)
    place = index.place(start, start + len(pattern), CONTEXT)
    return Copied(start=original.start, stop=original.stop, length=span.length, times=len(ranks), **place._asdict())


def _records(index: Index, text: str, prompt: str, ended: bool) -> Iterator[Record]:
    begun = re.split(r"[\r\n]", prompt)[-1]
    whole = begun + text
    for line in re.finditer(r"[^\r\n]+", whole):
        start, stop = line.start() - len(begun), line.end() - len(begun)
        if stop > 0 and (ended or stop < len(text)):
            yield Record(start=max(0, start), stop=stop, text=line[0], new=not index.has_line(normalize(line[0], "nfc")))
