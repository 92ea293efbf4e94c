"""From a stored model to plain data: texts that are read, cells that are looked for, and what is refused."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from model.checkpoint import Checkpoint
from model.config import ModelConfig
from model.errors import EmptyText, InvalidSetting, MissingSetting, SourceNotFound
from model.inspection import unit_activations
from model.inspection.unit_activations import Unit
from model.language_model import LanguageModel
from model.vocabulary import SymbolCounts, Vocabulary
from service.generation.model_cache import LoadedCheckpoint, load
from service.inspection import inspector
from service.inspection.inspector import find_cells, inspect, symbol_name, text_in, unit_named, written
from service.store import Metric, Run, Store
from service.system.errors import CorpusNotFound

AddModel = Callable[..., Run]


def bracketed(count: int) -> str:
    rng = random.Random(3)
    return "".join(rng.choices(["loom ", "(red gold) ", "((a) knot) ", "724\n", "thread, "], k=count))


@pytest.fixture
def trained(store: Store) -> LoadedCheckpoint:
    """A stored network whose unit 2 counts open brackets, and a corpus of which a tenth was kept for validation."""
    text = bracketed(9000)
    store.corpora.add("knots", [text], "knots.txt")
    config = ModelConfig(cell="rnn", activation="relu", hidden_size=4)
    vocabulary = Vocabulary.build(SymbolCounts("char", "nfc").add([text]))
    model = LanguageModel.new(config, vocabulary.size)
    model.parameters.flat[:] = 0
    for c, weight in (("(", 1.0), (")", -1.0)):
        model.parameters["layers.0.Wx"][int(vocabulary.encode(c)[0]), 2] = weight
    model.parameters["layers.0.Wh"][2, 2] = 1
    store.runs.create("weaver", corpus="knots", model_config=config.to_dict(), training_config={"steps": 10, "seed": 5})
    run = store.runs.claim("weaver")
    store.checkpoints.save(run, Metric(step=7, validation_loss=1.0), Checkpoint(model, vocabulary, {"step": 7}).to_bytes(), None)
    store.runs.release(run, "succeeded")
    return load(store, "weaver")


def test_a_text_is_read_into_plain_data(store: Store, trained: LoadedCheckpoint) -> None:
    found = inspect(store, trained, "a (b) 7\n", Unit(0, 2))
    assert (found.model, found.network, found.unit) == ("weaver@7", "rnn 1x4", "0:2")
    assert found.activations == [0, 0, 1, 1, 0, 0, 0, 0]
    assert found.unknown == 1, "there is no b"
    V = trained.checkpoint.vocabulary.size
    assert found.bits == pytest.approx([math.log2(V)] * 3 + [math.log2(1114112)] + [math.log2(V)] * 4, abs=1e-3)
    assert found.bits_per_char == pytest.approx(sum(found.bits) / 8, abs=1e-3)
    assert all(
        len(row) == unit_activations.ALTERNATIVES and row[0].probability == pytest.approx(1 / V, abs=1e-4) for row in found.alternatives
    )
    assert found.gates == []
    assert json.loads(json.dumps(asdict(found)))["activations"] == found.activations


def test_without_a_unit_the_liveliest_is_shown(store: Store, trained: LoadedCheckpoint) -> None:
    assert inspect(store, trained, "a (b) 7\n").unit == "0:2"


def test_gates_have_names_and_a_share_for_each_unit(store: Store, add_model: AddModel) -> None:
    add_model(cell="lstm", hidden_size=3, num_layers=2)
    found = inspect(store, load(store), "abc abc")
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
    assert {each.symbol for each in found.neighbours} == {symbol.replace(" ", "␣") for symbol in frequent}
    assert all(len(each.nearest) == len(each.distances) == 4 for each in found.neighbours)
    assert len(found.map_shares) == 2


def test_an_imported_model_has_a_map_of_its_first_symbols(store: Store, add_model: AddModel) -> None:
    add_model()
    assert [each.symbol for each in inspect(store, load(store), "a").neighbours] == ["↵", "␣", "a", "b", "c"]


@pytest.mark.parametrize(
    ("level", "text", "expected"),
    [("char", "a \n\t\x07é\u200b", ["⇥", "↵", "␣", "U+0007", "a", "é", "U+200B"]), ("byte", "aé", ["a", "\\xa9", "\\xc3"])],
)
def test_symbols_that_would_not_be_seen_have_signs(level: str, text: str, expected: list[str]) -> None:
    vocabulary = Vocabulary.build(SymbolCounts(level, "nfc").add([text]))
    found = [symbol_name(vocabulary, id_) for id_ in range(vocabulary.size)]
    assert sorted(found) == sorted(expected)
    assert symbol_name(vocabulary, vocabulary.unknown) == "\ufffd"


def test_a_text_that_the_model_writes_can_be_written_again(store: Store, add_model: AddModel) -> None:
    add_model()
    loaded = load(store)
    text, seed = written(store, loaded, 20, None)
    assert len(text) == 20
    assert written(store, loaded, 20, seed) == (text, seed)
    assert written(store, loaded, 20, 3)[1] == 3


# ── cells ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_cell_that_was_built_in_is_found_on_text_that_was_kept(store: Store, trained: LoadedCheckpoint) -> None:
    report = find_cells(store, trained)
    first = report.cells[0]
    assert (report.model, report.corpus, report.held_out) == ("weaver@7", "knots", False), "too little is kept"
    assert (first.feature, first.unit, first.f1) == ("round_brackets", "0:2", 1.0)
    assert first.found
    assert first.learned
    assert first.fresh < 0.9
    assert report.best[0] == first
    assert 0.8 < report.gauges[0].explained <= 1
    assert json.loads(json.dumps(asdict(report)))["cells"][0]["excerpt"]["holds"] == first.excerpt.holds


def test_what_was_kept_for_validation_is_read_where_it_is_enough(
    store: Store, trained: LoadedCheckpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspector, "ENOUGH", 1000)
    report = find_cells(store, trained)
    whole = "".join(store.corpora.pieces("knots"))
    assert report.held_out
    assert report.characters < len(whole) // 10
    kept = whole[round(len(whole) * 0.9) - 1 :]
    assert all(cell.excerpt.text in kept for cell in report.cells)


def test_another_corpus_is_read_as_a_whole(store: Store, trained: LoadedCheckpoint) -> None:
    store.corpora.add("other", ["no bracket at all, 724 times\n" * 100], "other.txt")
    report = find_cells(store, trained, "other")
    assert (report.corpus, report.held_out) == ("other", True)
    assert "round_brackets" not in {cell.feature for cell in report.cells}


def test_an_imported_model_needs_to_be_told_a_corpus(store: Store, add_model: AddModel, tale: str) -> None:
    add_model(text=tale)
    with pytest.raises(MissingSetting, match="first was imported without its own"):
        find_cells(store, load(store))
    with pytest.raises(CorpusNotFound, match="none is stored yet"):
        find_cells(store, load(store), "tale")
    store.corpora.add("tale", [tale], "tale.txt")
    assert find_cells(store, load(store), "tale").corpus == "tale"


@pytest.mark.parametrize(("level", "normalization"), [("byte", "nfc"), ("char", "nfd")])
def test_other_levels_are_searched_as_well(store: Store, add_model: AddModel, level: str, normalization: str) -> None:
    text = "가각 (é), 한글\n" * 400
    store.corpora.add("hangul", [text], "hangul.txt")
    add_model(text=text, level=level, normalization=normalization)
    report = find_cells(store, load(store), "hangul")
    assert {"round_brackets", "line_ends"} <= {cell.feature for cell in report.cells}
    assert all(len(cell.excerpt.text) == len(cell.excerpt.holds) for cell in report.cells)
    assert all(c in text for c in report.cells[0].excerpt.text)


# ── what is given ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("text", ["", "3", "a:b", "0:", ":1", "-1:0", "1:2:3", "0:9999999999", "0:١"])
def test_a_unit_is_two_numbers(text: str) -> None:
    assert unit_named("1:20") == Unit(1, 20)
    with pytest.raises(InvalidSetting, match="LAYER:UNIT"):
        unit_named(text)


def test_a_text_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "python").write_bytes(b"a\r\nb")  # named like a built-in corpus
    assert text_in(str(tmp_path / "python")) == "a\nb"
    with pytest.raises(SourceNotFound):
        text_in(str(tmp_path / "none"))
    (tmp_path / "empty").write_bytes(b"")
    with pytest.raises(EmptyText):
        text_in(str(tmp_path / "empty"))
    (tmp_path / "long").write_text("a" * (2**20 + 5))
    with pytest.raises(InvalidSetting, match="it has 1,048,581"):
        text_in(str(tmp_path / "long"))


def test_numbers_are_rounded_to_what_can_be_seen(store: Store, add_model: AddModel) -> None:
    add_model(cell="lstm")
    found = inspect(store, load(store), "abc" * 5)
    for number in [*found.bits, *found.activations]:
        assert number == round(number, 3)
    assert np.isfinite(found.bits).all()
