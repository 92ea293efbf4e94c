"""Texts of models, and what models think of texts."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from service.api.shapes.base import Count, Fault, Seconds, Shape
from service.api.shapes.novelty import TextNovelty


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
