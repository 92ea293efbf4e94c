"""Defines the JSON of answers; ``/openapi.json`` takes its schemas from these types and their docstrings.

Results that other rooms compute are answered as they are: `service.novelty.TextNovelty` and those of `service.inspection.results`.
"""

from __future__ import annotations

from typing import Annotated, Any, Generic, Literal, TypeVar

import msgspec

from service.novelty import RecordsNovelty, TextNovelty

# ── all answers ──────────────────────────────────────────────────────────────────────────────────────────────────────

T = TypeVar("T")

Count = Annotated[int, msgspec.Meta(ge=0)]
Seconds = Annotated[int, msgspec.Meta(ge=0, description="seconds since 1970")]


class Shape(msgspec.Struct, kw_only=True):
    """An answer: `msgspec.to_builtins` of it is its JSON."""


class FittingEncoding(Shape, kw_only=True):
    """An encoding that fits a file that could not be decoded. `sample` are a few characters of what it would read."""

    encoding: str
    sample: str


class Fault(Shape, kw_only=True):
    """An error. `message` names the thing, its value, the limit and the next step; `param` is the field at fault.

    `encodings` are those that fit an uploaded file that could not be decoded, the likeliest first. `columns` are those
    of a table, one of which must be chosen.
    """

    message: str
    type: str
    param: str | None
    code: str
    encodings: list[FittingEncoding] | msgspec.UnsetType = msgspec.UNSET
    columns: list[str] | msgspec.UnsetType = msgspec.UNSET


class Error(Shape, kw_only=True):
    """The answer of every error, and its event in a stream."""

    error: Fault


class Page(Shape, Generic[T], kw_only=True):
    """A page of a list, as in OpenAI's API: the next one is requested with `last_id` as `after`."""

    object: Literal["list"] = "list"
    data: list[T]
    has_more: bool = False
    first_id: str | None = None
    last_id: str | None = None


class Deleted(Shape, kw_only=True):
    """The answer of a deletion."""

    id: str
    object: str
    deleted: Literal[True] = True


# ── service ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class Training(Shape, kw_only=True):
    """The training that is running. `share` is the part that is done, null if unknown; `run` is null if it has only just begun."""

    run: str | None
    share: float | None
    step: int
    epoch: float
    validation_loss: float | None


class Health(Shape, kw_only=True):
    """The state of the service. `status` is `unreadable` if the database cannot be read: then `models` is left out. It is `damaged` if
    something in the database was found damaged.

    `rows` are texts being generated, `waiting` requests in the queue; `arithmetic` is what computes them. `disk_free` are the bytes left on
    the disk; `no_room` says why nothing can be stored now, if so: jobs wait or pause. `no_reserve` says why deleting has no room of its
    own on a full disk, if so. `damaged` names what was
    found damaged in the database while it was read; `charloom check` says more. To a caller without the key that it needs, only
    `status`, `version` and `training` without its `run` are told.
    """

    status: Literal["ok", "training", "damaged", "unreadable"]
    version: str
    training: Training | None
    models: Count | msgspec.UnsetType = msgspec.UNSET
    arithmetic: str | msgspec.UnsetType = msgspec.UNSET
    threads: Count | msgspec.UnsetType = msgspec.UNSET
    sqlite_version: str | msgspec.UnsetType = msgspec.UNSET
    journal_mode: str | msgspec.UnsetType = msgspec.UNSET
    rows: Count | msgspec.UnsetType = msgspec.UNSET
    waiting: Count | msgspec.UnsetType = msgspec.UNSET
    disk_free: Count | msgspec.UnsetType = msgspec.UNSET
    no_room: str | msgspec.UnsetType | None = msgspec.UNSET
    no_reserve: str | msgspec.UnsetType | None = msgspec.UNSET
    damaged: list[str] | msgspec.UnsetType = msgspec.UNSET


class Ready(Shape, kw_only=True):
    """The service can do all of its work."""

    status: Literal["ready"]


# ── texts ────────────────────────────────────────────────────────────────────────────────────────────────────────────


class Substituted(Shape, kw_only=True):
    """A character of the prompt that is not in the alphabet, and what was read instead: null is the unknown symbol."""

    character: str
    by: str | None
    times: Count


class RecordFacts(Shape, kw_only=True):
    """How the records of a request were found.

    `found` of those that were `asked` for, in `tried` tries; `left_out` counts why others were left out. If no more could be found,
    `note` says why, and what to do. `novelty` comes if it was requested, for all records together.
    """

    asked: Count
    found: Count
    tried: Count
    left_out: dict[Literal["unfinished", "short", "invalid", "known", "repeated"], Count]
    note: str | None
    novelty: RecordsNovelty | msgspec.UnsetType = msgspec.UNSET


class Generated(Shape, kw_only=True, omit_defaults=True):
    """The answer of ``POST /generate``, and the last event of its stream (without the text).

    Several texts are in `texts`, with `finish_reasons` and `novelties`; so are records, however
    many, with facts in `records`. `novelty` is null if the index was not built in time, and
    `novelty_error` says why. `out_of_time` is true if the request reached its time limit: the texts are what was generated until then.
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
    records: RecordFacts | msgspec.UnsetType = msgspec.UNSET
    out_of_time: bool
    substituted: list[Substituted]
    prompt_truncated: bool
    prompt_symbols: Count
    symbols: Count
    parameters: dict[str, Any]
    characters_per_second: float


class CompletionLogprobs(Shape, kw_only=True):
    """For each symbol its log-probability in nats, those of the likeliest symbols in its place, and where its character stands.

    `text_offset` counts from the beginning of the prompt as it was read, with or without `echo`. The log-probabilities are the plain
    model's, before temperature and filters.
    """

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None] | None
    text_offset: list[int]


class ChoiceFacts(Shape, kw_only=True):
    """The reason why a text ended, if OpenAI's API has no word for it: every symbol that could follow would have copied too much."""

    finish_reason: Literal["max_copy"]


class CompletionChoice(Shape, kw_only=True):
    """A text, or in a stream what is new of it.

    `finish_reason` is `content_filter` if `max_copy` ended the text, and then `meta` says so. `novelty`, if it was requested, comes with
    the `finish_reason`; it is null if the index was not built in time, and `novelty_error` in `charloom` says why.
    """

    text: str
    index: Count
    logprobs: CompletionLogprobs | None
    finish_reason: Literal["stop", "length", "content_filter"] | None
    meta: ChoiceFacts | msgspec.UnsetType = msgspec.UNSET
    novelty: TextNovelty | msgspec.UnsetType | None = msgspec.UNSET


class Usage(Shape, kw_only=True):
    """Numbers of symbols: `prompt_tokens` of what was read of the prompts, `completion_tokens` of all texts, without their stop strings.

    Records that were tried and left out are counted, too.
    """

    prompt_tokens: Count
    completion_tokens: Count
    total_tokens: Count


class PromptFacts(Shape, kw_only=True):
    """How one prompt was read and continued. The same checkpoint, seed and temperature generate the same texts again."""

    seed: int
    temperature: list[tuple[int, float]]
    symbols: Count
    truncated: bool
    substituted: list[Substituted]
    records: RecordFacts | msgspec.UnsetType = msgspec.UNSET


class CompletionFacts(Shape, kw_only=True):
    """What OpenAI's API has no word for. `temperature` lists what was used: pairs of a position in the text and a value.

    `seed` and `temperature` are those of the first prompt; those of each are in `prompts`. `out_of_time` is true if the request reached
    its time limit: the texts are what was generated until then.
    """

    checkpoint: str
    seed: int
    temperature: list[tuple[int, float]]
    out_of_time: bool
    prompts: list[PromptFacts]
    novelty_error: Fault | msgspec.UnsetType = msgspec.UNSET


class Completion(Shape, kw_only=True):
    """The answer of ``POST /v1/completions``, and each event of its stream. The last event has `charloom`."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: Seconds
    model: str
    choices: list[CompletionChoice]
    system_fingerprint: str
    usage: Usage | msgspec.UnsetType | None = msgspec.UNSET
    charloom: CompletionFacts | msgspec.UnsetType = msgspec.UNSET


class Tokenized(Shape, kw_only=True):
    """A text as ids, in the shape of vLLM. `max_model_len` is the number of symbols that are read of a prompt."""

    count: Count
    max_model_len: Count
    tokens: list[Count]
    token_strs: list[str] | None
    substituted: list[Substituted]


class Detokenized(Shape, kw_only=True):
    """The text of ids, in the shape of vLLM."""

    prompt: str


class TokenizerInfo(Shape, kw_only=True):
    """The alphabet of a model, with the keys of a `tokenizer_config.json`: `symbols` has the symbol of each id, in their order.

    `bos_token` and `eos_token` are the line end, after which a text begins; they are null if the alphabet lacks it. The last id is that of
    `unk_token`, which stands for what the alphabet lacks: it may be in a prompt, and is never written.
    """

    tokenizer_class: str
    model: str
    level: str
    normalization: str
    vocab_size: Count
    model_max_length: Count
    bos_token: str | None
    eos_token: str | None
    pad_token: None = None
    unk_token: str
    unk_token_id: Count
    chat_template: None = None
    symbols: list[str]


class TextScore(Shape, kw_only=True):
    """The score of a text under one model. `log_likelihood` is in nats, `loss` in nats per symbol.

    `unknown` counts symbols outside the model's alphabet; each costs as much as a uniform guess among all characters. `probability` is the
    posterior probability that this model, of those named, wrote the text, from a uniform prior.
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
    """The answer of ``POST /v1/score``: the models in the order of the request, and the one that most likely wrote the text."""

    object: Literal["list"] = "list"
    characters: Count
    data: list[TextScore]
    likeliest: str | None


class GeneratedPiece(Shape, kw_only=True):
    """An event in the stream of ``POST /generate``: what is new of one text."""

    text: str
    index: Count


# ── files ────────────────────────────────────────────────────────────────────────────────────────────────────────────


class FileRecords(Shape, kw_only=True):
    """The records that a corpus is cut into: how, and what was counted of them.

    `kind` is lines, blocks, csv, tsv, jsonl, files, fortune or separator; `header` says that the first row is left out. `different` is
    about right if it is `estimated`. `median` and `longest` are lengths in characters; `examples` are up to three records.
    """

    kind: str
    separator: str
    header: bool
    unique: bool
    count: Count
    different: Count
    estimated: bool
    median: Count
    longest: Count
    examples: list[str]


class FileFacts(Shape, kw_only=True):
    """Facts of a corpus. `records` is null for prose. `sample` has its first lines, `alphabet` its characters, the most frequent first.

    There are 1,000 of them at most. Lists of files leave both out. Only the answer of an upload has `warnings`.
    """

    characters: Count
    lines: Count
    alphabet_size: Count
    sha256: str
    records: FileRecords | None
    alphabet: str | msgspec.UnsetType = msgspec.UNSET
    sample: list[str] | msgspec.UnsetType = msgspec.UNSET
    warnings: list[str] | msgspec.UnsetType = msgspec.UNSET


class File(Shape, kw_only=True):
    """A corpus. `bytes` and `sha256` refer to its text in UTF-8 with LF line ends. It never expires."""

    id: str
    object: Literal["file"] = "file"
    bytes: Count
    created_at: Seconds
    filename: str
    purpose: Literal["fine-tune"] = "fine-tune"
    status: Literal["processed"] = "processed"
    expires_at: None = None
    meta: FileFacts


# ── models ───────────────────────────────────────────────────────────────────────────────────────────────────────────


class ModelFacts(Shape, kw_only=True):
    """Facts of a model. Losses are in nats per symbol; sizes are null if no checkpoint can be read.

    `separator` is what stands between two records, null for a model of prose.
    """

    latest: bool
    state: str
    corpus: str | None
    cell: str
    hidden_size: int
    num_layers: int
    level: str
    parameters: int | None
    alphabet_size: int | None
    separator: str | None
    step: int
    epoch: float
    seconds: float
    loss: float | None
    validation_loss: float | None
    bits_per_char: float | None
    best_step: int | None
    steps: list[int]


class Model(Shape, kw_only=True):
    """A run that has a checkpoint, or one of its checkpoints."""

    id: str
    object: Literal["model"] = "model"
    created: Seconds
    owned_by: Literal["charloom"] = "charloom"
    meta: ModelFacts
