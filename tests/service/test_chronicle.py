"""How a run ends before its time: which errors are worth another attempt, and what is told."""

from __future__ import annotations

import pytest

from model.errors import DatabaseUnusable, OutOfMemory, ProcessLost, TextTooShort, TrainingDiverged
from service import chronicle
from service.store import Metric, Run, Store

AGAIN = [DatabaseUnusable("x.db", "the disk is full"), OutOfMemory(), ProcessLost(1, 2), ZeroDivisionError("a fault of ours")]
NEVER = [TrainingDiverged(3, "loss", float("nan")), TextTooShort("corpus x", 3, 100)]


@pytest.fixture
def run(store: Store) -> Run:
    """A run of the queue, in the hands of this process."""
    store.runs.create("run", corpus=None, model_config={}, training_config={}, queued=True)
    claimed = store.queue.claim_next()
    assert claimed is not None
    return claimed


@pytest.mark.parametrize("error", AGAIN, ids=lambda each: type(each).__name__)
def test_what_may_go_better_is_tried_three_times(store: Store, run: Run, error: Exception) -> None:
    for attempt in (2, 3):
        run = chronicle.given_up(store, run, error)
        assert (run.state, run.attempt) == ("queued", attempt)
        claimed = store.queue.claim_next()
        assert claimed is not None
        run = claimed
    run = chronicle.given_up(store, run, error)
    assert run.state == "failed"
    assert str(error) in (run.message or "")
    assert [each.level for each in store.events.list(run)] == ["warn", "warn", "error"]


@pytest.mark.parametrize("error", NEVER, ids=lambda each: type(each).__name__)
def test_what_would_happen_again_fails_at_once(store: Store, run: Run, error: Exception) -> None:
    run = chronicle.given_up(store, run, error)
    assert (run.state, run.message) == ("failed", str(error))
    [event] = store.events.list(run)
    assert event.level == "error"
    assert event.message == f"has failed at step 0: {error}"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), GeneratorExit()], ids=["Ctrl-C", "left"])
def test_who_is_stopped_waits_for_another(store: Store, run: Run, error: BaseException) -> None:
    assert chronicle.given_up(store, run, error).state == "queued"
    claimed = store.runs.claim("run")  # by somebody who watches
    assert chronicle.given_up(store, claimed, error).state == "paused"
    assert store.runs.get("run").attempt == 1


def test_outside_the_queue_nobody_tries_again(store: Store, run: Run) -> None:
    store.runs.release(run, "queued")
    assert chronicle.given_up(store, store.runs.claim("run"), AGAIN[0]).state == "paused"
    assert chronicle.given_up(store, store.runs.claim("run"), AGAIN[3]).state == "failed"


def test_a_validation_in_words_and_numbers(store: Store, run: Run) -> None:
    metric = Metric(step=1200, epoch=1.5, loss=2.25, validation_loss=2.5, bits_per_char=3.6067, seconds=3.0)
    chronicle.validated(store, run, metric, {"characters": 9000})
    [event] = store.events.list(run)
    assert event.message == "step 1,200: validation loss 2.500 nats, 3.607 bits per character"
    assert event.type == "metrics"
    assert event.data is not None
    assert {name: event.data[name] for name in ("step", "epoch", "train_loss", "valid_loss", "seconds", "characters")} == {
        "step": 1200,
        "epoch": 1.5,
        "train_loss": 2.25,
        "valid_loss": 2.5,
        "seconds": 3.0,
        "characters": 9000,
    }


def test_what_is_told_between_validations(store: Store, run: Run) -> None:
    chronicle.learned(store, run, Metric(step=1300, loss=2.125), {"share": 0.5})
    [event] = store.events.list(run)
    assert event.message == "step 1,300: training loss 2.125 nats"
    assert event.data is not None
    assert (event.data["train_loss"], event.data["valid_loss"], event.data["share"]) == (2.125, None, 0.5)
