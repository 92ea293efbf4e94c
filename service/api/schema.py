"""Types of requests, derived from the configurations: names, types and ranges are declared once, in `model.config`.

What only a route knows is in `ROUTE_FIELDS`, the one table of such fields. A body is checked against its msgspec type, strictly;
what is wrong is said in the words of the field's `Setting`, the same as on the command line.
"""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, Literal, NamedTuple, NoReturn

import msgspec
from werkzeug.exceptions import BadRequest

from model.config import KINDS, SamplingConfig, Setting, settings_of, types_of
from model.errors import InvalidSetting, UnknownSetting


class Field(NamedTuple):
    """One field of a body."""

    type: type
    optional: bool  # whether null is allowed
    default: Any
    setting: Setting


ROUTE_FIELDS = {
    "model": Field(str, False, "latest", Setting(meaning="who writes: latest, RUN, RUN@STEP, RUN@best or RUN@last")),
    "stream": Field(bool, False, False, Setting(meaning="answer with server-sent events, as the text is written")),
}
WORDS = {**KINDS, bool: "true or false"}


def fields_of(configuration: Any, *names: str) -> dict[str, Field]:
    """The fields of a configuration and, before them, those of `ROUTE_FIELDS` that are named."""
    fields = {name: ROUTE_FIELDS[name] for name in names}
    for field, setting in settings_of(configuration):
        kind, optional = types_of(configuration)[field.name]
        fields[field.name] = Field(kind, optional, field.default, setting)
    return fields


def annotation(field: Field) -> Any:
    """The type of a field, with its range, as msgspec and JSON schema understand it."""
    setting = field.setting
    kind: Any = list[str] if field.type is tuple else Literal[setting.choices] if setting.choices else field.type
    bounds = {"ge": setting.at_least, "gt": setting.above, "le": setting.at_most, "lt": setting.below}
    facts: dict[str, Any] = {name: bound for name, bound in bounds.items() if bound is not None}
    kind = Annotated[kind, msgspec.Meta(**facts, description=setting.meaning)]
    return kind | None if field.optional else kind


class Word(str):
    """A word of JSON inside a message, which shows no quotes."""

    __repr__ = str.__str__


class Body:
    """The type of one route's body."""

    def __init__(self, name: str, fields: dict[str, Field]) -> None:
        self.fields = fields
        self.type = msgspec.defstruct(
            name,
            [(key, annotation(field), list(field.default) if field.type is tuple else field.default) for key, field in fields.items()],
            forbid_unknown_fields=True,
            kw_only=True,
        )

    def parse(self, data: bytes) -> dict[str, Any]:
        """The values that a body gives, each of the right type and in its range; an empty body gives none.

        Raises `BadRequest` for what is not a JSON object, `UnknownSetting` and `InvalidSetting`.
        """
        values = _object(data)
        for name in values:
            if name not in self.fields:
                raise UnknownSetting(name if len(name) <= 60 else name[:59] + "…", self.fields)
        try:
            msgspec.convert(values, self.type)
        except msgspec.ValidationError as error:
            found = re.search(r"`\$\.(\w+)", str(error))
            if found is None:
                raise
            self.refuse(found[1], values[found[1]])
        return values

    def refuse(self, name: str, value: Any) -> NoReturn:
        """Raise the `InvalidSetting` for a field, worded as its configuration words it."""
        field = self.fields[name]
        if value is None or isinstance(value, bool):
            value = Word(json.dumps(value))  # as the client wrote it
        raise InvalidSetting(name, value, field.setting.must(WORDS[field.type]), field.setting.hint)


def _object(data: bytes) -> dict[str, Any]:
    if not data.strip():
        return {}
    try:
        values = json.loads(data, parse_constant=_not_json)
    except UnicodeDecodeError as error:
        raise BadRequest(f"the body is not UTF-8: what stands at byte {error.start:,} cannot be decoded") from None
    except RecursionError:
        raise BadRequest("the body is nested too deeply; it must be a JSON object of plain values") from None
    except ValueError as error:
        raise BadRequest(f'the body is not JSON: {error}; send an object like {{"prompt": "Once", "length": 200}}') from None
    if not isinstance(values, dict):
        raise BadRequest(f'the body is {_kind(values)}; it must be a JSON object like {{"prompt": "Once", "length": 200}}')
    return values


def _not_json(word: str) -> NoReturn:
    raise ValueError(f"it has no {word}")


def _kind(value: object) -> str:
    kinds = {list: "a list", str: "a string", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number")


GENERATE = Body("Generate", fields_of(SamplingConfig, "model", "stream"))
