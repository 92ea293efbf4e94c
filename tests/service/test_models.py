"""Models in memory."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable

import pytest

from model.config import SamplingConfig
from model.errors import CheckpointNotFound, InvalidSetting, ModelInTraining, ModelsInUse, NoModelYet, RunNotFound
from service import exchange
from service.models import Models
from service.store import Metric, Run, Store

AddModel = Callable[..., Run]


def test_names(store: Store, add_model: AddModel) -> None:
    add_model("one", steps=(100, 200))
    add_model("two", steps=(50,))
    models = Models(store, 2**20)
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
        Models(store, 2**20).get(name)
    assert getattr(raised.value, "param", None) == "model"


def test_no_model(store: Store) -> None:
    with pytest.raises(NoModelYet):
        Models(store, 2**20).get("latest")


def test_a_run_without_a_checkpoint_is_told_from_one_that_gets_one(store: Store, add_model: AddModel) -> None:
    add_model("lost", steps=(), state="failed")
    add_model("young", steps=(), state="running")
    models = Models(store, 2**20)
    with pytest.raises(CheckpointNotFound, match="run lost has no checkpoint yet"):
        models.get("lost")
    with pytest.raises(ModelInTraining, match=r"the model young is being trained \(0% done\)"):
        models.get("young")


def test_a_model_is_loaded_once_however_many_ask(store: Store, add_model: AddModel, monkeypatch: pytest.MonkeyPatch) -> None:
    add_model()
    loads = []
    load = exchange.load
    monkeypatch.setattr(exchange, "load", lambda *args: (loads.append(args), load(*args))[1])
    everybody = threading.Barrier(8)
    slow = Models._load
    monkeypatch.setattr(Models, "_load", lambda *args: (everybody.wait(), slow(*args))[1])
    models = Models(store, 2**20)
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
    models = Models(store, 2**20)
    before = models.get("first")
    data = store.checkpoints.load(run)[1]
    store.checkpoints.save(run, Metric(step=300, validation_loss=1.0), data, b"")
    assert (before.name, models.get("first").name) == ("first@100", "first@300")
    assert models.get("first@100") is before


def test_a_name_that_is_used_anew_is_another_model(store: Store, add_model: AddModel) -> None:
    add_model(seed=1)
    models = Models(store, 2**20)
    before = models.get("first")
    store.runs.remove("first")
    add_model(seed=2)
    assert models.get("first") is not before


def test_the_model_used_longest_ago_makes_room(store: Store, add_model: AddModel) -> None:
    for name in ("one", "two", "three"):
        add_model(name)
    size = 2 * store.checkpoints.get(store.runs.get("one")).model_bytes
    models = Models(store, 2 * size)
    one, two = models.get("one"), weakref.ref(models.get("two"))
    assert models.get("one") is one
    models.get("three")
    assert models.get("one") is one
    assert two() is None


def test_models_that_are_writing_are_not_doubled_by_others(store: Store, add_model: AddModel) -> None:
    for name in ("one", "two", "three"):
        add_model(name)
    size = 2 * store.checkpoints.get(store.runs.get("one")).model_bytes
    models = Models(store, 2 * size)
    writing = [models.get("one"), models.get("two")]
    with pytest.raises(ModelsInUse, match="the model three@100 cannot be loaded") as raised:
        models.get("three")
    assert raised.value.param == "model"
    assert models.get("one") is writing[0]
    del writing
    assert models.get("three").name == "three@100"
    small = Models(store, 0)
    assert small.get("one").name == "one@100", "a single one may always be loaded"


def test_size(store: Store, add_model: AddModel) -> None:
    run = add_model(text="abc")
    models = Models(store, 2**20)
    assert models.size(run) == (len(models.get("first").checkpoint.model.parameters.flat), 3)
    assert models.size(add_model("empty", steps=(), state="failed")) is None


def test_the_engine_need_not_wait_for_what_can_be_done_while_a_model_is_loaded(store: Store, add_model: AddModel) -> None:
    add_model(cell="lstm", num_layers=2)
    sampler = Models(store, 2**20).get("latest").sampler
    assert sampler is not None
    prepared = dict(sampler._products._prepared)
    sampler.add(SamplingConfig(seed=0, n=3, length=20))
    while sampler.active:
        sampler.step()
    assert sampler._products._prepared == prepared
    assert len(prepared) == 4, "Wh of both layers, Wx of the second, and the output's"
