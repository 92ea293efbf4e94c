"""Records become ids: split fairly, whatever their order, each learned from behind a boundary."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from typing import Any

import numpy as np
import pytest

from corpora import RecordFormat
from model.backend import network_for
from model.checkpoint import Checkpoint
from model.config import ModelConfig, TrainingConfig
from model.errors import TooFewRecords
from model.language_model import LanguageModel
from model.training import evaluate
from model.vocabulary import Vocabulary
from service.store import Store
from service.training import dataset, jobs, trainer
from service.training.dataset import Dataset, hashed, read
from service.training.jobs import JobSpec
from service.training.progress import Ended, Prepared, Stepped
from tests.claimed import claimed_run

RNG = random.Random(5)
NAMES = [f"{a}{b} e\u0301{n}" for a in "ABCDEF" for b in "abcdef" for n in range(4)] + ["Ada", "Bo"] * 30
LINES = RecordFormat.of_kind("lines").to_dict()


def add(store: Store, name: str, records: list[str], form: dict[str, Any] | None = None) -> None:
    form = LINES if form is None else form
    store.corpora.add(name, [form["separator"].join(records)], "test", records=lambda: form)


def read_names(store: Store, name: str = "names", form: dict[str, Any] | None = None, **model: Any) -> Dataset:
    return read(store, name, ModelConfig.from_dict(model), TrainingConfig(), records=(LINES if form is None else form, None))


def sides(found: Dataset) -> tuple[Counter[str], Counter[str]]:
    """The records that are trained on, and those that validate."""
    assert found.records is not None
    texts = [found.vocabulary.decode(ids) for ids in (found.records.joined(), found.validation)]
    assert all(text[:1] == text[-1:] == "\n" for text in texts)
    training, validation = (Counter(text[1:-1].split("\n")) for text in texts)
    return training, validation


@pytest.mark.parametrize("small", [0, 10**9], ids=["in a file", "in memory"])
@pytest.mark.parametrize("model", [{}, {"level": "byte"}, {"normalization": "nfd"}], ids=str)
def test_the_split_is_fair_and_does_not_depend_on_the_order(
    store: Store, monkeypatch: pytest.MonkeyPatch, small: int, model: dict[str, Any]
) -> None:
    monkeypatch.setattr(dataset, "SMALL", small)
    add(store, "names", sorted(NAMES))
    add(store, "shuffled", RNG.sample(NAMES, len(NAMES)))
    found, other = read_names(store, **model), read_names(store, "shuffled", **model)
    training, validation = sides(found)
    assert (training, validation) == sides(other)
    normal = Counter(name.replace("e\u0301", "é") for name in NAMES)
    assert training + validation == normal
    assert not training.keys() & validation.keys(), "equal records are on the same side"
    assert 0.05 < validation.total() / normal.total() < 0.3
    assert found.vocabulary.boundary == found.vocabulary.size - 1 == found.ids[0] == found.ids[-1]
    assert "\n" not in [chr(symbol) for symbol in found.vocabulary.symbols]
    assert (found.ids < found.vocabulary.size).all()
    assert found.told == (
        f"the text is read as 204 records (lines), 146 different: {training.total()} to learn from, {validation.total()} for validation"
    )
    again = read_names(store, **model)
    assert again.ids.tobytes() == found.ids.tobytes()
    assert again.validation.tobytes() == found.validation.tobytes()


def test_equal_records_are_learned_from_once_if_they_are_to_be_unique(store: Store) -> None:
    add(store, "names", NAMES)
    training, validation = sides(read_names(store, form={**LINES, "unique": True}))
    assert training + validation == Counter({name.replace("e\u0301", "é") for name in NAMES})


def test_a_corpus_that_validates(store: Store) -> None:
    add(store, "names", NAMES)
    add(store, "others", ["Zoë", "Ada", "Bo"])
    found = read(store, "names", ModelConfig(), TrainingConfig(), validation_corpus="others", records=(LINES, LINES))
    training, validation = sides(found)
    assert training.total() == len(NAMES)
    assert validation == Counter(["Ada", "Bo", "\ufffdo\ufffd"]), "with the alphabet of what is trained on"
    assert found.told is not None
    assert found.told.endswith("204 to learn from, 3 for validation, of which 2 stand in corpus names, too")


def test_what_is_validated_is_limited_to_whole_records(store: Store) -> None:
    add(store, "names", NAMES)
    whole = read_names(store).validation
    for size in (9, 40, 10**6):
        found = read(store, "names", ModelConfig(), TrainingConfig(validation_size=size), records=(LINES, None))
        count = len(found.validation)
        assert found.validation.tolist() == whole[:count].tolist()
        assert found.validation[-1] == found.vocabulary.boundary
        assert found.split == (found.records.symbols if found.records else 0, 1, count)
        assert count - 1 <= size


def test_a_model_goes_on_as_what_it_was_trained_as(store: Store) -> None:
    """Its alphabet says whether it knows records, and what parts them."""
    add(store, "names", NAMES)
    prose = read(store, "names", ModelConfig(), TrainingConfig(), Vocabulary("char", "nfc", range(32, 127)), records=(LINES, None))
    assert prose.records is None
    assert prose.vocabulary.boundary is None
    bars = Vocabulary("char", "nfc", range(32, 127), "|")
    found = read(store, "names", ModelConfig(), TrainingConfig(), bars, records=(LINES, None))
    assert found.vocabulary == bars
    assert found.vocabulary.decode(found.ids).count("|") == len(NAMES) + 1
    store.corpora.add("bars", ["|".join(NAMES)], "test")
    cut = read(store, "bars", ModelConfig(), TrainingConfig(), bars)
    assert cut.records is not None
    assert len(cut.records.starts) + cut.vocabulary.decode(cut.validation).count("|") - 1 == len(NAMES)


def test_too_few_records_are_refused(store: Store) -> None:
    add(store, "one", ["the same line"] * 20)
    with pytest.raises(TooFewRecords, match=r"corpus one has 1 different record if it is cut into lines; at least 2 are needed"):
        read_names(store, "one")


def test_hashes_of_records_differ_if_they_do() -> None:
    texts = ["a", "b", "ab", "ba", "aa", "aaa", "a" * 4096 + "b", "a" * 4095 + "ba", "a\x00", "\x00a", "\x00", *NAMES]
    symbols = np.array([ord(c) for text in texts for c in text], np.uint32)
    sizes = np.array([len(text) for text in texts])
    found = hashed(symbols, np.cumsum(sizes) - sizes, sizes)
    assert len(set(found.tolist())) == len(set(texts))
    assert len({(text, value) for text, value in zip(texts, found.tolist(), strict=True)}) == len(set(texts))
    assert hashed(symbols[:1], np.array([0]), np.array([1]))[0] == found[0] == 13584821219998933158
    many = np.arange(10**6, dtype=np.uint32)
    spread = hashed(many, np.arange(10**6), np.ones(10**6, np.int64))
    assert len(np.unique(spread)) == 10**6
    assert (spread < np.uint64(2**64 // 10)).mean() == pytest.approx(0.1, abs=0.002)


# ── training ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_validation_is_that_of_each_record_alone(store: Store) -> None:
    add(store, "names", NAMES * 9)
    found = read_names(store)
    model = LanguageModel.new(ModelConfig(hidden_size=9), found.vocabulary.size, 1, boundary=found.vocabulary.boundary)
    network, costs = network_for(model), []
    start, stop = found.split.start, found.split.stop
    edges = np.flatnonzero(found.validation == found.vocabulary.boundary)
    for first, last in itertools.pairwise(edges.tolist()):
        record = found.validation[first : last + 1, None].astype(np.int64)
        costs += network.nats(record[:-1], record[1:], model.zero_state(1))[0].ravel().tolist()
    result = evaluate(network, found.validation, start, stop)
    assert result.symbols == len(costs) == stop - start
    assert result.loss == pytest.approx(np.mean(costs), rel=1e-6)
    assert result.symbols > 800, "in several streams, which begin inside of records"


def run_of(store: Store, name: str, **settings: Any) -> trainer.Trainer:
    training = TrainingConfig(**{"batch_size": 4, "seq_length": 9, "steps": 90, "seed": 3} | settings)
    model = ModelConfig(cell="lstm", hidden_size=5, num_layers=2, dropout=0.3)
    return trainer.Trainer(store, claimed_run(store, "names", model, training, name=name))


def result(store: Store, name: str) -> tuple[bytes, bytes]:
    _, model, state = store.checkpoints.load_state(store.runs.get(name))
    return Checkpoint.from_bytes(model).model.parameters.flat.tobytes(), state


def test_a_run_that_stops_inside_of_an_epoch_goes_on_bit_for_bit_whatever_becomes_of_the_corpus(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(store, "names", NAMES)
    events = list(run_of(store, "whole").events())
    prepared = next(event for event in events if isinstance(event, Prepared))
    assert "the text is read as 204 records (lines), 146 different" in prepared.notes[0]
    ended = events[-1]
    assert isinstance(ended, Ended)
    assert ended.run.epoch > 1.5
    work = run_of(store, "parts")
    for stop in (7, 40, 41, 66):
        for event in work.events():
            if isinstance(event, Stepped) and event.progress.step == stop:
                work.stop("enough")
        store.corpora.cut_anew(store.corpora.get("names").id, None if stop == 40 else {**LINES, "unique": True})
        work = trainer.resume(store, "parts")
    list(work.events())
    assert result(store, "parts") == result(store, "whole")
    store.corpora.cut_anew(store.corpora.get("names").id, LINES)
    threads = run_of(store, "two")
    threads._threads = 2
    list(threads.events())
    assert result(store, "two") == result(store, "whole")


def test_names_are_learned_whatever_their_order(store: Store) -> None:
    """Sorted as well as shuffled: the records are the same, and so is what is learned."""
    losses = []
    for order in (sorted, lambda names: RNG.sample(names, len(names))):
        add(store, "names", order(NAMES))
        list(run_of(store, "run", steps=300, batch_size=8).events())
        losses.append(store.runs.get("run").best_validation_loss)
        store.runs.remove("run")
        store.corpora.remove("names")
    assert max(losses) < 1.5
    assert losses[0] == pytest.approx(losses[1], rel=0.05)


def test_a_budget_is_planned_for_the_records_that_are_used(store: Store) -> None:
    form = {**LINES, "unique": True, "count": 204, "different": 146}
    add(store, "names", NAMES, form)
    run = jobs.submit(store, JobSpec(corpus="names", training={"budget": 1.0}), queued=False)
    events = list(trainer.resume(store, run.name).events())
    assert isinstance(events[-1], Ended)
    assert events[-1].run.request["records"] == {**LINES, "unique": True}


def test_the_kernels_and_numpy_learn_the_same(store: Store) -> None:
    add(store, "names", NAMES)
    text = read_names(store)
    streams = text.streams(TrainingConfig(batch_size=4, seq_length=9))
    model = LanguageModel.new(ModelConfig(hidden_size=6), text.vocabulary.size, boundary=text.vocabulary.boundary)
    one, two = model.parameters.zeros_like(), model.parameters.zeros_like()
    state = model.zero_state(4)
    losses = [
        each.loss_and_gradients(*streams.chunk(1), state, into)[0] for each, into in ((model, one), (network_for(model, trains=True), two))
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    np.testing.assert_allclose(one.flat, two.flat, atol=1e-6)
