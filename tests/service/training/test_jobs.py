"""What a client may ask of the queue: everything is checked at once, and nothing half-made is left.

What is ordered is checked before anything is stored or claimed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from model.checkpoint import Checkpoint
from model.config import ModelConfig, TrainingConfig
from model.errors import CharloomError, InvalidSetting, TextTooShort, UnknownSetting
from service.store import Corpus, Run, Store
from service.store.job_queue import JobLimits
from service.system import hardware
from service.system.errors import (
    CorpusInUse,
    CorpusNotFound,
    InvalidName,
    ModelTooLarge,
    NameTaken,
    NoModelYet,
    RunCannotChange,
    RunCannotGoOn,
    RunNotFound,
    TooManyJobs,
)
from service.training import checkpointing, hyperparameters, jobs, trainer
from service.training.hyperparameters import settle
from service.training.jobs import JobSpec
from service.training.progress import Event, Prepared, Validated
from service.training.throughput import Speed
from service.training.trainer import Trainer
from tests.claimed import claimed_run

# ── orders ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_run_is_created_with_what_its_bits_depend_on(store: Store, corpus: Corpus) -> None:
    spec = JobSpec(corpus="tale", model={"cell": "gru"}, threads=1, extra={"asked_by": "a test"})
    run = jobs.submit(store, spec, queued=False)
    assert (run.name, run.state, run.queued, run.corpus, run.environment) == ("tale-gru", "paused", False, "tale", {})
    assert store.queue.claim_next() is None  # it waits for the process that ordered it
    run = trainer.resume(store, run.name, new=True).run
    assert (run.state, run.training_config["budget"]) == ("running", 180.0)
    assert run.environment == hardware.environment(1)
    assert run.request == {"given": {"cell": "gru"}, "learning_rate_multiplier": 1.0, "threads": 1, "asked_by": "a test"}
    assert jobs.submit(store, spec, queued=False).name == "tale-gru-2"


def test_what_can_be_checked_without_a_text_is_checked_before_it_is_read(store: Store, corpus: Corpus) -> None:
    jobs.submit(store, JobSpec(corpus="tale", name="taken"))
    with pytest.raises(NameTaken):
        jobs.check_settings(store, JobSpec(corpus="not read yet", name="taken"))
    with pytest.raises(InvalidSetting, match="hidden_size is 0"):
        jobs.check_settings(store, JobSpec(corpus="not read yet", model={"hidden_size": 0}))


def test_a_size_is_that_of_the_alphabet_as_it_will_be_read(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Korean has thousands of syllables, of a few dozen jamo; rare characters are not in an alphabet at all."""
    sizes: list[int] = []
    monkeypatch.setattr(jobs, "refuse_too_large", lambda config, optimizer, V, *_: sizes.append(V))
    store.corpora.add("ko", ["가각간갇갈감" * 50 + "x"], "test")
    for model in ({}, {"normalization": "nfd"}, {"level": "byte"}, {"min_count": 2}):
        jobs.submit(store, JobSpec(corpus="ko", model=model, training={"steps": 1}))
    assert sizes == [7, 8, 9, 6]


def test_a_text_that_is_too_short_is_refused(store: Store) -> None:
    store.corpora.add("tiny", ["abc" * 33], "test")
    with pytest.raises(TextTooShort, match="corpus tiny has 99 characters; at least 100"):
        jobs.submit(store, JobSpec(corpus="tiny"), queued=False)
    assert store.runs.list() == ()


@pytest.fixture
def run(store: Store, corpus: Corpus) -> Run:
    """A finished run of ten steps, with settings that are not the defaults."""
    run = claimed_run(store, "tale", ModelConfig(), TrainingConfig(steps=10, batch_size=3, patience=2))
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
    found = jobs.extension(run, **length)
    assert found is not None
    assert (found.epochs, found.steps, found.budget) == expected
    assert (found.batch_size, found.patience) == (3, 2)


def test_a_run_without_more_to_do_has_no_extension(store: Store, run: Run) -> None:
    with pytest.raises(RunCannotGoOn, match="it has finished; say how much longer"):
        jobs.extension(run)
    with pytest.raises(InvalidSetting, match="a run has one length"):
        jobs.extension(run, steps=3, epochs=1)
    paused = store.runs.release(store.runs.claim(run.name), "paused")
    assert jobs.extension(paused) is None
    foreign = store.runs.create("foreign", corpus=None, model_config={}, training_config={}, state="succeeded")
    with pytest.raises(RunCannotGoOn, match="imported"):
        jobs.extension(foreign, steps=3)


# ── jobs ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

SMALL: dict[str, Any] = {"model": {"hidden_size": 4}, "training": {"steps": 4, "batch_size": 2, "seq_length": 8}}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpointing, "SAMPLE", replace(checkpointing.SAMPLE, length=12))
    monkeypatch.setattr(hyperparameters, "SIZES", (4,))
    monkeypatch.setattr(hyperparameters, "speed", lambda *_: Speed(1e9, 1))


def submit(store: Store, **asked: Any) -> Run:
    return jobs.submit(store, JobSpec(**{"corpus": "tale", **SMALL, **asked}))


def carried_out(store: Store) -> tuple[Run, list[Event]]:
    """The next run of the queue, trained in this process."""
    run = store.queue.claim_next()
    assert run is not None
    run, notes = settle(store, run)
    events = list(Trainer(store, run, notes=notes).events())
    return store.runs.get(run.name), events


# ── asking for one ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_job_is_queued_and_trained(store: Store, corpus: Corpus) -> None:
    run = submit(store)
    assert (run.name, run.state, run.queued, run.corpus, run.checkpoints) == ("tale-lstm", "queued", True, "tale", 0)
    assert (run.model_config["hidden_size"], run.training_config["steps"]) == (4, 4)
    run, _ = carried_out(store)
    assert (run.state, run.step) == ("succeeded", 4)
    told = jobs.events(store, run.name)
    assert [each.message.split()[0] for each in told if each.type == "message"] == ["queued,", "begins:", "has"]
    assert {each.level for each in told} == {"info"}
    metrics = told[-2].data
    assert metrics is not None
    assert metrics["step"] == 4
    assert metrics["valid_loss"] == run.best_validation_loss
    assert metrics["train_loss"] > 0


@pytest.mark.parametrize(
    ("asked", "error", "param"),
    [
        ({"corpus": "none"}, CorpusNotFound, "corpus"),
        ({"validation_corpus": "none"}, CorpusNotFound, "validation_corpus"),
        ({"corpus": "short"}, TextTooShort, "corpus"),
        ({"validation_corpus": "short"}, TextTooShort, "validation_corpus"),
        ({"model": {"hidden_size": 0}}, InvalidSetting, "hidden_size"),
        ({"model": {"cell": "lstm", "activation": "relu"}}, InvalidSetting, "activation"),
        ({"model": {"layers": 3}}, UnknownSetting, "layers"),
        ({"model": {"hidden_size": 16384, "num_layers": 64}}, ModelTooLarge, "hidden_size"),
        ({"model": {"hidden_size": 16384, "num_layers": 64}, "training": {}}, ModelTooLarge, "hidden_size"),
        ({"model": {"min_count": 10_000}}, InvalidSetting, "min_count"),
        ({"training": {"steps": 3, "epochs": 1.0}}, InvalidSetting, "steps"),
        ({"training": {"learning_rate": -1.0}}, InvalidSetting, "learning_rate"),
        ({"validation_corpus": "tale", "training": {"validation_fraction": 0.2}}, InvalidSetting, "validation_fraction"),
        ({"learning_rate_multiplier": 0.0}, InvalidSetting, "learning_rate_multiplier"),
        ({"learning_rate_multiplier": math.nan}, InvalidSetting, "learning_rate_multiplier"),
        ({"parent": "latest"}, NoModelYet, "model"),
        ({"parent": "nobody@3"}, RunNotFound, "run"),
        ({"name": "a b"}, InvalidName, "name"),
        ({"name": "lstm"}, InvalidName, "name"),
    ],
)
def test_what_cannot_be_trained_is_refused_at_once(
    store: Store, corpus: Corpus, asked: dict[str, Any], error: type[CharloomError], param: str | None
) -> None:
    store.corpora.add("short", ["too short"], "test")
    with pytest.raises(error) as caught:
        submit(store, **asked)
    assert caught.value.param == param
    assert store.runs.list() == ()
    assert store.db.execute("SELECT count(*) FROM events").fetchone()[0] == 0


def test_a_name_is_exact_or_a_wish(store: Store, corpus: Corpus) -> None:
    assert submit(store, name="mine").name == "mine"
    with pytest.raises(NameTaken):
        submit(store, name="mine")
    assert submit(store, name="mine", exact=False).name == "mine-2"
    assert submit(store, name="o h!", exact=False).name == "o-h"


def test_a_corpus_that_a_job_needs_is_not_removed(store: Store, corpus: Corpus, tale: str) -> None:
    store.corpora.add("other", [tale.upper()], "test")
    submit(store, name="run", validation_corpus="other")
    for name in ("tale", "other"):
        with pytest.raises(CorpusInUse, match="run"):
            store.corpora.remove(name)


# ── what is left open ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_where_a_time_rules_the_rest_is_chosen_when_it_begins(store: Store, corpus: Corpus) -> None:
    run = submit(store, model={"cell": "gru"}, training={"budget": 0.4, "seed": 7}, learning_rate_multiplier=0.5)
    assert run.training_config["budget"] == 0.4
    run, events = carried_out(store)
    assert run.state == "succeeded"
    assert (run.model_config["cell"], run.model_config["hidden_size"]) == ("gru", 4)
    chosen = hyperparameters.choose(1500, corpus.alphabet_size, 0.4, hyperparameters.speed(), {"cell": "gru"})
    assert run.training_config["learning_rate"] == pytest.approx(0.5 * chosen.training.learning_rate)
    assert run.training_config["seed"] == 7
    assert isinstance(events[0], Prepared)
    assert events[0].notes[0].startswith("chosen")
    assert events[0].notes[0] in [each.message for each in jobs.events(store, run.name)]


@pytest.mark.parametrize("length", [{"steps": 3}, {"epochs": 50.0}, {"budget": 1e6}])
def test_a_service_may_limit_the_steps(store: Store, corpus: Corpus, length: dict[str, float]) -> None:
    submit(store, training={**length, "batch_size": 2, "seq_length": 8}, max_steps=3)
    run, events = carried_out(store)
    assert (run.state, run.step) == ("succeeded", 3)
    assert isinstance(events[0], Prepared)
    assert events[0].steps == (None if "budget" in length else 3)
    assert any("ends after 3 steps at the latest" in event.message for event in store.events.list(run, limit=100))


def test_more_steps_than_a_service_allows_are_refused(store: Store, corpus: Corpus) -> None:
    with pytest.raises(InvalidSetting, match="steps is 4; it must be a whole number from 1 to 3"):
        submit(store, training={"steps": 4}, max_steps=3)
    assert not store.runs.list()


def test_a_service_may_limit_the_time(store: Store, corpus: Corpus) -> None:
    submit(store, training={"steps": 10**6, "batch_size": 2, "seq_length": 8}, max_seconds=0.5)
    run, events = carried_out(store)
    assert run.state == "succeeded"
    assert store.checkpoints.get(run, "last").step == run.step
    assert 0 < run.step < 10**6
    assert run.message == "ended after 0:00, the longest that this service trains a job; the last checkpoint is kept"
    assert isinstance(events[-2], Validated)
    assert any(run.message in event.message for event in store.events.list(run, limit=100))
    with pytest.raises(RunCannotGoOn):
        jobs.resume(store, run.name)


def test_a_limit_of_time_leaves_the_weights_of_shorter_runs_alone(store: Store, corpus: Corpus) -> None:
    """Bit for bit: it is no part of the learning-rate schedule."""
    training = {"steps": 40, "batch_size": 2, "seq_length": 8, "schedule": "cosine"}
    submit(store, name="limited", training=training, max_seconds=20.0)
    submit(store, name="free", training=training)
    weights = [store.checkpoints.load(carried_out(store)[0])[1] for _ in range(2)]
    limited, free = (Checkpoint.from_bytes(data, "").model.parameters.flat for data in weights)
    assert limited.tobytes() == free.tobytes()


def test_more_time_than_a_service_allows_is_refused(store: Store, corpus: Corpus) -> None:
    with pytest.raises(InvalidSetting, match=r"budget is 61\.0; it must be a number above 0 and at most 60"):
        submit(store, training={"budget": 61.0}, max_seconds=60.0)
    assert not store.runs.list()


# ── callers ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_caller_that_has_ordered_all_it_may_keeps_no_other_from_ordering(store: Store, corpus: Corpus) -> None:
    limits = JobLimits(each=3, total=4)
    orders = [submit(store, caller="greedy", limits=limits).name for _ in range(3)]
    with pytest.raises(TooManyJobs, match=r"3 jobs of yours wait .* the limit for one caller is 3 \(--caller-jobs\)"):
        submit(store, caller="greedy", limits=limits)
    assert submit(store, caller="second", limits=limits).caller == "second"
    with pytest.raises(TooManyJobs, match=r"4 jobs wait .* the limit is 4 \(--max-jobs\)"):
        submit(store, caller="second", limits=limits)
    for number in range(4):  # the first job of each caller goes beyond the limit of all
        submit(store, caller=f"caller {number}", limits=limits)
    with pytest.raises(TooManyJobs):
        submit(store, caller="one more", limits=limits)
    assert len(store.runs.list()) == 8
    # A job that was cancelled takes none of the places, but going on with it does.
    jobs.cancel(store, orders[0])
    replacing = [jobs.cancel(store, run.name) for run in store.runs.list() if run.caller not in ("greedy", None)]
    assert len(replacing) == 5
    submit(store, caller="greedy", limits=limits)
    with pytest.raises(TooManyJobs):
        jobs.resume(store, orders[0], "greedy", limits)
    assert jobs.resume(store, orders[0]).state == "queued", "on the command line"


def test_a_run_of_the_command_line_becomes_that_of_the_caller_who_resumes_it(store: Store, corpus: Corpus) -> None:
    run = submit(store)
    jobs.pause(store, run.name)
    assert jobs.resume(store, run.name, "key:laptop", JobLimits(1, 1)).caller == "key:laptop"
    jobs.pause(store, run.name)
    assert jobs.resume(store, run.name, "key:phone", JobLimits(1, 1)).caller == "key:laptop"


# ── parents and other corpora ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_parent_gives_its_weights_and_its_alphabet(store: Store, corpus: Corpus, tale: str) -> None:
    submit(store, name="parent", model={"cell": "gru", "hidden_size": 6, "embedding_size": 5})
    parent, _ = carried_out(store)
    store.corpora.add("new", [tale.replace("a", "ä") + "ZZZ"], "test")
    run = submit(store, corpus="new", name="child", parent="parent@4", model={"dropout": 0.25})
    assert (run.parent, run.checkpoints, run.model_config["cell"]) == ("parent@4", 1, "gru")
    [first] = store.checkpoints.list(run)
    assert (first.step, first.model_sha256, first.state_sha256) == (0, store.checkpoints.get(parent, 4).model_sha256, None)
    run, events = carried_out(store)
    assert (run.state, run.step) == ("succeeded", 4)
    assert [each.step for each in store.checkpoints.list(run)] == [0, 4]
    model = Checkpoint.from_bytes(store.checkpoints.load(run, "last")[1])
    before = Checkpoint.from_bytes(store.checkpoints.load(parent, "last")[1])
    assert model.vocabulary == before.vocabulary
    assert model.model.config == replace(before.model.config, dropout=0.25)
    moved = abs(model.model.parameters.flat - before.model.parameters.flat).max()
    assert 0 < moved < 0.2  # from there, not from anywhere
    strangers = tale.count("a") + 3
    [told] = [each.message for each in jobs.events(store, "child") if "unknown" in each.message]
    assert told.startswith(f"{strangers:,} of the 1,503 symbols of corpus new (2 different ones) are not in the alphabet of model parent@4")
    assert isinstance(events[0], Prepared)
    assert told in events[0].notes


def test_a_child_goes_on_after_its_parent_is_gone_and_after_a_pause(store: Store, corpus: Corpus) -> None:
    submit(store, name="parent")
    carried_out(store)
    submit(store, name="child", parent="parent")
    store.runs.remove("parent")
    run = store.queue.claim_next()
    assert run is not None
    work = Trainer(store, settle(store, run)[0])
    work.stop("a pause", "queued")
    list(work.events())
    assert store.runs.get("child").step == 1
    run, _ = carried_out(store)
    assert (run.state, run.step) == ("succeeded", 4)


def test_what_a_parent_cannot_become_is_refused(store: Store, corpus: Corpus) -> None:
    submit(store, name="parent")
    carried_out(store)
    with pytest.raises(InvalidSetting, match=r"hidden_size is 5; it must be left out, or 4 \(that of the model parent@4") as caught:
        submit(store, parent="parent", model={"hidden_size": 5})
    assert caught.value.param == "hidden_size"
    store.corpora.add("strange", ["ΑΒΓΔ" * 100], "test")
    with pytest.raises(InvalidSetting, match="this one has none of them"):
        submit(store, corpus="strange", parent="parent", model={})
    assert submit(store, parent="parent@best", model={"hidden_size": 4}).parent == "parent@4"


def test_an_imported_model_can_be_a_parent(store: Store, corpus: Corpus, add_model: Callable[..., Run]) -> None:
    add_model("imported", text="the loom weaves\n")
    submit(store, parent="imported@100", model={}, training={"budget": 0.3})
    run, _ = carried_out(store)
    assert (run.state, run.parent, run.model_config["cell"], run.model_config["hidden_size"]) == ("succeeded", "imported@100", "gru", 8)


def test_a_validation_corpus_validates_and_all_of_the_other_is_learned_from(store: Store, corpus: Corpus) -> None:
    store.corpora.add("exam", ["weaves a loom\n" * 20], "test")
    submit(store, validation_corpus="exam", name="with")
    run, events = carried_out(store)
    submit(store, validation_corpus="exam", name="part", training={**SMALL["training"], "validation_size": 50})
    _, fewer = carried_out(store)
    assert isinstance(events[0], Prepared)
    assert isinstance(fewer[0], Prepared)
    assert (events[0].symbols, events[0].validation_symbols, fewer[0].validation_symbols) == (1498, 279, 50)
    assert run.validation_corpus == "exam"
    one, other = ([each.metric for each in found if isinstance(each, Validated)] for found in (events, fewer))
    assert one[-1].loss == other[-1].loss  # the same training
    assert one[-1].validation_loss != other[-1].validation_loss


# ── pausing, cancelling, going on ─────────────────────────────────────────────────────────────────────────────────────


def test_a_queued_job_changes_at_once(store: Store, corpus: Corpus) -> None:
    name = submit(store).name
    assert jobs.pause(store, name).state == "paused"
    assert jobs.pause(store, name).state == "paused"
    assert store.queue.claim_next() is None
    assert jobs.resume(store, name).state == "queued"
    assert jobs.resume(store, name).state == "queued"
    assert jobs.cancel(store, name).state == "cancelled"
    assert jobs.cancel(store, name).state == "cancelled"
    with pytest.raises(RunCannotChange, match="run tale-lstm cannot be paused: it is cancelled already"):
        jobs.pause(store, name)
    assert jobs.resume(store, name).state == "queued"
    run, _ = carried_out(store)
    assert run.state == "succeeded"
    messages = [each.message for each in jobs.events(store, name)]
    assert messages[1:5] == ["paused, as was asked", "to go on from step 0, as was asked", "cancelled, as was asked", messages[2]]


def test_what_has_ended_stays_so(store: Store, corpus: Corpus, add_model: Callable[..., Run]) -> None:
    name = submit(store).name
    carried_out(store)
    for ask in (jobs.pause, jobs.cancel):
        with pytest.raises(RunCannotChange, match="it has succeeded"):
            ask(store, name)
    with pytest.raises(RunCannotGoOn, match="train a new run from it as its parent"):
        jobs.resume(store, name)
    add_model("imported", state="paused")
    with pytest.raises(RunCannotGoOn, match="it was imported"):
        jobs.resume(store, "imported")
    for ask in (jobs.pause, jobs.cancel, jobs.resume, jobs.events):
        with pytest.raises(RunNotFound):
            ask(store, "nobody")


def test_a_failed_job_can_be_tried_again(store: Store, corpus: Corpus) -> None:
    name = submit(store).name
    claimed = store.queue.claim_next()
    assert claimed is not None
    store.runs.release(claimed, "failed", "no luck")
    with pytest.raises(RunCannotChange, match="it has failed"):
        jobs.cancel(store, name)
    assert jobs.resume(store, name).state == "queued"


def test_a_wish_can_be_made_stronger_or_taken_back(store: Store, corpus: Corpus) -> None:
    name = submit(store).name
    claimed = store.queue.claim_next()
    assert jobs.pause(store, name).wanted == "paused"
    assert jobs.resume(store, name).wanted is None
    jobs.pause(store, name)
    assert jobs.cancel(store, name).wanted == "cancelled"
    with pytest.raises(RunCannotChange, match="it is being cancelled; resume it to take that back"):
        jobs.pause(store, name)
    assert jobs.resume(store, name).wanted is None
    assert claimed is not None
    assert store.queue.wanted(claimed) is None
