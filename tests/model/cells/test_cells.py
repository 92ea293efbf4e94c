"""What the contract promises of every cell: right gradients, chunks like the whole, nothing remembered."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from model import config
from model.cells import CELLS, cell_of
from model.cells.rnn import ACTIVATIONS
from model.gradient_check import TOLERANCE, derivative_along, directional_error

STARTS = np.array([[0, 1, 0], [0, 0, 0], [1, 0, 0], [0, 0, 0], [1, 1, 0], [0, 0, 0]], bool)  # (T, B)


@pytest.mark.parametrize("starts", [None, STARTS], ids=["one text", "texts"])
def test_gradients_of_z_state_and_every_weight_are_right_entry_by_entry(problem: Any, starts: Any) -> None:
    z, state, p = problem.z(), problem.state, problem.p

    def loss() -> float:
        h, end, _ = problem.cell.forward(p, z.copy(), state, starts)
        return float((h * problem.dh).sum() + (end * problem.dstate).sum())

    grads = problem.zeros()
    _, _, tape = problem.cell.forward(p, z.copy(), state, starts)
    dz, dstate = problem.cell.backward(p, tape, problem.dh, grads, problem.dstate)
    for name, values, gradient in [("z", z, dz), ("state", state, dstate), *((name, p[name], grads[name]) for name in p)]:
        assert gradient.shape == values.shape
        measured = np.empty_like(values)
        for index in np.ndindex(values.shape):
            entry = np.zeros_like(values)
            entry[index] = 1
            measured[index] = derivative_along(loss, values, entry)
        assert np.linalg.norm(gradient - measured) <= TOLERANCE * np.linalg.norm(measured), name
        assert np.linalg.norm(measured) > 0.1, name


def test_gradients_of_x_and_the_input_weights_follow_from_dz(problem: Any) -> None:
    x, Wx, b = problem.x, problem.Wx, problem.b

    def loss() -> float:
        return float((problem.cell.forward(problem.p, x @ Wx + b, problem.state)[0] * problem.dh).sum())

    _, _, tape = problem.cell.forward(problem.p, problem.z(), problem.state)
    dz, _ = problem.cell.backward(problem.p, tape, problem.dh, problem.zeros())
    assert directional_error(loss, x, dz @ Wx.T) <= TOLERANCE
    assert directional_error(loss, Wx, np.einsum("tbd,tbg->dg", x, dz)) <= TOLERANCE
    assert directional_error(loss, b, dz.sum(axis=(0, 1))) <= TOLERANCE


def test_gradients_are_added(problem: Any) -> None:
    grads, again = problem.zeros(), {name: np.full_like(value, 100) for name, value in problem.p.items()}
    for place in (grads, again):
        _, _, tape = problem.cell.forward(problem.p, problem.z(), problem.state)
        problem.cell.backward(problem.p, tape, problem.dh, place)
    for name, gradient in grads.items():
        np.testing.assert_allclose(again[name] - 100, gradient, atol=1e-12)


def test_chunks_equal_the_whole(problem: Any) -> None:
    z, grads, chained = problem.z(), problem.zeros(), problem.zeros()
    h, end, tape = problem.cell.forward(problem.p, z.copy(), problem.state)
    dz, dstate = problem.cell.backward(problem.p, tape, problem.dh, grads, problem.dstate)

    state, parts, tapes = problem.state, [slice(0, 1), slice(1, 3), slice(3, 6)], []
    for part in parts:
        h_part, state, tape = problem.cell.forward(problem.p, z[part].copy(), state)
        np.testing.assert_array_equal(h_part, h[part])
        tapes.append(tape)
    np.testing.assert_array_equal(state, end)

    arriving = problem.dstate
    for part, tape in reversed(list(zip(parts, tapes, strict=True))):
        dz_part, arriving = problem.cell.backward(problem.p, tape, problem.dh[part], chained, arriving)
        np.testing.assert_array_equal(dz_part, dz[part])
    np.testing.assert_array_equal(arriving, dstate)
    for name, gradient in grads.items():
        np.testing.assert_allclose(chained[name], gradient, rtol=1e-12, atol=1e-13)


def test_a_text_that_begins_in_a_row_is_computed_as_if_it_were_alone(problem: Any) -> None:
    """Forward and backward; the gradient that arrives at the end of each text is zero, as if the next one were not there."""
    z, grads, alone, nothing = problem.z(), problem.zeros(), problem.zeros(), np.zeros_like(problem.state[:, :1])
    h, end, tape = problem.cell.forward(problem.p, z.copy(), problem.state, STARTS)
    dz, dstate = problem.cell.backward(problem.p, tape, problem.dh, grads, problem.dstate)
    for row in range(STARTS.shape[1]):
        bounds = [0, *(t for t in range(1, len(z)) if STARTS[t, row]), len(z)]
        for start, stop in pairwise(bounds):
            part = slice(start, stop), slice(row, row + 1)
            state = nothing if STARTS[start, row] else problem.state[:, row : row + 1]
            h_part, end_part, tape = problem.cell.forward(problem.p, z[part].copy(), state)
            arriving = problem.dstate[:, row : row + 1] if stop == len(z) else nothing
            dz_part, dstate_part = problem.cell.backward(problem.p, tape, problem.dh[part], alone, arriving)
            np.testing.assert_allclose(h_part, h[part], rtol=1e-12, atol=1e-13)
            np.testing.assert_allclose(dz_part, dz[part], rtol=1e-12, atol=1e-13)
            if start == 0:
                np.testing.assert_allclose(dstate[:, row : row + 1], 0 if STARTS[0, row] else dstate_part, rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(end_part, end[:, row : row + 1], rtol=1e-12, atol=1e-13)
    for name, gradient in grads.items():
        np.testing.assert_allclose(alone[name], gradient, rtol=1e-12, atol=1e-13)


def test_the_state_holds_the_last_output(problem: Any) -> None:
    h, end, _ = problem.cell.forward(problem.p, problem.z(), problem.state)
    assert end.shape == problem.state.shape
    np.testing.assert_array_equal(end[0], h[-1])


def test_nothing_is_remembered_so_calls_may_interleave(problem: Any) -> None:
    apart = []
    for z in (problem.z(), -problem.z()):
        _, _, tape = problem.cell.forward(problem.p, z, problem.state)
        apart.append(problem.cell.backward(problem.p, tape, problem.dh, problem.zeros())[0])
    _, _, first = problem.cell.forward(problem.p, problem.z(), problem.state)
    _, _, second = problem.cell.forward(problem.p, -problem.z(), problem.state)
    np.testing.assert_array_equal(problem.cell.backward(problem.p, second, problem.dh, problem.zeros())[0], apart[1])
    np.testing.assert_array_equal(problem.cell.backward(problem.p, first, problem.dh, problem.zeros())[0], apart[0])


def test_what_is_handed_in_is_not_changed(problem: Any) -> None:
    z = problem.z()
    given = [*problem.p.values(), problem.state, problem.dh, problem.dstate, z]
    _, _, tape = problem.cell.forward(problem.p, z, problem.state)
    given += [value for value in tape if value is not None]
    kept = [value.copy() for value in given]
    problem.cell.backward(problem.p, tape, problem.dh, problem.zeros(), problem.dstate)
    for value, before in zip(given, kept, strict=True):
        np.testing.assert_array_equal(value, before)


def test_single_precision_is_close_to_double(problem: Any) -> None:
    results = []
    for one in (problem, problem.astype(np.float32)):
        grads = one.zeros()
        h, end, tape = one.cell.forward(one.p, one.z(), one.state)
        dz, dstate = one.cell.backward(one.p, tape, one.dh, grads, one.dstate)
        results.append([h, end, dz, dstate, *grads.values()])
    for double, single in zip(*results, strict=True):
        assert single.dtype == np.float32
        assert np.linalg.norm(single - double) <= 2e-6 * np.linalg.norm(double)


def test_the_table_has_the_cells_that_can_be_configured() -> None:
    assert set(CELLS) == set(config.CELLS)
    assert set(ACTIVATIONS) == set(config.ACTIVATIONS)
    assert {name: (cell.gates, cell.states) for name, cell in CELLS.items()} == {
        "rnn": (("a",), ("h",)),
        "gru": (("r", "z", "n"), ("h",)),
        "lstm": (("i", "f", "o", "g"), ("h", "c")),
    }
    for cell in CELLS.values():
        assert cell.shapes(5)["Wh"] == (5, 5 * len(cell.gates))


@pytest.mark.parametrize("activation", config.ACTIVATIONS)
def test_cell_of_takes_the_activation(activation: str) -> None:
    cell = cell_of(config.ModelConfig(cell="rnn", activation=activation, hidden_size=1))
    h, _, _ = cell.forward({"Wh": np.zeros((1, 1))}, np.array([[[-2.0]], [[2.0]]]), np.zeros((1, 1, 1)))
    expected = {"tanh": [-0.9640275800758169, 0.9640275800758169], "relu": [0, 2], "identity": [-2, 2]}[activation]
    np.testing.assert_allclose(h.ravel(), expected, rtol=1e-15)
