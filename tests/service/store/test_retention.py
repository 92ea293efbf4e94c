"""The history stays small, keeps its ends, and is spread over the logarithm of the step."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.store.retention import HISTORY, thinned


@given(st.sets(st.integers(0, 10**9), max_size=60), st.integers(2, 30))
def test_bounded_with_both_ends(steps: set[int], limit: int) -> None:
    kept = thinned(steps, limit)
    assert kept <= steps
    assert len(kept) == min(limit, len(steps))
    if steps:
        assert {min(steps), max(steps)} <= kept


@pytest.mark.parametrize("interval", [1, 50, 1000])
def test_spread_over_the_logarithm(interval: int) -> None:
    kept: set[int] = set()
    for step in range(interval, 3000 * interval, interval):
        kept = thinned(kept | {step})
    assert len(kept) == HISTORY
    logs = sorted(math.log(step + 1) for step in kept)
    widest = max(later - earlier for earlier, later in itertools.pairwise(logs))
    even = (logs[-1] - logs[0]) / (HISTORY - 1)
    # The first two steps are log(2) apart whatever is kept.
    assert widest <= max(2.5 * even, math.log(2))
