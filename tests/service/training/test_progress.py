"""Means, speed and the time that is left.

When a run is validated and how far it is, against figures worked by hand; the clock is a number that the test sets.
"""

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
from service.training.progress import Meter, Pace, length_in_steps

# ── pace ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def streams(symbols: int = 1001) -> Streams:
    """Two streams of 500 symbols: 50 chunks of ten."""
    return Streams(np.zeros(symbols, np.uint8), 2, 10)


def state(step: int, first_step: int = 0, last_step: int = 0, first_second: float = 0.0) -> Any:
    return SimpleNamespace(step=step, first_step=first_step, last_step=last_step, first_second=first_second)


@pytest.fixture
def now() -> list[float]:
    """Seconds spent."""
    return [0.0]


@pytest.fixture
def pace(now: list[float]) -> Callable[..., Pace]:
    """Of a run that validates on 100 symbols, and whose baselines take two seconds."""

    def made(**settings: Any) -> Pace:
        text: Any = SimpleNamespace(split=Split(1001, 1001, 1101))
        assessor: Any = SimpleNamespace(seconds_to_prepare=2.0)
        return Pace(TrainingConfig(**settings), streams(), text, assessor, lambda: now[0])

    return made


@pytest.mark.parametrize(
    ("settings", "steps"), [({"epochs": 1.5}, 75), ({"epochs": 0.001}, 1), ({"steps": 9}, 9), ({"budget": 5.0}, 0)], ids=str
)
def test_a_length_is_so_many_steps(settings: dict[str, Any], steps: int) -> None:
    assert length_in_steps(TrainingConfig(**settings), streams()) == steps


def test_steps_are_counted_from_the_beginning_of_the_schedule(pace: Callable[..., Pace]) -> None:
    assert pace(steps=8).share(state(6, first_step=4, last_step=12)) == 0.25


def test_of_a_budget_the_end_is_set_aside(pace: Callable[..., Pace], now: list[float]) -> None:
    it = pace(budget=100.0)
    now[0] = 30.0
    # 0.3 + 2 seconds, before it is known what a validation takes; the schedule began at second 10
    assert it.share(state(5, first_second=10.0)) == pytest.approx(20 / 97.7)
    it.learned(5.0)  # 100 symbols at twice that speed
    assert it.share(state(5, first_second=10.0)) == pytest.approx(20 / (97.7 - 12))
    it.validated(1.0)
    it.learned(5.0)  # what it took is known now
    assert it.share(state(5, first_second=10.0)) == pytest.approx(20 / (97.7 - 1.2))
    it.validated(80.0)
    assert it.share(state(5, first_second=10.0)) == pytest.approx(20 / 50)  # never more than half
    now[0] = 500.0
    assert it.share(state(0)) == 0.99  # one step is always made
    assert it.share(state(1)) > 1


def test_epochs_may_end_a_budget(pace: Callable[..., Pace], now: list[float]) -> None:
    now[0] = 1.0
    assert pace(budget=1e6, max_epochs=2.0).share(state(25)) == 25 / 100


def test_an_interval_is_kept(pace: Callable[..., Pace]) -> None:
    it = pace(steps=100, validation_interval=7)
    assert [step for step in range(1, 30) if it.is_due(state(step, first_step=2), 0.0)] == [2, 9, 16, 23]


@pytest.mark.parametrize("seconds", [0.0, 1e9])
def test_without_one_steps_alone_decide(pace: Callable[..., Pace], seconds: float) -> None:
    it = pace(steps=5000)
    assert [step for step in range(1, 700) if it.is_due(state(step, last_step=5000), seconds)] == [200, 400, 600]


def test_a_short_run_is_validated_twenty_times_or_as_the_text_allows(pace: Callable[..., Pace]) -> None:
    it = pace(steps=1000)
    assert [step for step in range(1, 200) if it.is_due(state(step, last_step=1000), 0.0)] == [50, 100, 150]
    assert [step for step in range(101, 700) if it.is_due(state(step, 100, 700), 0.0)] == list(range(130, 700, 30))
    # 100 symbols validate: 30 chunks of 20 are six times as many
    assert [step for step in range(1, 100) if it.is_due(state(step, last_step=200), 0.0)] == [30, 60, 90]


def test_a_budget_is_validated_as_often_as_it_can_afford(pace: Callable[..., Pace]) -> None:
    it = pace(budget=600.0)
    it.validated(2.0)
    assert [it.is_due(state(5), seconds) for seconds in (9.0, 23.0, 25.0)] == [False, False, True]  # twelve times two
    it.validated(0.1)
    assert [it.is_due(state(5), seconds) for seconds in (9.0, 11.0)] == [False, True]  # a sixtieth of it
    it.validated(50.0)  # 52.1 so far, and no room for two of 50 in 54
    assert not it.is_due(state(5), 1e6)


# ── meter ────────────────────────────────────────────────────────────────────────────────────────────────────────────


class Clock:
    now = 50.0

    def __call__(self) -> float:
        return self.now


def progress(loss: float, share: float = 0.0, symbols: int = 10) -> Progress:
    return Progress(step=1, epoch=0.1, loss=loss, grad_norm=1.0, learning_rate=0.1, share=share, symbols=symbols)


def test_loss_and_speed_are_means_since_the_last_restart() -> None:
    clock = Clock()
    meter = Meter(clock)
    assert meter.loss == 0
    for loss in (1.0, 2.0, 6.0):
        clock.now += 2
        meter.add(progress(loss))
    assert meter.loss == 3
    assert meter.speed == 5
    meter.restart()
    clock.now += 1
    meter.add(progress(7.0, symbols=40))
    assert (meter.loss, meter.speed) == (7, 40)


def test_the_time_left_follows_the_share_done_here() -> None:
    clock = Clock()
    meter = Meter(clock)
    meter.add(progress(1.0, share=0.5))  # the first half was done by another process
    assert meter.seconds_left(0.5, None) == math.inf
    clock.now += 10
    assert meter.seconds_left(0.6, None) == pytest.approx(40)
    assert meter.seconds_left(1.2, None) == 0
    assert meter.seconds_left(0.75, 180) == 45
