"""The shapes of answers, which are also the schemas of the OpenAPI document.

What all answers share: errors, lists in parts, and removals.

What the service tells about itself.

Texts of models, and what models think of texts.

Corpora as files.

Runs and checkpoints as models.

What goes on inside a model. What is found there is told as `service.inspection.results` has it.
"""

from __future__ import annotations

from typing import Annotated, Any, Generic, Literal, TypeVar

import msgspec

from service.inspection.results import FoundCell, FoundGauge, Gate, Neighbour
from service.novelty import TextNovelty

# ── base ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

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


# ── service ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class Training(Shape, kw_only=True):
    """What is being trained; `share` is None where it cannot be told, `run` where it has only just begun."""

    run: str | None
    share: float | None
    step: int
    epoch: float
    validation_loss: float | None


class Health(Shape, kw_only=True):
    """Whether the service can do its work."""

    status: Literal["ok", "training"]
    version: str
    sqlite_version: str
    journal_mode: str
    models: Count
    training: Training | None
    rows: Count
    waiting: Count


# ── texts ────────────────────────────────────────────────────────────────────────────────────────────────────────────


class Substituted(Shape, kw_only=True):
    """A character of the prompt that the alphabet lacks, and what was read instead; None for the unknown symbol."""

    character: str
    by: str | None
    times: Count


class Generated(Shape, kw_only=True, omit_defaults=True):
    """The answer of ``POST /generate``, and the last event of its stream (without the text).

    Of several texts there are `texts`, `finish_reasons` and `novelties`. `novelty` is null where the index was not made in time, and
    `novelty_error` says so. `out_of_time` tells that the request took all the time that it may, and was ended with what there was.
    """

    text: str | msgspec.UnsetType = msgspec.UNSET
    texts: list[str] | msgspec.UnsetType = msgspec.UNSET
    model: str
    checkpoint: str
    seed: int
    finish_reason: str | msgspec.UnsetType | None = msgspec.UNSET
    finish_reasons: list[str | None] | msgspec.UnsetType = msgspec.UNSET
    novelty: TextNovelty | msgspec.UnsetType | None = msgspec.UNSET
    novelties: list[TextNovelty | None] | msgspec.UnsetType = msgspec.UNSET
    novelty_error: Fault | msgspec.UnsetType = msgspec.UNSET
    out_of_time: bool
    substituted: list[Substituted]
    prompt_truncated: bool
    prompt_symbols: Count
    symbols: Count
    parameters: dict[str, Any]
    characters_per_second: float


class CompletionLogprobs(Shape, kw_only=True):
    """Of each symbol, in nats: what the plain model thought of it, of the likeliest in its place, and where it stands in the text."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None] | None
    text_offset: list[int]


class CompletionChoice(Shape, kw_only=True):
    """A text, or what is new of it.

    `finish_reason` is `max_copy` where every symbol that could follow would have copied too much. `novelty` stands beside it where it was
    asked for; it is null where the index was not made in time, and `novelty_error` of the facts says so.
    """

    text: str
    index: Count
    logprobs: CompletionLogprobs | None
    finish_reason: Literal["stop", "length", "max_copy"] | None
    novelty: TextNovelty | msgspec.UnsetType | None = msgspec.UNSET


class Usage(Shape, kw_only=True):
    """Symbols; those of a prompt are what was read of it."""

    prompt_tokens: Count
    completion_tokens: Count
    total_tokens: Count


class PromptFacts(Shape, kw_only=True):
    """What became of one prompt. With the same checkpoint, seed and temperature its texts can be made again."""

    seed: int
    temperature: list[tuple[int, float]]
    symbols: Count
    truncated: bool
    substituted: list[Substituted]


class CompletionFacts(Shape, kw_only=True):
    """What OpenAI's API has no word for. `temperature` is what was in force: pairs of a position in the text and a value.

    `seed` and `temperature` are those of the first prompt; only a temperature that was changed can be another for others.
    `out_of_time` tells that the request took all the time that it may, and was ended with what there was.
    """

    checkpoint: str
    seed: int
    temperature: list[tuple[int, float]]
    out_of_time: bool
    prompts: list[PromptFacts]
    novelty_error: Fault | msgspec.UnsetType = msgspec.UNSET


class Completion(Shape, kw_only=True):
    """The answer of ``POST /v1/completions``, and each event of its stream, of which the last has the facts."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: Seconds
    model: str
    choices: list[CompletionChoice]
    system_fingerprint: str
    usage: Usage | msgspec.UnsetType | None = msgspec.UNSET
    charloom: CompletionFacts | msgspec.UnsetType = msgspec.UNSET


class TextScore(Shape, kw_only=True):
    """What one model thinks of a text. `log_likelihood` is in nats, `loss` in nats per symbol.

    `unknown` symbols are not in its alphabet, and cost as much as any character. `probability` is how likely it is the one of the
    models asked that wrote the text, if each was as likely before.
    """

    model: str
    symbols: Count
    unknown: Count
    log_likelihood: float
    loss: float | None
    bits_per_char: float | None
    probability: float
    logprobs: CompletionLogprobs | None


class Scored(Shape, kw_only=True):
    """The answer of ``POST /v1/score``: a model each, as they were named, and the likeliest of them."""

    object: Literal["list"] = "list"
    characters: Count
    data: list[TextScore]
    likeliest: str | None


class GeneratedPiece(Shape, kw_only=True):
    """An event of a stream of ``POST /generate``: what is new of one text."""

    text: str
    index: Count


# ── files ────────────────────────────────────────────────────────────────────────────────────────────────────────────


class FileFacts(Shape, kw_only=True):
    """What the reader saw. Lists of files leave the sample (its first lines) and the alphabet (its characters, the most frequent first,
    a thousand at most) out; only the answer to an upload has the warnings."""

    characters: Count
    lines: Count
    alphabet_size: Count
    sha256: str
    alphabet: str | msgspec.UnsetType = msgspec.UNSET
    sample: list[str] | msgspec.UnsetType = msgspec.UNSET
    warnings: list[str] | msgspec.UnsetType = msgspec.UNSET


class File(Shape, kw_only=True):
    """A corpus. `bytes` and `sha256` are of its text in UTF-8 with LF line ends."""

    id: str
    object: Literal["file"] = "file"
    bytes: Count
    created_at: Seconds
    filename: str
    purpose: Literal["fine-tune"] = "fine-tune"
    status: Literal["processed"] = "processed"
    meta: FileFacts


# ── models ───────────────────────────────────────────────────────────────────────────────────────────────────────────


class ModelFacts(Shape, kw_only=True):
    """What is known about a model. Losses are nats per symbol; sizes are None where no checkpoint can be read."""

    latest: bool
    state: str
    corpus: str | None
    cell: str
    hidden_size: int
    num_layers: int
    level: str
    parameters: int | None
    alphabet_size: int | None
    step: int
    epoch: float
    seconds: float
    loss: float | None
    validation_loss: float | None
    bits_per_char: float | None
    best_step: int | None
    steps: list[int]


class Model(Shape, kw_only=True):
    """A run that has a checkpoint, or one checkpoint of it."""

    id: str
    object: Literal["model"] = "model"
    created: Seconds
    owned_by: Literal["charloom"] = "charloom"
    meta: ModelFacts


# ── inspection ───────────────────────────────────────────────────────────────────────────────────────────────────────


class UnitActivations(Shape, kw_only=True):
    """What a hidden unit, `LAYER:UNIT`, held once each character was read: tanh(c) of an LSTM, h of other cells."""

    unit: str
    activations: list[float]


class Inspected(Shape, kw_only=True):
    """The answer of ``POST /v1/inspect``: what a model did with a text; null is what was not asked for.

    Lists belong to the characters of `text`, which is in the normal form that is read. `bits` is how surprising each character was,
    `alternatives` are the likeliest symbols in its place (of several symbols in place of the first) with their probabilities.
    `unknown` characters are not in the alphabet. `neighbours` are of the most frequent characters, and `map_shares` the shares of the
    variance that the two directions of their map explain. `liveliest` is the unit that varied most, where all were looked at.
    """

    object: Literal["inspection"] = "inspection"
    model: str
    cell: str
    num_layers: Count
    hidden_size: Count
    text: str
    characters: Count
    unknown: Count
    bits_per_char: float | None
    bits: list[float] | None
    alternatives: list[list[tuple[str, float]]] | None
    liveliest: str | None
    units: list[UnitActivations]
    gates: list[Gate] | None
    neighbours: list[Neighbour] | None
    map_shares: list[float] | None


class Cells(Shape, kw_only=True):
    """The answer of ``POST /v1/inspect/cells``: units that follow a readable feature, the best first.

    They were found on one half of a sample and measured on `characters` of the other, which the model never learned from where
    `held_out` says so.
    """

    object: Literal["cells"] = "cells"
    model: str
    network: str
    corpus: str
    characters: Count
    held_out: bool
    cells: list[FoundCell]
    gauges: list[FoundGauge]
