"""Models in and out of the store: the same model, or a refusal."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from model.checkpoint import Checkpoint
from model.config import ModelConfig
from model.errors import (
    CheckpointNotFound,
    DamagedCheckpoint,
    FileTaken,
    FileUnwritable,
    InvalidName,
    NameTaken,
    NoModelYet,
    RunNotFound,
    UnreadableSource,
    UnsupportedCheckpoint,
)
from model.language_model import LanguageModel
from model.vocabulary import Vocabulary
from service import exchange
from service.store import Metric, Run, Store

VOCABULARY = Vocabulary("char", "nfc", [ord(c) for c in "\n abcde"])


def checkpoint(seed: int, **facts: Any) -> Checkpoint:
    return Checkpoint(LanguageModel.new(ModelConfig(cell="gru", hidden_size=4), VOCABULARY.size, seed), VOCABULARY, facts)


@pytest.fixture
def run(store: Store) -> Run:
    """A run with the checkpoints 10 (the best) and 20."""
    store.runs.create("first", corpus=None, model_config={}, training_config={})
    run = store.runs.claim("first")
    for step, loss in ((10, 1.5), (20, 1.75)):
        data = checkpoint(step, step=step, validation_loss=loss, bits_per_char=2 * loss).to_bytes()
        store.checkpoints.save(run, Metric(step=step, validation_loss=loss), data, None)
    return store.runs.release(run, "succeeded")


def test_a_model_is_loaded_by_any_of_its_names(store: Store, run: Run) -> None:
    for name, step in ((None, 10), ("latest", 10), ("first", 10), ("first@best", 10), ("first@last", 20), ("first@20", 20)):
        found = exchange.load(store, name)
        assert (found.run.name, found.stored.step) == ("first", step)
        assert found.checkpoint.to_bytes() == checkpoint(step, **found.checkpoint.facts).to_bytes()


def test_what_is_not_there_is_refused(store: Store) -> None:
    with pytest.raises(NoModelYet):
        exchange.load(store)
    with pytest.raises(RunNotFound):
        exchange.load(store, "nobody")
    store.runs.create("empty", corpus=None, model_config={}, training_config={})
    with pytest.raises(CheckpointNotFound):
        exchange.load(store, "empty")


def test_a_file_comes_back_as_the_same_model(store: Store, run: Run, tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    stored = exchange.export(store, "first@20", file)
    assert stored.step == 20
    assert sorted(os.listdir(tmp_path)) == sorted({"model.safetensors", *(name for name in os.listdir(tmp_path) if "charloom.db" in name)})
    imported = exchange.import_file(store, file)
    assert (imported.name, imported.state, imported.step, imported.corpus) == ("model", "succeeded", 20, None)
    assert imported.best_validation_loss == 1.75
    assert imported.best_bits_per_char == 3.5
    assert imported.model_config == ModelConfig(cell="gru", hidden_size=4).to_dict()
    assert exchange.load(store, "model").checkpoint.to_bytes() == file.read_bytes()
    assert exchange.import_file(store, file).name == "model-2"
    assert exchange.import_file(store, file, "mine").name == "mine"
    with pytest.raises(NameTaken):
        exchange.import_file(store, file, "mine")
    with pytest.raises(InvalidName):
        exchange.import_file(store, file, "")


def test_a_file_that_exists_is_kept(store: Store, run: Run, tmp_path: Path) -> None:
    file = tmp_path / "model"
    file.write_text("mine")
    with pytest.raises(FileTaken):
        exchange.export(store, "first", file)
    assert file.read_text() == "mine"
    exchange.export(store, "first", file, overwrite=True)
    assert file.read_bytes() == checkpoint(10, step=10, validation_loss=1.5, bits_per_char=3.0).to_bytes()


@pytest.mark.parametrize("place", ["none/model", ".", ""])
def test_a_place_that_cannot_be_written_is_named(store: Store, run: Run, tmp_path: Path, place: str) -> None:
    with pytest.raises(FileUnwritable, match="cannot be written"):
        exchange.export(store, "first", tmp_path / place, overwrite=True)
    with pytest.raises(FileUnwritable):
        exchange.export(store, "first", Path(place or "."))


def test_what_is_no_model_is_refused_and_leaves_nothing(store: Store, run: Run, tmp_path: Path) -> None:
    sound = store.checkpoints.load(run)[1]
    broken = sound[:-4] + b"\x00\x00\xc0\x7f"  # the last number is NaN
    for name, data, error in (
        ("text", b"hello", DamagedCheckpoint),
        ("cut", sound[:-10], DamagedCheckpoint),
        ("nan", broken, DamagedCheckpoint),
        ("future", sound.replace(b'\\"format\\": 1', b'\\"format\\": 9'), UnsupportedCheckpoint),
    ):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(error, match=name):
            exchange.import_file(store, tmp_path / name)
    for missing in (tmp_path / "nosuch", tmp_path):
        with pytest.raises(UnreadableSource):
            exchange.import_file(store, missing)
    assert [each.name for each in store.runs.list()] == ["first"]


def test_a_file_that_is_too_large_is_not_read(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "large").write_bytes(b"x" * 100)
    monkeypatch.setattr(exchange, "LARGEST_FILE", 99)
    with pytest.raises(DamagedCheckpoint, match="larger than 99 bytes"):
        exchange.import_file(store, tmp_path / "large")


@pytest.mark.parametrize(
    ("facts", "step", "loss"),
    [({}, 0, None), ({"step": -1}, 0, None), ({"step": "7"}, 0, None), ({"step": 2**70}, 0, None), ({"validation_loss": "low"}, 0, None)],
)
def test_facts_of_others_are_not_trusted(store: Store, tmp_path: Path, facts: dict[str, Any], step: int, loss: float | None) -> None:
    (tmp_path / "model").write_bytes(checkpoint(1, **facts).to_bytes())
    run = exchange.import_file(store, tmp_path / "model")
    assert (run.step, run.best_validation_loss) == (step, loss)
