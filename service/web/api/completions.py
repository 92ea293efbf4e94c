"""``/v1/completions``: text in the way of OpenAI's API, whole or as it is written, and a change of its temperature meanwhile."""

from __future__ import annotations

from flask import Blueprint, Response, g, request

from model.errors import CheckpointError, InvalidSetting
from service.system.errors import NotFound, ServiceError, TooManyRequests
from service.web.api.completion_adapter import CHANGE, COMPLETION, Answering, facts, in_their_words, read, streamed
from service.web.api.protocol import Completion, CompletionFacts, Error
from service.web.api.request_body import client_left, json_body
from service.web.api.responses import answer
from service.web.openapi import operation
from service.web.state import Service

RAISES = (InvalidSetting, NotFound, TooManyRequests, ServiceError, CheckpointError)


def routes(service: Service, version: str) -> Blueprint:
    """The routes and their views."""
    blueprint = Blueprint("completions", __name__)

    @blueprint.post("/v1/completions")
    @operation(
        "texts",
        body=COMPLETION,
        example={"model": "latest", "prompt": "Once", "max_tokens": 200},
        answer=Completion,
        events=(Completion, Error),
        raises=RAISES,
    )
    def complete() -> Response:
        """Continue a text, or several.

        A token is a symbol of the model's alphabet: a character, for most. With `stream` an event comes for each piece, the last of
        them with the facts, then `[DONE]`.
        """
        asked = read(json_body(request))
        with in_their_words(asked):
            begun = service.begin(asked.model, asked.config, asked.prompts, whole=not asked.stream, novelty=asked.novelty)
        name = service.running.add(caller(), begun) if asked.stream else service.running.new()
        answering, left = Answering(name, asked, begun, service, version), client_left(request)
        if not asked.stream:
            return answer(answering.whole(left))
        response = streamed(begun, answering.events(left), service)
        response.call_on_close(lambda: service.running.remove(name))
        return response

    @blueprint.patch("/v1/completions/<completion>")
    @operation("texts", body=CHANGE, answer=CompletionFacts, raises=RAISES)
    def change(completion: str) -> Response:
        """Change the temperature of a completion that is being written.

        Only whoever began it can. It is in force for all that is not written yet; the answer, as the last event of the stream,
        tells the temperatures from which the text can be made again.
        """
        values = CHANGE.parse(json_body(request))
        begun = service.running.get(caller(), completion)
        begun.set_temperature(values["temperature"])
        return answer(facts(begun))

    return blueprint


def caller() -> str:
    """Who asks."""
    return str(getattr(g, "caller", "local"))
