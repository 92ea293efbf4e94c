"""The first model: made where there is none, resumed where it was interrupted, else left alone."""

from __future__ import annotations

import dataclasses

import pytest

from model.config import ModelConfig
from model.errors import RunBusy
from service import first, jobs, orders, recipe, saving, trainer
from service.machine import Workers
from service.store import Corpus, Store
from service.trial import Speed


@pytest.fixture(autouse=True)
def _small(store: Store, tale: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The default model is large and its corpus long; here both are small."""
    store.corpora.add(first.CORPUS, [tale], "test")
    monkeypatch.setattr(recipe, "SIZES", (4,))
    monkeypatch.setattr(recipe, "speed", lambda *_: Speed(1e9, Workers(1, 1)))
    monkeypatch.setattr(first, "BUDGET", 0.7)
    monkeypatch.setattr(saving, "SAMPLE", dataclasses.replace(saving.SAMPLE, length=10))


def test_it_is_trained_where_there_is_no_model(store: Store) -> None:
    work = first.trainer_of_first(store)
    assert work is not None
    assert (work.run.name, work.run.corpus, work.run.state) == ("default", "python", "running")
    list(work.events())
    assert store.runs.get("default").state == "succeeded"
    assert first.trainer_of_first(store) is None
    text = first.sample(store)
    assert text.startswith("def ")
    assert text == first.sample(store)


def test_it_is_resumed_where_it_was_interrupted(store: Store) -> None:
    work = first.trainer_of_first(store)
    assert work is not None
    work.stop("paused by a test")
    list(work.events())
    assert store.runs.get("default").state == "paused"
    again = first.trainer_of_first(store)
    assert again is not None
    assert again.run.id == work.run.id


def test_it_is_tried_again_where_it_failed_before_its_first_checkpoint(store: Store) -> None:
    work = first.trainer_of_first(store)
    assert work is not None
    store.runs.release(work.run, "failed", "no luck")
    again = first.trainer_of_first(store)
    assert again is not None
    assert again.run.id == work.run.id


def test_somebody_else_who_trains_it_is_named(store: Store) -> None:
    assert first.trainer_of_first(store) is not None
    with pytest.raises(RunBusy, match="run default is being trained by process"):
        first.trainer_of_first(store)


def test_a_worker_is_given_it_where_there_is_no_model(store: Store) -> None:
    run = first.order(store)
    assert run is not None
    assert (run.name, run.corpus, run.state, run.queued) == ("default", "python", "queued", True)
    assert run.training_config["budget"] == first.BUDGET
    assert first.order(store) is None
    claimed = store.queue.claim_next()
    assert claimed is not None
    assert first.order(store) is None
    store.runs.release(claimed, "failed", "no luck")
    again = first.order(store)
    assert again is not None
    assert (again.id, again.state) == (run.id, "queued")


def test_what_a_user_paused_stays_paused_and_what_was_interrupted_goes_on(store: Store) -> None:
    first.order(store)
    jobs.pause(store, "default")
    assert first.order(store) is None
    assert store.runs.get("default").state == "paused"
    work = first.trainer_of_first(store)
    assert work is not None
    work.stop("Ctrl-C")
    list(work.events())
    assert store.runs.get("default").state == "paused"
    run = first.order(store)
    assert run is not None
    assert (run.state, run.queued) == ("queued", True)


def test_any_other_model_will_do(store: Store, corpus: Corpus) -> None:
    run = orders.create(store, "tale", ModelConfig(hidden_size=3), trainer.TrainingConfig(steps=2), name="mine")
    list(trainer.Trainer(store, run).events())
    assert first.trainer_of_first(store) is None
    assert first.order(store) is None
    assert [run.name for run in store.runs.list()] == ["mine"]
