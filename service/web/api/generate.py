"""Serves POST /generate: text from a model, whole or as a stream."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from flask import Blueprint, Response, request

from model.errors import CharloomError, CheckpointError, InvalidSetting
from service.system.errors import NotFound, ServiceError, TooManyRequests
from service.web.api.completion_adapter import RequestOutput, compare_choice, event_stream, fault, record_facts, substitutions
from service.web.api.protocol import Error, Generated, GeneratedPiece
from service.web.api.request_body import client_left, json_body
from service.web.api.responses import answer
from service.web.auth import caller
from service.web.openapi import operation
from service.web.state import Service
from service.web.validation import GENERATE, WITHOUT, sampling_config

RAISES = (InvalidSetting, NotFound, TooManyRequests, ServiceError, CheckpointError)


def routes(service: Service) -> Blueprint:
    """Returns the route and its view."""
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

        Every field is optional, and so is the body. With `stream` an event comes for each piece, then one with the facts, then `[DONE]`.
        """
        values = GENERATE.parse(json_body(request))
        model, stream, novelty = values.pop("model", "latest"), values.pop("stream", False), values.pop("novelty", False)
        generation = service.begin(model, sampling_config(values), whole=not stream, novelty=novelty, caller=caller())
        values.clear()  # the prompt may be long, and many requests may wait
        output, left = RequestOutput(generation), client_left(request)
        if stream:
            return event_stream(generation, events(output, left, novelty, service), service)
        output.wait(left)
        return answer(facts(output, service, novelty, with_texts=True))

    return blueprint


def events(output: RequestOutput, left: Callable[[], bool], novelty: bool, service: Service) -> Iterator[GeneratedPiece | Generated]:
    """Yields the pieces of the texts, then the facts."""
    for piece in output.pieces(left):
        if piece.text:
            yield GeneratedPiece(text=piece.text, index=piece.choice)
    yield facts(output, service, novelty)


def novelties(output: RequestOutput, service: Service) -> dict[str, Any]:
    """Returns the fields that tell what of the texts was copied."""
    found = [compare_choice(service, output, choice) for choice in range(output.request.choices)]
    error = next((each for each in found if isinstance(each, CharloomError)), None)
    results = [None if isinstance(each, CharloomError) else each for each in found]
    return {**one_or_all("novelty", "novelties", results, len(results) > 1), "novelty_error": fault(error, service)}


def facts(output: RequestOutput, service: Service, novelty: bool, *, with_texts: bool = False) -> Generated:
    """Returns what is needed to generate the texts again, and how it went."""
    generation = output.request
    [part] = generation.parts
    texts = [piece for piece in output.texts() if piece.finish_reason != "missing"]
    several = part.config.n > 1 or part.config.records is not None
    further = one_or_all("text", "texts", [piece.text for piece in texts], several) if with_texts else {}
    if novelty and not part.config.records:
        further |= novelties(output, service)
    used = part.config.to_dict() | {"length": part.config.most_symbols}
    accepted = part.accepted
    return Generated(
        model=generation.model.run.name,
        checkpoint=generation.model.name,
        seed=part.config.seed or 0,
        **one_or_all("finish_reason", "finish_reasons", [piece.finish_reason for piece in texts], several),
        records=record_facts(service, output, part, novelty),
        out_of_time=generation.cut,
        substituted=substitutions(part),
        prompt_truncated=bool(accepted and accepted.truncated),
        prompt_symbols=accepted.prompt_symbols if accepted else 0,
        symbols=generation.symbols,
        parameters={name: value for name, value in used.items() if name not in ("prompt", "seed", *WITHOUT)},
        characters_per_second=round(sum(len(piece.text) for piece in texts) / max(generation.seconds, 1e-6), 1),
        **further,
    )


def one_or_all(one: str, all_: str, values: Sequence[Any], several: bool) -> dict[str, Any]:
    """Returns the field of a single text, or that of several."""
    return {all_: values} if several else {one: values[0]}
