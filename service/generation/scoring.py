"""What stored models think of a text: read in slices beside whoever writes, a few texts at a time, no longer than a request may take."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from model import log_likelihood
from model.detokenizer import Detokenizer
from model.output_text import SymbolLogprob
from model.prompt_logprobs import PromptLogprobs
from service.generation.model_cache import LoadedModel
from service.system.concurrency import Turns
from service.system.errors import TookTooLong

AT_ONCE = 2  # texts that are read at the same time: more would only take the processors from whoever writes
WAITING = 6  # requests that wait for that


class Judgement(NamedTuple):
    """What one model thinks of a text."""

    model: str  # RUN@STEP
    symbols: int
    unknown: int  # symbols outside of its alphabet
    log_likelihood: float  # nats, of the whole text
    scores: list[SymbolLogprob] | None  # of each symbol, where they are wanted


class Scorer:
    """May be used from any thread."""

    def __init__(self, seconds: float, writing: Callable[[], bool] = lambda: False) -> None:
        """`seconds` is what one request may take, waiting included.

        While texts are being written, which `writing` tells, reading pauses again and again, so that they hardly wait.
        """
        self._seconds = seconds
        self._turns = Turns(AT_ONCE, WAITING, seconds, writing)

    def judge(
        self, find: Callable[[str], LoadedModel], names: Sequence[str], text: str, alternatives: int | None, left: Callable[[], bool]
    ) -> list[Judgement]:
        """What each of the models that are named thinks of a text, with `alternatives` for each symbol; None leaves symbols out.

        One model at a time is held. Stops where whoever asked has `left`. Raises `TooManyRequests`, `WaitedTooLong`, `TookTooLong`,
        and as `find`.
        """
        deadline = time.monotonic() + self._seconds

        def is_over() -> bool:
            if time.monotonic() > deadline:
                raise TookTooLong(self._seconds)
            self._turns.pause()
            return left()

        with self._turns.turn():
            return [judgement for name in names if (judgement := judged(find(name), text, alternatives, is_over))]


def judged(model: LoadedModel, text: str, alternatives: int | None, is_over: Callable[[], bool]) -> Judgement | None:
    """What a model thinks of a text; None where it `is_over` before its end."""
    vocabulary = model.checkpoint.vocabulary
    ids = vocabulary.encode(text)
    spelled = vocabulary.spelled(text) if alternatives is not None else []
    echo = PromptLogprobs(Detokenizer(vocabulary), vocabulary.names)
    total, done, unknown = 0.0, 0, 0
    for part in log_likelihood.score(model.checkpoint.model, vocabulary, ids, alternatives or 0):
        total += math.fsum(part.logprobs)
        unknown += int((part.ids == vocabulary.unknown).sum())
        if alternatives is not None:
            echo.add(part, spelled[done : done + len(part.ids)])
        done += len(part.ids)
        if is_over():
            return None
    return Judgement(model.name, len(ids), unknown, total, echo.scores if alternatives is not None else None)


def posterior(log_likelihoods: Sequence[float]) -> list[float]:
    """How likely each of several models wrote a text, where all were equally likely before: Bayes' rule."""
    highest = max(log_likelihoods)
    shares = [math.exp(each - highest) for each in log_likelihoods]
    return [share / math.fsum(shares) for share in shares]
