"""Serves /v1/completions, where clients can change the temperature of a running stream."""

from __future__ import annotations

from flask import Blueprint, Response, request

from model.errors import CheckpointError, InvalidSetting
from service.system.errors import NotFound, ServiceError, TooManyRequests
from service.web.api.completion_adapter import (
    CHANGE,
    COMPLETION,
    CompletionBuilder,
    completion_facts,
    event_stream,
    parse_completion,
    with_biases,
)
from service.web.api.protocol import Completion, CompletionFacts, Error
from service.web.api.request_body import client_left, json_body
from service.web.api.responses import answer, large_answer
from service.web.auth import caller
from service.web.openapi import operation
from service.web.state import Service

RAISES = (InvalidSetting, NotFound, TooManyRequests, ServiceError, CheckpointError)


def routes(service: Service, version: str) -> Blueprint:
    """Returns the routes and their views."""
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
        """Write the continuation of a text, or of several.

        A token is a symbol of the model's alphabet: a character, for most. With `stream` an event comes for each piece, the last of
        them with the facts, then `[DONE]`.
        """
        asked = with_biases(parse_completion(json_body(request)), service)
        with asked.client_names():
            generation = service.begin(
                asked.model, asked.config, asked.prompts, whole=not asked.stream, novelty=asked.novelty, caller=caller()
            )
        asked = asked._replace(prompts=[])  # they may be long, and many requests may wait
        name = service.running.add(caller(), generation) if asked.stream else service.running.new()
        builder, left = CompletionBuilder(name, asked, generation, service, version), client_left(request)
        if not asked.stream:
            return (answer if asked.logprobs is None else large_answer)(builder.whole(left))
        response = event_stream(generation, builder.events(left), service)
        response.call_on_close(lambda: service.running.remove(name))
        return response

    @blueprint.patch("/v1/completions/<completion>")
    @operation("texts", body=CHANGE, answer=CompletionFacts, raises=RAISES)
    def change(completion: str) -> Response:
        """Change the temperature of a completion that is being generated.

        Only the caller that began it can. The new value applies to all that is not generated yet. The answer, like the last event of the
        stream, has the temperatures from which the text can be generated again.
        """
        values = CHANGE.parse(json_body(request))
        generation = service.running.get(caller(), completion)
        generation.set_temperature(values["temperature"])
        return answer(completion_facts(generation))

    return blueprint
