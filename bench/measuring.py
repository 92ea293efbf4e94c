"""Measures the rates of several contenders in turns, so that other load on the machine affects all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from statistics import geometric_mean, median
from typing import Any, NamedTuple

Run = Callable[[int], None]  # does this many steps

OURS = "charloom"
TITLES = {OURS: "Charloom", "pytorch": "PyTorch", "pytorch_alone": "PyTorch, 1 thread", "onnxruntime": "onnxruntime"}
PAUSE = 0.05  # seconds between two contenders: threads that wait for work keep their cores busy for some milliseconds


class Effort(NamedTuple):
    """How much is measured."""

    repetitions: int
    seconds: float  # that one repetition of a contender takes at least, as far as can be told beforehand


THOROUGH = Effort(7, 0.5)
QUICK = Effort(3, 0.1)


def interleaved(
    runs: Mapping[str, Run],
    work: float,
    effort: Effort,
    clock: Callable[[], float] = time.perf_counter,
    pause: Callable[[float], None] = time.sleep,
) -> dict[str, list[float]]:
    """Units of work per second of each contender in each repetition, where one step does `work` units.

    Every contender is warmed up first. Each repetition measures all of them, beginning with another one each time.
    """
    steps = {name: _steps(run, effort.seconds, clock) for name, run in runs.items()}
    rates: dict[str, list[float]] = {name: [] for name in runs}
    names = list(runs)
    for repetition in range(effort.repetitions):
        first = repetition % len(names)
        for name in names[first:] + names[:first]:
            pause(PAUSE)
            began = clock()
            runs[name](steps[name])
            rates[name].append(work * steps[name] / (clock() - began))
    return rates


def _steps(run: Run, seconds: float, clock: Callable[[], float]) -> int:
    """How many steps take about `seconds`. The first step, which makes buffers and threads, does not count."""
    run(1)
    steps = 1
    while True:
        began = clock()
        run(steps)
        taken = clock() - began
        if taken >= seconds / 4:
            return max(1, round(steps * seconds / taken))
        steps *= 4


def compared(rates: Mapping[str, list[float]]) -> dict[str, Any]:
    """Median, lowest, highest and all rates of each contender; `ratio` is ours over the faster peer, by medians."""
    medians = {name: median(each) for name, each in rates.items()}
    peers = {name: each for name, each in medians.items() if name != OURS}
    fastest = max(peers, key=lambda name: peers[name])
    found: dict[str, Any] = {
        name: {"median": medians[name], "lowest": min(each), "highest": max(each), "repetitions": each} for name, each in rates.items()
    }
    return {**found, "peer": fastest, "ratio": medians[OURS] / peers[fastest]}


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The rows, the geometric mean of their ratios, and which is the lowest."""
    lowest = min(rows, key=lambda row: row["ratio"])
    return {
        "rows": rows,
        "mean_ratio": geometric_mean(row["ratio"] for row in rows),
        "lowest_ratio": {"network": lowest["network"], "ratio": lowest["ratio"]},
    }
