"""Models in memory.

Models in and out of the store: the same model, or a refusal.
"""

from __future__ import annotations

import gc
import json
import os
import threading
import tracemalloc
import warnings
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st

from model.backend import network_for
from model.checkpoint import Checkpoint
from model.config import ModelConfig, SamplingConfig
from model.errors import CheckpointError, DamagedCheckpoint, InvalidSetting, UnreadableSource, UnsupportedCheckpoint
from model.language_model import LanguageModel
from model.sampling import generate
from model.vocabulary import Vocabulary
from service.generation import model_cache
from service.generation.model_cache import ModelCache
from service.store import Metric, Run, Store
from service.system.errors import (
    CheckpointNotFound,
    FileTaken,
    FileUnwritable,
    InvalidName,
    ModelInTraining,
    ModelsInUse,
    NameTaken,
    NoModelYet,
    NoRoomLeft,
    RunNotFound,
)

# ── exchange ─────────────────────────────────────────────────────────────────────────────────────────────────────────

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
        found = model_cache.load(store, name)
        assert (found.run.name, found.stored.step) == ("first", step)
        assert found.checkpoint.to_bytes() == checkpoint(step, **found.checkpoint.facts).to_bytes()


def test_what_is_not_there_is_refused(store: Store) -> None:
    with pytest.raises(NoModelYet):
        model_cache.load(store)
    with pytest.raises(RunNotFound):
        model_cache.load(store, "nobody")
    store.runs.create("empty", corpus=None, model_config={}, training_config={})
    with pytest.raises(CheckpointNotFound):
        model_cache.load(store, "empty")


def test_a_file_comes_back_as_the_same_model(store: Store, run: Run, tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    stored = model_cache.export(store, "first@20", file)
    assert stored.step == 20
    assert sorted(os.listdir(tmp_path)) == sorted({"model.safetensors", *(name for name in os.listdir(tmp_path) if "charloom.db" in name)})
    imported = model_cache.import_file(store, file, "model", exact=False)
    assert (imported.name, imported.state, imported.step, imported.corpus) == ("model", "succeeded", 20, None)
    assert imported.best_validation_loss == 1.75
    assert imported.best_bits_per_char == 3.5
    assert imported.model_config == ModelConfig(cell="gru", hidden_size=4).to_dict()
    assert model_cache.load(store, "model").checkpoint.to_bytes() == file.read_bytes()
    assert model_cache.import_file(store, file, "model", exact=False).name == "model-2"
    assert model_cache.import_file(store, file, "mine").name == "mine"
    with pytest.raises(NameTaken):
        model_cache.import_file(store, file, "mine")
    with pytest.raises(InvalidName):
        model_cache.import_file(store, file, "")


@pytest.mark.usefixtures("corpus")
def test_an_import_that_finds_no_room_leaves_nothing(store: Store, add_model: Callable[..., Run], tmp_path: Path, path: Path) -> None:
    add_model()
    file = tmp_path / "model.safetensors"
    model_cache.export(store, "first", file)
    with Store(path, min_disk=10**15) as full:
        with pytest.raises(NoRoomLeft, match="make room"):
            model_cache.import_file(full, file, "mine")
        with pytest.raises(NoRoomLeft):
            full.corpora.add("text", ["some text"], "here")
        assert [run.name for run in full.runs.list()] == ["first"]
        assert [corpus.name for corpus in full.corpora.list()] == ["tale"]
        assert full.db.execute("SELECT count(*) FROM texts").fetchone()[0] == 1


def test_a_file_that_exists_is_kept(store: Store, run: Run, tmp_path: Path) -> None:
    file = tmp_path / "model"
    file.write_text("mine")
    with pytest.raises(FileTaken):
        model_cache.export(store, "first", file)
    assert file.read_text() == "mine"
    model_cache.export(store, "first", file, overwrite=True)
    assert file.read_bytes() == checkpoint(10, step=10, validation_loss=1.5, bits_per_char=3.0).to_bytes()


@pytest.mark.parametrize("place", ["none/model", ".", ""])
def test_a_place_that_cannot_be_written_is_named(store: Store, run: Run, tmp_path: Path, place: str) -> None:
    with pytest.raises(FileUnwritable, match="cannot be written"):
        model_cache.export(store, "first", tmp_path / place, overwrite=True)
    with pytest.raises(FileUnwritable):
        model_cache.export(store, "first", Path(place or "."))


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
            model_cache.import_file(store, tmp_path / name, "model", exact=False)
    for missing in (tmp_path / "nosuch", tmp_path):
        with pytest.raises(UnreadableSource):
            model_cache.import_file(store, missing, "model", exact=False)
    assert [each.name for each in store.runs.list()] == ["first"]


def test_a_file_that_is_too_large_is_not_read(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "large").write_bytes(b"x" * 100)
    monkeypatch.setattr(model_cache, "LARGEST_FILE", 99)
    with pytest.raises(DamagedCheckpoint, match="larger than 99 bytes"):
        model_cache.import_file(store, tmp_path / "large", "model", exact=False)


@pytest.mark.parametrize(
    ("facts", "step", "loss"),
    [({}, 0, None), ({"step": -1}, 0, None), ({"step": "7"}, 0, None), ({"step": 2**70}, 0, None), ({"validation_loss": "low"}, 0, None)],
)
def test_facts_of_others_are_not_trusted(store: Store, tmp_path: Path, facts: dict[str, Any], step: int, loss: float | None) -> None:
    (tmp_path / "model").write_bytes(checkpoint(1, **facts).to_bytes())
    run = model_cache.import_file(store, tmp_path / "model", "model", exact=False)
    assert (run.step, run.best_validation_loss) == (step, loss)


# ── files of strangers ────────────────────────────────────────────────────────────────────────────────────────────────

DTYPES = ["float32", "float64", "float16", "int8", "int64", "uint8", "bool"]
NUMBERS = st.sampled_from([0.0, 1.0, -1e30, 3e38, 1e-45, 1e300, np.nan, np.inf, -np.inf])
ODD = st.one_of(st.none(), st.booleans(), st.integers(-2, 70_000), st.floats(), st.text(max_size=5), st.lists(st.integers(), max_size=3))


def changed(draw: st.DataObject, about: dict[str, Any], tensors: dict[str, Any]) -> None:
    """One thing, in place: a tensor's name, shape, type or number, or a word of the description."""
    name = draw.draw(st.sampled_from(sorted(tensors)))
    tensor = tensors[name]
    match draw.draw(st.integers(0, 6)):
        case 0:
            tensors[draw.draw(st.sampled_from([*sorted(tensors), "rnn.weight_ih_l1", "x", ""]))] = tensors.pop(name)
        case 1:
            shape = draw.draw(st.lists(st.integers(0, 9), max_size=4))
            tensors[name] = np.zeros(shape, tensor.dtype)
        case 2:
            tensors[name] = np.ascontiguousarray(tensor.T) if draw.draw(st.booleans()) else tensor.reshape(-1)
        case 3:
            with np.errstate(all="ignore"), warnings.catch_warnings(action="ignore"):
                tensors[name] = tensor.astype(draw.draw(st.sampled_from(DTYPES)))
        case 4 if tensor.size and tensor.dtype.kind == "f":
            with np.errstate(all="ignore"):
                tensor.reshape(-1)[draw.draw(st.integers(0, tensor.size - 1))] = draw.draw(NUMBERS)
        case 5:
            part = about[draw.draw(st.sampled_from(["config", "vocabulary", "facts"]))]
            if isinstance(part, dict):
                part[draw.draw(st.sampled_from([*part, "hidden_size", "step"]))] = draw.draw(ODD)
        case _:
            about[draw.draw(st.sampled_from([*about, "x"]))] = draw.draw(ODD)


@given(st.integers(1, 4), st.data())
def test_a_file_is_refused_or_it_writes(changes: int, draw: st.DataObject) -> None:
    """Whatever a stranger's file holds: no other error, no warning, and what is accepted can be sampled and stored again."""
    data = checkpoint(1, step=3).to_bytes()
    size = int.from_bytes(data[:8], "little")
    about = json.loads(json.loads(data[8 : 8 + size])["__metadata__"]["charloom"])
    tensors = {name: tensor.copy() for name, tensor in safetensors.numpy.load(data).items()}
    for _ in range(changes):
        if tensors:
            changed(draw, about, tensors)
    file = safetensors.numpy.save(tensors, {"charloom": json.dumps(about)})
    try:
        found = Checkpoint.from_bytes(file)
    except CheckpointError:
        return
    assert Checkpoint.from_bytes(found.to_bytes()).to_bytes() == found.to_bytes()
    assert np.isfinite(found.model.parameters.flat).all()
    assert found.model.parameters.flat.dtype == np.float32
    with np.errstate(all="ignore"):
        text = "".join(
            piece.text for piece in generate(network_for(found.model), found.vocabulary, SamplingConfig(prompt="ab", length=5, seed=1))
        )
    assert len(text) == 5
    assert set(text) <= set("\n abcde")


@pytest.mark.parametrize("size", [10**5, 2**40, 2**63, 2**64 - 1])
def test_a_file_that_says_it_is_large_takes_no_memory(tmp_path: Path, store: Store, size: int) -> None:
    """The length of the header, of a tensor, and of the model are only words."""
    header = json.dumps({"a": {"dtype": "F32", "shape": [size], "data_offsets": [0, min(size * 4, 2**63)]}}).encode()
    for data in (size.to_bytes(8, "little") + header, len(header).to_bytes(8, "little") + header + b"\0" * 64):
        (tmp_path / "large.safetensors").write_bytes(data)
        with pytest.raises(CheckpointError):
            model_cache.import_file(store, tmp_path / "large.safetensors", "model", exact=False)
    assert store.runs.list() == ()


# ── models ───────────────────────────────────────────────────────────────────────────────────────────────────────────

AddModel = Callable[..., Run]


def test_names(store: Store, add_model: AddModel) -> None:
    add_model("one", steps=(100, 200))
    add_model("two", steps=(50,))
    models = ModelCache(store, 2**20)
    names = ["latest", "two", "two@best", "one", "one@last", "one@100", ""]
    assert [models.get(name).name for name in names] == ["two@50", "two@50", "two@50", "one@200", "one@200", "one@100", "two@50"]


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("three", RunNotFound),
        ("one@7", CheckpointNotFound),
        ("one@worst", InvalidSetting),
        ("one\ud800", RunNotFound),
        ("one\0", RunNotFound),
        ("one@" + "9" * 10_000, InvalidSetting),
    ],
)
def test_what_is_not_there(store: Store, add_model: AddModel, name: str, error: type[Exception]) -> None:
    add_model("one")
    with pytest.raises(error) as raised:
        ModelCache(store, 2**20).get(name)
    assert getattr(raised.value, "param", None) == "model"


def test_no_model(store: Store) -> None:
    with pytest.raises(NoModelYet):
        ModelCache(store, 2**20).get("latest")


def test_a_run_without_a_checkpoint_is_told_from_one_that_gets_one(store: Store, add_model: AddModel) -> None:
    add_model("lost", steps=(), state="failed")
    add_model("young", steps=(), state="running")
    models = ModelCache(store, 2**20)
    with pytest.raises(CheckpointNotFound, match="run lost has no checkpoint yet"):
        models.get("lost")
    with pytest.raises(ModelInTraining, match=r"the model young is being trained \(0% done\)"):
        models.get("young")


def test_a_model_is_loaded_once_however_many_ask(store: Store, add_model: AddModel, monkeypatch: pytest.MonkeyPatch) -> None:
    add_model()
    loads = []
    load = model_cache.load
    monkeypatch.setattr(model_cache, "load", lambda *args: (loads.append(args), load(*args))[1])
    everybody = threading.Barrier(8)
    slow = ModelCache._load
    monkeypatch.setattr(ModelCache, "_load", lambda *args: (everybody.wait(), slow(*args))[1])
    models = ModelCache(store, 2**20)
    found = []
    threads = [threading.Thread(target=lambda: found.append(models.get("latest"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(loads) == 1
    assert len(found) == 8
    assert len(set(map(id, found))) == 1


def test_a_run_that_trains_on_is_another_model(store: Store, add_model: AddModel) -> None:
    run = add_model(state="running")
    models = ModelCache(store, 2**20)
    before = models.get("first")
    data = store.checkpoints.load(run)[1]
    store.checkpoints.save(run, Metric(step=300, validation_loss=1.0), data, b"")
    assert (before.name, models.get("first").name) == ("first@100", "first@300")
    assert models.get("first@100") is before


def test_a_name_that_is_used_anew_is_another_model(store: Store, add_model: AddModel) -> None:
    add_model(seed=1)
    models = ModelCache(store, 2**20)
    before = models.get("first")
    store.runs.remove("first")
    add_model(seed=2)
    assert models.get("first") is not before


def test_deleted_models_do_not_stay_in_memory(store: Store, add_model: AddModel) -> None:
    run = add_model("old", steps=(100, 200))
    models = ModelCache(store, 2**30)
    gone = [weakref.ref(models.get("old@100")), weakref.ref(models.get("old@200"))]
    store.checkpoints.remove(run, 100)
    models.forget_deleted()
    assert gone[0]() is None
    assert gone[1]() is models.get("old")
    store.runs.remove("old")
    writing = gone[1]()
    add_model("new")
    models.get("new")
    assert gone[1]() is writing, "texts that are being written keep it"
    assert set(models._loaded) == {(store.runs.get("new").id, 100, store.checkpoints.get(store.runs.get("new")).model_sha256)}
    del writing
    assert gone[1]() is None


def test_a_model_costs_what_is_counted(store: Store, add_model: AddModel) -> None:
    """Python's and numpy's memory, beside the packed weights of the C library, which are no more than the weights."""
    for name, text in (("small", "abc"), ("wide", "".join(map(chr, range(0x4E00, 0x4E00 + 2000))))):
        add_model(name, text=text, hidden_size=32)
        add_model(f"{name}-again", text=text, hidden_size=32)
        models = ModelCache(store, 2**30)
        models.get(name)  # what is loaded once for all
        tracemalloc.start()
        model = models.get(f"{name}-again")
        gc.collect()
        measured, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        packed = model.checkpoint.model.parameters.flat.nbytes
        assert 0.5 * model.bytes < measured + packed < 1.3 * model.bytes


def test_the_model_used_longest_ago_makes_room(store: Store, add_model: AddModel) -> None:
    for name in ("one", "two", "three"):
        add_model(name)
    models = ModelCache(store, 2 * ModelCache(store, 0).get("one").bytes)
    one, two = models.get("one"), weakref.ref(models.get("two"))
    assert models.get("one") is one
    models.get("three")
    assert models.get("one") is one
    assert two() is None


def test_models_that_are_writing_are_not_doubled_by_others(store: Store, add_model: AddModel) -> None:
    for name in ("one", "two", "three"):
        add_model(name)
    models = ModelCache(store, 2 * ModelCache(store, 0).get("one").bytes)
    writing = [models.get("one"), models.get("two")]
    with pytest.raises(ModelsInUse, match="the model three@100 cannot be loaded") as raised:
        models.get("three")
    assert raised.value.param == "model"
    assert models.get("one") is writing[0]
    del writing
    assert models.get("three").name == "three@100"
    small = ModelCache(store, 0)
    assert small.get("one").name == "one@100", "a single one may always be loaded"


def test_size(store: Store, add_model: AddModel) -> None:
    run = add_model(text="abc")
    models = ModelCache(store, 2**20)
    assert models.size(run) == (len(models.get("first").checkpoint.model.parameters.flat), 3, None)
    assert models.size(add_model("empty", steps=(), state="failed")) is None
