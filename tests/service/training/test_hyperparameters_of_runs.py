"""What was left open is chosen once, by the process that begins, and stored with the run.

What is chosen follows from text, time and machine, keeps what the user chose, and is told.
"""

from __future__ import annotations

from typing import Any

import pytest

from model.config import ModelConfig, TrainingConfig
from service.store import Corpus, Run, Store
from service.system import hardware
from service.training import hyperparameters, jobs
from service.training.hyperparameters import ChosenHyperparameters, settle
from service.training.jobs import JobSpec
from service.training.throughput import Speed


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hyperparameters, "SIZES", (4,))
    monkeypatch.setattr(hyperparameters, "speed", lambda *_: Speed(1e9, 3))


def claimed(store: Store, **asked: Any) -> Run:
    jobs.submit(store, JobSpec(**{"corpus": "tale", **asked}))
    run = store.queue.claim_next()
    assert run is not None
    return run


def test_where_steps_rule_nothing_is_chosen_but_the_machine(store: Store, corpus: Corpus) -> None:
    run = claimed(store, training={"steps": 3, "batch_size": 64}, model={"hidden_size": 64})
    settled, notes = settle(store, run)
    assert notes == []
    assert settled == store.runs.get(run.name)
    assert (settled.model_config, settled.training_config) == (run.model_config, run.training_config)
    assert settled.environment == hardware.environment(hardware.training_threads())


def test_it_happens_once(store: Store, corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    settled, _ = settle(store, claimed(store, training={"budget": 5.0}))
    monkeypatch.setattr(hyperparameters, "choose", lambda *_: pytest.fail("it was chosen already"))
    assert settle(store, settled) == (settled, [])


def test_without_any_length_it_is_three_minutes(store: Store, corpus: Corpus) -> None:
    run, notes = settle(store, claimed(store))
    assert run.training_config["budget"] == 180
    assert notes[0].startswith("chosen")


def test_a_learning_rate_that_is_given_is_not_multiplied(store: Store, corpus: Corpus) -> None:
    for by_user, expected in (({"learning_rate": 0.02}, 0.02), ({}, 0.03)):
        run = claimed(store, training={"steps": 3, **by_user}, learning_rate_multiplier=3.0)
        assert settle(store, run)[0].training_config["learning_rate"] == pytest.approx(expected)
    run = claimed(store, training={"steps": 3}, learning_rate_multiplier=1000.0)
    assert settle(store, run)[0].training_config["learning_rate"] == 10


@pytest.mark.parametrize(
    ("text", "model", "symbols", "alphabet"),
    [
        ("한글 " * 50, {}, 150, 3),
        ("한글 " * 50, {"level": "byte"}, 350, 7),
        ("한글 " * 50, {"normalization": "nfd"}, 350, 7),
        ("e\u0301 " * 50, {"normalization": "nfd"}, 150, 3),
        ("e\u0301 " * 50, {}, 150, 3),  # only reading it tells that there are 100
        ("e\u0301 " * 50, {"level": "byte"}, 200, 256),
    ],
)
def test_a_choice_counts_what_is_read(
    store: Store, monkeypatch: pytest.MonkeyPatch, text: str, model: dict[str, Any], symbols: int, alphabet: int
) -> None:
    asked: list[tuple[int, int]] = []

    def choose_here(symbols: int, alphabet: int, *_: Any, **__: Any) -> ChosenHyperparameters:
        asked.append((symbols, alphabet))
        return ChosenHyperparameters(ModelConfig(**model), TrainingConfig(steps=1), "")

    monkeypatch.setattr(hyperparameters, "choose_here", choose_here)
    corpus = store.corpora.add("text", [text], "here")
    settle(store, claimed(store, corpus=corpus.name, model=model))
    assert asked == [(symbols, alphabet)]
