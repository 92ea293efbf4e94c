"""A request for texts while these arrive, and how they reach a client: all at once, or as events of a stream."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from flask import Response

from model.errors import CharloomError
from model.texts import FinishReason, Score
from service.api.answers import DONE, event
from service.api.shapes import Substituted
from service.errors import body_of
from service.requests import Part, Request
from service.serving import Service

log = logging.getLogger("charloom")


@dataclass
class Choice:
    """One of the texts that were asked for, as far as it is there."""

    parts: list[str] = field(default_factory=list)
    scores: list[Score] = field(default_factory=list)
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
    scores: list[Score]
    finish_reason: FinishReason | None
    last: bool  # of all choices


class Writing:
    """Gathers what is written."""

    def __init__(self, begun: Request) -> None:
        self.begun = begun
        self.choices = [Choice() for _ in range(begun.choices)]
        self._unfinished = begun.choices

    def news(self, left: Callable[[], bool]) -> Iterator[News]:
        """What is new, as it is made, until all is there or the client has `left`. Raises as `Request.pieces`."""
        for pieces in self.begun.pieces(left):
            texts: dict[int, str] = {}
            scores: dict[int, list[Score]] = {}
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
