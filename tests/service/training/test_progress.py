"""Share, means, speed, time left and when to validate, against figures worked by hand; the clock is a number that the test sets."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from model.batches import Split, Streams
from model.config import TrainingConfig
from model.training import Progress
from service.training.progress import Meter, Window, length_in_steps, seconds_left

# ── share and validations ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def streams(symbols: int = 1001) -> Streams:
    """Two streams of 500 symbols: 50 chunks of ten."""
    return Streams(np.zeros(symbols, np.uint8), 2, 10)


def state(step: int, first_step: int = 0, last_step: int = 0, first_second: float = 0.0) -> Any:
    return SimpleNamespace(step=step, first_step=first_step, last_step=last_step, first_second=first_second)


def step(it: Meter, now: list[float], speed: float) -> None:
    """One step at a speed, in symbols per second, from second 30; then the clock stands there again."""
    it.interval.restart()
    now[0] += 10 / speed
    it.stepped(progress(1.0), state(5, first_second=10.0))
    now[0] = 30.0


@pytest.fixture
def now() -> list[float]:
    """Seconds spent."""
    return [0.0]


@pytest.fixture
def meter(now: list[float]) -> Callable[..., Meter]:
    """Of a run that validates on 100 symbols, and whose baselines take two seconds."""

    def made(**settings: Any) -> Meter:
        text: Any = SimpleNamespace(split=Split(1001, 1001, 1101), symbols_per_char=2.0)
        assessor: Any = SimpleNamespace(seconds_to_prepare=2.0)
        return Meter(TrainingConfig(**settings), streams(), text, assessor, lambda: now[0])

    return made


@pytest.mark.parametrize(
    ("settings", "steps"), [({"epochs": 1.5}, 75), ({"epochs": 0.001}, 1), ({"steps": 9}, 9), ({"budget": 5.0}, 0)], ids=str
)
def test_a_length_is_so_many_steps(settings: dict[str, Any], steps: int) -> None:
    assert length_in_steps(TrainingConfig(**settings), streams()) == steps


def test_steps_are_counted_from_the_beginning_of_the_schedule(meter: Callable[..., Meter]) -> None:
    assert meter(steps=8).share(state(6, first_step=4, last_step=12)) == 0.25


def test_of_a_budget_the_end_is_set_aside(meter: Callable[..., Meter], now: list[float]) -> None:
    it = meter(budget=100.0)
    now[0] = 30.0
    # 0.3 + 2 seconds, before it is known what a validation takes; the schedule began at second 10
    assert it.share(state(5, first_second=10.0)) == pytest.approx(20 / 97.7)
    step(it, now, 5.0)  # 100 symbols at twice that speed
    assert it.share(state(5, first_second=10.0)) == pytest.approx(20 / (97.7 - 12))
    it.validated(1.0)
    step(it, now, 5.0)  # what it took is known now
    assert it.share(state(5, first_second=10.0)) == pytest.approx(20 / (97.7 - 1.2))
    it.validated(80.0)
    assert it.share(state(5, first_second=10.0)) == pytest.approx(20 / 50)  # never more than half
    now[0] = 500.0
    assert it.share(state(0)) == 0.99  # one step is always made
    assert it.share(state(1)) > 1


def test_epochs_may_end_a_budget(meter: Callable[..., Meter], now: list[float]) -> None:
    now[0] = 1.0
    assert meter(budget=1e6, max_epochs=2.0).share(state(25)) == 25 / 100


def test_an_interval_is_kept(meter: Callable[..., Meter]) -> None:
    it = meter(steps=100, validation_interval=7)
    assert [step for step in range(1, 30) if it.validation_is_due(state(step, first_step=2))] == [2, 9, 16, 23]


@pytest.mark.parametrize("seconds", [0.0, 1e9])
def test_without_one_steps_alone_decide(meter: Callable[..., Meter], now: list[float], seconds: float) -> None:
    it = meter(steps=5000)
    now[0] += seconds
    assert [step for step in range(1, 700) if it.validation_is_due(state(step, last_step=5000))] == [200, 400, 600]


def test_a_short_run_is_validated_twenty_times_or_as_the_text_allows(meter: Callable[..., Meter]) -> None:
    it = meter(steps=1000)
    assert [step for step in range(1, 200) if it.validation_is_due(state(step, last_step=1000))] == [50, 100, 150]
    assert [step for step in range(101, 700) if it.validation_is_due(state(step, 100, 700))] == list(range(130, 700, 30))
    # 100 symbols validate: 30 chunks of 20 are six times as many
    assert [step for step in range(1, 100) if it.validation_is_due(state(step, last_step=200))] == [30, 60, 90]


def test_a_budget_is_validated_as_often_as_it_can_afford(meter: Callable[..., Meter], now: list[float]) -> None:
    it = meter(budget=600.0)

    def due_after(*seconds: float) -> list[bool]:
        validated = now[0]
        found = []
        for each in seconds:
            now[0] = validated + each
            it.stepped(progress(1.0), state(5))
            found.append(it.validation_is_due(state(5)))
        return found

    it.validated(2.0)
    assert due_after(9.0, 23.0, 25.0) == [False, False, True]  # twelve times two
    it.validated(0.1)
    assert due_after(9.0, 11.0) == [False, True]  # a sixtieth of it
    it.validated(50.0)  # 52.1 so far, and no room for two of 50 in 54
    assert due_after(1e6) == [False]


# ── means, speed and time left ───────────────────────────────────────────────────────────────────────────────────────


def progress(loss: float, share: float = 0.0, symbols: int = 10) -> Progress:
    return Progress(step=1, epoch=0.1, loss=loss, grad_norm=1.0, learning_rate=0.1, share=share, symbols=symbols)


def test_loss_and_speed_are_means_since_the_last_restart(now: list[float]) -> None:
    window = Window(lambda: now[0])
    assert window.loss == 0
    for loss in (1.0, 2.0, 6.0):
        now[0] += 2
        window.add(progress(loss))
    assert (window.loss, window.speed, window.elapsed) == (3, 5, 6)
    window.restart()
    now[0] += 1
    window.add(progress(7.0, symbols=40))
    assert (window.loss, window.speed) == (7, 40)


def test_a_metric_has_the_means_since_the_last_validation(meter: Callable[..., Meter], now: list[float]) -> None:
    it = meter(steps=10)
    for loss in (1.0, 3.0):
        now[0] += 2
        stepped = it.stepped(progress(loss), state(1, last_step=10))
    assert stepped.characters_per_second == 2.5  # two symbols are a character
    metric = it.metric(stepped.progress)
    assert (metric.loss, metric.characters_per_second, metric.seconds) == (2, 2.5, 4)
    it.recent.restart()
    assert it.metric(stepped.progress) == metric
    it.validated(1.0)
    now[0] += 1
    it.stepped(progress(9.0), state(2, last_step=10))
    assert it.metric(stepped.progress).loss == it.recent.loss == 9


def test_the_time_left_follows_the_share_done_here(meter: Callable[..., Meter], now: list[float]) -> None:
    it = meter(steps=100)
    assert it.stepped(progress(1.0, share=0.5), state(50, last_step=100)).seconds_left == math.inf  # another process did the first half
    now[0] += 10
    assert it.stepped(progress(1.0, share=0.5), state(60, last_step=100)).seconds_left == pytest.approx(40)


def test_the_time_left() -> None:
    assert seconds_left(0.5, 10, share_before=0.5) == seconds_left(0.0, 10) == math.inf
    assert seconds_left(0.6, 10, share_before=0.5) == pytest.approx(40)
    assert seconds_left(1.2, 10, share_before=0.5) == 0
    assert seconds_left(0.75, 10, budget=180) == 45
