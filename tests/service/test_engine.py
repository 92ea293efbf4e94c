"""The engine: many requests in one thread, each as if it were alone."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.checkpoint import Checkpoint
from model.config import SamplingConfig
from model.errors import GenerationFailed, ServiceStopping, TooManyRequests
from model.sampling import Piece, generate
from service.engine import Engine, Request
from service.models import Model, Models
from service.store import Run, Store

LONG = 100_000  # symbols: more than a test waits for


@pytest.fixture
def model(store: Store, add_model: Callable[..., Run]) -> Model:
    add_model()
    return Models(store, 2**20).get("latest")


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = Engine(max_rows=4, max_waiting=3)
    yield engine
    engine.stop()


def config(**values: Any) -> SamplingConfig:
    return SamplingConfig(**{"seed": 1, "length": 20, **values})


def texts(pieces: Iterator[list[Piece]] | Iterator[Piece], n: int = 1) -> list[str]:
    parts = [""] * n
    for each in pieces:
        for piece in [each] if isinstance(each, Piece) else each:
            parts[piece.choice] += piece.text
    return parts


def alone(checkpoint: Checkpoint, asked: SamplingConfig) -> list[str]:
    return texts(generate(checkpoint.model, checkpoint.vocabulary, asked), asked.n)


def until(condition: Callable[[], bool]) -> None:
    """Wait for what another thread does; the limit only keeps a broken engine from hanging the tests."""
    pause = threading.Event()
    for _ in range(2000):
        if condition():
            return
        pause.wait(0.005)
    raise AssertionError("it did not happen")


def test_a_text_is_what_the_sampler_writes_alone(engine: Engine, model: Model) -> None:
    for whole in (True, False):
        with engine.submit(model, config(prompt="abc", n=3), whole=whole) as request:
            assert texts(request.pieces(), 3) == alone(model.checkpoint, config(prompt="abc", n=3))
    assert request.accepted is not None
    assert request.accepted.prompt_symbols == 3
    assert request.seconds > 0


ASKED = st.builds(
    config,
    prompt=st.text("abcX \n", max_size=600),
    length=st.integers(0, 40),
    temperature=st.sampled_from([0.0, 0.7, 1.3]),
    top_k=st.integers(0, 3),
    top_p=st.sampled_from([0.5, 1.0]),
    stop=st.lists(st.text("ab", min_size=1, max_size=2), max_size=1),
    seed=st.integers(0, 5),
    n=st.integers(1, 3),
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.lists(st.tuples(ASKED, st.booleans()), min_size=1, max_size=12))
def test_the_same_request_gives_the_same_text_in_company(model: Model, asked: list[tuple[SamplingConfig, bool]]) -> None:
    engine = Engine(max_rows=4, max_waiting=100)
    requests = [engine.submit(model, each, whole=whole) for each, whole in asked]
    written = [texts(request.pieces(), request.config.n) for request in requests]
    engine.stop()
    assert written == [alone(model.checkpoint, each) for each, _ in asked]
    assert engine.rows == 0


def test_many_threads_and_two_models(engine: Engine, store: Store, add_model: Callable[..., Run]) -> None:
    add_model("one", seed=1)
    add_model("two", seed=2, cell="lstm")
    models = Models(store, 2**20)
    engine = Engine(max_rows=5, max_waiting=100)
    found: dict[int, list[str]] = {}

    def ask(number: int) -> None:
        with engine.submit(models.get(("one", "two")[number % 2]), config(seed=number)) as request:
            found[number] = texts(request.pieces())

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    engine.stop()
    expected = {number: alone(models.get(("one", "two")[number % 2]).checkpoint, config(seed=number)) for number in range(24)}
    assert found == expected


def test_whoever_leaves_frees_the_rows(engine: Engine, model: Model) -> None:
    for _ in range(3):
        with engine.submit(model, config(length=LONG, n=4)) as request:
            next(request.pieces())
            assert engine.rows == 4
        until(lambda: engine.rows == 0)
    with engine.submit(model, config()) as request:
        assert texts(request.pieces()) == alone(model.checkpoint, config())


def test_a_client_that_left_is_noticed_while_nothing_is_sent(engine: Engine, model: Model) -> None:
    with engine.submit(model, config(length=LONG), whole=True) as request:
        assert list(request.pieces(left=lambda: True)) == []
    until(lambda: engine.rows == 0)


def test_requests_wait_in_order_and_the_queue_has_an_end(engine: Engine, model: Model) -> None:
    first = engine.submit(model, config(length=LONG, n=4))
    next(first.pieces())
    waiting = [engine.submit(model, config(seed=seed, n=2)) for seed in range(3)]
    assert engine.waiting == 3
    with pytest.raises(TooManyRequests, match="3 requests are waiting already"):
        engine.submit(model, config())
    waiting[1].cancel()
    assert engine.waiting == 2
    first.cancel()
    for request in (waiting[0], waiting[2]):
        assert texts(request.pieces(), 2) == alone(model.checkpoint, request.config)
    until(lambda: engine.rows == 0)


def test_a_request_larger_than_all_rows_is_written_alone(engine: Engine, model: Model) -> None:
    with engine.submit(model, config(n=9)) as request:
        assert texts(request.pieces(), 9) == alone(model.checkpoint, config(n=9))


def test_a_fault_in_a_step_fails_its_requests_and_no_others(
    engine: Engine, store: Store, add_model: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    add_model("good")
    add_model("bad")
    models = Models(store, 2**20)
    good, bad = models.get("good"), models.get("bad")
    spared = engine.submit(good, config(length=LONG))
    next(spared.pieces())

    def broken() -> list[Piece]:
        raise MemoryError

    monkeypatch.setattr(bad.sampler, "step", broken)
    monkeypatch.setattr(logging.getLogger("charloom"), "propagate", True)
    hit = [engine.submit(bad, config()), engine.submit(bad, config(n=2), whole=True)]
    for request in hit:
        with pytest.raises(GenerationFailed, match="writing with the model bad@100 failed"):
            list(request.pieces())
    assert "a step of bad@100 failed" in caplog.text
    assert next(spared.pieces())
    spared.cancel()
    with engine.submit(bad, config()) as request:  # with a new sampler
        assert texts(request.pieces()) == alone(bad.checkpoint, config())
    until(lambda: engine.rows == 0)


def test_a_request_that_cannot_begin_fails_alone(engine: Engine, model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(config: SamplingConfig) -> None:
        raise RuntimeError

    with monkeypatch.context() as patch:
        patch.setattr(model.sampler, "add", refuse)
        with pytest.raises(GenerationFailed):
            list(engine.submit(model, config()).pieces())
    assert texts(engine.submit(model, config()).pieces()) == alone(model.checkpoint, config())


def test_a_fault_outside_of_a_step_does_not_end_the_thread(engine: Engine, model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(engine, "_admitted", lambda: 1 / 0)
        with pytest.raises(GenerationFailed):
            list(engine.submit(model, config()).pieces())
    assert texts(engine.submit(model, config()).pieces()) == alone(model.checkpoint, config())


def test_stopping_ends_what_is_written_and_what_waits(engine: Engine, model: Model) -> None:
    written, waiting = (engine.submit(model, config(length=LONG, n=4)) for _ in range(2))
    next(written.pieces())
    engine.stop()
    for request in (written, waiting):
        with pytest.raises(ServiceStopping):
            list(request.pieces())
        request.cancel()
    with pytest.raises(ServiceStopping):
        engine.submit(model, config())
    engine.stop()
    assert engine.rows == 0


def test_cancelling_twice_and_after_the_end_is_harmless(engine: Engine, model: Model) -> None:
    request: Request = engine.submit(model, config())
    list(request.pieces())
    request.cancel()
    request.cancel()
    assert texts(engine.submit(model, config()).pieces()) == alone(model.checkpoint, config())
