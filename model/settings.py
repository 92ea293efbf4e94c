"""Describes settings and checks their values: the base of the configurations, with reading from and writing to JSON.

A configuration is a frozen dataclass whose fields carry their meaning, unit and range as metadata (`Setting`). A value out of range
raises `InvalidSetting` when the object is made, so that an existing object is always valid. Needs no numpy: the command line reads
these tables to print its help.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import re
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self

from model.errors import InvalidSetting, UnknownSetting

Numbers = tuple[int, ...]
Biases = Mapping[int, float]  # JSON writes the keys as strings
SchedulePairs = tuple[tuple[int, float], ...]  # [position, value] pairs: each value is in force from its position on

# The types of settings, and their names in messages.
KINDS: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    str: "a string",
    bool: "true or false",
    tuple: "a list of strings",
    Numbers: "a list of whole numbers",
    Biases: "an object whose keys are whole numbers and whose values are each a number",
}
MOST_CHANGES = 1000  # pairs of a schedule


@dataclass(frozen=True, kw_only=True)
class Setting:
    """The description of one field: the metadata under the key ``"setting"``.

    `meaning` is a phrase without a full stop; `unit` is empty for a pure number; `hint` explains the range in an error. The range of
    a list is that of its elements. A number that `varies` may also be `SchedulePairs`. A field without `option` is not offered on the
    command line.
    """

    meaning: str
    unit: str = ""
    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None
    choices: tuple[str, ...] = ()
    hint: str = ""
    varies: bool = False
    option: bool = True

    def must(self, kind: str) -> str:
        """Returns the range in words: ``a whole number from 1 to 65,536``, ``a number of 0 or more and below 1``."""
        if self.choices:
            return "one of: " + ", ".join(self.choices)
        low, high = self.at_least, self.at_most
        if low is not None and high is not None:
            return f"{kind} from {low:,} to {high:,}"
        bounds = []
        if self.above is not None:
            bounds.append(f"above {self.above:,}")
        if low is not None:
            bounds.append(f"of {low:,} or more")
        if self.below is not None:
            bounds.append(f"below {self.below:,}")
        if high is not None:
            bounds.append(f"at most {high:,}")
        return f"{kind} {' and '.join(bounds)}" if bounds else kind

    def allows(self, value: Any) -> bool:
        """Whether a value of the right type is in the range."""
        if self.choices:
            return value in self.choices
        if isinstance(value, (int, float)):
            return (
                (isinstance(value, int) or math.isfinite(value))
                and (self.at_least is None or value >= self.at_least)
                and (self.above is None or value > self.above)
                and (self.at_most is None or value <= self.at_most)
                and (self.below is None or value < self.below)
            )
        if isinstance(value, Mapping):
            return all(map(self.allows, value.values()))
        return all(map(self.allows, value)) if isinstance(value, tuple) else True

    def refusal(self, name: str, value: Any, kind: Any) -> InvalidSetting:
        """Returns the error for a value of the wrong type or out of range; `kind` is a key of `KINDS`."""
        if self.varies and isinstance(value, (list, tuple)):
            pairs = f"a list of up to {MOST_CHANGES:,} [position, value] pairs, positions ascending from 0, each value {KINDS[kind]}"
            return InvalidSetting(name, value, self.must(pairs), self.hint)
        return InvalidSetting(name, value, self.must(KINDS[kind]), self.hint)


def setting(default: Any, meaning: str, **facts: Any) -> Any:
    """Returns a dataclass field with a `Setting`."""
    made = Setting(meaning=meaning, **facts)
    if isinstance(default, dict):
        return dataclasses.field(default_factory=default.copy, metadata={"setting": made})
    return dataclasses.field(default=default, metadata={"setting": made})


def default_of(field: dataclasses.Field[Any]) -> Any:
    """Returns the default of a field."""
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


@functools.cache
def types_of(cls: type[Any]) -> dict[str, tuple[Any, bool]]:
    """Returns field name -> (type, whether None is allowed). The type is a key of `KINDS`; for a number that varies, the number's."""
    found = {}
    for name, hint in typing.get_type_hints(cls).items():
        options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
        base = next(option for option in options if option is not type(None))
        found[name] = (base if base in KINDS else typing.get_origin(base) or base, type(None) in options)
    return found


def read(value: Any, kind: Any) -> Any:
    """Converts a value to its kind: a whole number to a number, a list to a tuple, the string key of an object to a number.

    Raises `ValueError` if it is of another kind.
    """
    if kind is float and type(value) is int and abs(value) < 2**1000:
        return float(value)
    if kind is tuple and isinstance(value, (list, tuple)):
        return tuple(read(each, str) for each in value)
    if kind == Numbers and isinstance(value, (list, tuple)):
        return tuple(read(each, int) for each in value)
    if kind == Biases and isinstance(value, Mapping):
        return {_key(key): read(each, float) for key, each in value.items()}
    if type(value) is not kind:
        raise ValueError
    return value


def _key(key: Any) -> int:
    if type(key) is str and re.fullmatch("-?(0|[1-9][0-9]{0,19})", key):  # as JSON writes whole numbers
        return int(key)
    return typing.cast(int, read(key, int))


def read_schedule(value: Any) -> SchedulePairs:
    """Reads a list of [position, value] pairs. Raises `ValueError` if it is not one, or its positions do not ascend from 0."""
    pairs = []
    for pair in value:
        if not isinstance(pair, (list, tuple)):
            raise ValueError
        position, number = pair
        pairs.append((read(position, int), read(number, float)))
    ascends = all(a < b for (a, _), (b, _) in pairwise(pairs))
    if not pairs or pairs[0][0] != 0 or not ascends or len(pairs) > MOST_CHANGES:
        raise ValueError
    return tuple(pairs)


class Settings:
    """The base of the configurations: checks values and converts to and from JSON."""

    def __post_init__(self) -> None:
        cls: Any = type(self)
        for field, setting in settings_of(cls):
            kind, optional = types_of(cls)[field.name]
            value: Any = getattr(self, field.name)
            if value is not None or not optional:
                object.__setattr__(self, field.name, _checked(field.name, value, setting, kind))

    def to_dict(self) -> dict[str, Any]:
        """Returns all fields, ready for JSON."""
        return {name: _plain(value) for name, value in vars(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Reverses `to_dict`; absent fields take their defaults.

        Raises `UnknownSetting` for a name that is not a field and `InvalidSetting` for a value out of range.
        """
        known = [field.name for field, _ in settings_of(cls)]
        for name in values:
            if name not in known:
                raise UnknownSetting(name, known)
        return cls(**values)


def _checked(name: str, value: Any, setting: Setting, kind: Any) -> Any:
    try:
        if setting.varies and isinstance(value, (list, tuple)):
            pairs = read_schedule(value)
            if all(setting.allows(each) for _, each in pairs):
                return pairs
        else:
            found = read(value, kind)
            if setting.allows(found):
                return found
    except ValueError:
        pass  # the message is the same as for a value out of range
    raise setting.refusal(name, value, kind)


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return {str(key): each for key, each in value.items()} if isinstance(value, Mapping) else value


def settings_of(cls: type[Any]) -> Iterator[tuple[dataclasses.Field[Any], Setting]]:
    """Yields the fields of a configuration with their `Setting`, in order; fields without one are skipped."""
    for field in dataclasses.fields(cls):
        if "setting" in field.metadata:
            yield field, field.metadata["setting"]
