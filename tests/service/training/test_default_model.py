"""The first model: made where there is none, resumed where it was interrupted, else left alone."""

from __future__ import annotations

import dataclasses

import pytest

from model.config import ModelConfig
from service.store import Corpus, Store
from service.system.errors import RunBusy
from service.training import checkpointing, default_model, hyperparameters, jobs, trainer
from service.training.throughput import Speed
from tests.claimed import claimed_run


@pytest.fixture(autouse=True)
def _small(store: Store, tale: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The default model is large and its corpus long; here both are small."""
    store.corpora.add(default_model.CORPUS, [tale], "test")
    monkeypatch.setattr(hyperparameters, "SIZES", (4,))
    monkeypatch.setattr(hyperparameters, "speed", lambda *_: Speed(1e9, 1))
    monkeypatch.setattr(default_model, "BUDGET", 0.7)
    monkeypatch.setattr(checkpointing, "SAMPLE", dataclasses.replace(checkpointing.SAMPLE, length=10))


def test_it_is_trained_where_there_is_no_model(store: Store) -> None:
    work = default_model.trainer_of_first(store)
    assert work is not None
    assert (work.run.name, work.run.corpus, work.run.state) == ("default", "python", "running")
    list(work.events())
    assert store.runs.get("default").state == "succeeded"
    assert default_model.trainer_of_first(store) is None
    text = default_model.sample(store)
    assert text.startswith("def ")
    assert text == default_model.sample(store)


def test_it_is_resumed_where_it_was_interrupted(store: Store) -> None:
    work = default_model.trainer_of_first(store)
    assert work is not None
    work.stop("paused by a test")
    list(work.events())
    assert store.runs.get("default").state == "paused"
    again = default_model.trainer_of_first(store)
    assert again is not None
    assert again.run.id == work.run.id


def test_it_is_tried_again_where_it_failed_before_its_first_checkpoint(store: Store) -> None:
    work = default_model.trainer_of_first(store)
    assert work is not None
    store.runs.release(work.run, "failed", "no luck")
    again = default_model.trainer_of_first(store)
    assert again is not None
    assert again.run.id == work.run.id


def test_somebody_else_who_trains_it_is_named(store: Store) -> None:
    assert default_model.trainer_of_first(store) is not None
    with pytest.raises(RunBusy, match="run default is being trained by process"):
        default_model.trainer_of_first(store)


def test_a_worker_is_given_it_where_there_is_no_model(store: Store) -> None:
    run = default_model.order(store)
    assert run is not None
    assert (run.name, run.corpus, run.state, run.queued) == ("default", "python", "queued", True)
    assert run.training_config["budget"] == default_model.BUDGET
    assert default_model.order(store) is None
    claimed = store.queue.claim_next()
    assert claimed is not None
    assert default_model.order(store) is None
    store.runs.release(claimed, "failed", "no luck")
    again = default_model.order(store)
    assert again is not None
    assert (again.id, again.state) == (run.id, "queued")


def test_what_a_user_paused_stays_paused_and_what_was_interrupted_goes_on(store: Store) -> None:
    default_model.order(store)
    jobs.pause(store, "default")
    assert default_model.order(store) is None
    assert store.runs.get("default").state == "paused"
    work = default_model.trainer_of_first(store)
    assert work is not None
    work.stop("Ctrl-C")
    list(work.events())
    assert store.runs.get("default").state == "paused"
    run = default_model.order(store)
    assert run is not None
    assert (run.state, run.queued) == ("queued", True)


def test_any_other_model_will_do(store: Store, corpus: Corpus) -> None:
    run = claimed_run(store, "tale", ModelConfig(hidden_size=3), trainer.TrainingConfig(steps=2), name="mine")
    list(trainer.Trainer(store, run).events())
    assert default_model.trainer_of_first(store) is None
    assert default_model.order(store) is None
    assert [run.name for run in store.runs.list()] == ["mine"]
