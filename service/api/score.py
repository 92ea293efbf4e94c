"""``POST /v1/score``: how likely a text is under a model, symbol by symbol, and which of several models most likely wrote it."""

from __future__ import annotations

import math
from typing import Any

from flask import Blueprint, Response, request

from model.errors import CheckpointError, InvalidSetting, NotFound, ServiceError, TooManyRequests
from model.normalization import normalize
from service.api.answering import in_their_shape
from service.api.answers import answer
from service.api.bodies import client_left, json_body
from service.api.fields import route_fields
from service.api.operations import operation
from service.api.schema import Body
from service.api.shapes import Scored, TextScore
from service.scoring import Judgement, posterior
from service.serving import Service

RAISES = (InvalidSetting, NotFound, TooManyRequests, ServiceError, CheckpointError)
SCORE = Body("ScoreRequest", route_fields("score"))
MOST = 500_000  # log-probabilities that one answer tells: some 15 MB of JSON


def routes(service: Service) -> Blueprint:
    """The route and its view."""
    blueprint = Blueprint("score", __name__)

    @blueprint.post("/v1/score")
    @operation("texts", body=SCORE, answer=Scored, raises=RAISES)
    def score() -> Response:
        """Say how likely a text is.

        It is read as after a line end. Log-probabilities are in nats; a symbol outside of a model's alphabet counts as if any character
        could have stood there. Several models are asked one after the other, and the answer says how likely each of them wrote it.
        """
        values = SCORE.parse(json_body(request))
        names, text, alternatives = models_of(values), values["text"], values.get("logprobs", 0)
        if alternatives is not None and len(text) * (1 + alternatives) * len(names) > MOST:
            raise InvalidSetting("logprobs", alternatives, "null for so long a text, or for so many models", "the limit of this service")
        found = service.scorer.judge(service.find, names, text, alternatives, client_left(request))
        return answer(told(found, text, alternatives))

    return blueprint


def models_of(values: dict[str, Any]) -> list[str]:
    """The models that are asked."""
    named = values.get("model", "latest")
    return named if isinstance(named, list) else [named]


def told(found: list[Judgement], text: str, alternatives: int | None) -> Scored:
    """What the models think, in the order in which they were named, and which of them most likely wrote the text."""
    characters = len(normalize(text, "nfc"))
    shares = posterior([each.log_likelihood for each in found]) if found else []
    scores = [
        TextScore(
            model=each.model,
            symbols=each.symbols,
            unknown=each.unknown,
            log_likelihood=each.log_likelihood,
            loss=-each.log_likelihood / each.symbols if each.symbols else None,
            bits_per_char=-each.log_likelihood / math.log(2) / characters if characters else None,
            probability=share,
            logprobs=None if each.scores is None else in_their_shape(each.scores, alternatives=bool(alternatives)),
        )
        for each, share in zip(found, shares, strict=True)
    ]
    likeliest = max(scores, key=lambda each: each.probability, default=None)
    return Scored(characters=characters, data=scores, likeliest=likeliest.model if likeliest else None)
