"""Ranks sum what one process would have, end with the same bits, and are let go at every moment that allows it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.parallel import ranks as ranks_module
from service.parallel.ranks import Ranks, shares

Started = Callable[..., Any]
L, S, B, H = 2, 1, 5, 3
NOTHING = np.zeros((L, S, B, H))


@given(st.integers(0, 50), st.integers(1, 9))
def test_shares_are_the_rows_of_a_group(total: int, size: int) -> None:
    counts, firsts = shares(total, size)
    assert sum(counts) == total
    for rank in range(size):
        group = Ranks.__new__(Ranks)
        group.rank, group.size = rank, size
        assert group.rows(total) == slice(firsts[rank], firsts[rank] + counts[rank])


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("parameters", [1, 4, 103])
def test_sums_are_those_in_the_order_of_the_ranks_bit_for_bit(ranks: Started, size: int, parameters: int) -> None:
    gradients = np.random.default_rng(size).normal(size=(size, parameters)).astype(np.float32)
    found: list[tuple[bytes, float, float]] = []

    def work(comm: Any) -> None:
        group = Ranks(comm, NOTHING)
        place = group.place(np.ones(parameters, np.float32))
        assert group.part(parameters) == slice(0, parameters)
        for _ in range(2):
            place[:] = gradients[group.rank]  # all of it is overwritten by the sum
            reduced = group.reduce(place, group.rank + 0.25)
            found.append((reduced.gradient.tobytes(), reduced.norm, reduced.loss))

    with ranks(size, work) as comm:
        work(comm)
    expected = gradients[0].copy()
    for gradient in gradients[1:]:
        expected += gradient
    assert len(set(found)) == 1
    assert len(found) == 2 * size
    total, norm, loss = found[0]
    assert total == expected.tobytes()
    assert norm == pytest.approx(np.linalg.norm(expected.astype(np.float64)), rel=1e-6)
    assert loss == sum(rank + 0.25 for rank in range(size))


@pytest.mark.parametrize("size", [2, 3])
def test_states_are_collected_between_two_steps_and_at_the_end(ranks: Started, size: int) -> None:
    states = np.random.default_rng(1).normal(size=(L, S, B, H))

    def own(group: Ranks, times: int) -> np.ndarray[Any, Any]:
        """The states as a rank has them: only its own rows are true."""
        hidden = np.full_like(states, np.nan)
        hidden[:, :, group.rows(B)] = times * states[:, :, group.rows(B)]
        return hidden

    def work(comm: Any) -> None:
        hidden = np.empty_like(states)
        group = Ranks(comm, hidden)
        times = 1
        hidden[...] = own(group, times)
        while group.begin(0.0) < 1:
            times += 1
            hidden[...] = own(group, times)
            group.wait()

    with ranks(size, work) as comm:
        hidden = np.empty_like(states)
        group = Ranks(comm, hidden)
        hidden[...] = own(group, 1)
        np.testing.assert_array_equal(group.collect(hidden), states)
        assert group.begin(0.5) == 0.5
        hidden[...] = own(group, 2)
        group.wait()
        np.testing.assert_array_equal(group.collect(hidden), 2 * states)
        assert group.begin(0.75) == 0.75
        hidden[...] = own(group, 3)
        group.wait()
        assert group.begin(1.5) == 1.5
        np.testing.assert_array_equal(group.collect(hidden), 3 * states)
        assert group.end()


def steps(comm: Any, seen: list[float]) -> None:
    """What a rank does that follows: steps until the end; where one is given up it goes back to waiting."""
    group = Ranks(comm, NOTHING.copy())
    gradient = group.place(np.ones(7))
    while group.begin(0.0) < 1:
        gradient.fill(1.0)
        reduced = group.reduce(gradient, 1.0)
        seen.append(reduced.loss)
        if math.isfinite(reduced.loss):
            group.wait()


@pytest.mark.parametrize("moment", ["before", "between", "computing", "diverged", "done"])
def test_the_others_are_let_go(ranks: Started, moment: str) -> None:
    seen: list[float] = []
    with ranks(3, lambda comm: steps(comm, seen)) as comm:
        group = Ranks(comm, NOTHING.copy())
        gradient = group.place(np.ones(7))
        if moment != "before":
            group.begin(0.0)
        if moment in ("between", "done"):
            group.reduce(gradient, 1.0)
            group.wait()
        if moment == "diverged":
            group.reduce(gradient, math.inf)
        if moment == "done":
            group.begin(1.0)
        assert group.end()
    expected = {"before": [], "between": [3.0], "computing": [math.nan], "diverged": [math.inf], "done": [3.0]}
    np.testing.assert_array_equal(seen, 2 * expected[moment])


@pytest.mark.parametrize("moment", ["updating", "summing", "collecting"])
def test_where_the_others_wait_for_something_else_it_says_so(ranks: Started, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    with ranks(2, lambda comm: steps(comm, [])) as comm:
        group = Ranks(comm, NOTHING.copy())
        gradient = group.place(np.ones(7))
        if moment == "updating":
            group.begin(0.0)
            group.reduce(gradient, 1.0)  # the others may want to gather what comes of it
        elif moment == "summing":
            group.begin(0.0)
            monkeypatch.setattr(comm, "Allgatherv", lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                group.reduce(gradient, 1.0)
        else:
            monkeypatch.setattr(group, "gather", lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                group.collect(NOTHING)
        assert not group.end()
        comm.abort()


class Slow:
    """A communicator whose word comes after some questions."""

    def __init__(self, questions: int) -> None:
        self.questions = questions

    def Ibcast(self, array: Any) -> Slow:
        self._array = array
        return self

    def Test(self) -> bool:
        self.questions -= 1
        self._array[0] = 0.5
        return self.questions < 0


def test_who_waits_long_asks_more_rarely(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(ranks_module.time, "sleep", pauses.append)
    assert ranks_module.hear(Slow(1500)) == 0.5  # type: ignore[arg-type]
    assert pauses == [0.0] * 1000 + [0.001] * 500
