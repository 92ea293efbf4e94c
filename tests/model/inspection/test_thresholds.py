"""The best threshold, against trying all of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.inspection.thresholds import score, thresholds


@given(st.integers(0, 2**32 - 1))
def test_no_threshold_is_better_than_the_one_that_is_taken(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, U, F = 60, 3, 4
    held = rng.integers(0, 8, (U, n)).astype(np.float32)  # few different values, so that the bins hold each apart
    wanted = rng.random((n, F)) < rng.uniform(0.1, 0.9, F)
    wanted[0] = True
    choices = thresholds(held, wanted)
    for feature, choice in enumerate(choices):
        best = 0.0
        for a in held:
            for value in [*sorted(set(a.tolist())), 99.0]:
                for above in (True, False):
                    says = a >= value if above else a < value
                    right = int((says & wanted[:, feature]).sum())
                    best = max(best, 2 * right / (int(says.sum()) + int(wanted[:, feature].sum())))
        assert choice.f1 == pytest.approx(best)
        said = choice.threshold.says(held[choice.unit])
        assert score(said, wanted[:, feature]).f1 == pytest.approx(best)


def test_units_that_stand_still_are_no_trouble() -> None:
    held = np.zeros((2, 10), np.float32)
    wanted = np.arange(10)[:, None] < 4
    (choice,) = thresholds(held, wanted)
    assert choice.f1 == pytest.approx(2 * 4 / 14), "all that it can say is yes always"


@pytest.mark.parametrize(
    ("predicted", "holds", "expected"),
    [
        ([1, 1, 0, 0], [1, 0, 1, 0], (0.5, 0.5, 0.5)),
        ([1, 1, 1, 1], [1, 0, 0, 0], (0.4, 0.25, 1.0)),
        ([0, 0, 0, 0], [1, 0, 0, 0], (0.0, 0.0, 0.0)),
        ([0, 0], [0, 0], (0.0, 0.0, 0.0)),
    ],
)
def test_scores(predicted: list[int], holds: list[int], expected: tuple[float, float, float]) -> None:
    assert score(np.array(predicted, bool), np.array(holds, bool)) == pytest.approx(expected)
