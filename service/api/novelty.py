"""Is it new? ``POST /v1/novelty`` for any text, and the same for texts that were just written."""

from __future__ import annotations

from typing import NamedTuple

import msgspec
from flask import Blueprint, Response, request

from model.errors import CharloomError, CheckpointError, InvalidSetting, NotFound, ServiceError, TooManyRequests
from model.texts import FinishReason
from service.api.answers import answer
from service.api.bodies import client_left, json_body
from service.api.fields import route_fields
from service.api.operations import operation
from service.api.schema import Body
from service.api.shapes import Fault, TextNovelty
from service.errors import body_of
from service.requests import Part, Request
from service.serving import Service

NOVELTY = Body("NoveltyRequest", route_fields("novelty"))
MOST = 100_000  # characters of a text: some seconds


def routes(service: Service) -> Blueprint:
    """The route and its view."""
    blueprint = Blueprint("novelty", __name__)

    @blueprint.post("/v1/novelty")
    @operation(
        "texts",
        body=NOVELTY,
        example={"model": "latest", "text": "To be, or not to be, that is the answer"},
        answer=TextNovelty,
        raises=(InvalidSetting, NotFound, TooManyRequests, ServiceError, CheckpointError),
    )
    def novelty() -> Response:
        """Say what of a text was copied from the corpus of a model.

        The first time an index of the corpus is made, which takes some seconds for 10 MB. After half a minute the answer is 503; the next
        one may be there.
        """
        values = {name: value for name, value in NOVELTY.parse(json_body(request)).items() if value is not None}
        text = values["text"]
        if len(text) > MOST:
            raise InvalidSetting("text", f"a string of {len(text):,} characters", f"one of at most {MOST:,}", "send it in parts")
        run = service.find(values.get("model", "latest")).run
        wanted = {name: values[name] for name in ("prompt", "ended", "min_length") if name in values}
        return answer(TextNovelty.of(service.comparer.compare(run, text, client_left(request), **wanted)))

    return blueprint


class Told(NamedTuple):
    """What of a written text was copied, or what stood in the way of telling that."""

    novelty: TextNovelty | None
    error: CharloomError | None


def told(service: Service, begun: Request, choice: int, text: str, finish_reason: FinishReason | None) -> Told:
    """What of one of a request's texts was copied; `text` may begin with its echoed prompt."""
    part = begun.parts[choice // begun.parts[0].config.n]
    prompt = _prompt(begun, part)
    own = text[len(prompt) :] if part.config.echo else text
    found = service.comparer.try_compare(begun.model.run, own, prompt=prompt, ended=finish_reason == "stop")
    return Told(TextNovelty.of(found.novelty) if found.novelty else None, found.error)


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
