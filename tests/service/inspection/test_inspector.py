"""Texts that a stored model reads, and what is refused."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict

import numpy as np
import pytest

from model.errors import InvalidSetting
from model.inspection.unit_activations import ALTERNATIVES, Unit
from service.generation.model_cache import LoadedCheckpoint, load
from service.inspection import inspector
from service.inspection.inspector import InspectionOptions, activity_cache, inspect, unit_named, written
from service.inspection.results import UnitActivations
from service.store import Run, Store

AddModel = Callable[..., Run]


def test_a_text_is_read_into_plain_data(store: Store, trained: LoadedCheckpoint) -> None:
    found = inspect(store, trained, "a (b) 7\n", InspectionOptions(units=[Unit(0, 2), Unit(0, 0)]))
    assert (found.model, found.network, found.characters) == ("weaver@7", "rnn 1x4", 8)
    assert found.units == [UnitActivations("0:2", [0, 0, 1, 1, 0, 0, 0, 0]), UnitActivations("0:0", [0] * 8)]
    assert found.unknown == 1, "there is no b"
    V = trained.checkpoint.vocabulary.size
    assert found.bits is not None
    assert found.alternatives is not None
    assert found.bits == pytest.approx([math.log2(V)] * 3 + [math.log2(1114112)] + [math.log2(V)] * 4, abs=1e-3)
    assert found.bits_per_char == pytest.approx(sum(found.bits) / 8, abs=1e-3)
    assert all(len(row) == ALTERNATIVES and row[0][1] == pytest.approx(1 / V, abs=1e-4) for row in found.alternatives)
    assert found.gates == []
    assert json.loads(json.dumps(asdict(found)))["bits"] == found.bits


def test_without_a_unit_the_liveliest_is_shown(store: Store, trained: LoadedCheckpoint) -> None:
    found = inspect(store, trained, "a (b) 7\n")
    assert (found.liveliest, [each.unit for each in found.units]) == ("0:2", ["0:2"])


def test_a_unit_that_is_not_there_is_refused_before_the_text_is_read(store: Store, trained: LoadedCheckpoint) -> None:
    with pytest.raises(InvalidSetting, match="a unit from 0 to 3"):
        inspect(store, trained, "a", InspectionOptions(units=[Unit(0, 4)]), tick=lambda: pytest.fail("it was read"))


def test_with_a_cache_a_text_is_read_once(store: Store, trained: LoadedCheckpoint) -> None:
    cache, slices = activity_cache(1000), list[int]()
    for unit in range(4):
        options = InspectionOptions(False, False, False, [Unit(0, unit)])
        found = inspect(store, trained, "a (b) 7\n", options, cache, lambda: slices.append(1))
        assert found.units == inspect(store, trained, "a (b) 7\n", options).units
    assert len(slices) == 1


def test_gates_have_names_and_a_share_for_each_unit(store: Store, add_model: AddModel) -> None:
    add_model(cell="lstm", hidden_size=3, num_layers=2)
    found = inspect(store, load(store), "abc abc")
    assert found.gates is not None
    assert [(gate.layer, gate.name) for gate in found.gates] == [
        (layer, name) for layer in (0, 1) for name in ("input", "forget", "output")
    ]
    assert all(len(gate.left) == len(gate.right) == 3 for gate in found.gates)
    assert all(0 <= share <= 1 for gate in found.gates for share in gate.left + gate.right)


def test_the_map_is_of_the_most_frequent_characters(store: Store, trained: LoadedCheckpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspector, "MAPPED", 5)
    counts = store.corpora.alphabet("knots")
    frequent = sorted(counts, key=lambda c: -counts[c])[:5]
    found = inspect(store, trained, "a")
    assert found.neighbours is not None
    assert found.map_shares is not None
    assert {each.symbol for each in found.neighbours} == set(frequent)
    assert all(len(each.nearest) == len(each.distances) == 4 for each in found.neighbours)
    assert len(found.map_shares) == 2


def test_an_imported_model_has_a_map_of_its_first_symbols(store: Store, add_model: AddModel) -> None:
    add_model()
    assert [each.symbol for each in inspect(store, load(store), "a").neighbours or ()] == list("\n abc")


def test_a_text_that_the_model_writes_can_be_written_again(store: Store, add_model: AddModel) -> None:
    add_model()
    loaded = load(store)
    text, seed = written(store, loaded, 20, None)
    assert len(text) == 20
    assert written(store, loaded, 20, seed) == (text, seed)
    assert written(store, loaded, 20, 3)[1] == 3


# ── what is given ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("text", ["", "3", "a:b", "0:", ":1", "-1:0", "1:2:3", "0:9999999999", "0:١"])
def test_a_unit_is_two_numbers(text: str) -> None:
    assert unit_named("1:20") == Unit(1, 20)
    with pytest.raises(InvalidSetting, match="LAYER:UNIT"):
        unit_named(text)


def test_numbers_are_rounded_to_what_can_be_seen(store: Store, add_model: AddModel) -> None:
    add_model(cell="lstm")
    found = inspect(store, load(store), "abc" * 5)
    assert found.bits is not None
    for number in [*found.bits, *found.units[0].activations]:
        assert number == round(number, 3)
    assert np.isfinite(found.bits).all()
