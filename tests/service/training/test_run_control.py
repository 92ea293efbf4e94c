"""What is wanted of a run while it trains: noticed soon, whoever trains it, and something is always kept."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from model.checkpoint import Checkpoint
from model.config import ModelConfig, TrainingConfig
from service.store import Corpus, Run, Store
from service.system.errors import DatabaseBusy, RunBusy
from service.training import checkpointing, jobs, run_control, trainer
from service.training.progress import Ended, Event, Stepped, Validated
from service.training.run_control import HEARTBEAT, PATIENCE, POLL, RunControl, Stopped
from service.training.trainer import Trainer
from tests.claimed import claimed_run

MODEL = ModelConfig(cell="gru", hidden_size=4)


class Clock:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def make(store: Store, corpus: Corpus, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Trainer]:
    """A trainer of a run, which may belong to the queue; it validates every ten steps."""
    monkeypatch.setattr(checkpointing, "SAMPLE", replace(checkpointing.SAMPLE, length=12))

    def made(name: str = "run", *, queued: bool = False, **settings: Any) -> Trainer:
        training = TrainingConfig(**{"steps": 30, "batch_size": 3, "seq_length": 16, "validation_interval": 10} | settings)
        run = claimed_run(store, corpus.name, MODEL, training, name=name)
        if queued:
            store.queue.put(store.runs.release(run, "paused"), "")
            claimed = store.queue.claim_next()
            assert claimed is not None
            run = claimed
        return Trainer(store, run, clock=clock)

    return made


def asking(work: Trainer, clock: Clock, step: int, ask: Callable[[], Any]) -> list[Event]:
    """Ask for something after a step; each takes a tenth of a second."""
    events = []
    for event in work.events():
        events.append(event)
        clock.now += 0.1
        if isinstance(event, Stepped) and event.progress.step == step:
            ask()
    return events


@pytest.mark.parametrize("queued", [False, True])
@pytest.mark.parametrize(("ask", "state"), [(jobs.pause, "paused"), (jobs.cancel, "cancelled")])
def test_it_is_noticed_soon_and_a_checkpoint_is_kept(
    make: Callable[..., Trainer], store: Store, clock: Clock, queued: bool, ask: Callable[[Store, str], Run], state: str
) -> None:
    events = asking(make(queued=queued, steps=1000), clock, 13, lambda: ask(store, "run"))
    run = store.runs.get("run")
    assert (run.state, run.wanted, run.message, run.owner) == (state, None, f"{state} on request", None)
    assert 13 <= run.step <= 13 + math.ceil(POLL / 0.1) + 1
    assert store.checkpoints.load_state(run)[0].step == run.step
    assert isinstance(events[-1], Ended)
    last = jobs.events(store, "run")[-1]
    assert (last.message, last.level) == (f"is {state} at step {run.step}, as was asked", "info")


def test_it_may_be_asked_at_any_step_at_no_cost(store: Store, corpus: Corpus, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    run = claimed_run(store, corpus.name, MODEL, TrainingConfig(steps=1))
    looked = []
    monkeypatch.setattr(store.queue, "wanted", lambda run: looked.append(clock.now))
    watch = RunControl(store, run, clock)
    for _ in range(1000):
        clock.now += 0.01
        watch.look()
    assert len(looked) == pytest.approx(10 / POLL, abs=1)


def test_a_sign_of_life_is_given_though_nothing_is_stored(
    store: Store, corpus: Corpus, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = claimed_run(store, corpus.name, MODEL, TrainingConfig(steps=1))
    signs: list[float] = []
    monkeypatch.setattr(store.runs, "heartbeat", lambda run: signs.append(clock.now))
    watch = RunControl(store, run, clock)
    for second in range(100):
        clock.now += 1
        if second == 50:
            watch.saved()
        watch.look()
    assert [sign - 1000 for sign in signs] == [16, 32, 48, 67, 83, 99]
    assert HEARTBEAT == 15


def test_whoever_lost_the_run_notices(store: Store, corpus: Corpus, clock: Clock) -> None:
    run = claimed_run(store, corpus.name, MODEL, TrainingConfig(steps=1))
    watch = RunControl(store, run, clock)
    store.db.execute("UPDATE runs SET owner = 'another'")
    clock.now += HEARTBEAT + 1
    with pytest.raises(RunBusy):
        watch.look()


def test_a_locked_database_is_looked_at_later(store: Store, corpus: Corpus, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    run = claimed_run(store, corpus.name, MODEL, TrainingConfig(steps=1))
    monkeypatch.setattr(store.queue, "wanted", lambda run: (_ for _ in ()).throw(DatabaseBusy("x.db", 10)))
    watch = RunControl(store, run, clock)
    watch.tick()
    monkeypatch.setattr(store.queue, "wanted", lambda run: "paused")
    watch.tick()
    clock.now += POLL
    with pytest.raises(Stopped):
        watch.tick()


# ── while something takes long ────────────────────────────────────────────────────────────────────────────────────────


def test_a_validation_is_broken_off_and_the_run_ends_as_if_it_had_not_been(
    make: Callable[..., Trainer], store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    list(make("whole").events())
    real = trainer.evaluate

    def slow(*arguments: Any) -> Any:
        *rest, tick = arguments

        def ticking() -> None:
            clock.now += 1
            tick()

        return real(*rest, ticking)

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "evaluate", slow)
        patch.setattr(run_control, "POLL", 0.0)
        work = make()
        patch.setattr(store.queue, "wanted", lambda run: "paused" if run.name == "run" and clock.now > 1001 else None)
        events = list(work.events())
    assert [each for each in events if isinstance(each, Validated)] == []
    run = store.runs.get("run")
    assert (run.state, run.step) == ("paused", 10)
    assert store.metrics.list(run)[-1].validation_loss is None
    list(trainer.resume(store, "run").events())
    models = [Checkpoint.from_bytes(store.checkpoints.load(store.runs.get(name), "last")[1]) for name in ("whole", "run")]
    assert models[0].model.parameters.flat.tobytes() == models[1].model.parameters.flat.tobytes()
    losses = [[each.validation_loss for each in store.checkpoints.list(store.runs.get(name))] for name in ("whole", "run")]
    assert losses[0] == losses[1]  # the one that was broken off is made up for
    assert None not in losses[0]


def test_the_last_validation_is_made_up_for(
    make: Callable[..., Trainer], store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = make(steps=5)
    with monkeypatch.context() as patch:
        patch.setattr(work, "_control", watch := RunControl(store, work.run, clock))
        real, draw = trainer.evaluate, trainer.draw

        def draw_none_then(*arguments: Any) -> Any:
            if watch.stopping:
                raise Stopped
            return draw(*arguments)

        patch.setattr(trainer, "draw", draw_none_then)
        patch.setattr(trainer, "evaluate", lambda *arguments: (watch.stop("a test", "paused"), real(*arguments[:-1]))[1])
        events = list(work.events())
    assert [type(event).__name__ for event in events[-2:]] == ["Stepped", "Ended"]
    assert (store.runs.get("run").state, store.runs.get("run").step) == ("paused", 5)
    assert store.runs.get("run").best_validation_loss is None
    events = list(trainer.resume(store, "run").events())
    assert [type(event).__name__ for event in events] == ["Prepared", "Validated", "Ended"]
    assert store.runs.get("run").state == "succeeded"


@pytest.mark.parametrize(("pause", "steps"), [(0.1, 1), (PATIENCE + 0.1, 0)])
def test_reading_is_broken_off_if_it_takes_too_long_for_a_first_step(
    make: Callable[..., Trainer], store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch, pause: float, steps: int
) -> None:
    real = store.corpora.pieces

    def pieces(name: str) -> Any:
        for piece in real(name):
            clock.now += pause
            yield piece

    monkeypatch.setattr(store.corpora, "pieces", pieces)
    work = make()
    work.stop("a test")
    list(work.events())
    run = store.runs.get("run")
    assert (run.state, run.step, run.checkpoints, run.message) == ("paused", steps, steps, "a test")


# ── what others want meanwhile ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("queued", "state"), [(False, "paused"), (True, "queued")])
def test_a_wish_that_was_taken_back_too_late(make: Callable[..., Trainer], store: Store, clock: Clock, queued: bool, state: str) -> None:
    work = make(queued=queued)
    jobs.pause(store, "run")
    events = work.events()
    next(events)
    next(events)  # it has noticed
    jobs.resume(store, "run")
    list(events)
    assert store.runs.get("run").state == state


def test_a_cancellation_is_not_lost_when_its_process_is_stopped(make: Callable[..., Trainer], store: Store) -> None:
    work = make(queued=True)
    events = work.events()
    next(events)
    work.stop("its worker was stopped", "queued")
    jobs.cancel(store, "run")
    list(events)
    assert store.runs.get("run").state == "cancelled"
