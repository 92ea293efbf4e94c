"""Saturated gates, counted one by one; and networks whose gates are known because their biases rule."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from model.inspection.gates import NAMES, SaturationCounts
from model.inspection.state_reader import slices
from model.language_model import LanguageModel

V = 7


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_shares_are_counted_one_by_one(make_model: Callable[..., LanguageModel], cell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model.inspection.state_reader.SYMBOLS", 4)
    model = make_model(V, cell=cell, hidden_size=6)
    model.parameters.flat *= 2
    ids = np.random.default_rng(1).integers(0, V, (13, 3))
    counts, seen = SaturationCounts(), []
    for part in slices(model, ids):
        counts.add(part.layers)
        seen.append([{name: gate.copy() for name, gate in layer.gates.items()} for layer in part.layers])
    shares = counts.shares()
    assert [(each.layer, each.gate) for each in shares] == [(layer, gate) for layer in (0, 1) for gate in seen[0][0]]
    assert {each.gate for each in shares} <= NAMES.keys()
    for each in shares:
        gate = np.concatenate([part[each.layer][each.gate] for part in seen])
        for unit in range(6):
            values = gate[:, :, unit].ravel().tolist()
            assert each.left[unit] == pytest.approx(sum(value < 0.1 for value in values) / 39)
            assert each.right[unit] == pytest.approx(sum(value > 0.9 for value in values) / 39)
    assert any(each.left.any() for each in shares)
    assert any(each.right.any() for each in shares)


def test_a_gate_that_its_bias_holds_open_is_open_all_the_time(make_model: Callable[..., LanguageModel]) -> None:
    model = make_model(V, num_layers=1, hidden_size=3)
    model.parameters.flat[:] = 0
    b = model.parameters["layers.0.b"]
    b[0:3], b[3:6], b[6:9] = (-9, 0, 9), 9, -9  # i, f, o
    counts = SaturationCounts()
    for part in slices(model, np.zeros((10, 1), int)):
        counts.add(part.layers)
    found = {each.gate: (each.left.tolist(), each.right.tolist()) for each in counts.shares()}
    assert found == {"i": ([1, 0, 0], [0, 0, 1]), "f": ([0, 0, 0], [1, 1, 1]), "o": ([1, 1, 1], [0, 0, 0])}


def test_a_cell_without_gates_has_none(make_model: Callable[..., LanguageModel]) -> None:
    counts = SaturationCounts()
    for part in slices(make_model(V, cell="rnn"), np.zeros((3, 1), int)):
        counts.add(part.layers)
    assert counts.shares() == []
