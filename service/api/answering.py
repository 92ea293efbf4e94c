"""What ``/v1/completions`` answers: a request's texts in OpenAI's shapes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

from msgspec import UNSET, UnsetType

from model.errors import CharloomError
from model.texts import FinishReason, Score
from service.api.asking import Asked
from service.api.novelty import fault, told
from service.api.shapes import Completion, CompletionChoice, CompletionFacts, CompletionLogprobs, PromptFacts, TextNovelty, Usage
from service.api.writing import Choice, Writing, substituted
from service.requests import Part, Request
from service.serving import Service


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

    def _best(self, part: Part) -> list[tuple[int, Choice]]:
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
        found = told(self._service, self._begun, number, choice.text, choice.finish_reason)
        self._untold = self._untold or found.error
        return found.novelty

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

    def _choice(self, index: int, text: str, scores: Sequence[Score], finish_reason: FinishReason | None) -> CompletionChoice:
        logprobs = None if self._asked.logprobs is None else in_their_shape(scores, alternatives=bool(self._asked.logprobs))
        return CompletionChoice(text=text, index=index, logprobs=logprobs, finish_reason=finish_reason)

    def _usage(self) -> Usage:
        read = sum(part.accepted.prompt_symbols for part in self._begun.parts if part.accepted)
        written = self._writing.symbols
        return Usage(prompt_tokens=read, completion_tokens=written, total_tokens=read + written)


def mean_logprob(scores: Sequence[Score]) -> float:
    """Of a text's symbols; 0, the highest there is, for one without any."""
    return sum(score.logprob or 0.0 for score in scores) / max(1, len(scores))


def in_their_shape(scores: Sequence[Score], *, alternatives: bool) -> CompletionLogprobs:
    """Among the likeliest is always the symbol itself."""
    return CompletionLogprobs(
        tokens=[score.text for score in scores],
        token_logprobs=[score.logprob for score in scores],
        top_logprobs=[_top(score) for score in scores] if alternatives else None,
        text_offset=[score.position for score in scores],
    )


def _top(score: Score) -> dict[str, float] | None:
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
