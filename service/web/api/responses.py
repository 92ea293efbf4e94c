"""Answers: JSON, server-sent events, lists in pages.

Answers: JSON, events of a stream, and moments as OpenAI's API tells them.

Long lists in parts, in OpenAI's manner: `limit` of them, `after` the last one that a client has.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, TypeVar

import msgspec
from flask import Response

from model.errors import InvalidSetting
from service.web.api.protocol import Page

# ── answers ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def encoded(value: Any) -> bytes:
    """A value, or an object of `service.web.api.shapes`, as JSON in UTF-8. Half a surrogate pair, which UTF-8 cannot say, becomes `?`."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, default=msgspec.to_builtins).encode("utf-8", "replace")


def answer(value: Any, status: int = 200) -> Response:
    """A JSON response."""
    return Response(encoded(value) + b"\n", status, mimetype="application/json")


def large_answer(value: Any) -> Response:
    """A JSON response of very many numbers, in a twentieth of the time, which others would have to wait. None of them may be NaN."""
    return Response(_quickly(value) + b"\n", mimetype="application/json")


def _quickly(value: Any) -> bytes:
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        return encoded(value)


def event(value: Any, id: str | None = None) -> bytes:
    """One server-sent event, with an `id` (a plain word) where a client may ask for what follows it.

    JSON has no line ends of its own, so it is always one line.
    """
    return (f"id: {id}\n".encode() if id is not None else b"") + b"data: " + _quickly(value) + b"\n\n"


KEEP_ALIVE = b": still here\n"  # a comment; an empty line behind it would be an event without data to OpenAI's client
DONE = b"data: [DONE]\n\n"


def seconds(moment: str) -> int:
    """A moment of the store in whole seconds since 1970."""
    return int(datetime.fromisoformat(moment).timestamp())


# ── lists ────────────────────────────────────────────────────────────────────────────────────────────────────────────

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
