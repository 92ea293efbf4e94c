"""The gated recurrent unit against a loop written from its equations, gate by gate and number by number."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from model.cells import gru
from model.functions import by_gate


def naive(p: dict[str, Any], z: Any, state: Any) -> tuple[list[Any], list[Any]]:
    """h and (r, z, n) for each t, row and unit; every gate has a matrix of its own here."""
    T, B, H = z.shape[0], z.shape[1], state.shape[-1]
    Wr, Wz, Wn = (p["Wh"][:, gate * H : (gate + 1) * H] for gate in range(3))
    h, outputs, gates = state[0].tolist(), [], []
    for t in range(T):
        new, made = [], []
        for row in range(B):
            before = h[row]
            units = []
            for j in range(H):
                r_a, z_a, n_a = (float(z[t, row, gate * H + j]) for gate in range(3))
                r = 1 / (1 + math.exp(-(r_a + sum(before[k] * Wr[k, j] for k in range(H)))))
                u = 1 / (1 + math.exp(-(z_a + sum(before[k] * Wz[k, j] for k in range(H)))))
                n = math.tanh(n_a + r * (sum(before[k] * Wn[k, j] for k in range(H)) + p["bn"][j]))
                units.append((r, u, n, (1 - u) * n + u * before[j]))
            new.append([unit[3] for unit in units])
            made.append([unit[gate] for gate in range(3) for unit in units])
        h = new
        outputs.append(new)
        gates.append(made)
    return outputs, gates


def test_equals_the_naive_loop_over_several_calls(make_problem: Any) -> None:
    problem = make_problem("gru")
    state = problem.state
    for z in (problem.z(), -problem.z(), problem.z() / 3):
        expected, gates = naive(problem.p, z, state)
        h, state, tape = gru.forward(problem.p, z.copy(), state)
        np.testing.assert_allclose(h, expected, rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(tape.gates, by_gate(np.array(gates), 3), rtol=1e-12, atol=1e-13)


def test_a_shut_update_gate_keeps_the_state_and_its_gradient() -> None:
    p, grads = {"Wh": np.zeros((1, 3)), "bn": np.zeros(1)}, {"Wh": np.zeros((1, 3)), "bn": np.zeros(1)}
    h, _, tape = gru.forward(p, np.tile([0.0, 800.0, 0.7], (50, 1, 1)), np.array([[[0.3]]]))
    dh = np.zeros((50, 1, 1))
    dh[-1] = 1
    _, dstate = gru.backward(p, tape, dh, grads)
    assert h[-1, 0, 0] == 0.3
    assert dstate[0, 0, 0] == 1


def test_the_reset_gate_stands_after_the_product() -> None:
    """With r shut, neither h nor bn reaches n: the variant of cuDNN and PyTorch."""
    p = {"Wh": np.array([[0.0, 0.0, 5.0]]), "bn": np.array([7.0])}
    h, _, _ = gru.forward(p, np.array([[[-800.0, -800.0, 0.25]]]), np.ones((1, 1, 1)))
    assert h[0, 0, 0] == np.tanh(0.25)
