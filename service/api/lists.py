"""Long lists in parts, in OpenAI's manner: `limit` of them, `after` the last one that a client has."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from model.errors import InvalidSetting
from service.api.shapes import Page

S = TypeVar("S")
T = TypeVar("T")


def page(found: Iterable[S], id_of: Callable[[S], str], shown: Callable[[S], T], after: str | None, limit: int) -> Page[T]:
    """The part of `found` that was asked for, each as `shown`. Raises `InvalidSetting` where nothing has the id `after`."""
    found = list(found)
    ids = [id_of(each) for each in found]
    start = 0
    if after is not None:
        if after not in ids:
            raise InvalidSetting("after", after, "the id of something in this list", "it may have been deleted; begin anew without it")
        start = ids.index(after) + 1
    part, names = found[start : start + limit], ids[start : start + limit]
    return Page(
        data=[shown(each) for each in part],
        has_more=start + limit < len(found),
        first_id=names[0] if names else None,
        last_id=names[-1] if names else None,
    )
