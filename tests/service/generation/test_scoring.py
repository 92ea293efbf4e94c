"""Scoring with stored models: sums, turns, and time."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model import log_likelihood
from model.backend import network_for
from service.generation.model_cache import ModelCache
from service.generation.scoring import AT_ONCE, WAITING, Scorer, posterior
from service.store import Run, Store
from service.system.concurrency import MOST, Turns
from service.system.errors import RunNotFound, TookTooLong, TooManyRequests, WaitedTooLong

AddModel = Callable[..., Run]

ONE_CALLERS = int(MOST * WAITING)  # requests of one caller that may wait


@pytest.fixture
def models(store: Store, add_model: AddModel) -> ModelCache:
    add_model("one", seed=1)
    add_model("two", seed=2, text="abcdé \n", cell="lstm")
    return ModelCache(store, 2**20)


def never() -> bool:
    return False


def test_sums(models: ModelCache) -> None:
    text = "ab cé" * 100
    found = Scorer(60).judge(models.get, ["one", "two"], text, 2, never)
    assert [(each.model, each.symbols, each.unknown) for each in found] == [("one@100", 500, 100), ("two@100", 500, 0)]
    for judgement in found:
        checkpoint = models.get(judgement.model).checkpoint
        ids = checkpoint.vocabulary.encode(text)
        parts = log_likelihood.score(network_for(checkpoint.model), checkpoint.vocabulary, ids)
        expected = [each for part in parts for each in part.logprobs.tolist()]
        assert judgement.log_likelihood == pytest.approx(sum(expected))
        assert judgement.scores is not None
        assert [score.logprob for score in judgement.scores] == expected
        assert "".join(score.text for score in judgement.scores) == text, "also where a symbol is not in the alphabet"
        assert [score.position for score in judgement.scores] == list(range(500))
        assert {len(score.alternatives) for score in judgement.scores} == {2}
    assert Scorer(60).judge(models.get, ["one"], text, None, never)[0].scores is None


@given(st.lists(st.floats(-1e6, 0), min_size=1, max_size=5))
def test_posterior(log_likelihoods: list[float]) -> None:
    shares = posterior(log_likelihoods)
    assert sum(shares) == pytest.approx(1)
    for one, share in zip(log_likelihoods, shares, strict=True):
        assert share == pytest.approx(1 / sum(math.exp(min(700, other - one)) for other in log_likelihoods), abs=1e-9)


def test_a_client_that_left_is_not_served_further(models: ModelCache) -> None:
    asked: list[str] = []

    def find(name: str) -> object:
        asked.append(name)
        return models.get(name)

    assert Scorer(60).judge(find, ["one", "two"], "a" * 10_000, 0, lambda: True) == []  # type: ignore[arg-type]
    assert asked == ["one", "two"]


def test_time_has_an_end(models: ModelCache) -> None:
    with pytest.raises(TookTooLong, match=r"not done within 0\.0001 seconds"):
        Scorer(0.0001).judge(models.get, ["one"], "a" * 10_000, 0, never)


def test_few_texts_are_read_at_the_same_time(models: ModelCache) -> None:
    scorer, go, at_work = Scorer(0.2), threading.Event(), threading.Semaphore(0)
    outcomes: list[object] = []

    def slow(name: str) -> object:
        at_work.release()
        go.wait(30)
        return models.get(name)

    def ask(find: Callable[[str], object]) -> None:
        try:
            outcomes.append(scorer.judge(find, ["one"], "a", 0, never)[0].symbols)  # type: ignore[arg-type]
        except (TooManyRequests, TookTooLong) as error:
            outcomes.append(type(error))

    first = [threading.Thread(target=ask, args=(slow,)) for _ in range(AT_ONCE)]
    for thread in first:
        thread.start()
    for _ in first:
        at_work.acquire(timeout=30)
    waiting = [threading.Thread(target=ask, args=(models.get,)) for _ in range(ONE_CALLERS)]
    for thread in waiting:
        thread.start()
    for thread in waiting:
        thread.join()
    assert outcomes == [WaitedTooLong] * ONE_CALLERS
    go.set()
    for thread in first:
        thread.join()
    outcomes.clear()
    for _ in range(AT_ONCE + WAITING + 1):
        ask(models.get)
    assert outcomes == [1] * (AT_ONCE + WAITING + 1), "every place was given back"


def test_no_more_wait_than_there_are_places(models: ModelCache) -> None:
    scorer = Scorer(60)
    scorer._turns = Turns(AT_ONCE, 0, 60)
    with scorer._turns.turn(), scorer._turns.turn():
        with pytest.raises(TooManyRequests):
            scorer.judge(models.get, ["one"], "a", 0, never)
        assert scorer.judge(models.get, ["one"], "a", 0, never, "another")[0].symbols == 1


def test_a_model_that_is_not_there(models: ModelCache) -> None:
    scorer = Scorer(60)
    for _ in range(AT_ONCE + WAITING + 1):
        with pytest.raises(RunNotFound):
            scorer.judge(models.get, ["one", "three"], "a", 0, never)
