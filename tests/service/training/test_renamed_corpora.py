"""Corpora and runs that others rename are read all the same: each is looked up once by name, and from then on by its id."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from corpora import RecordFormat
from model.config import ModelConfig, TrainingConfig
from service.generation.model_cache import load
from service.inspection.cell_search import find_cells
from service.inspection.inspector import _mapped
from service.novelty import corpus_records, index_builder
from service.novelty.index_manager import Indexes
from service.store import Run, Store
from service.store.database import Connections
from service.training import checkpointing, corpus_import, dataset, hyperparameters, jobs
from service.training.dataset import read
from service.training.jobs import JobSpec
from tests.claimed import claimed_run

LINES = RecordFormat.of_kind("lines").to_dict()
TEXT = "".join(f"{a}nn{b} caf\u0065\u0301 {n}\n" for a in "ABCDEFGH" for b in "abcdefgh" for n in range(9))
OTHER = TEXT[::-1].lstrip("\u0301\n")
SETTINGS = ModelConfig(hidden_size=4), TrainingConfig(epochs=1, batch_size=4, seq_length=16)


@pytest.fixture
def restless(store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], int]]:
    """After it is called, every read of the database is followed by a rename of every corpus; it returns how often that was."""
    rows, times, renames = Connections.rows, 0, False

    def renaming(connections: Connections, sql: str, *values: Any, **named: Any) -> list[dict[str, Any]]:
        nonlocal times, renames
        found = rows(connections, sql, *values, **named)
        if renames:
            renames, times = False, times + 1
            for corpus in store.corpora.list():
                store.corpora.rename(corpus.name, f"{corpus.name.partition('-')[0]}-{times}")
            renames = True
        return found

    def begin() -> int:
        nonlocal renames
        renames = True
        return times

    monkeypatch.setattr(Connections, "rows", renaming)
    store.corpora.add("first", [TEXT], "test", records=lambda: LINES)
    store.corpora.add("other", [OTHER], "test", records=lambda: LINES)
    yield begin
    renames = False


def assert_equal(found: dataset.Dataset, expected: dataset.Dataset) -> None:
    assert found.vocabulary == expected.vocabulary
    for name in ("ids", "validation"):
        assert np.array_equal(getattr(found, name), getattr(expected, name))


@pytest.mark.parametrize("small", [0, dataset.SMALL])
@pytest.mark.parametrize("records", [(None, None), (LINES, LINES)])
def test_a_training_text_is_read(
    store: Store, restless: Callable[[], int], records: Any, small: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset, "SMALL", small)
    expected = read(store, "first", *SETTINGS, validation_corpus="other", records=records)
    store.cache.tidy([])
    ids = store.corpora.get("first").id, store.corpora.get("other").id
    restless()
    assert_equal(read(store, ids[0], *SETTINGS, validation_corpus=ids[1], records=records), expected)
    assert restless() > 3


def test_a_claimed_run_is_prepared(store: Store, restless: Callable[[], int]) -> None:
    run = claimed_run(store, "first", *SETTINGS)
    expected = read(store, "first", *SETTINGS, records=(LINES, None))
    restless()
    settled, _ = hyperparameters.settle(store, run)
    assert_equal(checkpointing.prepare(store, settled, *SETTINGS, 1, []).text, expected)
    assert restless() > 3


def test_what_is_ordered_and_cut_stays_with_its_corpus(store: Store, restless: Callable[[], int]) -> None:
    restless()
    first, other = sorted(store.corpora.list(), key=lambda corpus: corpus.id)
    with pytest.MonkeyPatch.context() as patched:  # both are named once, and found
        get = store.corpora.get
        patched.setattr(store.corpora, "get", lambda key: get({"first": first.id, "other": other.id}.get(key, key)))
        run = jobs.submit(store, JobSpec(corpus="first", validation_corpus="other", training={"epochs": 1}))
        assert (run.corpus_id, run.validation_corpus_id) == (first.id, other.id)
        assert corpus_import.cut_anew(store, "first", "none").records is None
    assert store.corpora.get(first.id).records is None


def test_what_a_model_learned_from_is_found(
    store: Store, restless: Callable[[], int], add_model: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    add_model("one", text=TEXT, corpus="first")
    loaded = load(store, "one")
    corpus = store.corpora.get(loaded.run.corpus_id or 0)
    before = find_cells(store, loaded).cells, _mapped(store, loaded).tolist(), corpus_records.of_run(store, loaded.run, "\n").nbytes
    restless()
    after = find_cells(store, loaded).cells, _mapped(store, loaded).tolist(), corpus_records.of_run(store, loaded.run, "\n").nbytes
    assert after == before
    with Indexes(store) as indexes:
        assert indexes.corpus_of(loaded.run).id == corpus.id
        started: list[tuple[object, ...]] = []
        monkeypatch.setattr("service.novelty.index_manager.start_child", lambda module, *given, **more: started.append(given))
        indexes._start(corpus)
    assert started[0][1] == corpus.id
    index_builder.build(store, corpus)
    assert store.cache.load(index_builder.index_key(corpus), np.uint8) is not None


def test_a_run_is_followed_to_its_end(store: Store, restless: Callable[[], int], monkeypatch: pytest.MonkeyPatch) -> None:
    run = jobs.submit(store, JobSpec(corpus="first", name="old", training={"epochs": 1}), queued=True)
    events = jobs.followed(store, "old")
    assert next(events).run == "old"
    store.runs.rename("old", "new")
    jobs.cancel(store, "new")
    last = [*events][-1]
    assert (last.run, store.runs.get(run.id).state) == ("new", "cancelled")
