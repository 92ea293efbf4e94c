"""``POST /generate``: text from a model, whole or as it is written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from flask import Blueprint, Response, request

from model.config import SamplingConfig
from model.errors import CharloomError, CheckpointError, InvalidSetting
from service.system.errors import NotFound, ServiceError, TooManyRequests
from service.web.api.completion_adapter import Writing, fault, novelty_of, streamed, substituted
from service.web.api.protocol import Error, Generated, GeneratedPiece, Shape
from service.web.api.request_body import client_left, json_body
from service.web.api.responses import answer
from service.web.openapi import operation
from service.web.state import Service
from service.web.validation import GENERATE, WITHOUT

RAISES = (InvalidSetting, NotFound, TooManyRequests, ServiceError, CheckpointError)


def routes(service: Service) -> Blueprint:
    """The route and its view."""
    blueprint = Blueprint("generate", __name__)

    @blueprint.post("/generate")
    @operation(
        "texts",
        body=GENERATE,
        example={"prompt": "Once", "length": 200, "temperature": 0.7},
        answer=Generated,
        events=(GeneratedPiece, Generated, Error),
        raises=RAISES,
    )
    def generate() -> Response:
        """Write a text.

        The simple door: every field is optional, and so is the body. With `stream` an event comes for each piece, then one with the
        facts, then `[DONE]`.
        """
        values = GENERATE.parse(json_body(request))
        model, stream, novelty = values.pop("model", "latest"), values.pop("stream", False), values.pop("novelty", False)
        begun = service.begin(model, SamplingConfig.from_dict(values), whole=not stream, novelty=novelty)
        writing, left = Writing(begun), client_left(request)
        compared = partial(novelties, writing, service) if novelty else dict
        if stream:
            return streamed(begun, events(writing, left, compared), service)
        writing.finish(left)
        texts = [choice.text for choice in writing.choices]
        return answer(facts(writing, **({"text": texts[0]} if len(texts) == 1 else {"texts": texts}), **compared()))

    return blueprint


def events(writing: Writing, left: Callable[[], bool], compared: Callable[[], dict[str, Any]]) -> Iterator[Shape]:
    """A piece of text each, then the facts, with what `compared` finds in the end."""
    for news in writing.news(left):
        if news.text:
            yield GeneratedPiece(text=news.text, index=news.choice)
    yield facts(writing, **compared())


def novelties(writing: Writing, service: Service) -> dict[str, Any]:
    """The fields that tell what of the texts was copied."""
    found = [novelty_of(service, writing.begun, index, each.text, each.finish_reason) for index, each in enumerate(writing.choices)]
    error = next((each for each in found if isinstance(each, CharloomError)), None)
    told = [None if isinstance(each, CharloomError) else each for each in found]
    return {**({"novelty": told[0]} if len(told) == 1 else {"novelties": told}), "novelty_error": fault(error, service)}


def facts(writing: Writing, **further: Any) -> Generated:
    """All that is needed to make the text again, and how it went."""
    begun = writing.begun
    [part] = begun.parts
    accepted, reasons = part.accepted, [choice.finish_reason for choice in writing.choices]
    parameters = {name: value for name, value in part.config.to_dict().items() if name not in ("prompt", "seed", *WITHOUT)}
    return Generated(
        model=begun.model.run.name,
        checkpoint=begun.model.name,
        seed=part.config.seed or 0,
        **({"finish_reason": reasons[0]} if len(reasons) == 1 else {"finish_reasons": reasons}),
        out_of_time=begun.cut,
        substituted=substituted(part),
        prompt_truncated=bool(accepted and accepted.truncated),
        prompt_symbols=accepted.prompt_symbols if accepted else 0,
        symbols=writing.symbols,
        parameters=parameters,
        characters_per_second=round(sum(len(choice.text) for choice in writing.choices) / max(begun.seconds, 1e-6), 1),
        **further,
    )
