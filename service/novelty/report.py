"""Is it new? What a text has in common with its corpus, as plain data."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from model.errors import InvalidSetting
from model.normalization import normalize
from service.novelty.forms import Comparable
from service.novelty.index import Index
from service.novelty.spans import Span, covered, fewest, maximal

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
