"""Scores texts with stored models. A few are scored at a time, in slices that hardly delay the engine, within a time limit."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from model import log_likelihood
from model.detokenizer import Detokenizer
from model.normalization import with_lf
from model.output_text import SymbolLogprob
from model.prompt_logprobs import PromptLogprobs
from model.sampling import MAX_PROMPT
from service.generation.model_cache import LoadedModel, load
from service.store import Store
from service.system import hardware
from service.system.concurrency import Turns
from service.system.errors import TookTooLong

AT_ONCE = 2  # texts scored at the same time: more would only take processors from the engine
WAITING = 8  # requests that may wait for their turn


class Judgement(NamedTuple):
    """The score of a text by one model."""

    model: str  # RUN@STEP
    symbols: int
    unknown: int  # symbols outside of its alphabet
    log_likelihood: float  # nats, of the whole text
    scores: list[SymbolLogprob] | None  # of each symbol, if requested


class Scorer:
    """Scores texts for requests. May be used from any thread."""

    def __init__(self, seconds: float, writing: Callable[[], bool] = lambda: False) -> None:
        """`seconds` is the time that one request may take, waiting included.

        While `writing` returns True, scoring pauses between slices, so that the engine is hardly delayed.
        """
        self._seconds = seconds
        self._turns = Turns(AT_ONCE, WAITING, seconds, writing)

    def judge(
        self,
        find: Callable[[str], LoadedModel],
        names: Sequence[str],
        text: str,
        alternatives: int | None,
        left: Callable[[], bool],
        caller: str = "",
    ) -> list[Judgement]:
        """Return the score of a text by each named model, with `alternatives` for each symbol; None leaves symbols out.

        Callers take turns. Holds one model at a time. Stops if the client has `left`.
        Raises `TooManyRequests`, `WaitedTooLong`, `TookTooLong`,
        and as `find`.
        """
        deadline = time.monotonic() + self._seconds

        def is_over() -> bool:
            if time.monotonic() > deadline:
                raise TookTooLong(self._seconds)
            self._turns.pause()
            return left()

        with self._turns.turn(caller):
            return [judgement for name in names if (judgement := score_text(find(name), text, alternatives, is_over))]


def score_stored(store: Store, name: str, text: str) -> Judgement:
    """Return the score of a text by a stored model, for `charloom score`. Raises as `load`."""
    model = LoadedModel(*load(store, name), MAX_PROMPT, hardware.cores())
    judgement = score_text(model, text, None, lambda: False)
    assert judgement is not None  # since it is never over early
    return judgement


def score_text(model: LoadedModel, text: str, alternatives: int | None, is_over: Callable[[], bool]) -> Judgement | None:
    """Return a model's score of a text with LF line ends; None if `is_over` returns True before its end."""
    vocabulary, text = model.checkpoint.vocabulary, with_lf(text)
    ids = vocabulary.encode(text)
    spelled = vocabulary.spelled(text) if alternatives is not None else []
    echo = PromptLogprobs(Detokenizer(vocabulary), vocabulary.names)
    total, done, unknown = 0.0, 0, 0
    for part in log_likelihood.score(model.network, vocabulary, ids, alternatives or 0):
        total += math.fsum(part.logprobs)
        unknown += int((part.ids == vocabulary.unknown).sum())
        if alternatives is not None:
            echo.add(part, spelled[done : done + len(part.ids)])
        done += len(part.ids)
        if is_over():
            return None
    return Judgement(model.name, len(ids), unknown, total, echo.scores if alternatives is not None else None)


def posterior(log_likelihoods: Sequence[float]) -> list[float]:
    """Return how likely each of several models wrote a text, if all are equally likely a priori (Bayes' rule)."""
    highest = max(log_likelihoods)
    shares = [math.exp(each - highest) for each in log_likelihoods]
    return [share / math.fsum(shares) for share in shares]
