"""Serves POST /v1/novelty, POST /v1/score and POST /tokenize, which analyse a text.

``POST /v1/novelty`` reports what of it was copied from the corpus of a model. ``POST /v1/score`` returns its log-likelihood under one
model or several, symbol by symbol, and which of these most likely wrote it. ``POST /tokenize``, ``POST /detokenize`` and ``GET
/tokenizer_info``, in the shapes of vLLM, tell the ids of symbols: a prompt of ids is read as the text they were made from, and
`logit_bias` takes them.
"""

from __future__ import annotations

import math
import sys
from typing import Any

from flask import Blueprint, Response, request

from model.errors import CheckpointError, InvalidSetting, Word
from model.normalization import normalize, with_lf
from model.vocabulary import Encoded, Vocabulary
from service.generation.model_cache import LoadedModel
from service.generation.scoring import Judgement, posterior
from service.novelty import TextNovelty
from service.system.errors import NotFound, ServiceError, TooManyRequests
from service.web.api.completion_adapter import completion_logprobs
from service.web.api.protocol import Detokenized, Scored, Substituted, TextScore, Tokenized, TokenizerInfo
from service.web.api.request_body import client_left, json_body
from service.web.api.responses import answer, large_answer
from service.web.auth import caller
from service.web.openapi import operation
from service.web.state import Service
from service.web.validation import Body, Query, route_fields

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
        """Score a text: return its log-likelihood.

        The text is read as if it followed a line end, or as whole records. Log-probabilities are in nats. A symbol outside a model's
        alphabet counts as if every character were equally likely there. If several models are named, the answer has the probability that
        each of them wrote the text.
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
    characters = len(normalize(with_lf(text), "nfc"))
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


# ── tokenize ─────────────────────────────────────────────────────────────────────────────────────────────────────────

TOKENIZE = Body("TokenizeRequest", {**route_fields("tokens", "model"), **route_fields("tokenize")})
DETOKENIZE = Body("DetokenizeRequest", {**route_fields("tokens", "model"), **route_fields("detokenize")})
INFO = Query("TokenizerInfoQuery", route_fields("tokens", "model"))
WHOLE = sys.maxsize  # symbols of a text: none are cut off
MOST_DIFFERENT = 20_000  # characters of a text; for each that the alphabet lacks, 28 microseconds are spent on its closest form


def tokenize_routes(service: Service) -> Blueprint:
    """Return the routes and their views."""
    blueprint = Blueprint("tokenize", __name__)

    @blueprint.post("/tokenize")
    @operation("texts", body=TOKENIZE, example={"model": "latest", "prompt": "Once"}, answer=Tokenized, raises=RAISES)
    def tokenize() -> Response:
        """Return the ids of the symbols that a model reads of a text.

        They are those of a prompt: a character that the alphabet lacks is read in its closest known form, else as the unknown symbol,
        whose id is the size of the alphabet. No symbols are added.
        """
        values = TOKENIZE.parse(json_body(request))
        vocabulary = service.find(values.get("model") or "latest").checkpoint.vocabulary
        encoded = encoded_text(vocabulary, values["prompt"])
        tokens = encoded.ids.tolist()
        return large_answer(
            Tokenized(
                count=len(tokens),
                max_model_len=service.config.max_prompt,
                tokens=tokens,
                token_strs=[vocabulary.names[token] for token in tokens] if values.get("return_token_strs") else None,
                substituted=[Substituted(**each._asdict()) for each in encoded.substituted],
            )
        )

    @blueprint.post("/detokenize")
    @operation("texts", body=DETOKENIZE, example={"model": "latest", "tokens": [1, 2, 1]}, answer=Detokenized, raises=RAISES)
    def detokenize() -> Response:
        """Return the text of ids. An id outside the alphabet, and a byte that is part of no character, is U+FFFD in it."""
        values = DETOKENIZE.parse(json_body(request))
        vocabulary, tokens = service.find(values.get("model") or "latest").checkpoint.vocabulary, values["tokens"]
        ids = vocabulary.given(vocabulary.encode_ids(tokens, WHOLE).ids)
        return large_answer(Detokenized(prompt=vocabulary.decode(ids) if tokens else ""))

    @blueprint.get("/tokenizer_info")
    @operation("texts", query=INFO, answer=TokenizerInfo, raises=RAISES)
    def info() -> Response:
        """Describe the alphabet of a model: the symbol of each id."""
        return large_answer(described(service.find(INFO.read(request.args.to_dict(flat=False))["model"]), service.config.max_prompt))

    return blueprint


def encoded_text(vocabulary: Vocabulary, text: str) -> Encoded:
    """Return the ids of a text as a prompt of any length; an empty one has none. Raises `InvalidSetting` for one that takes too long."""
    different = len(set(text))
    if different > MOST_DIFFERENT:
        must = f"one of at most {MOST_DIFFERENT:,} different ones"
        raise InvalidSetting("prompt", Word(f"a string of {different:,} different characters"), must, "send it in parts")
    encoded = vocabulary.encode_prompt(text, WHOLE)
    return encoded._replace(ids=vocabulary.given(encoded.ids) if text else encoded.ids[:0])


def described(model: LoadedModel, max_prompt: int) -> TokenizerInfo:
    """Return the facts about a model's alphabet. A record begins and ends with the boundary, and prose as after a line end."""
    vocabulary = model.checkpoint.vocabulary
    between = vocabulary.separator or ("\n" if vocabulary.knows("\n") else None)
    return TokenizerInfo(
        tokenizer_class="CharloomVocabulary",
        model=model.name,
        level=vocabulary.level,
        normalization=vocabulary.normalization,
        vocab_size=len(vocabulary.names),
        model_max_length=max_prompt,
        bos_token=between,
        eos_token=between,
        unk_token=vocabulary.names[vocabulary.unknown],
        unk_token_id=vocabulary.unknown,
        symbols=vocabulary.names,
    )
