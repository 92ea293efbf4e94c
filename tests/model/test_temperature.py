"""Temperatures: a softmax, and courses against a naive one."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.temperature import TemperatureSchedule, inverse_temperature


@given(st.one_of(st.floats(0.01, 100), st.sampled_from([1e-300, 5e-324, 1e-30])))
def test_logits_are_multiplied_by_a_finite_number(temperature: float) -> None:
    assert inverse_temperature(temperature) == pytest.approx(min(1 / max(temperature, 1e-30), 1e30), rel=1e-6)
    assert math.isfinite(inverse_temperature(temperature))
    assert inverse_temperature(0) == 0


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
