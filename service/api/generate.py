"""``POST /generate``: text from a model, whole or as it is written."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

from flask import Blueprint, Response, request

from model.config import SamplingConfig
from model.errors import CharloomError
from service.api.answers import DONE, answer, event
from service.api.bodies import client_left, json_body
from service.api.schema import GENERATE
from service.engine import Request
from service.errors import body_of
from service.serving import Service

log = logging.getLogger("charloom")


def routes(service: Service) -> Blueprint:
    """The route and its view."""
    blueprint = Blueprint("generate", __name__)

    @blueprint.post("/generate")
    def generate() -> Response:
        values = GENERATE.parse(json_body(request))
        model, stream = values.pop("model", "latest"), values.pop("stream", False)
        begun = service.begin(model, SamplingConfig.from_dict(values), whole=not stream)
        writing = Writing(begun)
        if stream:
            return _streamed(writing, service)
        with begun:
            for _ in writing.pieces(client_left(request)):
                pass
        return answer(writing.text() | writing.facts())

    return blueprint


def _streamed(writing: Writing, service: Service) -> Response:
    """Server-sent events: a piece of text each, then the facts, then ``[DONE]``; an error ends the stream."""
    left = client_left(request)

    def events() -> Iterator[bytes]:
        try:
            for index, text in writing.pieces(left):
                yield event({"text": text, "index": index})
            yield event(writing.facts())
            yield DONE
        except Exception as error:  # it is too late for a status
            if not isinstance(error, CharloomError):
                log.exception("a stream failed")
            yield event(body_of(error, service))

    response = Response(events(), mimetype="text/event-stream", headers={"X-Accel-Buffering": "no"})
    response.call_on_close(writing.begun.cancel)  # a generator that was never started would not get to its end
    return response


class Writing:
    """A request while its text arrives, and what is told about it at the end."""

    def __init__(self, begun: Request) -> None:
        self.begun = begun
        self._texts: list[list[str]] = [[] for _ in range(begun.config.n)]
        self._reasons: list[str | None] = [None] * begun.config.n
        self._symbols = [0] * begun.config.n

    def pieces(self, left: Callable[[], bool]) -> Iterator[tuple[int, str]]:
        """(index of the text, what is new of it), as it is made."""
        for pieces in self.begun.pieces(left):
            new: dict[int, str] = {}
            for piece in pieces:
                new[piece.choice] = new.get(piece.choice, "") + piece.text
                self._symbols[piece.choice] = piece.symbols
                self._reasons[piece.choice] = piece.finish_reason
            for index, text in new.items():
                if text:
                    self._texts[index].append(text)
                    yield index, text

    def text(self) -> dict[str, Any]:
        """``text``, or ``texts`` where more than one was asked for."""
        texts = ["".join(parts) for parts in self._texts]
        return {"text": texts[0]} if len(texts) == 1 else {"texts": texts}

    def facts(self) -> dict[str, Any]:
        """All that is needed to make the text again, and how it went."""
        begun, accepted, config = self.begun, self.begun.accepted, self.begun.config
        written = sum(len(part) for parts in self._texts for part in parts)
        parameters = config.to_dict()
        del parameters["prompt"], parameters["seed"]
        one = config.n == 1
        return {
            "model": begun.model.run.name,
            "checkpoint": begun.model.name,
            "seed": config.seed,
            **({"finish_reason": self._reasons[0]} if one else {"finish_reasons": self._reasons}),
            "substituted": [substitution._asdict() for substitution in accepted.substituted] if accepted else [],
            "prompt_truncated": bool(accepted and accepted.truncated),
            "prompt_symbols": accepted.prompt_symbols if accepted else 0,
            "symbols": sum(self._symbols),
            "parameters": parameters,
            "characters_per_second": round(written / max(begun.seconds, 1e-6), 1),
        }
