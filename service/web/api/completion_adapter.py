"""Translates between /v1/completions in OpenAI's words and the engine.

A body becomes a `CompletionRequest`, the engine's pieces are gathered by a `RequestOutput`, and a `CompletionBuilder` makes the answer
or its events. ``POST /generate`` has its own words, and shares everything from `RequestOutput` to `event_stream`.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from io import StringIO
from typing import Any, NamedTuple

import msgspec
from flask import Response
from msgspec import UNSET, UnsetType

from model.config import SamplingConfig
from model.errors import CharloomError, InvalidSetting
from model.output_text import Piece, SymbolLogprob
from model.record_sampling import Tries
from service.generation.request import Part, Request
from service.novelty import TextNovelty
from service.web.api.protocol import (
    ChoiceFacts,
    Completion,
    CompletionChoice,
    CompletionFacts,
    CompletionLogprobs,
    Fault,
    PromptFacts,
    RecordFacts,
    Substituted,
    Usage,
)
from service.web.api.responses import DONE, event
from service.web.errors import body_of
from service.web.state import Prompt, Service
from service.web.validation import REQUIRED, Body, Field, fields_of, route_fields, sampling_config, sampling_fields

log = logging.getLogger("charloom")

# ── request ──────────────────────────────────────────────────────────────────────────────────────────────────────────

# OpenAI's and vLLM's name -> ours; all other names are the same.
NAMES = {"max_tokens": "length", "min_tokens": "min_length"}
OTHER_TYPES = ("prompt", "prompt_ids", "stop", "logit_bias")  # settings whose types differ in OpenAI's API


def _fields() -> dict[str, Field]:
    theirs = {ours: name for name, ours in NAMES.items()}
    found = {
        theirs.get(name, name): field._replace(optional=True)
        for name, field in sampling_fields("model", "stream", "novelty", without=OTHER_TYPES).items()
    }
    options = Body("StreamOptions", route_fields("stream_options"))
    found["stream_options"] = Field(options, True, None, replace(found["stream"].setting, meaning="what a stream sends in addition"))
    return route_fields("completion", "prompt") | found | route_fields("completion")


COMPLETION = Body("CompletionRequest", _fields())
TEMPERATURE = fields_of(SamplingConfig)["temperature"]
CHANGE = Body(
    "CompletionChange", {"temperature": TEMPERATURE._replace(default=REQUIRED, setting=replace(TEMPERATURE.setting, varies=False))}
)


class CompletionRequest(NamedTuple):
    """A body of ``POST /v1/completions`` in our words."""

    model: str
    prompts: list[Prompt]
    config: SamplingConfig  # of each prompt; its n is how many texts are generated
    biases: dict[str, float]  # of logits, by symbols, which become ids with `with_biases`
    names: dict[str, str]  # the client's word for a setting -> ours
    n: int  # how many of these are returned
    logprobs: int | None  # that are returned
    stream: bool
    include_usage: bool
    novelty: bool

    @contextmanager
    def client_names(self) -> Iterator[None]:
        """Renames the parameter of an `InvalidSetting` that is raised inside to the client's word for it."""
        try:
            yield
        except InvalidSetting as error:
            for theirs, ours in reversed(self.names.items()):  # the last that the client has used
                if error.param == ours:
                    error.param, error.args = theirs, (str(error).replace(ours, theirs, 1),)
            raise


def parse_completion(data: bytes) -> CompletionRequest:
    """Parses a body. Raises as `Body.parse`, and `InvalidSetting` if two fields contradict each other."""
    values = {name: value for name, value in COMPLETION.parse(data).items() if value is not None}
    prompts = parse_prompts(values.pop("prompt", ""))
    model, stream, novelty = values.pop("model", "latest"), values.pop("stream", False), values.pop("novelty", False)
    include_usage = bool(values.pop("stream_options", {}).get("include_usage"))
    n, best_of, logprobs = values.get("n", 1), values.pop("best_of", 0), values.get("logprobs")
    if best_of > 1 and best_of < n:
        raise InvalidSetting("best_of", best_of, f"0, or at least n, which is {n}")
    if best_of > n:
        if stream:
            raise InvalidSetting("best_of", best_of, "0 or n if stream is true", "the best texts are known only at the end")
        values |= {"n": best_of, "logprobs": logprobs or 0}  # texts are ranked by their log-probabilities
    stop = values.pop("stop", [])
    values["stop"] = [each for each in ([stop] if isinstance(stop, str) else stop) if each]
    biases = values.pop("logit_bias", {})
    values["logit_bias"] = {int(key): biases.pop(key) for key in list(biases) if re.fullmatch(r"-?[0-9]{1,19}", key)}
    for name in ("suffix", "user", "ignore_eos"):
        values.pop(name, None)
    names = {**NAMES, "best_of": "n"} if best_of > n else NAMES
    newer = values.pop("max_completion_tokens", None)
    if newer is not None:
        if values.setdefault("max_tokens", newer) != newer:
            must = f"left out if max_tokens is given, or {values['max_tokens']} as well"
            raise InvalidSetting("max_completion_tokens", newer, must, "both are the same limit")
        names = {**names, "max_completion_tokens": names["max_tokens"]}
    config = sampling_config({NAMES.get(name, name): value for name, value in values.items()})
    return CompletionRequest(model, prompts, config, biases, names, n, logprobs, stream, include_usage, novelty)


def with_biases(asked: CompletionRequest, service: Service) -> CompletionRequest:
    """Return the request with its biases by id, of the very checkpoint that is asked. Raises as `Service.find`."""
    if not asked.biases:
        return asked
    found = service.find(asked.model)
    vocabulary = found.checkpoint.vocabulary
    encoded = ((vocabulary.encode(symbol), bias) for symbol, bias in asked.biases.items())
    known = {int(ids[0]): bias for ids, bias in encoded if len(ids) == 1 and ids[0] != vocabulary.unknown}
    config = replace(asked.config, logit_bias={**asked.config.logit_bias, **known})
    return asked._replace(model=found.name, config=config, biases={})


def parse_prompts(given: str | list[Any]) -> list[Prompt]:
    """Returns one prompt or several, each as text or as ids. Raises `InvalidSetting` if some are ids and others are not."""
    if isinstance(given, str):
        return [given]
    ids = sum(type(each) is int for each in given)
    if ids == len(given):  # one prompt of ids, maybe of none
        return [given]
    if ids:
        COMPLETION.refuse("prompt", given)
    return given


# ── output ───────────────────────────────────────────────────────────────────────────────────────────────────────────


class RequestOutput:
    """Gathers the texts of a request from the pieces that the engine generates."""

    def __init__(self, request: Request, *, keep_logprobs: bool = True) -> None:
        """Log-probabilities that are sent in pieces need not be kept."""
        self.request, self._keep_logprobs = request, keep_logprobs
        self._texts = [StringIO() for _ in range(request.choices)]
        self._scores: list[list[SymbolLogprob]] = [[] for _ in range(request.choices)]
        self._last = [Piece(0, choice, "", 0, None) for choice in range(request.choices)]
        self._unfinished = request.choices

    def pieces(self, left: Callable[[], bool]) -> Iterator[Piece]:
        """Yields what is new of each text, until all are finished or the client has `left`. Raises as `Request.pieces`."""
        for batch in self.request.pieces(left):
            of_choice: dict[int, list[Piece]] = {}
            for piece in batch:
                of_choice.setdefault(piece.choice, []).append(piece)
            for choice, pieces in of_choice.items():
                text = "".join(piece.text for piece in pieces)
                scores = [score for piece in pieces for score in piece.logprobs]
                self._texts[choice].write(text)
                if self._keep_logprobs:
                    self._scores[choice] += scores
                self._last[choice] = pieces[-1]
                self._unfinished -= pieces[-1].finish_reason is not None
                yield pieces[-1]._replace(text=text, logprobs=scores)

    def wait(self, left: Callable[[], bool]) -> None:
        """Waits until all texts are finished, or the client has `left`. Raises as `Request.pieces`."""
        with self.request:
            for _ in self.pieces(left):
                pass

    def text(self, choice: int) -> Piece:
        """Returns all that is there of a text."""
        return self._last[choice]._replace(text=self._texts[choice].getvalue(), logprobs=self._scores[choice])

    def texts(self) -> list[Piece]:
        """Returns all that is there of each text."""
        return [self.text(choice) for choice in range(len(self._texts))]

    @property
    def finished(self) -> bool:
        """Whether all texts are finished."""
        return not self._unfinished


def substitutions(part: Part) -> list[Substituted]:
    """Returns which characters of a prompt were replaced."""
    return [Substituted(**each._asdict()) for each in part.accepted.substituted] if part.accepted else []


def record_facts(service: Service, output: RequestOutput, part: Part, novelty: bool) -> RecordFacts | UnsetType:
    """Returns how the records of a prompt were found, if it asks for records; with `novelty`, how many stand in the corpus."""
    if part.config.records is None:
        return UNSET
    tries, model = part.tries or Tries(), output.request.model
    facts = RecordFacts(
        asked=part.config.records,
        found=tries.kept,
        tried=tries.count,
        left_out=dict(tries.left_out),
        note=str(part.shortage) if part.shortage else None,
    )
    if novelty:
        texts = [output.text(choice).text for choice in range(part.first, part.first + tries.kept)]
        facts.novelty = service.comparer.records(model.run, model.checkpoint.vocabulary.separator).novelty(texts)
    return facts


def compare_choice(service: Service, output: RequestOutput, choice: int) -> TextNovelty | CharloomError:
    """Compares one text of a request, without its echoed prompt, with the corpus of its model; returns an error instead of raising it."""
    request, piece = output.request, output.text(choice)
    part = request.parts[choice // request.parts[0].config.texts]
    prompt = prompt_text(request, part)
    text = piece.text[len(prompt) :] if part.config.echo else piece.text
    return service.comparer.try_compare(request.model.run, text, prompt=prompt, ended=piece.finish_reason == "stop")


def prompt_text(request: Request, part: Part) -> str:
    """Returns the text of a prompt as it is read."""
    vocabulary = request.model.checkpoint.vocabulary
    return vocabulary.decode(vocabulary.given(part.prompt.ids))


def fault(error: CharloomError | None, service: Service) -> Fault | msgspec.UnsetType:
    """Returns an error, if there is one, as a part of an answer."""
    return Fault(**body_of(error, service)["error"]) if error else UNSET


def event_stream(request: Request, events: Iterator[Any], service: Service) -> Response:
    """Returns a response of server-sent events, which ends with ``[DONE]`` or with the event of an error."""

    def encoded() -> Iterator[bytes]:
        try:
            for each in events:
                yield event(each)
            yield DONE
        except Exception as error:  # the status has been sent
            if isinstance(error, CharloomError):
                log.info("a stream ended early: %s", error)
            else:
                log.exception("a stream failed")
            yield event(body_of(error, service))

    response = Response(encoded(), mimetype="text/event-stream", headers={"X-Accel-Buffering": "no"})
    response.call_on_close(request.cancel)  # a generator that was never started does not run its own clean-up
    return response


# ── response ─────────────────────────────────────────────────────────────────────────────────────────────────────────


class CompletionBuilder:
    """Builds the answer of one completion, whole or as events."""

    def __init__(self, name: str, asked: CompletionRequest, request: Request, service: Service, version: str) -> None:
        """`name` is the completion's id, `version` that of the release."""
        self._name, self._asked, self._request, self._service = name, asked, request, service
        self._output = RequestOutput(request, keep_logprobs=not asked.stream)
        self._novelty_error: CharloomError | None = None  # the first of all texts
        self._offsets: dict[int, int] = {}  # of the texts of each part: the length of its prompt, as far as it is known
        self._created = int(time.time())
        self._fingerprint = f"charloom-{version} {request.model.name}"

    def whole(self, left: Callable[[], bool]) -> Completion:
        """Waits for all texts and returns the n best of each prompt."""
        self._output.wait(left)
        best = [piece for part in self._request.parts for piece in self._best(part)]
        choices = [self._choice(index, piece) for index, piece in enumerate(best) if piece.finish_reason != "missing"]
        return self._completion(choices, usage=self._usage(), charloom=self._facts())

    def _best(self, part: Part) -> list[Piece]:
        """Returns the n texts of a prompt; if more were generated, those of the highest mean log-probability, the highest first."""
        texts = [self._output.text(choice) for choice in range(part.first, part.first + part.config.texts)]
        if part.config.records or len(texts) == self._asked.n:
            return texts
        echoed = len(self._request.model.checkpoint.vocabulary.given(part.prompt.ids)) if part.config.echo else 0
        return sorted(texts, key=lambda piece: -mean_logprob(piece.logprobs[echoed:]))[: self._asked.n]

    def events(self, left: Callable[[], bool]) -> Iterator[Completion]:
        """Yields what is new of one text at a time; the last event has the facts."""
        usage, told = None if self._asked.include_usage else UNSET, False
        for piece in self._output.pieces(left):
            if (piece.text or piece.finish_reason) and piece.finish_reason != "missing":
                choice = self._choice(piece.choice, piece)
                told = self._output.finished and not self._asked.include_usage
                yield self._completion([choice], usage=usage, charloom=self._facts() if told else UNSET)
        if self._output.finished and not told:
            yield self._completion([], usage=self._usage() if self._asked.include_usage else UNSET, charloom=self._facts())

    def _choice(self, index: int, piece: Piece) -> CompletionChoice:
        return CompletionChoice(
            text=piece.text,
            index=index,
            logprobs=self._logprobs(piece),
            finish_reason=piece.finish_reason if piece.finish_reason in ("stop", "length", None) else "content_filter",
            meta=ChoiceFacts(finish_reason="max_copy") if piece.finish_reason == "max_copy" else UNSET,
            novelty=self._novelty(piece.choice)
            if self._asked.novelty and piece.finish_reason and not self._asked.config.records
            else UNSET,
        )

    def _logprobs(self, piece: Piece) -> CompletionLogprobs | None:
        """Return the log-probabilities of a piece, whose offsets count from the beginning of the prompt, as in OpenAI's API."""
        if self._asked.logprobs is None:
            return None
        part = self._request.parts[piece.choice // self._request.parts[0].config.texts]
        if part.first not in self._offsets:
            begins = part.config.echo or part.config.records
            self._offsets[part.first] = 0 if begins else len(prompt_text(self._request, part))
        return completion_logprobs(piece.logprobs, alternatives=self._asked.logprobs > 0, offset=self._offsets[part.first])

    def _novelty(self, choice: int) -> TextNovelty | None:
        found = compare_choice(self._service, self._output, choice)
        if isinstance(found, CharloomError):
            self._novelty_error = self._novelty_error or found
            return None
        return found

    def _completion(
        self, choices: list[CompletionChoice], usage: Usage | UnsetType | None, charloom: CompletionFacts | UnsetType
    ) -> Completion:
        return Completion(
            id=self._name,
            created=self._created,
            model=self._request.model.run.name,
            choices=choices,
            system_fingerprint=self._fingerprint,
            usage=usage,
            charloom=charloom,
        )

    def _usage(self) -> Usage:
        read = sum(part.accepted.prompt_symbols for part in self._request.parts if part.accepted)
        generated = self._request.symbols
        return Usage(prompt_tokens=read, completion_tokens=generated, total_tokens=read + generated)

    def _facts(self) -> CompletionFacts:
        facts = completion_facts(self._request)
        for prompt, part in zip(facts.prompts, self._request.parts, strict=True):
            prompt.records = record_facts(self._service, self._output, part, self._asked.novelty)
        facts.novelty_error = fault(self._novelty_error, self._service)
        return facts


def mean_logprob(scores: Sequence[SymbolLogprob]) -> float:
    """Returns the mean over a text's symbols; 0, the highest value, for a text without any."""
    return sum(score.logprob or 0.0 for score in scores) / max(1, len(scores))


def completion_logprobs(scores: Sequence[SymbolLogprob], *, alternatives: bool, offset: int = 0) -> CompletionLogprobs:
    """Returns log-probabilities in OpenAI's shape, in which the likeliest symbols always include the symbol itself.

    `offset` is where the text begins.
    """
    return CompletionLogprobs(
        tokens=[score.text for score in scores],
        token_logprobs=[score.logprob for score in scores],
        top_logprobs=[_top(score) for score in scores] if alternatives else None,
        text_offset=[offset + score.position for score in scores],
    )


def _top(score: SymbolLogprob) -> dict[str, float] | None:
    return None if score.logprob is None else {**dict(score.alternatives), score.text: score.logprob}


def completion_facts(request: Request) -> CompletionFacts:
    """Returns what is needed to generate the texts of a request again, and how it went."""
    prompts = [
        PromptFacts(
            seed=part.config.seed or 0,
            temperature=list(part.course),
            symbols=part.accepted.prompt_symbols if part.accepted else 0,
            truncated=bool(part.accepted and part.accepted.truncated),
            substituted=substitutions(part),
        )
        for part in request.parts
    ]
    return CompletionFacts(
        checkpoint=request.model.name, seed=prompts[0].seed, temperature=prompts[0].temperature, out_of_time=request.cut, prompts=prompts
    )
