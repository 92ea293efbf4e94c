"""Makes answers: JSON, server-sent events, and pages of long lists as in OpenAI's API."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec
from flask import Response

from model.errors import InvalidSetting
from service.system.errors import DatabaseDamaged
from service.web.api.protocol import Page

log = logging.getLogger("charloom")

# ── answers ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def encoded(value: Any) -> bytes:
    """Return a value, or an object of `service.web.api.protocol`, as JSON in UTF-8. A lone surrogate becomes `?`."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, default=msgspec.to_builtins).encode("utf-8", "replace")


def answer(value: Any, status: int = 200) -> Response:
    """Return a JSON response."""
    return Response(encoded(value) + b"\n", status, mimetype="application/json")


def large_answer(value: Any) -> Response:
    """Return a JSON response of very many numbers, in a twentieth of the time that `answer` takes. None of them may be NaN."""
    return Response(_quickly(value) + b"\n", mimetype="application/json")


def _quickly(value: Any) -> bytes:
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        return encoded(value)


def event(value: Any, id: str | None = None) -> bytes:
    """Return one server-sent event; `id` (a plain word) is sent if a client can resume after it.

    The data is always one line, as JSON has no raw line ends.
    """
    return (f"id: {id}\n".encode() if id is not None else b"") + b"data: " + _quickly(value) + b"\n\n"


def attachment(name: str) -> str:
    """Return the `Content-Disposition` of what is saved as a file called `name`, which may be in any script (RFC 6266)."""
    return f'attachment; filename="{name}"' if name.isascii() else f"attachment; filename*=UTF-8''{quote(name)}"


KEEP_ALIVE = b": still here\n"  # a comment; with an empty line after it, OpenAI's client would see an event without data
DONE = b"data: [DONE]\n\n"


def seconds(moment: str) -> int:
    """Return a time of the store in whole seconds since 1970."""
    return int(datetime.fromisoformat(moment).timestamp())


# ── lists ────────────────────────────────────────────────────────────────────────────────────────────────────────────

S = TypeVar("S")
T = TypeVar("T")


def sound(items: Iterable[S], shown: Callable[[S], T]) -> Iterator[T]:
    """Yield each item as `shown`, without those that cannot be: what is damaged in one takes down no list."""
    for item in items:
        try:
            yield shown(item)
        except (DatabaseDamaged, KeyError, TypeError, ValueError):
            log.exception("left out of a list, since its rows are damaged: %r", item)


def cursor(after: str | None, position_of: Callable[[str], float | None]) -> float | None:
    """Return the position of the id `after` in a list: what it names may have been deleted. Raises `InvalidSetting` for any other id."""
    position = None if after is None else position_of(after)
    if after is not None and position is None:
        raise InvalidSetting("after", after, "the id of something in this list, or deleted from it within a day", "begin anew without it")
    return position


def page(
    items: Iterable[S],
    id_of: Callable[[S], str],
    shown: Callable[[S], T],
    limit: int,
    *,
    position_of: Callable[[S], float],
    after: float | None = None,
    ascending: bool = False,
) -> Page[T]:
    """Return the page of `limit` items beyond the position `after`, each as `shown`. The highest comes first, unless `ascending`."""
    sign = 1 if ascending else -1
    ordered = sorted(items, key=lambda item: sign * position_of(item))
    rest = [item for item in ordered if after is None or sign * position_of(item) > sign * after]
    part = rest[:limit]
    return Page(
        data=list(sound(part, shown)),
        has_more=limit < len(rest),
        first_id=id_of(part[0]) if part else None,
        last_id=id_of(part[-1]) if part else None,
    )
