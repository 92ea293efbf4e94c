"""Validation of bodies and queries, from one table of fields.

What only routes know of their fields: `ROUTE_FIELDS`, the one table of what no configuration has.

Types of requests, derived from the configurations: names, types and ranges are declared once, in `model.config`.

What only a route knows is in `service.web.validation`. A body is checked against its msgspec type, strictly;
what is wrong is said in the words of the field's `Setting`, the same as on the command line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple, NoReturn

import msgspec
from werkzeug.exceptions import BadRequest

from model.config import SamplingConfig
from model.errors import InvalidSetting, MissingSetting, UnknownSetting, Word
from model.settings import MOST_CHANGES, Biases, Numbers, Setting, default_of, settings_of, types_of

# ── fields ───────────────────────────────────────────────────────────────────────────────────────────────────────────


class Field(NamedTuple):
    """One field of a body, of a form or of a query."""

    type: Any  # a key of KINDS, a `Body` of its own, or another type that msgspec knows, with its `words`
    optional: bool  # whether null is allowed
    default: Any  # REQUIRED where there is none
    setting: Setting
    words: str = ""  # the kind of value, where KINDS does not have it


REQUIRED = msgspec.NODEFAULT
AUTO = Literal["auto"]
ROUTE_FIELDS = {
    # ── texts
    "model": Field(str, False, "latest", Setting(meaning="who writes: latest, RUN, RUN@STEP, RUN@best or RUN@last")),
    "stream": Field(bool, False, False, Setting(meaning="answer with server-sent events, as the text is written")),
    "novelty": Field(
        bool, False, False, Setting(meaning="tell what of each text was copied from the corpus that the model has learned from")
    ),
    "completion.prompt": Field(
        str | list[str | int | list[int]],
        True,
        "",
        Setting(meaning="text to continue, or several; each may also be a list of symbol ids"),
        "a string, a list of strings, a list of symbol ids, or a list of such lists",
    ),
    "completion.stop": Field(
        str | Annotated[list[str], msgspec.Meta(max_length=4)],
        True,
        None,
        Setting(meaning="end before this string, or before any of up to 4"),
        "a string, or a list of at most 4",
    ),
    "completion.best_of": Field(
        int,
        True,
        0,
        Setting(
            meaning="texts to write, of which the n with the highest mean log-probability are answered; 0 as many as n",
            at_least=0,
            at_most=1024,
        ),
    ),
    "completion.suffix": Field(str, True, None, Setting(meaning="taken as other services want it, and not used")),
    "completion.user": Field(str, True, None, Setting(meaning="taken as other services want it, and not used")),
    "stream_options.include_usage": Field(
        bool, True, False, Setting(meaning="let one more event, without choices, tell how many symbols were read and written")
    ),
    "stream_options.include_obfuscation": Field(bool, True, False, Setting(meaning="taken as other services want it, and not used")),
    "score.text": Field(str, False, REQUIRED, Setting(meaning="the text to score")),
    "score.model": Field(
        str | Annotated[list[str], msgspec.Meta(min_length=1, max_length=16)],
        False,
        "latest",
        Setting(meaning="who is asked: latest, RUN, RUN@STEP, RUN@best or RUN@last, or up to 16 of them"),
        "a string, or a list of 1 to 16",
    ),
    "score.logprobs": Field(
        int,
        True,
        0,
        Setting(
            meaning="tell the log-probability of each symbol, and so many of the likeliest in its place; null tells neither",
            at_least=0,
            at_most=20,
        ),
    ),
    "novelty.text": Field(str, False, REQUIRED, Setting(meaning="the text to hold against the corpus")),
    "novelty.model": Field(
        str, False, "latest", Setting(meaning="whose corpus is meant: that of latest, RUN, RUN@STEP, RUN@best or RUN@last")
    ),
    "novelty.prompt": Field(
        str, True, "", Setting(meaning="what stands before the text; it is not compared, but the first line begins there")
    ),
    "novelty.ended": Field(bool, True, True, Setting(meaning="whether the last line is whole; only whole lines are looked up in a list")),
    "novelty.min_length": Field(
        int, True, 30, Setting(meaning="of the spans that are listed", unit="characters", at_least=1, at_most=1_000_000_000)
    ),
    "inspect.text": Field(str, False, "", Setting(meaning="the text that is read; only neighbours can be told without one")),
    "inspect.include": Field(
        list[Literal["surprise", "gates", "neighbours"]],
        False,
        ("surprise", "gates", "neighbours"),
        Setting(meaning="what to tell besides units; what is not wanted is null in the answer, and costs nothing"),
        "a list of surprise, gates or neighbours",
    ),
    "inspect.units": Field(
        Annotated[list[Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,9}:[0-9]{1,9}$")]], msgspec.Meta(max_length=64)],
        True,
        None,
        Setting(meaning="hidden units to tell the activations of, each as LAYER:UNIT, both counted from 0; null the one that varies most"),
        "a list of at most 64 strings like 0:17",
    ),
    "inspect.alternatives": Field(
        int,
        False,
        5,
        Setting(meaning="tell so many of the likeliest symbols where each character came", at_least=0, at_most=20),
    ),
    "cells.corpus": Field(str, True, None, Setting(meaning="a stored corpus to look in; by default the one that the model was trained on")),
    "path.completion": Field(str, False, REQUIRED, Setting(meaning="the id that the first event of a stream tells")),
    # ── lists
    "list.after": Field(str, False, None, Setting(meaning="the id behind which to begin: the last one of the part before")),
    "list.limit": Field(int, False, 20, Setting(meaning="at most so many", at_least=1, at_most=10_000)),
    "list.order": Field(str, False, "desc", Setting(meaning="by time: desc, the newest first, or asc", choices=("desc", "asc"))),
    # ── files
    "file.purpose": Field(str, False, "fine-tune", Setting(meaning="taken as other services want it; every file is a text to learn from")),
    "file.name": Field(str, False, None, Setting(meaning="the id that the file gets; by default one made from its own name")),
    "file.encoding": Field(
        str, False, None, Setting(meaning="of the text, such as latin-1; by default UTF-8, or what a byte order mark says")
    ),
    "file.glob": Field(tuple, False, (), Setting(meaning="which files of an archive are read, such as *.txt; may be sent several times")),
    # ── jobs
    "job.model": Field(str, False, REQUIRED, Setting(meaning="lstm, gru or rnn, or a model to continue from, whose alphabet is kept")),
    "job.training_file": Field(str, False, REQUIRED, Setting(meaning="the file to learn from")),
    "job.validation_file": Field(
        str, True, None, Setting(meaning="the file to validate with; by default the end of the training file is kept for that")
    ),
    "job.name": Field(str, True, None, Setting(meaning="of the run, the id of job and model; by default made from file and cell")),
    "job.suffix": Field(
        Annotated[str, msgspec.Meta(max_length=64)],
        True,
        None,
        Setting(meaning="added to a name that is made up"),
        "a string of at most 64 characters",
    ),
    "job.metadata": Field(
        Annotated[
            dict[Annotated[str, msgspec.Meta(max_length=64)], Annotated[str, msgspec.Meta(max_length=512)]], msgspec.Meta(max_length=16)
        ],
        True,
        None,
        Setting(meaning="kept with the job and told again"),
        "an object of at most 16 strings, with names of at most 64 and values of at most 512 characters",
    ),
    "job.integrations": Field(
        Annotated[list[Any], msgspec.Meta(max_length=0)], True, None, Setting(meaning="this service has none"), "an empty list or left out"
    ),
    "hyperparameters.n_epochs": Field(
        AUTO | Annotated[float, msgspec.Meta(gt=0, le=1_000_000)],
        True,
        None,
        Setting(meaning="passes over the training file; auto trains for a time"),
        "auto or a number above 0 and at most 1,000,000",
    ),
    "hyperparameters.batch_size": Field(
        AUTO | Annotated[int, msgspec.Meta(ge=1, le=65_536)],
        True,
        None,
        Setting(meaning="streams of text that are read side by side"),
        "auto or a whole number from 1 to 65,536",
    ),
    "hyperparameters.learning_rate_multiplier": Field(
        AUTO | Annotated[float, msgspec.Meta(gt=0, le=1000)],
        True,
        None,
        Setting(meaning="of the learning rate that would be chosen"),
        "auto or a number above 0 and at most 1,000",
    ),
    "method.type": Field(Literal["supervised"], False, "supervised", Setting(meaning="the way of training"), "supervised"),
    # ── names in an address
    "path.model": Field(str, False, REQUIRED, Setting(meaning="RUN, RUN@STEP, RUN@best, RUN@last or latest")),
    "path.file": Field(str, False, REQUIRED, Setting(meaning="the id of a file: the name of its corpus")),
    "path.job": Field(str, False, REQUIRED, Setting(meaning="the id of a job: the name of its run")),
    "path.filename": Field(str, False, REQUIRED, Setting(meaning="the name of a file")),
    # ── events of jobs
    "events.after": Field(
        str, False, None, Setting(meaning="the id of an event: the list goes on with older ones, a stream with newer ones")
    ),
    "events.stream": Field(bool, False, False, Setting(meaning="answer with server-sent events, until the job ends")),
}


def route_fields(group: str, *names: str) -> dict[str, Field]:
    """The fields of `ROUTE_FIELDS` of one group, or those of them that are named, by their own names."""
    found = {key.removeprefix(f"{group}."): field for key, field in ROUTE_FIELDS.items() if key.startswith(f"{group}.")}
    return {name: found[name] for name in names or found}


# ── schema ───────────────────────────────────────────────────────────────────────────────────────────────────────────


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
