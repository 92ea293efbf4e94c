"""Reading slice by slice is reading at once, and what is seen of a layer is what its equations say."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from model.inspection import state_reader
from model.language_model import LanguageModel

V = 7


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_slices_are_the_whole(make_model: Callable[..., LanguageModel], cell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model(V, cell=cell)
    ids = np.random.default_rng(1).integers(0, V + 1, (11, 3))
    _, _, tape = model.read(ids, model.zero_state(3))
    whole = [model.cell.signals(each) for each in tape.cells]
    monkeypatch.setattr(state_reader, "SYMBOLS", 4)
    steps = []
    for part in state_reader.slices(model, ids):
        steps += list(range(11))[part.steps]
        assert len(part.layers) == 2
        for layer, expected in zip(part.layers, whole, strict=True):
            np.testing.assert_allclose(layer.h, expected.h[part.steps], rtol=1e-12)
            np.testing.assert_allclose(layer.memory, expected.memory[part.steps], rtol=1e-12)
            assert layer.gates.keys() == expected.gates.keys()
            for name, gate in layer.gates.items():
                np.testing.assert_allclose(gate, expected.gates[name][part.steps], rtol=1e-12)
    assert steps == list(range(11))


def test_slices_get_shorter_where_the_network_is_wide(make_model: Callable[..., LanguageModel], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_reader, "NUMBERS", 2 * 3 * 40)  # two steps of three texts, with four gates of five units in two layers
    lengths = [part.layers[0].h.shape for part in state_reader.slices(make_model(V), np.zeros((5, 3), int))]
    assert lengths == [(2, 3, 5), (2, 3, 5), (1, 3, 5)]
