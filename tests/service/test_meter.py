"""Means, speed and the time that is left."""

from __future__ import annotations

import math

import pytest

from model.training import Progress
from service.meter import Meter


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
