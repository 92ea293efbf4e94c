"""Serves POST /v1/novelty and POST /v1/score, which analyse a text.

``POST /v1/novelty`` reports what of it was copied from the corpus of a model. ``POST /v1/score`` returns its log-likelihood under one
model or several, symbol by symbol, and which of these most likely wrote it.
"""

from __future__ import annotations

import math
from typing import Any

from flask import Blueprint, Response, request

from model.errors import CheckpointError, InvalidSetting
from model.normalization import normalize
from service.generation.scoring import Judgement, posterior
from service.novelty import TextNovelty
from service.system.errors import NotFound, ServiceError, TooManyRequests
from service.web.api.completion_adapter import completion_logprobs
from service.web.api.protocol import Scored, TextScore
from service.web.api.request_body import client_left, json_body
from service.web.api.responses import answer, large_answer
from service.web.auth import caller
from service.web.openapi import operation
from service.web.state import Service
from service.web.validation import Body, route_fields

# ── novelty ──────────────────────────────────────────────────────────────────────────────────────────────────────────

NOVELTY = Body("NoveltyRequest", route_fields("novelty"))
LONGEST_COMPARED = 100_000  # characters of a text: comparing them takes some seconds


def novelty_routes(service: Service) -> Blueprint:
    """Returns the route and its view."""
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
        """Report what of a text was copied from the corpus of a model.

        The first request builds an index of the corpus, which takes some seconds for 10 MB. If it is not ready after half a minute, the
        answer is 503; try again then.
        """
        values = {name: value for name, value in NOVELTY.parse(json_body(request)).items() if value is not None}
        text = values["text"]
        if len(text) > LONGEST_COMPARED:
            raise InvalidSetting(
                "text", f"a string of {len(text):,} characters", f"one of at most {LONGEST_COMPARED:,}", "send it in parts"
            )
        run = service.find(values.get("model", "latest")).run
        options = {name: values[name] for name in ("prompt", "ended", "min_length") if name in values}
        return answer(service.comparer.compare(run, text, client_left(request), caller=caller(), **options))

    return blueprint


# ── score ────────────────────────────────────────────────────────────────────────────────────────────────────────────

RAISES = (InvalidSetting, NotFound, TooManyRequests, ServiceError, CheckpointError)
SCORE = Body("ScoreRequest", route_fields("score"))


def score_routes(service: Service) -> Blueprint:
    """Returns the route and its view."""
    blueprint = Blueprint("score", __name__)

    @blueprint.post("/v1/score")
    @operation("texts", body=SCORE, answer=Scored, raises=RAISES)
    def score() -> Response:
        """Return the log-likelihood of a text.

        The text is read as if it followed a line end. Log-probabilities are in nats. A symbol outside a model's alphabet counts as if every
        character were equally likely there. If several models are named, the answer has the probability that each of them wrote the text.
        """
        values = SCORE.parse(json_body(request))
        names, text, alternatives = models_of(values), values["text"], values.get("logprobs", 0)
        if alternatives is not None and len(text) * (1 + alternatives) * len(names) > service.config.max_logprobs:
            raise InvalidSetting("logprobs", alternatives, "null for so long a text, or for so many models", "the limit of this service")
        found = service.scorer.judge(service.find, names, text, alternatives, client_left(request), caller())
        service.limits.symbols.spend(caller(), sum(each.symbols for each in found))
        return (answer if alternatives is None else large_answer)(score_of(found, text, alternatives))

    return blueprint


def models_of(values: dict[str, Any]) -> list[str]:
    """Returns the names of the models."""
    names = values.get("model", "latest")
    return names if isinstance(names, list) else [names]


def score_of(found: list[Judgement], text: str, alternatives: int | None) -> Scored:
    """Returns the scores in the order in which the models were named, and the model that most likely wrote the text."""
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
            logprobs=None if each.scores is None else completion_logprobs(each.scores, alternatives=bool(alternatives)),
        )
        for each, share in zip(found, shares, strict=True)
    ]
    likeliest = max(scores, key=lambda each: each.probability, default=None)
    return Scored(characters=characters, data=scores, likeliest=likeliest.model if likeliest else None)
