"""What is ordered is checked before anything is stored or claimed."""

from __future__ import annotations

from typing import Any

import pytest

from model.config import ModelConfig, TrainingConfig
from model.errors import InvalidSetting, NameTaken, RunCannotGoOn, TextTooShort
from service import orders
from service.store import Corpus, Run, Store


def test_a_run_is_created_with_what_its_bits_depend_on(store: Store, corpus: Corpus) -> None:
    run = orders.create(store, "tale", ModelConfig(cell="gru"), TrainingConfig(), threads=1)
    assert (run.name, run.state, run.corpus) == ("tale-gru", "running", "tale")
    assert run.training_config["budget"] == 180.0
    assert run.environment.keys() >= {"threads", "processes", "kernels", "numpy"}
    assert run.environment["threads"] == 1
    assert orders.create(store, "tale", ModelConfig(cell="gru"), TrainingConfig()).name == "tale-gru-2"
    with pytest.raises(NameTaken):
        orders.create(store, "tale", ModelConfig(), TrainingConfig(), name="tale-gru")


def test_a_text_that_is_too_short_is_refused(store: Store) -> None:
    store.corpora.add("tiny", ["abc" * 33], "test")
    with pytest.raises(TextTooShort, match="corpus tiny has 99 characters; at least 100"):
        orders.create(store, "tiny", ModelConfig(), TrainingConfig())
    assert store.runs.list() == ()


@pytest.fixture
def run(store: Store, corpus: Corpus) -> Run:
    """A finished run of ten steps, with settings that are not the defaults."""
    run = orders.create(store, "tale", ModelConfig(), TrainingConfig(steps=10, batch_size=3, patience=2))
    return store.runs.release(run, "succeeded")


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        ({"steps": 7}, (None, 7, None)),
        ({"epochs": 0.5}, (0.5, None, None)),
        ({"budget": 60.0, "steps": None}, (None, None, 60.0)),
    ],
    ids=str,
)
def test_an_extension_has_the_settings_of_its_run_and_a_length_of_its_own(
    run: Run, length: dict[str, Any], expected: tuple[float | None, int | None, float | None]
) -> None:
    found = orders.extension(run, **length)
    assert found is not None
    assert (found.epochs, found.steps, found.budget) == expected
    assert (found.batch_size, found.patience) == (3, 2)


def test_a_run_without_more_to_do_has_no_extension(store: Store, run: Run) -> None:
    with pytest.raises(RunCannotGoOn, match="it has finished; say how much longer"):
        orders.extension(run)
    with pytest.raises(InvalidSetting, match="a run has one length"):
        orders.extension(run, steps=3, epochs=1)
    paused = store.runs.release(store.runs.claim(run.name), "paused")
    assert orders.extension(paused) is None
    foreign = store.runs.create("foreign", corpus=None, model_config={}, training_config={}, state="succeeded")
    with pytest.raises(RunCannotGoOn, match="imported"):
        orders.extension(foreign, steps=3)
