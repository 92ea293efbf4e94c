"""The engine: many requests in one thread, each as if it were alone."""

from __future__ import annotations

import dataclasses
import logging
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.backend import network_for
from model.checkpoint import Checkpoint
from model.config import SamplingConfig
from model.errors import CharloomError
from model.output_text import Piece
from model.sampling import MAX_PROMPT, generate
from model.vocabulary import Encoded
from service.generation.engine import Engine, Observer
from service.generation.model_cache import LoadedModel, ModelCache
from service.generation.request import BACKLOG, PIECE_BYTES, Request
from service.store import Run, Store
from service.system.errors import GenerationFailed, ServiceStopping, TooManyRequests, WaitedTooLong

LONG = 5_000_000  # symbols: more than a test waits for


@pytest.fixture
def model(store: Store, add_model: Callable[..., Run]) -> LoadedModel:
    add_model()
    return ModelCache(store, 2**20).get("latest")


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = Engine(max_rows=4, max_waiting=4)
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
    return texts(generate(network_for(checkpoint.model), checkpoint.vocabulary, asked), asked.n)


def until(condition: Callable[[], bool]) -> None:
    """Wait for what another thread does; the limit only keeps a broken engine from hanging the tests."""
    pause = threading.Event()
    for _ in range(2000):
        if condition():
            return
        pause.wait(0.005)
    raise AssertionError("it did not happen")


def test_a_text_is_what_the_sampler_writes_alone(engine: Engine, model: LoadedModel) -> None:
    for whole in (True, False):
        with engine.submit(model, [config(prompt="abc", n=3)], whole=whole) as request:
            assert texts(request.pieces(), 3) == alone(model.checkpoint, config(prompt="abc", n=3))
    [part] = request.parts
    assert part.accepted is not None
    assert part.accepted.prompt_symbols == 3
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
def test_the_same_request_gives_the_same_text_in_company(model: LoadedModel, asked: list[tuple[SamplingConfig, bool]]) -> None:
    engine = Engine(max_rows=4, max_waiting=100)
    requests = [engine.submit(model, [each], whole=whole) for each, whole in asked]
    written = [texts(request.pieces(), request.choices) for request in requests]
    engine.stop()
    assert written == [alone(model.checkpoint, each) for each, _ in asked]
    assert engine.rows == 0


def test_many_threads_and_two_models(engine: Engine, store: Store, add_model: Callable[..., Run]) -> None:
    add_model("one", seed=1)
    add_model("two", seed=2, cell="lstm")
    models = ModelCache(store, 2**20)
    engine = Engine(max_rows=5, max_waiting=100)
    found: dict[int, list[str]] = {}

    def ask(number: int) -> None:
        with engine.submit(models.get(("one", "two")[number % 2]), [config(seed=number)]) as request:
            found[number] = texts(request.pieces())

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    engine.stop()
    expected = {number: alone(models.get(("one", "two")[number % 2]).checkpoint, config(seed=number)) for number in range(24)}
    assert found == expected


def test_whoever_leaves_frees_the_rows(engine: Engine, model: LoadedModel) -> None:
    for _ in range(3):
        with engine.submit(model, [config(length=LONG, n=4)]) as request:
            next(request.pieces())
            assert engine.rows == 4
        until(lambda: engine.rows == 0)
    with engine.submit(model, [config()]) as request:
        assert texts(request.pieces()) == alone(model.checkpoint, config())


def test_a_client_that_left_is_noticed_while_nothing_is_sent(engine: Engine, model: LoadedModel) -> None:
    with engine.submit(model, [config(length=LONG)], whole=True) as request:
        assert list(request.pieces(left=lambda: True)) == []
    until(lambda: engine.rows == 0)


def test_requests_wait_in_order_and_the_queue_has_an_end(engine: Engine, model: LoadedModel) -> None:
    first = engine.submit(model, [config(length=LONG, n=4)])
    next(first.pieces())
    waiting = [engine.submit(model, [config(seed=seed, n=2)]) for seed in range(3)]
    assert engine.waiting == 3
    with pytest.raises(TooManyRequests, match="3 requests of yours are waiting already, the limit"):
        engine.submit(model, [config()])
    waiting[1].cancel()
    assert engine.waiting == 2
    first.cancel()
    for request in (waiting[0], waiting[2]):
        assert texts(request.pieces(), 2) == alone(model.checkpoint, request.parts[0].config)
    until(lambda: engine.rows == 0)


def test_a_request_larger_than_all_rows_is_written_alone(engine: Engine, model: LoadedModel) -> None:
    with engine.submit(model, [config(n=9)]) as request:
        assert texts(request.pieces(), 9) == alone(model.checkpoint, config(n=9))


def test_a_fault_in_a_step_fails_its_requests_and_no_others(
    engine: Engine, store: Store, add_model: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    add_model("good")
    add_model("bad")
    models = ModelCache(store, 2**20)
    good, bad = models.get("good"), models.get("bad")
    spared = engine.submit(good, [config(length=LONG)])
    next(spared.pieces())

    def broken() -> list[Piece]:
        raise MemoryError

    monkeypatch.setattr(bad.sampler, "step", broken)
    monkeypatch.setattr(logging.getLogger("charloom"), "propagate", True)
    hit = [engine.submit(bad, [config()]), engine.submit(bad, [config(n=2)], whole=True)]
    for request in hit:
        with pytest.raises(GenerationFailed, match="writing with the model bad@100 failed"):
            list(request.pieces())
    assert "a step of bad@100 failed" in caplog.text
    assert next(spared.pieces())
    spared.cancel()
    with engine.submit(bad, [config()]) as request:  # with a new sampler
        assert texts(request.pieces()) == alone(bad.checkpoint, config())
    until(lambda: engine.rows == 0)


def test_a_request_that_cannot_begin_fails_alone(engine: Engine, model: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(config: SamplingConfig) -> None:
        raise RuntimeError

    with monkeypatch.context() as patch:
        patch.setattr(model.sampler, "add", refuse)
        with pytest.raises(GenerationFailed):
            list(engine.submit(model, [config()]).pieces())
    assert texts(engine.submit(model, [config()]).pieces()) == alone(model.checkpoint, config())


def test_a_fault_outside_of_a_step_does_not_end_the_thread(engine: Engine, model: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(engine._scheduler, "acquire", lambda: 1 / 0)
        with pytest.raises(GenerationFailed):
            list(engine.submit(model, [config()]).pieces())
    assert texts(engine.submit(model, [config()]).pieces()) == alone(model.checkpoint, config())


def test_stopping_ends_what_is_written_and_what_waits(engine: Engine, model: LoadedModel) -> None:
    written, waiting = (engine.submit(model, [config(length=LONG, n=4)]) for _ in range(2))
    next(written.pieces())
    engine.stop()
    for request in (written, waiting):
        with pytest.raises(ServiceStopping):
            list(request.pieces())
        request.cancel()
    with pytest.raises(ServiceStopping):
        engine.submit(model, [config()])
    engine.stop()
    assert engine.rows == 0


def test_cancelling_twice_and_after_the_end_is_harmless(engine: Engine, model: LoadedModel) -> None:
    request: Request = engine.submit(model, [config()])
    list(request.pieces())
    request.cancel()
    request.cancel()
    assert texts(engine.submit(model, [config()]).pieces()) == alone(model.checkpoint, config())


def test_of_a_long_prompt_only_what_is_read_is_kept(engine: Engine, model: LoadedModel) -> None:
    unread = "\U0001f600" + "abc" * 400_000
    asked = [config(prompt=unread + "a"), config(prompt_ids=(0,) * 500_000 + (1,)), config(prompt="abc")]
    expected = [text for each in asked for text in alone(model.checkpoint, each)]
    tracemalloc.start()
    blocker = engine.submit(model, [config(length=LONG, n=4)])
    with engine.submit(model, asked) as request:
        blocker.cancel()
        kept, _ = tracemalloc.get_traced_memory()
        assert texts(request.pieces(), 3) == expected
    tracemalloc.stop()
    assert kept < 500_000
    assert [part.accepted and (part.accepted.truncated, part.accepted.prompt_symbols) for part in request.parts] == [
        (True, MAX_PROMPT),
        (True, MAX_PROMPT),
        (False, 3),
    ]


# ── readers that fall behind ──────────────────────────────────────────────────────────────────────────────────────────


def test_texts_that_are_not_read_rest_while_others_are_written(engine: Engine, model: LoadedModel) -> None:
    """The one that rests has several prompts, of which some have no rows yet."""
    unread = engine.submit(model, [config(length=100_000, n=2, seed=seed, prompt="ab"[:seed]) for seed in range(3)])
    until(lambda: unread.paused and not engine._busy())
    assert tracked(unread) < 2 * BACKLOG
    with engine.submit(model, [config(n=2)], caller="another") as request:
        assert texts(request.pieces(), 2) == alone(model.checkpoint, config(n=2))
    assert texts(unread.pieces(), 6) == [text for part in unread.parts for text in alone(model.checkpoint, part.config)]
    until(lambda: engine.rows == 0)


def tracked(request: Request) -> int:
    """Bytes of the messages that a request holds."""
    messages = [request._messages.get() for _ in range(request._messages.qsize())]
    for message in messages:
        request._messages.put(message)
    return sum(len(piece.text) + PIECE_BYTES for message in messages for piece in message if not isinstance(message, CharloomError))


def test_a_reader_that_comes_and_goes_gets_the_same_text(engine: Engine, model: LoadedModel) -> None:
    asked = config(length=60_000, n=2, temperature=1.5)
    with engine.submit(model, [asked]) as request:
        found, rests = [], 0
        for pieces in request.pieces():
            found.append(pieces)
            if rests < 5:
                until(lambda: request.paused or not request.unfinished)
                rests += 1
        assert texts(iter([piece for pieces in found for piece in pieces]), 2) == alone(model.checkpoint, asked)
    until(lambda: engine.rows == 0)


def test_a_request_that_rests_ends_in_time_or_with_its_reader_and_hears_of_its_temperature(model: LoadedModel) -> None:
    engine = Engine(max_rows=4, max_seconds=1.0)
    late, left = (engine.submit(model, [config(length=LONG)], caller=caller) for caller in "ab")
    until(lambda: late.paused and left.paused)
    late.set_temperature(2.0)
    left.cancel()
    waits = engine.submit(model, [config(length=LONG, n=4)], caller="a", whole=True)  # for the rows of the one that rests
    until(lambda: late.cut)
    [written] = texts(late.pieces())
    [part] = late.parts
    last_symbols = len(written)
    assert [written] == alone(model.checkpoint, dataclasses.replace(part.config, length=last_symbols, temperature=part.course))
    assert list(waits.pieces())
    until(lambda: engine.rows == 0)
    engine.stop()


def test_an_engine_whose_texts_all_rest_sleeps(engine: Engine, model: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if other requests wait for their rows."""
    unread = engine.submit(model, [config(length=LONG, n=4)])
    waiting = engine.submit(model, [config(length=LONG)])
    until(lambda: unread.paused and not engine._woken)
    turns = []
    monkeypatch.setattr(engine, "_turn", lambda turn=engine._turn: (turns.append(1), turn()))
    engine.set_temperature(waiting, 1.0)  # two turns: the one that slept, and the next one
    until(lambda: not engine._woken)
    assert len(turns) <= 2
    assert (engine.rows, engine.waiting) == (4, 1)


def test_a_text_that_is_read_as_a_whole_is_kept_in_one_piece(model: LoadedModel) -> None:
    """The pieces of 64 texts of 100,000 symbols would take hundreds of megabytes."""
    engine, asked = Engine(max_rows=64), config(length=20_000, n=16)
    tracemalloc.start()
    with engine.submit(model, [asked], whole=True) as request:
        [pieces] = list(request.pieces())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    engine.stop()
    assert texts(iter(pieces), 16) == alone(model.checkpoint, asked)
    assert peak < 8 * asked.length * asked.n


# ── several prompts, time, temperature ────────────────────────────────────────────────────────────────────────────────


def test_several_prompts_are_each_written_as_if_alone(engine: Engine, model: LoadedModel) -> None:
    """More texts than there are rows: the parts of a request begin one after the other."""
    configs = [config(prompt="abc"[:index], n=2, seed=7, length=10 * index) for index in range(6)]
    for whole in (True, False):
        with engine.submit(model, configs, whole=whole) as request:
            assert request.choices == 12
            assert texts(request.pieces(), 12) == [text for each in configs for text in alone(model.checkpoint, each)]
            assert engine.rows == 0
    assert [part.accepted.prompt_symbols for part in request.parts if part.accepted] == [1, 1, 2, 3, 3, 3]


def test_one_that_leaves_takes_its_waiting_prompts_along(engine: Engine, model: LoadedModel) -> None:
    request = engine.submit(model, [config(length=LONG, n=3)] * 4)
    next(request.pieces())
    assert (engine.rows, engine.waiting) == (3, 1)
    request.cancel()
    until(lambda: (engine.rows, engine.waiting) == (0, 0))
    assert texts(engine.submit(model, [config()]).pieces()) == alone(model.checkpoint, config())


def test_where_one_prompt_cannot_begin_the_request_fails_and_leaves_nothing(
    engine: Engine, model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert model.sampler is not None
    add, added = model.sampler.add, []

    def refuse(config: SamplingConfig, source: None, prompt: Encoded, records: None) -> Any:
        added.append(config)
        if len(added) == 2:
            raise RuntimeError
        return add(config)

    monkeypatch.setattr(model.sampler, "add", refuse)
    with pytest.raises(GenerationFailed):
        list(engine.submit(model, [config(length=LONG)] * 6).pieces())
    until(lambda: (engine.rows, engine.waiting) == (0, 0))
    assert len(added) == 2
    assert model.sampler.active == 0
    assert texts(engine.submit(model, [config()]).pieces()) == alone(model.checkpoint, config())


def test_a_temperature_is_changed_in_mid_stream_and_the_text_can_be_made_again(engine: Engine, model: LoadedModel) -> None:
    asked = [config(length=30_000, temperature=1.0, n=2), config(length=25_000, prompt="b", n=2), config(length=40, prompt="c", n=2)]
    request = engine.submit(model, asked)
    pieces, arriving = [], request.pieces()
    for value in (0.0, 2.0):
        pieces += next(arriving)
        request.set_temperature(value)
    for more in arriving:
        pieces += more
    written = texts(iter(pieces), 6)
    assert [len(part.course) for part in request.parts] == [3, 3, 1]
    assert request.parts[2].course == ((0, 2.0),), "it had not begun"
    for index, (each, part) in enumerate(zip(asked, request.parts, strict=True)):
        again = dataclasses.replace(each, temperature=part.course)
        assert written[2 * index : 2 * index + 2] == alone(model.checkpoint, again)
    request.set_temperature(1.0)  # too late, and harmless
    assert [len(part.course) for part in request.parts] == [3, 3, 1]


def test_a_temperature_is_changed_from_many_threads(engine: Engine, model: LoadedModel) -> None:
    request = engine.submit(model, [config(length=8_000)])
    threads = [threading.Thread(target=request.set_temperature, args=(value / 10,)) for value in range(20)]
    for thread in threads:
        thread.start()
    [written] = texts(request.pieces())
    for thread in threads:
        thread.join()
    [part] = request.parts
    assert [written] == alone(model.checkpoint, dataclasses.replace(part.config, temperature=part.course))


def test_whoever_changes_a_temperature_is_told_that_the_service_stops(engine: Engine, model: LoadedModel) -> None:
    request = engine.submit(model, [config(length=LONG)])
    next(request.pieces())
    engine.stop()
    with pytest.raises(ServiceStopping):
        request.set_temperature(1.0)


def test_what_takes_too_long_ends_with_what_there_is(model: LoadedModel) -> None:
    engine = Engine(max_rows=4, max_waiting=3, max_seconds=0.3)
    for whole in (True, False):
        request = engine.submit(model, [config(length=10**7, n=3, stop=("never there",))] * 2, whole=whole)
        pieces = [piece for message in request.pieces() for piece in message]
        assert request.cut
        ends = {piece.choice: piece for piece in pieces if piece.finish_reason}
        assert [ends[choice].finish_reason for choice in range(6)] == ["length"] * 6
        written = texts(iter(pieces), 6)
        for choice in range(3):
            assert written[choice] == alone(model.checkpoint, config(length=ends[choice].symbols, seed=1 + choice))[0]
        assert written[3:] == [""] * 3
    until(lambda: (engine.rows, engine.waiting) == (0, 0))
    assert texts(engine.submit(model, [config()]).pieces()) == alone(model.checkpoint, config())
    assert not engine._requests
    engine.stop()


def test_whoever_waits_too_long_is_told_so(engine: Engine, model: LoadedModel) -> None:
    engine = Engine(max_rows=4, max_waiting=3, max_seconds=1000)
    first, late = engine.submit(model, [config(length=LONG, n=4)]), engine.submit(model, [config()])
    next(first.pieces())
    late.deadline = engine._deadline = 0.0
    with pytest.raises(WaitedTooLong, match="waited 1000 seconds for its turn"):
        list(late.pieces())
    assert (engine.rows, engine.waiting) == (4, 0)
    assert engine._deadline == first.deadline
    engine.stop()


def test_many_that_come_at_once_are_not_refused_while_there_are_rows(model: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, go = Engine(max_rows=4, max_waiting=1), threading.Event()
    cut_late = engine._cut_late
    monkeypatch.setattr(engine, "_cut_late", lambda: (go.wait(30), cut_late()))
    engine._deadline = 0.0  # the thread is held before it admits anybody
    requests = [engine.submit(model, [config(seed=seed, length=LONG)] * 2) for seed in range(2)]
    requests.append(engine.submit(model, [config(length=LONG)]))
    with pytest.raises(TooManyRequests, match="1 requests of yours are waiting already"):
        engine.submit(model, [config()])
    go.set()
    until(lambda: (engine.rows, engine.waiting) == (4, 1))
    for request in requests:
        request.cancel()
    engine.stop()


def test_a_fault_while_a_temperature_is_changed_keeps_nobody_waiting(
    engine: Engine, model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = engine.submit(model, [config(length=LONG)])
    next(request.pieces())
    monkeypatch.setattr(engine, "_change", lambda request, value: 1 / 0)
    request.set_temperature(1.0)
    with pytest.raises(GenerationFailed):
        list(request.pieces())
    assert not engine._changes
    assert texts(engine.submit(model, [config()]).pieces()) == alone(model.checkpoint, config())


def test_an_observer_receives_the_first_characters_of_each_request_and_every_turn(model: LoadedModel) -> None:
    class Recorder(Observer):
        def __init__(self) -> None:
            self.first: list[float] = []
            self.turns: list[tuple[float, int]] = []

        def first_characters(self, seconds: float) -> None:
            self.first.append(seconds)

        def turn(self, seconds: float, characters: int) -> None:
            self.turns.append((seconds, characters))

    recorder = Recorder()
    engine = Engine(max_rows=4, observer=recorder)
    written = [texts(engine.submit(model, [config(n=2)], whole=whole).pieces(), 2) for whole in (True, False)]
    engine.stop()
    assert len(recorder.first) == 2
    assert min(recorder.first) > 0
    assert min(seconds for seconds, _ in recorder.turns) > 0
    assert sum(characters for _, characters in recorder.turns) == sum(len(text) for each in written for text in each)
