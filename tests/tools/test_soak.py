"""A short soak finds no fault and little memory, and one that grows is found."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest

from tools import soak


def test_some_seconds_of_mixed_requests_find_no_fault() -> None:
    series, load = soak.soak(6, rate=12)
    assert soak.verdict(series, load, most=250, slope=10**6) == [], soak.report(series, load)
    kinds = {what.rpartition(" ")[0] for what in load.answers}
    assert len(kinds) > 7, soak.report(series, load)
    assert {"serving MB", "serving files", "serving threads", "database", "cache", "first MB"} <= series.values.keys()
    assert series.values["serving MB"][-1] > 40


@pytest.mark.parametrize(
    ("memory", "threads", "found"),
    [
        (lambda minute: 150.0, lambda minute: 20.0, ""),
        (lambda minute: 100 + 40 * min(minute, 40) / 40, lambda minute: 20.0, ""),  # it grew in the first half only
        (lambda minute: 100 + 0.2 * minute, lambda minute: 20.0, "its memory grew by 0.20 MB a minute"),
        (lambda minute: 210.0, lambda minute: 20.0, "took 210 MB, more than 200"),
        (lambda minute: 150.0, lambda minute: 1 + 2 * minute, "serving threads grew from 101 to 199"),
    ],
)
def test_what_grows_is_found(memory: Callable[[float], float], threads: Callable[[float], float], found: str) -> None:
    series, load = soak.Series(), soak.Load(None, None)  # type: ignore[arg-type]
    for minute in range(100):
        series.add(minute, {"serving MB": memory(minute), "serving threads": threads(minute), "serving files": 30.0})
    assert found in "".join(soak.verdict(series, load, most=200, slope=0.1))
    assert bool(found) == bool(soak.verdict(series, load, most=200, slope=0.1))


def test_the_slope_is_that_of_least_squares() -> None:
    rng, series = random.Random(1), soak.Series()
    for minute in range(60):
        series.add(minute / 2, {"a": rng.random() + 0.3 * minute})
    x, y = series.last_half("a")
    assert x[0] == 15
    assert series.slope("a") == pytest.approx(np.polyfit(x, y, 1)[0])


def test_an_error_of_the_service_is_a_fault() -> None:
    series, load = soak.Series(), soak.Load(None, None)  # type: ignore[arg-type]
    for minute in range(3):
        series.add(minute, {"serving MB": 1.0, "serving threads": 1.0, "serving files": 1.0})
    load._counted("text", 500, b"it broke")
    assert "1 faults, the first: text: 500" in soak.verdict(series, load, 200, 0.1)[0]
