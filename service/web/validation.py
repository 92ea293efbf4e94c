"""Validates bodies and queries against tables of fields.

The fields of a configuration, with their types and ranges, are declared in `model.config`; `ROUTE_FIELDS` declares the others. Each body
has a msgspec type and is checked strictly. Errors are worded by the field's `Setting`, the same as on the command line.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping
from dataclasses import replace
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
    default: Any  # REQUIRED if there is none
    setting: Setting
    words: str = ""  # the kind of value, if KINDS does not have it


REQUIRED = msgspec.NODEFAULT
AUTO = Literal["auto"]
MODEL_ID = "latest, RUN, RUN@STEP, RUN@best or RUN@last"
IGNORED = "accepted for compatibility; ignored"


def _field(kind: Any, meaning: str, default: Any = REQUIRED, *, words: str = "", **range_of: Any) -> Field:
    """A field that may not be null; `range_of` are fields of its `Setting`."""
    return Field(kind, False, default, Setting(meaning=meaning, **range_of), words)


def _nullable(kind: Any, meaning: str, default: Any = None, *, words: str = "", **range_of: Any) -> Field:
    """A field that may be null."""
    return _field(kind, meaning, default, words=words, **range_of)._replace(optional=True)


ROUTE_FIELDS = {
    # ── texts
    "model": _field(str, f"the model that writes: {MODEL_ID}", "latest"),
    "stream": _field(bool, "answer with server-sent events, as the text is written", False),
    "novelty": _field(bool, "report which spans of each text were copied from the corpus that the model was trained on", False),
    "completion.prompt": _nullable(
        str | list[str | int | list[int]],
        "text to continue, or several; each may also be a list of symbol ids",
        "",
        words="a string, a list of strings, a list of symbol ids, or a list of such lists",
    ),
    "completion.stop": _nullable(
        str | Annotated[list[str], msgspec.Meta(max_length=16)],
        "end before this string, or before any of up to 16",
        words="a string, or a list of at most 16",
    ),
    "completion.logit_bias": _nullable(
        dict[str, Annotated[float, msgspec.Meta(ge=-100, le=100)]],
        "added to the logits of symbols, each given by its id or as it is written; what the alphabet lacks does nothing",
        words="an object of numbers from -100 to 100, by symbols or their ids",
    ),
    "completion.max_completion_tokens": _nullable(
        int, "max_tokens by its name in newer requests", unit="symbols", at_least=0, at_most=1_000_000_000
    ),
    "completion.ignore_eos": _nullable(bool, "accepted for compatibility; a model has no symbol that ends a text"),
    "completion.best_of": _nullable(
        int,
        "texts to write, of which the n with the highest mean log-probability are returned; 0 means n",
        0,
        at_least=0,
        at_most=1024,
    ),
    "completion.suffix": _nullable(str, IGNORED),
    "completion.user": _nullable(str, IGNORED),
    "stream_options.include_usage": _nullable(
        bool, "send one more event, without choices, that reports how many symbols were read and written", False
    ),
    "stream_options.include_obfuscation": _nullable(bool, IGNORED, False),
    "score.text": _field(str, "the text to score"),
    "score.model": _field(
        str | Annotated[list[str], msgspec.Meta(min_length=1, max_length=16)],
        f"the model that scores: {MODEL_ID}; or up to 16 of them",
        "latest",
        words="a string, or a list of 1 to 16",
    ),
    "score.logprobs": _nullable(
        int,
        "report the log-probability of each symbol, and this many of the likeliest symbols in its place; null reports neither",
        0,
        at_least=0,
        at_most=20,
    ),
    "novelty.text": _field(str, "the text to compare with the corpus"),
    "novelty.model": _field(str, f"the model whose corpus is meant: {MODEL_ID}", "latest"),
    "novelty.prompt": _nullable(str, "the text before `text`; it is not compared, but the first line begins in it", ""),
    "novelty.ended": _nullable(bool, "whether the last line is complete; only complete lines are looked up in a list", True),
    "novelty.min_length": _nullable(
        int, "least length of the spans that are listed", 30, unit="characters", at_least=1, at_most=1_000_000_000
    ),
    "inspect.text": _field(str, "the text that is read; without one, only neighbours can be reported", ""),
    "inspect.include": _field(
        list[Literal["surprise", "gates", "neighbours"]],
        "what to report besides units; anything not listed is null in the answer and costs nothing",
        ("surprise", "gates", "neighbours"),
        words="a list of surprise, gates or neighbours",
    ),
    "inspect.units": _nullable(
        Annotated[list[Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,9}:[0-9]{1,9}$")]], msgspec.Meta(max_length=64)],
        "hidden units whose activations are reported, each as LAYER:UNIT, both counted from 0; null the one that varies most",
        words="a list of at most 64 strings like 0:17",
    ),
    "inspect.alternatives": _field(
        int, "report this many of the likeliest symbols at the place of each character", 5, at_least=0, at_most=20
    ),
    "cells.corpus": _nullable(str, "a stored corpus to search in; by default the one that the model was trained on"),
    "path.completion": _field(str, "the id in the first event of a stream"),
    "tokens.model": _nullable(str, f"the model whose alphabet is meant: {MODEL_ID}", "latest"),
    "tokenize.prompt": _field(str, "the text"),
    "tokenize.return_token_strs": _nullable(bool, "report the symbol of each id, too", False),
    "tokenize.add_special_tokens": _nullable(bool, "accepted for compatibility; there are no special symbols", True),
    "detokenize.tokens": _field(list[int], "ids of symbols", words="a list of whole numbers"),
    # ── lists
    "list.after": _field(str, "the id after which the list begins: the last one of the previous page, which may be deleted by now", None),
    "list.limit": _field(int, "largest number of entries", 20, at_least=0, at_most=10_000),
    "list.order": _field(str, "by time: desc, the newest first, or asc", "desc", choices=("desc", "asc")),
    # ── files
    "file.purpose": _field(str, "accepted for compatibility; every file is a text to train on", "fine-tune"),
    "file.name": _field(str, "the id of the file; by default one made from its own name", None),
    "file.encoding": _field(
        str, "of the text, such as cp949; by default UTF-8, or what a byte order mark says; auto takes the likeliest", None
    ),
    "file.errors": _field(
        str,
        "what becomes of bytes that cannot be decoded: strict refuses the text, replace reads U+FFFD, skip nothing",
        "strict",
        choices=("strict", "replace", "skip"),
    ),
    "file.glob": _field(tuple, "which files of an archive are read, such as *.txt; may be sent several times", ()),
    "file.column": _field(str, "the column of a CSV, TSV or Excel table that is read, by its name or number", None),
    "file.field": _field(str, "the field of JSON objects that is read, one object a line; a.b is the field b inside of a", None),
    "file.raw": _field(bool, "whether documents are read as they are: HTML with its tags, notebooks as JSON", False),
    "file.records": _field(
        str, "how the text is cut into records: auto, none, lines, blocks, csv, tsv, jsonl, files, fortune, or the separator", "auto"
    ),
    "file.unique": _field(bool, "whether of equal records only one is learned from", False),
    "change.name": _nullable(str, "the new name: 1 to 64 letters and digits of any script, dots, dashes and underscores"),
    "change.records": _nullable(
        str, "how the text is cut into records from now on: auto, none, lines, blocks, csv, tsv, jsonl, files, fortune, or the separator"
    ),
    "change.unique": _field(bool, "with records: whether of equal ones only one is learned from", False),
    # ── jobs
    "job.model": _field(str, "lstm, gru or rnn, or a model to continue from, whose alphabet is kept"),
    "job.training_file": _field(str, "the file to train on"),
    "job.validation_file": _nullable(str, "the file to validate with; by default the end of the training file"),
    "job.name": _nullable(str, "of the run, the id of job and model; by default made from file and cell"),
    "job.suffix": _nullable(
        Annotated[str, msgspec.Meta(max_length=64)], "added to a name that is made by default", words="a string of at most 64 characters"
    ),
    "job.metadata": _nullable(
        Annotated[
            dict[Annotated[str, msgspec.Meta(max_length=64)], Annotated[str, msgspec.Meta(max_length=512)]], msgspec.Meta(max_length=16)
        ],
        "kept with the job and returned with it",
        words="an object of at most 16 strings, with names of at most 64 and values of at most 512 characters",
    ),
    "job.integrations": _nullable(
        Annotated[list[Any], msgspec.Meta(max_length=5)],
        "accepted for compatibility; this service has none, and an event of the job says so",
        words="a list of at most 5",
    ),
    "hyperparameters.n_epochs": _nullable(
        AUTO | Annotated[float, msgspec.Meta(gt=0, le=1_000_000)],
        "passes over the training file; auto trains for a time",
        words="auto or a number above 0 and at most 1,000,000",
    ),
    "hyperparameters.batch_size": _nullable(
        AUTO | Annotated[int, msgspec.Meta(ge=1, le=65_536)],
        "streams of text that are read side by side",
        words="auto or a whole number from 1 to 65,536",
    ),
    "hyperparameters.learning_rate_multiplier": _nullable(
        AUTO | Annotated[float, msgspec.Meta(gt=0, le=1000)],
        "of the learning rate that would be chosen",
        words="auto or a number above 0 and at most 1,000",
    ),
    "method.type": _field(Literal["supervised"], "the way of training", "supervised", words="supervised"),
    "method.dpo": _nullable(dict[str, Any], "settings of another method; ignored", words="an object"),
    "method.reinforcement": _nullable(dict[str, Any], "settings of another method; ignored", words="an object"),
    "rename.name": _field(str, "the new name: 1 to 64 letters and digits of any script, dots, dashes and underscores"),
    # ── names in an address
    "path.model": _field(str, "RUN, RUN@STEP, RUN@best, RUN@last or latest"),
    "path.file": _field(str, "the id of a file: the name of its corpus"),
    "path.job": _field(str, "the id of a job: the name of its run"),
    "path.filename": _field(str, "the name of a file"),
    # ── events of jobs
    "events.after": _field(str, "the id of an event: the list goes on with older ones, a stream with newer ones", None),
    "events.stream": _field(bool, "answer with server-sent events, until the job ends", False),
}


def route_fields(group: str, *names: str) -> dict[str, Field]:
    """Return the fields of one group of `ROUTE_FIELDS`, or only the named ones, by their names without the group."""
    found = {key.removeprefix(f"{group}."): field for key, field in ROUTE_FIELDS.items() if key.startswith(f"{group}.")}
    return {name: found[name] for name in names or found}


def listing(entries: int, *names: str) -> dict[str, Field]:
    """Return the fields of a list: `limit`, by default `entries` as in OpenAI's API, and the named ones of the group `list`."""
    return {**(route_fields("list", *names) if names else {}), "limit": ROUTE_FIELDS["list.limit"]._replace(default=entries)}


# ── schema ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def fields_of(configuration: Any, *names: str, without: tuple[str, ...] = ()) -> dict[str, Field]:
    """Return the named fields of `ROUTE_FIELDS`, then those of a configuration."""
    fields = {name: ROUTE_FIELDS[name] for name in names}
    for field, setting in settings_of(configuration):
        if field.name not in without:
            kind, optional = types_of(configuration)[field.name]
            fields[field.name] = Field(kind, optional, default_of(field), setting)
    return fields


LEFT_OUT = ("top_k", "seed")  # of a text; many clients send -1 for them to leave them out


def sampling_fields(*names: str, without: tuple[str, ...] = ()) -> dict[str, Field]:
    """Return the named fields of `ROUTE_FIELDS`, then those of a text, in which those of `LEFT_OUT` may be -1."""
    fields = fields_of(SamplingConfig, *names, without=without)
    for name in LEFT_OUT:
        setting = fields[name].setting
        fields[name] = fields[name]._replace(setting=replace(setting, at_least=-1, meaning=f"{setting.meaning}; -1 leaves it out"))
    return fields


def sampling_config(values: dict[str, Any]) -> SamplingConfig:
    """Return the configuration of a text from the values of `sampling_fields`. Raises `InvalidSetting`."""
    return SamplingConfig.from_dict({name: value for name, value in values.items() if name not in LEFT_OUT or value != -1})


def annotation(field: Field) -> Any:
    """Return the type of a field with its range, for msgspec and JSON schema."""
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
        """Return the values of a body, each of the right type and in its range; an empty body has none.

        Raises `BadRequest` if it is not a JSON object, `UnknownSetting`, `InvalidSetting` and `MissingSetting`.
        """
        return self.check(_object(data))

    def check(self, values: dict[str, Any], inside: str = "") -> dict[str, Any]:
        """Return the same values. Errors put `inside` before a field's own name, such as ``hyperparameters.``."""
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
    """The type of a query string or of the fields of a form: all values arrive as strings, and unknown names are ignored."""

    strict = False

    def read(self, given: Mapping[str, list[str]]) -> dict[str, Any]:
        """Return all values, each of the right type; of a field sent twice, the last. Raises `InvalidSetting` and `MissingSetting`."""
        known = {name: given[name] for name in self.fields if name in given}
        values = {name: words if self.fields[name].type is tuple else words[-1] for name, words in known.items()}
        return msgspec.structs.asdict(msgspec.convert(self.check(values), self.type, strict=False))


def _default(field: Field) -> Any:
    """Return the default for msgspec, which copies a list or an object for each body."""
    value = list(field.default) if isinstance(field.default, tuple) else field.default
    return msgspec.field(default_factory=value.copy) if value and isinstance(value, (list, dict)) else value


LARGE = 2**16  # bytes of a body whose lists and objects are counted before it is parsed
MOST_CONTAINERS = 10_000  # of them: each takes a hundred bytes, and while Python makes 100,000, others wait for half a second
STRING_OR_CONTAINER = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|[\[{]', re.DOTALL)


def _object(data: bytes) -> dict[str, Any]:
    if not data.strip():
        return {}
    if len(data) > LARGE and _has_too_many(data):
        raise BadRequest(f"the body has more than {MOST_CONTAINERS:,} lists and objects, the limit; send fewer")
    try:
        values = _parsed(data)
    except UnicodeDecodeError as error:
        raise BadRequest(f"the body is not UTF-8: byte {error.start:,} cannot be decoded") from None
    except RecursionError:
        raise BadRequest("the body is nested too deeply; it must be a JSON object of plain values") from None
    except ValueError as error:
        raise BadRequest(f'the body is not JSON: {error}; send an object like {{"prompt": "Once", "length": 200}}') from None
    if not isinstance(values, dict):
        raise BadRequest(f'the body is {_kind(values)}; it must be a JSON object like {{"prompt": "Once", "length": 200}}')
    return values


def _has_too_many(data: bytes) -> bool:
    """Return whether there are more than `MOST_CONTAINERS` lists and objects outside of strings."""
    if data.count(b"[") + data.count(b"{") <= MOST_CONTAINERS:
        return False
    # Python's loop lets other threads run, as one call of the regular expression would not.
    found = (True for each in STRING_OR_CONTAINER.finditer(data) if each[0] in (b"[", b"{"))
    return next(itertools.islice(found, MOST_CONTAINERS, None), False)


def _parsed(data: bytes) -> Any:
    """Return the value that is JSON. Raises `ValueError`, `RecursionError`.

    Python's parser holds the interpreter's lock up to seven times as long as msgspec's. It decides on what that one refuses: Python's also
    takes lone surrogates and a byte order mark, and its errors are worded for people.
    """
    try:
        return FAST.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return json.loads(data, parse_float=_number, parse_constant=_not_json)


def _number(text: str) -> float:
    """Return a whole number as an int: JSON does not distinguish 1.0 and 1e3 from 1 and 1000."""
    value = float(text)
    return int(value) if value.is_integer() and abs(value) < 2**63 else value


FAST = msgspec.json.Decoder(float_hook=_number)


def _not_json(word: str) -> NoReturn:
    raise ValueError(f"it has no {word}")


def _kind(value: object) -> str:
    kinds = {list: "a list", str: "a string", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number")


WITHOUT = ("prompt_ids", "logprobs", "echo")  # settings that /generate leaves out
GENERATE = Body("Generate", sampling_fields("model", "stream", "novelty", without=WITHOUT))
