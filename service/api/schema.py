"""Types of requests, derived from the configurations: names, types and ranges are declared once, in `model.config`.

What only a route knows is in `service.api.fields`. A body is checked against its msgspec type, strictly;
what is wrong is said in the words of the field's `Setting`, the same as on the command line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, NoReturn

import msgspec
from werkzeug.exceptions import BadRequest

from model.config import SamplingConfig
from model.errors import InvalidSetting, MissingSetting, UnknownSetting, Word
from model.settings import MOST_CHANGES, Biases, Numbers, default_of, settings_of, types_of
from service.api.fields import REQUIRED, ROUTE_FIELDS, Field


def fields_of(configuration: Any, *names: str, without: tuple[str, ...] = ()) -> dict[str, Field]:
    """The fields of a configuration and, before them, those of `ROUTE_FIELDS` that are named."""
    fields = {name: ROUTE_FIELDS[name] for name in names}
    for field, setting in settings_of(configuration):
        if field.name not in without:
            kind, optional = types_of(configuration)[field.name]
            fields[field.name] = Field(kind, optional, default_of(field), setting)
    return fields


def annotation(field: Field) -> Any:
    """The type of a field, with its range, as msgspec and JSON schema understand it."""
    setting = field.setting
    bounds = {"ge": setting.at_least, "gt": setting.above, "le": setting.at_most, "lt": setting.below}
    facts: dict[str, Any] = {name: bound for name, bound in bounds.items() if bound is not None}
    within = msgspec.Meta(**facts)
    kind: Any = field.type
    if isinstance(kind, Body):
        kind = kind.type
    elif setting.choices:
        kind = Literal[setting.choices]
    elif kind is tuple:
        kind = list[str]
    elif kind == Numbers:
        kind = list[Annotated[int, within]]
    elif kind == Biases:
        whole = msgspec.Meta(extra_json_schema={"propertyNames": {"pattern": "^-?(0|[1-9][0-9]{0,18})$"}})
        kind = Annotated[dict[int, Annotated[float, within]], whole]
    elif kind in (int, float):
        kind = Annotated[kind, within]
    if setting.varies:
        pair = tuple[Annotated[int, msgspec.Meta(ge=0)], Annotated[float, within]]
        kind = kind | Annotated[list[pair], msgspec.Meta(min_length=1, max_length=MOST_CHANGES)]
    return Annotated[kind | None if field.optional else kind, msgspec.Meta(description=setting.meaning)]


class Body:
    """The type of one route's body, or of an object inside it."""

    strict = True  # whether a number may not be written as a string

    def __init__(self, name: str, fields: dict[str, Field]) -> None:
        self.fields = fields
        self.type = msgspec.defstruct(
            name,
            [(key, annotation(field), _default(field)) for key, field in fields.items()],
            forbid_unknown_fields=True,
            kw_only=True,
        )

    def parse(self, data: bytes) -> dict[str, Any]:
        """The values that a body gives, each of the right type and in its range; an empty body gives none.

        Raises `BadRequest` for what is not a JSON object, `UnknownSetting`, `InvalidSetting` and `MissingSetting`.
        """
        return self.check(_object(data))

    def check(self, values: dict[str, Any], inside: str = "") -> dict[str, Any]:
        """The same values. `inside` is what errors name before a field's own name, such as ``hyperparameters.``."""
        for name, value in values.items():
            if name not in self.fields:
                raise UnknownSetting(inside + (name if len(name) <= 60 else name[:59] + "…"), self.fields)
            inner = self.fields[name].type
            if isinstance(inner, Body) and isinstance(value, dict):
                inner.check(value, f"{inside}{name}.")
        for name, field in self.fields.items():
            if field.default is REQUIRED and name not in values:
                raise MissingSetting(inside + name, field.setting.meaning)
        try:
            msgspec.convert(values, self.type, strict=self.strict, str_keys=True)
        except msgspec.ValidationError as error:
            found = re.search(r"`\$\.(\w+)", str(error))
            if found is None:
                raise
            self.refuse(found[1], values[found[1]], inside)
        return values

    def refuse(self, name: str, value: Any, inside: str = "") -> NoReturn:
        """Raise the `InvalidSetting` for a field, worded as its configuration words it."""
        field = self.fields[name]
        if value is None or isinstance(value, bool):
            value = Word(json.dumps(value))  # as the client wrote it
        words = field.words or ("an object" if isinstance(field.type, Body) else "")
        if words:
            raise InvalidSetting(inside + name, value, field.setting.must(words), field.setting.hint)
        raise field.setting.refusal(inside + name, value, field.type)


class Query(Body):
    """The type of what is sent as words: behind the question mark of an address, or in a form. What it does not know is left alone."""

    strict = False

    def read(self, given: Mapping[str, list[str]]) -> dict[str, Any]:
        """All values, each of the right type, of a field that was sent twice the last. Raises `InvalidSetting` and `MissingSetting`."""
        known = {name: given[name] for name in self.fields if name in given}
        values = {name: words if self.fields[name].type is tuple else words[-1] for name, words in known.items()}
        return msgspec.structs.asdict(msgspec.convert(self.check(values), self.type, strict=False))


def _default(field: Field) -> Any:
    """As msgspec takes it: a list or an object is made anew for each body."""
    value = list(field.default) if isinstance(field.default, tuple) else field.default
    return msgspec.field(default_factory=value.copy) if value and isinstance(value, (list, dict)) else value


def _object(data: bytes) -> dict[str, Any]:
    if not data.strip():
        return {}
    try:
        values = json.loads(data, parse_float=_number, parse_constant=_not_json)
    except UnicodeDecodeError as error:
        raise BadRequest(f"the body is not UTF-8: what stands at byte {error.start:,} cannot be decoded") from None
    except RecursionError:
        raise BadRequest("the body is nested too deeply; it must be a JSON object of plain values") from None
    except ValueError as error:
        raise BadRequest(f'the body is not JSON: {error}; send an object like {{"prompt": "Once", "length": 200}}') from None
    if not isinstance(values, dict):
        raise BadRequest(f'the body is {_kind(values)}; it must be a JSON object like {{"prompt": "Once", "length": 200}}')
    return values


def _number(text: str) -> float:
    """JSON does not tell whole numbers from others: 1.0 and 1e3 are as good as 1 and 1000."""
    value = float(text)
    return int(value) if value.is_integer() and abs(value) < 2**63 else value


def _not_json(word: str) -> NoReturn:
    raise ValueError(f"it has no {word}")


def _kind(value: object) -> str:
    kinds = {list: "a list", str: "a string", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number")


WITHOUT = ("prompt_ids", "logprobs", "echo")  # settings that the simple door does without
GENERATE = Body("Generate", fields_of(SamplingConfig, "model", "stream", "novelty", without=WITHOUT))
