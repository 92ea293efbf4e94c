"""Taking turns, and what is made of the rates; time is a pretended clock's."""

from __future__ import annotations

import pytest

from bench.measuring import PAUSE, Effort, compared, interleaved, summary


class Clock:
    """Time that passes only when something is done."""

    def __init__(self) -> None:
        self.now = 0.0
        self.done: list[str] = []

    def __call__(self) -> float:
        return self.now

    def contender(self, name: str, seconds: float, first: float = 0.0) -> object:
        """Takes `seconds` a step, and `first` longer for its first one."""
        begun = False

        def run(steps: int) -> None:
            nonlocal begun
            self.now += steps * seconds + (0.0 if begun else first)
            begun = True
            self.done.append(name)

        return run


def test_contenders_take_turns_and_each_is_first_once() -> None:
    clock = Clock()
    runs = {name: clock.contender(name, 0.01) for name in "abc"}
    interleaved(runs, 1, Effort(3, 0.1), clock, lambda seconds: None)  # type: ignore[arg-type]
    assert clock.done[-9:] == list("abcbcacab")


def test_rates_are_work_per_second_whatever_the_first_step_took() -> None:
    clock, pauses = Clock(), []
    runs = {"fast": clock.contender("fast", 0.001, first=3.0), "slow": clock.contender("slow", 0.7)}
    rates = interleaved(runs, 50, Effort(4, 0.5), clock, pauses.append)  # type: ignore[arg-type]
    assert rates["fast"] == pytest.approx([50_000] * 4)
    assert rates["slow"] == pytest.approx([50 / 0.7] * 4)
    assert pauses == [PAUSE] * 8


def test_a_repetition_takes_about_as_long_as_asked_for() -> None:
    clock = Clock()
    run = clock.contender("a", 0.003)
    interleaved({"a": run}, 1, Effort(1, 0.5), clock, lambda seconds: None)  # type: ignore[dict-item]
    before = clock.now
    interleaved({"a": run}, 1, Effort(5, 0.5), clock, lambda seconds: None)  # type: ignore[dict-item]
    assert clock.now - before == pytest.approx(5 * 0.5, abs=0.3)


def test_the_ratio_is_that_of_the_medians_to_the_faster_peer() -> None:
    found = compared({"charloom": [30.0, 1.0, 36.0], "pytorch": [9.0, 10.0, 50.0], "onnxruntime": [20.0, 19.0, 21.0]})
    assert found["peer"] == "onnxruntime"
    assert found["ratio"] == 1.5
    assert found["charloom"] == {"median": 30.0, "lowest": 1.0, "highest": 36.0, "repetitions": [30.0, 1.0, 36.0]}


def test_the_summary_has_the_geometric_mean_and_the_lowest_ratio() -> None:
    rows = [{"network": "lstm", "ratio": 8.0}, {"network": "gru", "ratio": 1.0}, {"network": "rnn", "ratio": 27.0}]
    found = summary(rows)
    assert found["mean_ratio"] == pytest.approx(6.0)
    assert found["lowest_ratio"] == {"network": "gru", "ratio": 1.0}
    assert found["rows"] == rows
