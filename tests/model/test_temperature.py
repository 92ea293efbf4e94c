"""Temperatures: a softmax, and courses against a naive one."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.temperature import TemperatureSchedule, inverse_temperatures, unnormalized_softmax


@given(st.lists(st.floats(-50, 50), min_size=1, max_size=9), st.one_of(st.just(0.0), st.floats(0.01, 100)))
def test_tempered_is_a_softmax(scores: list[float], temperature: float) -> None:
    both = np.array([scores, scores[::-1]])
    p = unnormalized_softmax(both, both.max(axis=1, keepdims=True), inverse_temperatures(np.array([temperature, temperature])))
    assert (p[0] == p[1][::-1]).all()
    for score, share in zip(scores, p[0], strict=True):
        if temperature:
            assert share == pytest.approx(math.exp((score - max(scores)) / temperature), rel=1e-6 * (1 + 100 / temperature))
        else:
            assert share == 1 or score < max(scores)


courses = st.dictionaries(st.integers(1, 30), st.floats(0, 2), max_size=5).map(lambda later: ((0, 1.0), *sorted(later.items())))


def naive(pairs: tuple[tuple[int, float], ...], length: int) -> list[float]:
    """The temperature of each symbol, one after the other."""
    found: list[float] = []
    for position, value in pairs:
        found[position:] = [value] * (length - position)
    return found


@given(courses, st.lists(st.tuples(st.integers(0, 30), st.floats(0, 2)), max_size=4))
def test_a_course_is_in_force_from_its_positions_on(pairs: tuple[tuple[int, float], ...], changes: list[tuple[int, float]]) -> None:
    temperatures, expected = TemperatureSchedule(pairs), naive(pairs, 40)
    for position, value in changes:
        temperatures.change(position, value)
        expected[position:] = [value] * (40 - position)
        assert [temperatures.at(each) for each in range(40)] == expected == naive(temperatures.pairs, 40)
    assert temperatures.moves == (len(temperatures.pairs) > 1)
    for position in range(40):
        left = temperatures.left(position, 1000)
        assert len({*expected[position : position + left]}) == 1
        assert left == 1000 or position + left in dict(temperatures.pairs)
        assert temperatures.left(position, 3) == min(3, left)
