"""What the cells' tests share: one random problem with odd, distinct sizes, so that a transposition cannot pass."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from model.cells import Cell, cell_of
from model.config import ModelConfig

Array = NDArray[Any]

T, B, D, H = 6, 3, 4, 5


class Problem(NamedTuple):
    """One cell and float64 numbers for it."""

    cell: Cell
    p: dict[str, Array]  # the cell's own parameters
    x: Array  # (T, B, D)
    Wx: Array  # (D, G*H)
    b: Array  # (G*H,)
    state: Array  # (S, B, H)
    dh: Array  # (T, B, H)
    dstate: Array  # (S, B, H)

    def z(self) -> Array:
        """The input's share of the gates, anew each time, since the forward pass uses its memory. (T, B, G*H)"""
        return self.x @ self.Wx + self.b

    def zeros(self) -> dict[str, Array]:
        """A place for the gradients of the cell's own parameters."""
        return {name: np.zeros_like(value) for name, value in self.p.items()}

    def astype(self, dtype: Any) -> Problem:
        return Problem(self.cell, {name: value.astype(dtype) for name, value in self.p.items()}, *(v.astype(dtype) for v in self[2:]))


def problem_of(kind: str, activation: str = "tanh", seed: int = 6345) -> Problem:
    cell = cell_of(ModelConfig(cell=kind, activation=activation))
    rng = np.random.Generator(np.random.PCG64(seed))
    G, S = len(cell.gates), len(cell.states)
    p = {name: rng.standard_normal(shape) / 2 for name, shape in cell.shapes(H).items()}
    drawn = [rng.standard_normal(shape) for shape in [(T, B, D), (D, G * H), (G * H,), (S, B, H), (T, B, H), (S, B, H)]]
    return Problem(cell, p, *drawn)


@pytest.fixture(params=["rnn-tanh", "rnn-relu", "rnn-identity", "gru-tanh", "lstm-tanh"])
def problem(request: pytest.FixtureRequest) -> Problem:
    """A problem for each cell and each activation of the plain one."""
    return problem_of(*request.param.split("-"))


@pytest.fixture
def make_problem() -> Any:
    """``make_problem(kind, activation="tanh", seed=...)``."""
    return problem_of
