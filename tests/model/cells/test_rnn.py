"""The plain cell against a loop written from its equation, number by number."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from model.cells import rnn

ACTIVATIONS = {"tanh": math.tanh, "relu": lambda a: a if a > 0 else 0.0, "identity": lambda a: a}


def naive(p: dict[str, Any], z: Any, state: Any, activation: str) -> list[Any]:
    """h[t] = φ(z[t] + h[t-1] Wh), for each t, row and unit."""
    T, B, H = z.shape
    h, outputs = state[0].tolist(), []
    for t in range(T):
        h = [[ACTIVATIONS[activation](z[t, n, j] + sum(h[n][k] * p["Wh"][k, j] for k in range(H))) for j in range(H)] for n in range(B)]
        outputs.append(h)
    return outputs


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_equals_the_naive_loop_over_several_calls(make_problem: Any, activation: str) -> None:
    problem = make_problem("rnn", activation)
    state = problem.state
    for z in (problem.z(), -problem.z(), problem.z() / 3):
        expected = naive(problem.p, z, state, activation)
        h, state, tape = rnn.forward(problem.p, z.copy(), state, activation=activation)
        np.testing.assert_allclose(h, expected, rtol=1e-12, atol=1e-13)
        np.testing.assert_array_equal(tape.h[1:], h)


def test_relu_passes_no_gradient_where_it_is_off() -> None:
    p, grads = {"Wh": np.array([[3.0]])}, {"Wh": np.zeros((1, 1))}
    h, _, tape = rnn.forward(p, np.array([[[2.0], [-1.0]]]), np.zeros((1, 2, 1)), activation="relu")
    dz, dstate = rnn.backward(p, tape, np.ones((1, 2, 1)), grads, activation="relu")
    assert h.ravel().tolist() == [2, 0]
    assert dz.ravel().tolist() == [1, 0]
    assert dstate.ravel().tolist() == [3, 0]
