"""What all answers share: errors, lists in parts, and removals."""

from __future__ import annotations

from typing import Annotated, Generic, Literal, TypeVar

import msgspec

T = TypeVar("T")

Count = Annotated[int, msgspec.Meta(ge=0)]
Seconds = Annotated[int, msgspec.Meta(ge=0, description="seconds since 1970")]


class Shape(msgspec.Struct, kw_only=True):
    """An answer: `msgspec.to_builtins` of it is its JSON."""


class Fault(Shape, kw_only=True):
    """What went wrong: a sentence with the thing, its value, the limit and the next step."""

    message: str
    type: str
    param: str | None
    code: str


class Error(Shape, kw_only=True):
    """The one shape of every error, also of one in the middle of a stream."""

    error: Fault


class Page(Shape, Generic[T], kw_only=True):
    """A part of a list, in OpenAI's manner: `after` with `last_id` asks for what follows."""

    object: Literal["list"] = "list"
    data: list[T]
    has_more: bool = False
    first_id: str | None = None
    last_id: str | None = None


class Deleted(Shape, kw_only=True):
    """Something is gone."""

    id: str
    object: str
    deleted: Literal[True] = True
