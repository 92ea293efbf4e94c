"""Between /v1/completions in OpenAI's words and the engine.

What a client asks for in OpenAI's words and vLLM's, and what that means in ours.

A request for texts while these arrive, and how they reach a client: all at once, or as events of a stream.

What ``/v1/completions`` answers: a request's texts in OpenAI's shapes.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import msgspec
from flask import Response
from msgspec import UNSET, UnsetType

from model.config import SamplingConfig
from model.errors import CharloomError, InvalidSetting
from model.output_text import FinishReason, SymbolLogprob
from service.generation.scheduler import Part, Request
from service.novelty import TextNovelty
from service.web.api.protocol import (
    Completion,
    CompletionChoice,
    CompletionFacts,
    CompletionLogprobs,
    Fault,
    PromptFacts,
    Substituted,
    Usage,
)
from service.web.api.responses import DONE, event
from service.web.errors import body_of
from service.web.state import Prompt, Service
from service.web.validation import REQUIRED, Body, Field, fields_of, route_fields

# ── asking ───────────────────────────────────────────────────────────────────────────────────────────────────────────

# OpenAI's and vLLM's name -> ours; what has no other name there is called the same.
NAMES = {"max_tokens": "length", "min_tokens": "min_length"}
OURS_ALONE = ("prompt", "prompt_ids", "stop")  # asked for in another form


def _fields() -> dict[str, Field]:
    theirs = {ours: name for name, ours in NAMES.items()}
    found = {
        theirs.get(name, name): field._replace(optional=True)
        for name, field in fields_of(SamplingConfig, "model", "stream", "novelty", without=OURS_ALONE).items()
    }
    top_k = found["top_k"].setting
    found["top_k"] = found["top_k"]._replace(setting=replace(top_k, at_least=-1, meaning=f"{top_k.meaning}, and so does -1"))
    options = Body("StreamOptions", route_fields("stream_options"))
    found["stream_options"] = Field(options, True, None, replace(found["stream"].setting, meaning="what a stream tells besides"))
    return route_fields("completion", "prompt") | found | route_fields("completion")


COMPLETION = Body("CompletionRequest", _fields())
TEMPERATURE = fields_of(SamplingConfig)["temperature"]
CHANGE = Body(
    "CompletionChange", {"temperature": TEMPERATURE._replace(default=REQUIRED, setting=replace(TEMPERATURE.setting, varies=False))}
)


class Asked(NamedTuple):
    """A request in our words."""

    model: str
    prompts: list[Prompt]
    config: SamplingConfig  # of each prompt; its n is how many texts are written
    n: int  # how many of them are answered
    logprobs: int | None  # that are answered
    stream: bool
    include_usage: bool
    novelty: bool


def read(data: bytes) -> Asked:
    """What a body asks for. Raises as `Body.parse`, and `InvalidSetting` where two fields contradict each other."""
    values = {name: value for name, value in COMPLETION.parse(data).items() if value is not None}
    prompts = prompts_of(values.pop("prompt", ""))
    model, stream, novelty = values.pop("model", "latest"), values.pop("stream", False), values.pop("novelty", False)
    include_usage = bool(values.pop("stream_options", {}).get("include_usage"))
    n, best_of, logprobs = values.get("n", 1), values.pop("best_of", 0), values.get("logprobs")
    if best_of > 1 and best_of < n:
        raise InvalidSetting("best_of", best_of, f"0, or at least n, which is {n}")
    if best_of > n:
        if stream:
            raise InvalidSetting("best_of", best_of, "0 or n where stream is true", "which texts are best is known at the end")
        values |= {"n": best_of, "logprobs": logprobs or 0}
    stop = values.pop("stop", [])
    values["stop"] = [each for each in ([stop] if isinstance(stop, str) else stop) if each]
    values["top_k"] = max(0, values.get("top_k", 0))
    for name in ("suffix", "user"):
        values.pop(name, None)
    config = SamplingConfig.from_dict({NAMES.get(name, name): value for name, value in values.items()})
    return Asked(model, prompts, config, n, logprobs, stream, include_usage, novelty)


def prompts_of(given: str | list[Any]) -> list[Prompt]:
    """One prompt or several, each as text or as ids. Raises `InvalidSetting` where an id stands beside a prompt."""
    if isinstance(given, str):
        return [given]
    ids = sum(type(each) is int for each in given)
    if ids == len(given):  # also where there is nothing in it
        return [given]
    if ids:
        COMPLETION.refuse("prompt", given)
    return given


@contextmanager
def in_their_words(asked: Asked) -> Iterator[None]:
    """Whatever is refused inside is called by the client's names."""
    names = {**NAMES, "best_of": "n"} if asked.config.n != asked.n else NAMES
    try:
        yield
    except InvalidSetting as error:
        for theirs, ours in names.items():
            if error.param == ours:
                error.param, error.args = theirs, (str(error).replace(ours, theirs, 1),)
        raise


# ── writing ──────────────────────────────────────────────────────────────────────────────────────────────────────────

log = logging.getLogger("charloom")


@dataclass
class ChoiceText:
    """One of the texts that were asked for, as far as it is there."""

    parts: list[str] = field(default_factory=list)
    scores: list[SymbolLogprob] = field(default_factory=list)
    symbols: int = 0
    finish_reason: FinishReason | None = None

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(self.parts)


class News(NamedTuple):
    """What is new of one choice."""

    choice: int
    text: str
    scores: list[SymbolLogprob]
    finish_reason: FinishReason | None
    last: bool  # of all choices


class Writing:
    """Gathers what is written."""

    def __init__(self, begun: Request) -> None:
        self.begun = begun
        self.choices = [ChoiceText() for _ in range(begun.choices)]
        self._unfinished = begun.choices

    def news(self, left: Callable[[], bool]) -> Iterator[News]:
        """What is new, as it is made, until all is there or the client has `left`. Raises as `Request.pieces`."""
        for pieces in self.begun.pieces(left):
            texts: dict[int, str] = {}
            scores: dict[int, list[SymbolLogprob]] = {}
            for piece in pieces:
                texts[piece.choice] = texts.get(piece.choice, "") + piece.text
                if piece.logprobs:
                    scores.setdefault(piece.choice, []).extend(piece.logprobs)
                choice = self.choices[piece.choice]
                choice.symbols, choice.finish_reason = piece.symbols, piece.finish_reason
            for index, text in texts.items():
                choice = self.choices[index]
                self._unfinished -= choice.finish_reason is not None
                choice.parts.append(text)
                choice.scores += scores.get(index, [])
                yield News(index, text, scores.get(index, []), choice.finish_reason, not self._unfinished)

    def finish(self, left: Callable[[], bool]) -> None:
        """Wait until all is there, or the client has `left`."""
        with self.begun:
            for _ in self.news(left):
                pass

    @property
    def symbols(self) -> int:
        """That were drawn."""
        return sum(choice.symbols for choice in self.choices)


def substituted(part: Part) -> list[Substituted]:
    """What of a prompt was replaced."""
    return [Substituted(**each._asdict()) for each in part.accepted.substituted] if part.accepted else []


def streamed(begun: Request, events: Iterator[Any], service: Service) -> Response:
    """Server-sent events, then ``[DONE]``; an error is an event, too, and ends the stream."""

    def encoded() -> Iterator[bytes]:
        try:
            for each in events:
                yield event(each)
            yield DONE
        except Exception as error:  # it is too late for a status
            if not isinstance(error, CharloomError):
                log.exception("a stream failed")
            yield event(body_of(error, service))

    response = Response(encoded(), mimetype="text/event-stream", headers={"X-Accel-Buffering": "no"})
    response.call_on_close(begun.cancel)  # a generator that was never started would not get to its end
    return response


# ── novelty ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def novelty_of(service: Service, begun: Request, choice: int, text: str, finish_reason: FinishReason | None) -> TextNovelty | CharloomError:
    """Compares one of a request's texts, which may begin with its echoed prompt, with the corpus."""
    part = begun.parts[choice // begun.parts[0].config.n]
    prompt = _prompt(begun, part)
    own = text[len(prompt) :] if part.config.echo else text
    return service.comparer.try_compare(begun.model.run, own, prompt=prompt, ended=finish_reason == "stop")


def _prompt(begun: Request, part: Part) -> str:
    """A prompt as it was read."""
    vocabulary = begun.model.checkpoint.vocabulary
    read = part.accepted.prompt_symbols if part.accepted else 0
    if part.config.prompt_ids is None:
        ids, _, _ = vocabulary.encode_prompt(part.config.prompt, read)
    else:
        ids, _, _ = vocabulary.encode_ids(part.config.prompt_ids, read)
    return vocabulary.decode(ids)


def fault(error: CharloomError | None, service: Service) -> Fault | msgspec.UnsetType:
    """An error as a part of an answer, if there is one."""
    return Fault(**body_of(error, service)["error"]) if error else msgspec.UNSET


# ── answering ────────────────────────────────────────────────────────────────────────────────────────────────────────


class Answering:
    """One completion."""

    def __init__(self, name: str, asked: Asked, begun: Request, service: Service, version: str) -> None:
        """`name` is its id, `version` that of the release."""
        self._name, self._asked, self._begun, self._service = name, asked, begun, service
        self._untold: CharloomError | None = None  # why nobody can tell what was copied
        self._writing = Writing(begun)
        self._created = int(time.time())
        self._fingerprint = f"charloom-{version} {begun.model.name}"

    def whole(self, left: Callable[[], bool]) -> Completion:
        """All at once: of each prompt the n best of its texts."""
        self._writing.finish(left)
        found = [(number, choice) for part in self._begun.parts for number, choice in self._best(part)]
        choices = []
        for index, (number, each) in enumerate(found):
            choice = self._choice(index, each.text, each.scores, each.finish_reason)
            choice.novelty = self._novelty(number)
            choices.append(choice)
        return self._completion(choices, usage=self._usage(), charloom=self._facts())

    def _best(self, part: Part) -> list[tuple[int, ChoiceText]]:
        """The texts of a prompt that are answered, with their numbers.

        Where more were written, those with the highest mean log-probability come first.
        """
        choices = [(number, self._writing.choices[number]) for number in range(part.first, part.first + part.config.n)]
        if len(choices) == self._asked.n:
            return choices
        echoed = part.accepted.prompt_symbols if part.accepted and part.config.echo else 0
        return sorted(choices, key=lambda found: -mean_logprob(found[1].scores[echoed:]))[: self._asked.n]

    def events(self, left: Callable[[], bool]) -> Iterator[Completion]:
        """As it is written, one choice an event; the last has the facts."""
        usage = None if self._asked.include_usage else UNSET
        for news in self._writing.news(left):
            if news.text or news.finish_reason:
                last = news.last and not self._asked.include_usage
                choice = self._choice(news.choice, news.text, news.scores, news.finish_reason)
                if news.finish_reason:
                    choice.novelty = self._novelty(news.choice)
                yield self._completion([choice], usage=usage, charloom=self._facts() if last else UNSET)
        if self._asked.include_usage and not self._begun.unfinished:
            yield self._completion([], usage=self._usage(), charloom=self._facts())

    def _novelty(self, number: int) -> TextNovelty | UnsetType | None:
        """What of a finished text was copied, where that is wanted."""
        if not self._asked.novelty:
            return UNSET
        choice = self._writing.choices[number]
        found = novelty_of(self._service, self._begun, number, choice.text, choice.finish_reason)
        if isinstance(found, CharloomError):
            self._untold = self._untold or found
            return None
        return found

    def _facts(self) -> CompletionFacts:
        found = facts(self._begun)
        found.novelty_error = fault(self._untold, self._service)
        return found

    def _completion(
        self, choices: list[CompletionChoice], usage: Usage | UnsetType | None, charloom: CompletionFacts | UnsetType
    ) -> Completion:
        return Completion(
            id=self._name,
            created=self._created,
            model=self._begun.model.run.name,
            choices=choices,
            system_fingerprint=self._fingerprint,
            usage=usage,
            charloom=charloom,
        )

    def _choice(self, index: int, text: str, scores: Sequence[SymbolLogprob], finish_reason: FinishReason | None) -> CompletionChoice:
        logprobs = None if self._asked.logprobs is None else in_their_shape(scores, alternatives=bool(self._asked.logprobs))
        return CompletionChoice(text=text, index=index, logprobs=logprobs, finish_reason=finish_reason)

    def _usage(self) -> Usage:
        read = sum(part.accepted.prompt_symbols for part in self._begun.parts if part.accepted)
        written = self._writing.symbols
        return Usage(prompt_tokens=read, completion_tokens=written, total_tokens=read + written)


def mean_logprob(scores: Sequence[SymbolLogprob]) -> float:
    """Of a text's symbols; 0, the highest there is, for one without any."""
    return sum(score.logprob or 0.0 for score in scores) / max(1, len(scores))


def in_their_shape(scores: Sequence[SymbolLogprob], *, alternatives: bool) -> CompletionLogprobs:
    """Among the likeliest is always the symbol itself."""
    return CompletionLogprobs(
        tokens=[score.text for score in scores],
        token_logprobs=[score.logprob for score in scores],
        top_logprobs=[_top(score) for score in scores] if alternatives else None,
        text_offset=[score.position for score in scores],
    )


def _top(score: SymbolLogprob) -> dict[str, float] | None:
    return None if score.logprob is None else {**dict(score.alternatives), score.text: score.logprob}


def facts(begun: Request) -> CompletionFacts:
    """What makes the texts of a request again, and how it went."""
    prompts = [
        PromptFacts(
            seed=part.config.seed or 0,
            temperature=list(part.course),
            symbols=part.accepted.prompt_symbols if part.accepted else 0,
            truncated=bool(part.accepted and part.accepted.truncated),
            substituted=substituted(part),
        )
        for part in begun.parts
    ]
    return CompletionFacts(
        checkpoint=begun.model.name, seed=prompts[0].seed, temperature=prompts[0].temperature, out_of_time=begun.cut, prompts=prompts
    )
