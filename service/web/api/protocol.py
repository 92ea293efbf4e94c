"""The shapes of answers, which are also the schemas of the OpenAPI document.

What all answers share: errors, lists in parts, and removals.

What the service tells about itself.

Is it new? What texts have in common with their corpora.

Texts of models, and what models think of texts.

Corpora as files.

Runs and checkpoints as models.

What is found inside a model has its shapes in `service.inspection.results`.
"""

from __future__ import annotations

from typing import Annotated, Any, Generic, Literal, Self, TypeVar

import msgspec

from service.novelty import Novelty

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


# ── novelty ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class CopiedSpan(Shape, kw_only=True):
    """A part of the text, from `start` to before `stop` in its characters, that stands in the corpus word for word.

    `length` counts characters in NFC. It stands there `times`, first behind `offset` characters, in that `line` (from 1), between `before`
    and `after`.
    """

    start: Count
    stop: Count
    length: Count
    times: Count
    offset: Count
    line: Count
    before: str
    after: str


class ComparedRecord(Shape, kw_only=True):
    """A whole line of the text, with what the prompt began of it, and whether no line of the corpus is the same."""

    start: Count
    stop: Count
    text: str
    new: bool


class TextNovelty(Shape, kw_only=True):
    """What a text has in common with the corpus of its model. The prompt is no part of the text, even where it is echoed.

    `spans` of `min_length` characters or more are as few as cover all that is copied; `found` says how many, and of more than 1,000 the
    longest are told. `share` of the text's `characters` are part of one.
    `longest` is told however short it is. `records` are told where the corpus is a list, such as a name a line.
    """

    corpus: str
    characters: Count
    min_length: Count
    copied: Count
    share: float
    longest: CopiedSpan | None
    found: Count
    spans: list[CopiedSpan]
    records: list[ComparedRecord] | None

    @classmethod
    def of(cls, found: Novelty) -> Self:
        """The same as plain data has it."""
        spans = [CopiedSpan(**vars(each)) for each in found.spans]
        return cls(
            corpus=found.corpus,
            characters=found.characters,
            min_length=found.min_length,
            copied=found.copied,
            share=round(found.share, 4),
            longest=CopiedSpan(**vars(found.longest)) if found.longest else None,
            found=found.found,
            spans=spans,
            records=None if found.records is None else [ComparedRecord(**vars(each)) for each in found.records],
        )


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
