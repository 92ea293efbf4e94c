"""The long short-term memory against a loop written from its equations, gate by gate and number by number."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from model.cells import lstm
from model.functions import by_gate


def sigmoid(a: float) -> float:
    return 1 / (1 + math.exp(-a))


def naive(p: dict[str, Any], z: Any, state: Any) -> tuple[list[Any], list[Any], list[Any]]:
    """h, c and (i, f, o, g) for each t, row and unit; every gate has a matrix of its own here."""
    T, B, H = z.shape[0], z.shape[1], state.shape[-1]
    W = [p["Wh"][:, gate * H : (gate + 1) * H] for gate in range(4)]
    h, c = state.tolist()
    outputs, memories, gates = [], [], []
    for t in range(T):
        h_new, c_new, made = [], [], []
        for row in range(B):
            units = []
            for j in range(H):
                a = [float(z[t, row, gate * H + j]) + sum(h[row][k] * W[gate][k, j] for k in range(H)) for gate in range(4)]
                i, f, o, g = sigmoid(a[0]), sigmoid(a[1]), sigmoid(a[2]), math.tanh(a[3])
                memory = f * c[row][j] + i * g
                units.append((i, f, o, g, memory, o * math.tanh(memory)))
            made.append([unit[gate] for gate in range(4) for unit in units])
            c_new.append([unit[4] for unit in units])
            h_new.append([unit[5] for unit in units])
        h, c = h_new, c_new
        outputs.append(h)
        memories.append(c)
        gates.append(made)
    return outputs, memories, gates


def test_equals_the_naive_loop_over_several_calls(make_problem: Any) -> None:
    problem = make_problem("lstm")
    state = problem.state
    for z in (problem.z(), -problem.z(), problem.z() / 3):
        h_expected, c_expected, gates = naive(problem.p, z, state)
        h, state, tape = lstm.forward(problem.p, z.copy(), state)
        np.testing.assert_allclose(h, h_expected, rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(tape.c[1:], c_expected, rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(tape.gates, by_gate(np.array(gates), 4), rtol=1e-12, atol=1e-13)
        np.testing.assert_array_equal(state, [h[-1], tape.c[-1]])


def test_an_open_forget_gate_and_a_shut_input_gate_keep_the_memory_and_its_gradient() -> None:
    p, grads = {"Wh": np.zeros((1, 4))}, {"Wh": np.zeros((1, 4))}
    _, end, tape = lstm.forward(p, np.tile([-800.0, 800.0, 0.0, 0.7], (50, 1, 1)), np.array([[[0.2]], [[0.3]]]))
    _, dstate = lstm.backward(p, tape, np.zeros((50, 1, 1)), grads, np.array([[[0.0]], [[1.0]]]))
    assert end[1, 0, 0] == 0.3
    assert dstate.ravel().tolist() == [0, 1]
