"""What a run keeps: a checkpoint always, a sample and an event where it was validated, all or nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import pytest

from model.backend import network_for
from model.batches import Streams
from model.checkpoint import Checkpoint, unpack_state
from model.config import ModelConfig, TrainingConfig
from model.language_model import LanguageModel
from model.training import TrainingState
from service.store import Corpus, Metric, Run, Sample, Store
from service.store.run_history import NewEvent
from service.training import checkpointing, dataset
from service.training.checkpointing import SAMPLE, Saver, draw
from tests.claimed import claimed_run

MODEL, TRAINING = ModelConfig(cell="gru", hidden_size=4), TrainingConfig(steps=3, batch_size=2, seq_length=8)


class Kit(NamedTuple):
    """What is saved."""

    run: Run
    model: LanguageModel
    state: TrainingState
    saver: Saver
    text: dataset.Dataset

    def save(self, metric: Metric, sample: Sample | None = None, event: NewEvent | None = None) -> Run:
        return self.saver.store(self.run, self.saver.pack(self.run, self.model, self.state, metric, sample, event))


@pytest.fixture
def kit(store: Store, corpus: Corpus) -> Kit:
    run = claimed_run(store, corpus.name, MODEL, TRAINING)
    text = dataset.read(store, corpus.name, MODEL, TRAINING)
    model = LanguageModel.new(MODEL, text.vocabulary.size)
    state = TrainingState.new(model, Streams(text.ids[: text.split.training], 2, 8), TRAINING)
    return Kit(run, model, state, Saver(store, text), text)


def test_between_validations_only_the_checkpoint(store: Store, kit: Kit) -> None:
    kit.state.step = 7
    run = kit.save(Metric(step=7, epoch=0.5, loss=2.0, seconds=3.0))
    assert (run.step, run.epoch, run.seconds) == (7, 0.5, 3.0)
    stored, model, state = store.checkpoints.load_state(run)
    assert (stored.step, stored.loss, stored.validation_loss) == (7, 2.0, None)
    checkpoint = Checkpoint.from_bytes(model)
    assert checkpoint.facts == {"run": run.name, "step": 7, "corpus": "tale"}
    assert checkpoint.model.parameters.flat.tobytes() == kit.model.parameters.flat.tobytes()
    assert unpack_state(state).step == 7
    assert (store.samples.list(run), store.events.list(run)) == ((), ())


def test_with_a_validation_its_sample_and_its_event(store: Store, kit: Kit) -> None:
    metric = Metric(step=0, validation_loss=2.5, bits_per_char=3.6)
    run = kit.save(metric, Sample(step=0, text="some text"), NewEvent("validated", {"step": 0}))
    assert Checkpoint.from_bytes(store.checkpoints.load(run)[1]).facts["validation_loss"] == 2.5
    assert [each.text for each in store.samples.list(run)] == ["some text"]
    assert [(each.type, each.message, each.data) for each in store.events.list(run)] == [("metrics", "validated", {"step": 0})]


def test_all_of_it_or_nothing(store: Store, kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store.events, "add", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        kit.save(Metric(step=0, validation_loss=2.5), Sample(step=0, text="x"), NewEvent("validated", {}))
    assert store.checkpoints.list(kit.run) == ()
    assert store.metrics.list(kit.run) == ()
    assert store.samples.list(kit.run) == ()


def test_a_text_is_drawn_and_may_be_broken_off(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpointing, "SAMPLE", replace(SAMPLE, length=30))
    network, ticks = network_for(kit.model), list[int]()
    sample = draw(network, kit.text.vocabulary, 5, lambda: ticks.append(1))
    assert (sample.step, len(sample.text), sample.seed) == (5, 30, 0)
    assert ticks
    assert draw(network, kit.text.vocabulary, 5, lambda: None) == sample
    with pytest.raises(ZeroDivisionError):
        draw(network, kit.text.vocabulary, 5, lambda: 1 / 0)  # type: ignore[arg-type, return-value]
