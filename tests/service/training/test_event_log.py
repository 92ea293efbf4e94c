"""Events of a run: seldom enough, in numbers that clients can draw; which errors are worth another attempt, and their messages."""

from __future__ import annotations

import json
import math
from functools import partial
from typing import Any

import pytest

from model.config import ModelConfig, TrainingConfig
from model.errors import TextTooShort, TrainingDiverged
from model.training import Progress
from service.store import Corpus, Metric, Run, Sample, Store
from service.system.errors import DatabaseUnusable, OutOfMemory
from service.training import dataset, event_log
from service.training.event_log import MetricsLog
from service.training.learning_curve import Outlook, Standing
from service.training.progress import Stepped, Window
from tests.claimed import claimed_run

# ── messages ─────────────────────────────────────────────────────────────────────────────────────────────────────────

AGAIN = [DatabaseUnusable("x.db", "the disk is full"), OutOfMemory(), ZeroDivisionError("a fault of ours")]
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
        run = event_log.given_up(store, run, error)
        assert (run.state, run.attempt) == ("queued", attempt)
        claimed = store.queue.claim_next()
        assert claimed is not None
        run = claimed
    run = event_log.given_up(store, run, error)
    assert run.state == "failed"
    assert str(error) in (run.message or "")
    assert [each.level for each in store.events.list(run)] == ["warn", "warn", "error"]


@pytest.mark.parametrize("error", NEVER, ids=lambda each: type(each).__name__)
def test_what_would_happen_again_fails_at_once(store: Store, run: Run, error: Exception) -> None:
    run = event_log.given_up(store, run, error)
    assert (run.state, run.message) == ("failed", str(error))
    [event] = store.events.list(run)
    assert event.level == "error"
    assert event.message == f"has failed at step 0: {error}"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), GeneratorExit()], ids=["Ctrl-C", "left"])
def test_who_is_stopped_waits_for_another(store: Store, run: Run, error: BaseException) -> None:
    assert event_log.given_up(store, run, error).state == "queued"
    claimed = store.runs.claim("run")  # by somebody who watches
    assert event_log.given_up(store, claimed, error).state == "paused"
    assert store.runs.get("run").attempt == 1


def test_outside_the_queue_nobody_tries_again(store: Store, run: Run) -> None:
    store.runs.release(run, "queued")
    assert event_log.given_up(store, store.runs.claim("run"), AGAIN[0]).state == "paused"
    assert event_log.given_up(store, store.runs.claim("run"), AGAIN[2]).state == "failed"


def test_a_validation_in_words_and_numbers() -> None:
    metric = Metric(step=1200, epoch=1.5, loss=2.25, validation_loss=2.5, bits_per_char=3.6067, seconds=3.0)
    event = event_log.metrics_event(metric, {"characters": 9000})
    assert event.message == "step 1,200: validation loss 2.500 nats, 3.607 bits per character"
    assert {name: event.data[name] for name in ("step", "epoch", "train_loss", "valid_loss", "seconds", "characters")} == {
        "step": 1200,
        "epoch": 1.5,
        "train_loss": 2.25,
        "valid_loss": 2.5,
        "seconds": 3.0,
        "characters": 9000,
    }


def test_what_is_told_between_validations() -> None:
    event = event_log.metrics_event(Metric(step=1300, loss=2.125), {"share": 0.5})
    assert event.message == "step 1,300: training loss 2.125 nats"
    assert (event.data["train_loss"], event.data["valid_loss"], event.data["share"]) == (2.125, None, 0.5)


# ── metrics ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class Clock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Kit:
    """A run and the log of its metrics."""

    def __init__(self, store: Store, run: Run, text: dataset.Dataset) -> None:
        self.store, self.run, self.text, self.clock = store, run, text, Clock()
        self.recent = Window(self.clock)
        self.log = MetricsLog(store, text, self.recent, 0)

    def step(self, number: int, seconds: float, loss: float, spent: float = 0.0, left: float = 60.0) -> None:
        """One step that took so many seconds, in a run that has trained for `spent`."""
        self.clock.now += seconds
        progress = Progress(step=number, epoch=0.1 * number, loss=loss, learning_rate=0.01, grad_norm=1.0, symbols=50, share=0.1)
        self.recent.add(progress)
        event = Stepped(progress=progress, share=0.1, seconds_left=left, characters_per_second=9.0)
        self.log.stepped(self.run, event, Metric(step=number, epoch=0.1 * number, loss=9.0, seconds=spent), partial(self.draw, number))

    def draw(self, step: int) -> Sample:
        """A text."""
        return Sample(step=step, text=f"written at {step}", temperature=0.8, seed=0)

    @property
    def told(self) -> list[dict[str, Any]]:
        """The numbers of all events so far."""
        return [each.data for each in self.store.events.list(self.run) if each.data is not None]


@pytest.fixture
def kit(store: Store, corpus: Corpus) -> Kit:
    model, training = ModelConfig(cell="gru", hidden_size=4), TrainingConfig(steps=3, batch_size=2, seq_length=8)
    return Kit(store, claimed_run(store, corpus.name, model, training), dataset.read(store, corpus.name, model, training))


def test_once_a_second_with_the_mean_since_the_last_time(kit: Kit) -> None:
    kit.step(1, 0.5, loss=5.0)
    kit.step(2, 0.5, loss=4.0)
    kit.step(3, 0.5, loss=2.0)
    kit.step(4, 0.75, loss=1.0)
    kit.step(5, 0.25, loss=0.5)
    told = [(each["step"], each["train_loss"], each["valid_loss"]) for each in kit.told]
    assert told == [(1, 5.0, None), (3, 3.0, None), (5, 0.75, None)]
    assert [each["characters_per_second"] for each in kit.told] == [None, 100.0, 100.0]
    assert kit.told[1]["characters"] == round(0.3 * kit.text.split.training)
    assert (kit.told[0]["share"], kit.told[0]["seconds_left"], kit.told[0]["symbols_per_char"]) == (0.1, 60.0, 1.0)


def test_long_runs_are_told_of_less_often(kit: Kit) -> None:
    for number in range(1, 101):
        kit.step(number, 1.0, loss=1.0, spent=1000.0)
    assert [each["step"] for each in kit.told] == list(range(1, 101, 10))


def test_samples_become_rarer(kit: Kit) -> None:
    for number in range(1, 40):
        kit.step(number, 1.0, loss=1.0)
    assert [each["step"] for each in kit.told if "sample" in each] == [1, 2, 4, 8, 16, 32]
    assert kit.told[3]["sample"] == {"text": "written at 4", "prompt": "", "temperature": 0.8, "seed": 0}


def test_a_time_that_nobody_knows_is_null(kit: Kit) -> None:
    kit.step(1, 2.0, loss=1.0, left=math.inf)
    assert kit.told[0]["seconds_left"] is None


def test_a_validation_begins_a_new_mean_and_tells_what_it_found(kit: Kit) -> None:
    kit.step(1, 0.5, loss=8.0)
    kit.step(2, 0.9, loss=8.0)
    outlook = Outlook(verdict="slowing", gain=0.1, gain_seconds=30.0, words="slowing")
    standing = Standing(loss=1.0, bits_per_char=1.44, better_than="bigram", worse_than="trigram", words="", outlook=outlook)
    sample = Sample(step=1, text="once", temperature=0.8, seed=0)
    metric = Metric(step=1, epoch=0.5, validation_loss=1.0)
    found = dict(kit.log.validated(metric, 0.2, 5.0, sample, standing, {0: 4.0, 1: 3.0, 5: 0.9}).data)
    kit.recent.restart()  # as the meter does
    assert json.loads(json.dumps(found)) == found
    assert found["baselines"] == {"uniform": 4.0, "unigram": 3.0, "5-gram": 0.9}
    assert found["outlook"] == {"verdict": "slowing", "gain": 0.1, "gain_seconds": 30.0}
    assert found["sample"] == {"text": "once", "prompt": "", "temperature": 0.8, "seed": 0}
    assert found["characters"] == round(0.5 * kit.text.split.training)
    kit.step(3, 0.5, loss=2.0)
    assert len(kit.told) == 1
    kit.step(4, 0.5, loss=4.0)
    assert [each["train_loss"] for each in kit.told] == [8.0, 3.0]


def test_who_goes_on_samples_no_sooner(kit: Kit) -> None:
    kit.log = MetricsLog(kit.store, kit.text, kit.recent, 20)
    for number in range(21, 42):
        kit.step(number, 1.0, loss=1.0)
    assert [each["step"] for each in kit.told if "sample" in each] == [40]


def test_without_an_outlook(kit: Kit) -> None:
    standing = Standing(loss=1.0, bits_per_char=1.44, better_than=None, worse_than=None, words="", outlook=None)
    found = kit.log.validated(Metric(step=1), 0.2, 5.0, Sample(step=1, text=""), standing, {}).data
    assert (found["outlook"], found["baselines"]) == (None, {})
