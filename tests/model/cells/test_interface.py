"""What can be seen of a layer, against the equations of each cell written out step by step."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

H = 5


def sigma(a: Any) -> Any:
    return 1 / (1 + np.exp(-a))


def gates_of(a: Any) -> list[Any]:
    return [a[..., start : start + H] for start in range(0, a.shape[-1], H)]


def test_lstm(make_problem: Any) -> None:
    problem = make_problem("lstm")
    h, c = problem.state
    _, _, tape = problem.cell.forward(problem.p, problem.z(), problem.state)
    seen = problem.cell.signals(tape)
    assert list(seen.gates) == ["i", "f", "o"]
    for t, z in enumerate(problem.z()):
        i, f, o, g = gates_of(z + h @ problem.p["Wh"])
        c = sigma(f) * c + sigma(i) * np.tanh(g)
        h = sigma(o) * np.tanh(c)
        for name, gate in zip("ifo", (i, f, o), strict=True):
            np.testing.assert_allclose(seen.gates[name][t], sigma(gate))
        np.testing.assert_allclose(seen.memory[t], np.tanh(c))
        np.testing.assert_allclose(seen.h[t], h)


def test_gru(make_problem: Any) -> None:
    problem = make_problem("gru")
    (h,) = problem.state
    _, _, tape = problem.cell.forward(problem.p, problem.z(), problem.state)
    seen = problem.cell.signals(tape)
    assert list(seen.gates) == ["r", "z"]
    for t, share in enumerate(problem.z()):
        (zr, zz, zn), (ur, uz, un) = gates_of(share), gates_of(h @ problem.p["Wh"])
        r, z = sigma(zr + ur), sigma(zz + uz)
        h = (1 - z) * np.tanh(zn + r * (un + problem.p["bn"])) + z * h
        np.testing.assert_allclose(seen.gates["r"][t], r)
        np.testing.assert_allclose(seen.gates["z"][t], z)
        np.testing.assert_allclose(seen.h[t], h)
        np.testing.assert_allclose(seen.memory[t], h)


@pytest.mark.parametrize("activation", ["tanh", "relu", "identity"])
def test_rnn(make_problem: Any, activation: str) -> None:
    problem = make_problem("rnn", activation)
    h, _, tape = problem.cell.forward(problem.p, problem.z(), problem.state)
    seen = problem.cell.signals(tape)
    assert seen.gates == {}
    np.testing.assert_array_equal(seen.h, h)
    np.testing.assert_array_equal(seen.memory, h)
