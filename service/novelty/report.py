"""Reports which parts of a text were copied from a corpus: `compare` returns a `TextNovelty`, which HTTP answers as it is.

Texts are compared in NFC and with LF line ends (`NormalizedText`), and the report counts in the characters of the text as it was.

A copied span is maximal if no longer one contains it. Both the starts and the stops of all maximal spans ascend, so `maximal_spans` goes
from each to the next by two binary searches.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from heapq import nlargest
from typing import Annotated, NamedTuple

from msgspec import Meta

from model.errors import InvalidSetting
from model.normalization import Composer, normalize, with_lf
from service.novelty.corpus_records import CorpusRecords
from service.novelty.suffix_array import Index

MIN_LENGTH = 30  # characters, about five words; by chance alone, log2(100 MB) / 2 bits a character = 13 in a row are in a corpus so large
CONTEXT = 40  # characters of the corpus that are shown on either side of a span
MAX_SPANS = 1000  # of a report
TICK_SPANS = 64  # spans that are found between two calls of `tick`

Count = Annotated[int, Meta(ge=0)]


@dataclass(frozen=True, kw_only=True)
class CopiedSpan:
    """A part of the text that stands in the corpus word for word."""

    start: Annotated[Count, Meta(description="the first character (code point) in the text")]
    stop: Annotated[Count, Meta(description="the character after the last")]
    length: Annotated[Count, Meta(description="characters in NFC")]
    times: Annotated[Count, Meta(description="occurrences in the corpus")]
    offset: Annotated[Count, Meta(description="characters in NFC before the first occurrence in the corpus")]
    line: Annotated[Count, Meta(description="the line of that occurrence, from 1")]
    before: Annotated[str, Meta(description="what stands before it in the corpus")]
    after: Annotated[str, Meta(description="what stands after it in the corpus")]


@dataclass(frozen=True, kw_only=True)
class ComparedRecord:
    """A whole record or line of the text, with the part of it that the prompt began."""

    start: Annotated[Count, Meta(description="the first character in the text")]
    stop: Annotated[Count, Meta(description="the character after the last")]
    text: str
    new: Annotated[bool, Meta(description="true if none of the corpus is the same")]


@dataclass(frozen=True, kw_only=True)
class TextNovelty:
    """What a text has in common with the corpus of its model. The prompt is not part of the text, even if it is echoed."""

    corpus: str
    characters: Annotated[Count, Meta(description="of the text in NFC")]
    min_length: Annotated[Count, Meta(description="characters of the shortest span that is listed and counted as copied")]
    copied: Annotated[Count, Meta(description="characters that belong to a span")]
    share: Annotated[float, Meta(description="copied / characters, 0 to 1, in four decimal places")]
    longest: Annotated[CopiedSpan | None, Meta(description="the longest span, however short; null if no character is in the corpus")]
    found: Annotated[Count, Meta(description="spans: as few as cover all that is copied")]
    spans: Annotated[list[CopiedSpan], Meta(description="in order, maybe overlapping; the longest 1,000 if there are more")]
    records: Annotated[
        list[ComparedRecord] | None,
        Meta(description="the records of a model of records; else the lines, if the corpus is a list such as a name a line; else null"),
    ]
    kind: Annotated[str | None, Meta(description="what `records` are: `lines`, `blocks` or another kind; null without them")] = None


# ── copied spans ─────────────────────────────────────────────────────────────────────────────────────────────────────


class Span(NamedTuple):
    """A part of a text, in characters."""

    start: int
    stop: int

    @property
    def length(self) -> int:
        """Characters."""
        return self.stop - self.start


def byte_offsets(text: str, data: bytes) -> list[int] | range:
    """Where each character of a text begins in its UTF-8, and where the last one ends."""
    if len(data) == len(text):
        return range(len(text) + 1)
    return [offset for offset, byte in enumerate(data) if byte & 0xC0 != 0x80] + [len(data)]


def maximal_spans(index: Index, text: str) -> Iterator[Span]:
    """Yields all maximal copied spans of a text in NFC, in order; a text of n characters has at most n of them."""
    data = text.encode("utf-8", "surrogatepass")
    offsets = byte_offsets(text, data)
    start = 0
    while start < len(text):
        begin = offsets[start]
        stop = bisect_left(offsets, begin + index.common(data, begin))
        if stop > start:
            yield Span(start, stop)
        if stop == len(text):
            return
        # The next span contains the character after this one. It starts at the first place from which all up to there is copied.
        end = offsets[stop + 1]
        later = range(start + 1, stop + 1)
        start += 1 + bisect_left(later, True, key=lambda place: index.occurs(data[offsets[place] : end]))


def minimal_cover(spans: Iterable[Span]) -> list[Span]:
    """Returns as few of some maximal spans as cover the same characters, in order."""
    chosen: list[Span] = []
    for span in spans:
        if len(chosen) > 1 and chosen[-2].stop >= span.start:
            chosen.pop()
        chosen.append(span)
    return chosen


def merged(spans: Iterable[Span]) -> list[Span]:
    """Returns the union of spans in order, as spans that neither overlap nor touch."""
    union: list[Span] = []
    for span in spans:
        if union and span.start <= union[-1].stop:
            union[-1] = Span(union[-1].start, max(union[-1].stop, span.stop))
        else:
            union.append(span)
    return union


# ── normalization ────────────────────────────────────────────────────────────────────────────────────────────────────


class NormalizedText:
    """A text in NFC and with LF line ends, as `text`. Most texts are so already."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._clusters: list[Span] | None = None  # for each character of `text`, the part of the original that it was composed from
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
        """Returns the span of the original text; characters that belong to it in part are included."""
        if self._clusters is None:
            return span
        return Span(self._clusters[span.start].start, self._clusters[span.stop - 1].stop)


# ── comparing ────────────────────────────────────────────────────────────────────────────────────────────────────────


def compare(
    index: Index,
    text: str,
    *,
    corpus: str,
    prompt: str = "",
    ended: bool = True,
    min_length: int = MIN_LENGTH,
    tick: Callable[[], None] = lambda: None,
    known: CorpusRecords | None = None,
) -> TextNovelty:
    """Compares a text with the corpus of an index, which is named `corpus`.

    Spans are of the text alone. If the model is one of records, they are looked up in `known`; else lines are, if the corpus is a list. The
    first one begins with the end of the prompt, and the last one counts only if the text `ended` by itself (at a stop string).
    `tick` is called repeatedly, and may raise. Raises `InvalidSetting` for a `min_length` below 1.
    """
    if min_length < 1:
        raise InvalidSetting("min_length", min_length, "a whole number of 1 or more")
    normalized = NormalizedText(text)
    spans = []
    for number, span in enumerate(maximal_spans(index, normalized.text)):
        spans.append(span)
        if number % TICK_SPANS == 0:
            tick()
    cover = minimal_cover(span for span in spans if span.length >= min_length)
    longest = max(spans, key=lambda span: span.length, default=None)
    records = None
    if known is not None:
        records = list(_records(known, normalized, prompt, ended))
    elif index.is_list:
        records = list(_lines(index, text, prompt, ended))
    characters, copied = len(normalized.text), sum(span.length for span in merged(cover))
    return TextNovelty(
        corpus=corpus,
        characters=characters,
        min_length=min_length,
        copied=copied,
        share=round(copied / characters, 4) if characters else 0.0,
        longest=_copied(index, normalized, longest) if longest else None,
        found=len(cover),
        spans=[_copied(index, normalized, span) for span in sorted(nlargest(MAX_SPANS, cover, key=lambda span: span.length))],
        records=records,
        kind=None if records is None else known.kind if known else "lines",
    )


def _copied(index: Index, normalized: NormalizedText, span: Span) -> CopiedSpan:
    pattern = normalized.text[span.start : span.stop].encode()
    ranks = index.ranks(pattern)
    begin = index.first(ranks)
    original = normalized.original(span)
    position = index.position(begin, begin + len(pattern), CONTEXT)
    return CopiedSpan(start=original.start, stop=original.stop, length=span.length, times=len(ranks), **position._asdict())


def _records(known: CorpusRecords, text: NormalizedText, prompt: str, ended: bool) -> Iterator[ComparedRecord]:
    begun = normalize(with_lf(prompt), "nfc").rpartition(known.separator)[2]
    whole = begun + text.text
    found = known.cut(whole)
    if found and not ended and not whole.endswith(known.separator):
        found.pop()
    stop = 0
    for record in found:
        start = whole.index(record, stop)
        stop = start + len(record)
        if stop > len(begun):
            original = text.original(Span(max(0, start - len(begun)), stop - len(begun)))
            yield ComparedRecord(start=original.start, stop=original.stop, text=record, new=not known.has_record(record))


def _lines(index: Index, text: str, prompt: str, ended: bool) -> Iterator[ComparedRecord]:
    begun = re.split(r"[\r\n]", prompt)[-1]
    for line in re.finditer(r"[^\r\n]+", begun + text):
        start, stop = line.start() - len(begun), line.end() - len(begun)
        if stop > 0 and (ended or stop < len(text)):
            yield ComparedRecord(start=max(0, start), stop=stop, text=line[0], new=not index.has_line(normalize(line[0], "nfc")))
