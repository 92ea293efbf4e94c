"""Is it new? What texts have in common with their corpora."""

from __future__ import annotations

from typing import Self

from service.api.shapes.base import Count, Shape
from service.novelty import Novelty


class CopiedSpan(Shape, kw_only=True):
    """A part of the text, from `start` to before `stop` in its characters, that stands in the corpus word for word.

    `length` counts characters in NFC. It stands there `times`, first behind `offset` characters, in that `line` (from 1), between `before`
    and `after`.
    """

    start: Count
    stop: Count
    length: Count
    times: Count
    offset: Count
    line: Count
    before: str
    after: str


class ComparedRecord(Shape, kw_only=True):
    """A whole line of the text, with what the prompt began of it, and whether no line of the corpus is the same."""

    start: Count
    stop: Count
    text: str
    new: bool


class TextNovelty(Shape, kw_only=True):
    """What a text has in common with the corpus of its model. The prompt is no part of the text, even where it is echoed.

    `spans` of `min_length` characters or more are as few as cover all that is copied; `found` says how many, and of more than 1,000 the
    longest are told. `share` of the text's `characters` are part of one.
    `longest` is told however short it is. `records` are told where the corpus is a list, such as a name a line.
    """

    corpus: str
    characters: Count
    min_length: Count
    copied: Count
    share: float
    longest: CopiedSpan | None
    found: Count
    spans: list[CopiedSpan]
    records: list[ComparedRecord] | None

    @classmethod
    def of(cls, found: Novelty) -> Self:
        """The same as plain data has it."""
        spans = [CopiedSpan(**vars(each)) for each in found.spans]
        return cls(
            corpus=found.corpus,
            characters=found.characters,
            min_length=found.min_length,
            copied=found.copied,
            share=round(found.share, 4),
            longest=CopiedSpan(**vars(found.longest)) if found.longest else None,
            found=found.found,
            spans=spans,
            records=None if found.records is None else [ComparedRecord(**vars(each)) for each in found.records],
        )
