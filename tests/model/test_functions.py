"""The functions between the products: against Python's own mathematics, and each backward against its forward."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from model.functions import (
    UNKNOWN_COST,
    by_gate,
    cross_entropy,
    cross_entropy_backward,
    log_softmax,
    plain_arithmetic,
    relu_slope,
    sigmoid,
    sigmoid_slope,
    softmax,
    tanh_slope,
)
from model.gradient_check import TOLERANCE, directional_error

N, V = 6, 5
rows = hnp.arrays(np.float64, hnp.array_shapes(min_dims=1, max_dims=3), elements=st.floats(-1e4, 1e4))


@given(st.floats(-700, 700))
def test_sigmoid_is_the_logistic_function(a: float) -> None:
    assert float(sigmoid(np.float64(a).reshape(1))[0]) == pytest.approx(1 / (1 + math.exp(-a)), rel=1e-13, abs=2e-16)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sigmoid_cannot_overflow(dtype: type) -> None:
    with np.errstate(over="ignore"):  # that of exp, on the way
        assert sigmoid(np.array([-np.inf, -1e30, 0, 1e30, np.inf], dtype)).tolist() == [0, 0, 0.5, 1, 1]


def test_by_gate_is_a_view_of_gates_that_stand_side_by_side() -> None:
    a = np.arange(2 * 3 * 8).reshape(2, 3, 8)  # (T, B, G*H) of four gates
    gates = by_gate(a, 4)
    assert gates.shape == (2, 4, 3, 2)
    assert np.shares_memory(gates, a)
    for t, b, gate in np.ndindex(2, 3, 4):
        assert gates[t, gate, b].tolist() == a[t, b, 2 * gate : 2 * gate + 2].tolist()


def test_plain_arithmetic_is_silent_and_leaves_nothing_changed() -> None:
    before = np.geterr()
    with plain_arithmetic():
        assert np.exp(np.float32([1e9])) / np.float32([0]) == np.inf
    assert np.geterr() == before


@pytest.mark.parametrize(("function", "slope"), [(sigmoid, sigmoid_slope), (np.tanh, tanh_slope), (lambda a: np.maximum(a, 0), relu_slope)])
def test_slopes_are_the_derivatives(function: Callable[[Any], Any], slope: Callable[..., Any]) -> None:
    a = np.array([-3.1, -1.2, -0.4, 0.3, 0.9, 2.5])
    weights = np.arange(1.0, 7)
    y = function(a)
    assert directional_error(lambda: float((function(a) * weights).sum()), a, slope(y) * weights) <= TOLERANCE


@given(rows)
def test_softmax_gives_probabilities_in_the_ratio_of_the_exponentials(logits: Any) -> None:
    p = softmax(logits)
    assert p.shape == logits.shape
    np.testing.assert_allclose(p.sum(axis=-1), 1, rtol=1e-12)
    for line, given_line in zip(p.reshape(-1, p.shape[-1]), logits.reshape(-1, p.shape[-1]), strict=True):
        top = max(given_line)
        expected = [math.exp(a - top) for a in given_line]
        np.testing.assert_allclose(line, [e / math.fsum(expected) for e in expected], rtol=1e-12, atol=1e-300)


@given(rows)
def test_log_softmax_is_the_logarithm_of_softmax_and_finite(logits: Any) -> None:
    logarithms, p = log_softmax(logits), softmax(logits)
    assert np.isfinite(logarithms).all()
    likely = p > 1e-300
    np.testing.assert_allclose(logarithms[likely], np.log(p[likely]), rtol=1e-11, atol=1e-12)


def test_softmax_leaves_what_it_is_given() -> None:
    logits = np.array([[1.0, 2.0], [1000.0, -1000.0]])
    softmax(logits)
    log_softmax(logits)
    assert logits.tolist() == [[1, 2], [1000, -1000]]


@given(
    hnp.arrays(np.float64, (N, V), elements=st.floats(-30, 30)),
    hnp.arrays(np.int64, N, elements=st.integers(0, V)),
    st.sampled_from([UNKNOWN_COST, 2.5]),
)
def test_cross_entropy_is_the_sum_of_the_negative_logarithms(logits: Any, targets: Any, unknown_cost: float) -> None:
    expected = []
    for line, target in zip(logits.tolist(), targets.tolist(), strict=True):
        top = max(line)
        total = math.fsum(math.exp(a - top) for a in line)
        expected.append(unknown_cost if target == V else math.log(total) + top - line[target])
    p_expected = softmax(logits)
    total_cost, p = cross_entropy(logits, targets, unknown_cost)
    assert total_cost == pytest.approx(math.fsum(expected), rel=1e-12, abs=1e-12)
    np.testing.assert_allclose(p, p_expected, rtol=1e-12, atol=1e-300)


def test_an_unknown_target_costs_as_much_as_any_code_point() -> None:
    assert pytest.approx(math.log(0x10FFFF + 1)) == UNKNOWN_COST
    assert round(UNKNOWN_COST, 2) == 13.92
    assert cross_entropy(np.zeros((3, V)), np.array([V, 0, V]))[0] == pytest.approx(2 * UNKNOWN_COST + math.log(V))


@pytest.mark.parametrize("targets", [[0, 4, 2, 2, 1, 3], [5, 4, 2, 5, 1, 3], [5] * 6])
def test_the_gradient_of_cross_entropy_is_right_and_nothing_comes_from_unknown_targets(targets: list[int]) -> None:
    ids = np.array(targets)
    logits = np.random.Generator(np.random.PCG64(1)).standard_normal((N, V))
    _, p = cross_entropy(logits.copy(), ids)
    gradient = cross_entropy_backward(p, ids, 0.25)
    assert directional_error(lambda: 0.25 * cross_entropy(logits.copy(), ids)[0], logits, gradient) <= TOLERANCE
    np.testing.assert_allclose(gradient.sum(axis=1), 0, atol=1e-15)
    assert not gradient[ids == V].any()


def test_a_hopeless_prediction_has_a_finite_cost_and_gradient() -> None:
    logits = np.array([[0, 500, 0], [-1e4, 0, -1e4]], np.float32)
    total, p = cross_entropy(logits, np.array([0, 2]))
    assert total == pytest.approx(500 + 1e4)
    assert cross_entropy_backward(p, np.array([0, 2]), 1.0).tolist() == [[-1, 1, 0], [0, 1, -1]]


def test_single_precision_costs_are_summed_in_double() -> None:
    logits = np.random.Generator(np.random.PCG64(2)).standard_normal((20_000, V)).astype(np.float32)
    ids = np.arange(20_000) % V
    exact, _ = cross_entropy(logits.astype(np.float64), ids)
    total, p = cross_entropy(logits, ids)
    assert p.dtype == np.float32
    assert total == pytest.approx(exact, rel=1e-7)
