"""One run from the store through training and back: nothing is lost, nothing depends on where it was interrupted."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from model.checkpoint import Checkpoint, unpack_state
from model.config import ModelConfig, TrainingConfig
from model.errors import InvalidSetting, TrainingDiverged
from model.kernels import library as library_module
from model.language_model import LanguageModel
from model.optimizer import learning_rate
from model.training import Evaluation
from service.store import Corpus, Metric, Run, Store
from service.system import hardware
from service.system.errors import DatabaseBusy, DatabaseUnusable, OutOfMemory, RunBusy, RunCannotGoOn, RunNotFound
from service.training import checkpointing, learning_curve, run_control, trainer
from service.training.progress import Ended, Event, Prepared, Stepped, Validated
from service.training.trainer import Trainer
from tests.claimed import claimed_run

MODEL = ModelConfig(cell="lstm", hidden_size=5, num_layers=2, dropout=0.3)
LENGTHS = {"epochs": None, "steps": None, "budget": None}


class Clock:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def _short_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpointing, "SAMPLE", replace(checkpointing.SAMPLE, length=12))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def make(store: Store, corpus: Corpus, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Trainer]:
    """A trainer of a new run with tiny settings; a validation takes a fifth of a second."""
    real = trainer.evaluate

    def timed(*args: Any) -> Any:
        clock.now += 0.2
        return real(*args)

    monkeypatch.setattr(trainer, "evaluate", timed)

    def made(name: str, model: ModelConfig = MODEL, **settings: Any) -> Trainer:
        training = TrainingConfig(**{"batch_size": 3, "seq_length": 16, "reset_rate": 0.2, "validation_interval": 10} | settings)
        return Trainer(store, claimed_run(store, corpus.name, model, training, name=name), clock=clock)

    return made


def whole(work: Trainer) -> list[Event]:
    return list(work.events())


def until(work: Trainer, step: int) -> list[Event]:
    """Stop after a step, as Ctrl-C does."""
    events = []
    for event in work.events():
        events.append(event)
        if isinstance(event, Stepped) and event.progress.step == step:
            work.stop("paused by a test")
    return events


def killed(work: Trainer, step: int) -> None:
    """Leave without saving after a step."""
    events = work.events()
    for event in events:
        if isinstance(event, Stepped) and event.progress.step == step:
            events.close()


def stepped(events: list[Event]) -> list[Stepped]:
    return [event for event in events if isinstance(event, Stepped)]


def validated(events: list[Event]) -> list[Validated]:
    return [event for event in events if isinstance(event, Validated)]


def result(store: Store, name: str) -> tuple[bytes, dict[str, Any]]:
    """The last weights, and all that training would go on from."""
    _, model, packed = store.checkpoints.load_state(store.runs.get(name))
    state = unpack_state(packed)
    numbers = {key: value for key, value in vars(state).items() if key not in ("hidden", "memory")}
    vectors = {key: vector.tobytes() for key, vector in state.memory.items()} | {"hidden": state.hidden.tobytes()}
    return Checkpoint.from_bytes(model).model.parameters.flat.tobytes(), numbers | vectors


# ── the same weights, whatever happens ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("length", [{"steps": 45}, {"epochs": 1.6}], ids=["steps", "epochs"])
@pytest.mark.parametrize("stops", [(1,), (9, 10, 11), (20, 44), (45,)], ids=str)
def test_a_run_that_was_paused_ends_as_if_it_had_not_been(
    make: Callable[..., Trainer], store: Store, length: dict[str, Any], stops: tuple[int, ...]
) -> None:
    whole(make("whole", **length))
    work = make("paused", **length)
    for stop in stops:
        until(work, stop)
        assert store.runs.get("paused").step == stop
        work = trainer.resume(store, "paused")
    whole(work)
    assert store.runs.get("paused").state == "succeeded"
    assert result(store, "paused") == result(store, "whole")
    losses = [{each.step: each.validation_loss for each in store.metrics.list(store.runs.get(name))} for name in ("paused", "whole")]
    assert {step: losses[0][step] for step in losses[1]} == losses[1]


@pytest.mark.parametrize("kills", [(3,), (11,), (19, 20, 38)], ids=str)
def test_a_run_that_was_killed_ends_as_if_it_had_not_been(make: Callable[..., Trainer], store: Store, kills: tuple[int, ...]) -> None:
    whole(make("whole", steps=40))
    work = make("killed", steps=40)
    for kill in kills:
        killed(work, kill)
        kept = store.runs.get("killed").step
        assert kept == (kill - 1) // 10 * 10
        work = trainer.resume(store, "killed")
        assert all(metric.step <= kept for metric in store.metrics.list(store.runs.get("killed")))
    whole(work)
    assert result(store, "killed") == result(store, "whole")


@pytest.fixture
def instruction_sets(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Those that this processor has and that there is a library for; their choice is read anew after the test."""
    found = [name for name in library_module.instruction_sets() if library_module.path_of(name).exists()]
    if not found:
        pytest.skip("there is no library of kernels; numpy's bits are not promised elsewhere")
    yield found
    monkeypatch.undo()
    library_module.library.cache_clear()


def test_stops_other_threads_and_other_instruction_sets_change_no_bit(
    make: Callable[..., Trainer], store: Store, instruction_sets: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = ModelConfig(cell="gru", hidden_size=33, num_layers=2, dropout=0.3)
    monkeypatch.setenv(library_module.VARIABLE, instruction_sets[0])
    library_module.library.cache_clear()
    whole(make("whole", model, steps=40))
    work = make("moved", model, steps=40)
    for step, threads in ((7, 1), (15, 2), (26, 3), (33, 8)):
        (killed if step == 15 else until)(work, step)
        monkeypatch.setenv(library_module.VARIABLE, instruction_sets[threads % len(instruction_sets)])
        library_module.library.cache_clear()
        work = trainer.resume(store, "moved", threads=threads)
    assert notes_of(work) == []
    assert store.runs.get("moved").environment["threads"] == 8
    assert result(store, "moved") == result(store, "whole")


@pytest.mark.parametrize("cell", ["gru", "rnn"])
def test_the_same_settings_give_the_same_weights(make: Callable[..., Trainer], store: Store, cell: str) -> None:
    model = ModelConfig(cell=cell, hidden_size=5, dropout=0.1)
    for name in ("one", "two"):
        whole(make(name, model, steps=12))
    whole(make("three", model, steps=12, seed=1))
    assert result(store, "one") == result(store, "two")
    assert result(store, "one")[0] != result(store, "three")[0]


def test_an_epoch_is_a_pass_over_the_training_part(make: Callable[..., Trainer], store: Store) -> None:
    events = whole(make("half", epochs=0.5))
    prepared = events[0]
    assert isinstance(prepared, Prepared)
    read = sum(event.progress.symbols for event in stepped(events))
    assert prepared.symbols / 2 <= read <= prepared.symbols / 2 + 3 * 17
    assert store.runs.get("half").epoch == pytest.approx(0.5, abs=0.05)


# ── going on ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_finished_run_goes_on_with_the_schedule_once_more(make: Callable[..., Trainer], store: Store) -> None:
    whole(make("run", steps=20))
    with pytest.raises(RunCannotGoOn, match="it has finished; say how much longer"):
        trainer.resume(store, "run")
    assert store.runs.get("run").state == "succeeded"
    events = whole(trainer.resume(store, "run", steps=10))
    config = TrainingConfig(steps=10)
    assert isinstance(events[0], Prepared)
    assert events[0].steps == 10
    assert [event.progress.step for event in stepped(events)] == list(range(21, 31))
    assert [event.progress.learning_rate for event in stepped(events)] == [learning_rate(config, k / 10) for k in range(10)]
    run = store.runs.get("run")
    assert (run.state, run.step, run.training_config["steps"]) == ("succeeded", 30, 10)


def test_an_extension_can_be_interrupted_too(make: Callable[..., Trainer], store: Store) -> None:
    for name in ("one", "two"):
        whole(make(name, steps=15))
    whole(trainer.resume(store, "one", epochs=1))
    killed(trainer.resume(store, "two", epochs=1), 19)
    until(trainer.resume(store, "two"), 20)
    whole(trainer.resume(store, "two"))
    assert result(store, "one") == result(store, "two")


def test_an_extension_is_stored_with_its_state_or_not_at_all(
    make: Callable[..., Trainer], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole(make("run", steps=15))
    with monkeypatch.context() as patch:
        patch.setattr(store.checkpoints, "save", lambda *_, **__: (_ for _ in ()).throw(DatabaseUnusable("x.db", "the disk is full")))
        with pytest.raises(DatabaseUnusable):
            whole(trainer.resume(store, "run", budget=60.0))
    run = store.runs.get("run")
    assert (run.state, run.training_config["steps"], run.training_config["budget"]) == ("paused", 15, None)
    assert stepped(whole(trainer.resume(store, "run"))) == []
    assert store.runs.get("run").state == "succeeded"


def test_a_run_without_a_checkpoint_begins_anew(make: Callable[..., Trainer], store: Store) -> None:
    killed(make("run", steps=20), 5)
    assert store.runs.get("run").checkpoints == 0
    assert stepped(whole(trainer.resume(store, "run", steps=7)))[-1].progress.step == 7
    assert store.runs.get("run").training_config["steps"] == 7


def test_what_cannot_be_resumed_is_refused(make: Callable[..., Trainer], store: Store) -> None:
    with pytest.raises(RunNotFound):
        trainer.resume(store, "nobody")
    make("busy", steps=5)
    with pytest.raises(RunBusy, match="is being trained by process"):
        trainer.resume(store, "busy")
    with pytest.raises(InvalidSetting, match="a run has one length"):
        trainer.resume(store, "busy", steps=3, epochs=1)
    store.runs.create("foreign", corpus=None, model_config={}, training_config={}, state="succeeded")
    with pytest.raises(RunCannotGoOn, match="imported"):
        trainer.resume(store, "foreign", steps=3)


def notes_of(work: Trainer) -> list[str]:
    prepared = whole(work)[0]
    assert isinstance(prepared, Prepared)
    return prepared.notes


def test_another_arithmetic_is_told_and_another_instruction_set_is_not(
    make: Callable[..., Trainer], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "arithmetic", lambda: "kernels avx2")
    until(make("run", steps=20, schedule="constant"), 5)
    monkeypatch.setattr(hardware, "arithmetic", lambda: "kernels neon")
    assert notes_of(trainer.resume(store, "run", steps=2, threads=3)) == []
    assert store.runs.get("run").environment.items() >= {"arithmetic": "kernels neon", "threads": 3}.items()
    monkeypatch.setattr(hardware, "arithmetic", lambda: "numpy 1 abacus")
    changed = (
        "the run was trained with the kernels before, here it goes on with numpy 1 abacus: its weights will not be the same to the last bit"
    )
    assert notes_of(trainer.resume(store, "run", steps=2)) == [changed]
    assert notes_of(trainer.resume(store, "run", steps=2)) == [], "it is told once"


def test_it_is_told_that_numpy_computes_for_want_of_the_library(make: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpointing, "shortcoming", lambda: "numpy computes: it was not built")
    assert notes_of(make("run", steps=2)) == ["numpy computes: it was not built"]


def test_a_run_of_an_earlier_release_goes_on_and_says_that_the_arithmetic_changed(make: Callable[..., Trainer], store: Store) -> None:
    until(make("run", steps=20, schedule="constant"), 5)
    environment = {
        "threads": 1,
        "processes": 2,
        "kernels": "openblas 0.3.31 Zen",
        "numpy": "2.4.6",
        "python": "3.11.7",
        "machine": "x86_64",
    }
    run = store.runs.claim("run")
    request = json.dumps({**run.request, "processes": 2})
    store.runs.configure(run, environment=environment)
    store.runs.release(run, "paused")
    with store.immediate() as db:
        db.execute("UPDATE runs SET request = ? WHERE name = 'run'", [request])
    (note,) = notes_of(trainer.resume(store, "run"))
    assert note.startswith("the run was trained with numpy 2.4.6 by an earlier release of Charloom before, here it goes on with ")
    run = store.runs.get("run")
    assert (run.state, run.request["processes"]) == ("succeeded", 2)
    assert run.environment == hardware.environment(hardware.training_threads())


def test_a_schedule_that_starts_once_more_is_told(make: Callable[..., Trainer], store: Store) -> None:
    whole(make("run", steps=5))
    notes = whole(trainer.resume(store, "run", steps=2))[0].notes  # type: ignore[union-attr]
    assert notes == ["the learning rate starts once more at its highest, so the loss may rise at first"]


# ── what is told of it ────────────────────────────────────────────────────────────────────────────────────────────────


def judged(events: list[Event]) -> dict[int, str]:
    """What is said of the validation of each step; where the time comes in, it differs from run to run."""
    return {
        event.metric.step: " ".join([event.standing.words, event.standing.outlook.verdict if event.standing.outlook else "-"])
        for event in validated(events)
    }


def test_a_resumed_run_is_judged_by_all_its_validations(make: Callable[..., Trainer], store: Store) -> None:
    whole_story = judged(whole(make("whole", steps=60)))
    told = judged(until(make("run", steps=60), 12)) | judged(until(trainer.resume(store, "run"), 33))
    killed(trainer.resume(store, "run"), 47)
    resumed = judged(whole(trainer.resume(store, "run")))
    assert resumed.keys() == {50, 60}
    assert told | resumed == {step: words for step, words in whole_story.items() if step != 40}
    assert [step for step, words in whole_story.items() if words.endswith("-")] == [10, 20]
    assert all("model (" in words for words in whole_story.values())


def test_an_extension_is_judged_by_its_own_validations(make: Callable[..., Trainer], store: Store) -> None:
    whole(make("run", steps=40))
    told = judged(until(trainer.resume(store, "run", steps=50), 55)) | judged(whole(trainer.resume(store, "run")))
    assert [step for step, words in told.items() if words.endswith("-")] == [50, 60]
    assert told.keys() == {50, 60, 70, 80, 90}


def test_the_last_event_says_where_the_best_loss_stands(make: Callable[..., Trainer], store: Store) -> None:
    events = whole(make("run", steps=30))
    end = events[-1]
    assert isinstance(end, Ended)
    best = min(validated(events), key=lambda event: event.standing.loss)
    assert end.best is not None
    assert (end.best_step, end.best.words, end.best.outlook) == (best.metric.step, best.standing.words, None)
    paused = until(make("paused", steps=30), 5)[-1]
    assert isinstance(paused, Ended)
    assert (paused.best_step, paused.best) == (None, None)


def test_baselines_change_nothing_but_what_is_told(make: Callable[..., Trainer], store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    real = learning_curve.ngram_losses
    monkeypatch.setattr(learning_curve, "ngram_losses", lambda *args: (calls.append(1), real(*args))[1])
    told = judged(whole(make("with", steps=30)))
    assert len(calls) == 1
    monkeypatch.setattr(learning_curve, "ngram_losses", lambda *_, **__: {})
    assert judged(whole(make("without", steps=30))) != told
    assert result(store, "with") == result(store, "without")


# ── ending before its time ────────────────────────────────────────────────────────────────────────────────────────────


def test_patience_ends_a_run_that_gets_no_better_and_begins_anew_with_an_extension(
    make: Callable[..., Trainer], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = iter([3.0, 2.0, 2.5, 2.4, 2.3, 2.2, 2.1, 2.6])
    monkeypatch.setattr(trainer, "evaluate", lambda *_, **__: Evaluation(next(losses), 100, 0))
    work = make("run", steps=1000, patience=3)
    assert [event.metric.step for event in validated(whole(work))] == [10, 20, 30, 40, 50]
    assert (store.runs.get("run").state, store.runs.get("run").message) == (
        "succeeded",
        "no better in 3 validations; --patience takes another number",
    )
    assert [event.metric.step for event in validated(whole(trainer.resume(store, "run", steps=1000)))] == [60, 70, 80]


def test_a_run_by_budget_ends_after_its_epochs_with_the_schedule_at_its_end(make: Callable[..., Trainer]) -> None:
    """The clock stands still but while it validates."""
    work = make("run", budget=1e6, max_epochs=2.0)
    steps = stepped(whole(work))
    assert steps[-1].progress.epoch == 2.0
    assert steps[-1].share == 1.0
    assert steps[-1].progress.learning_rate < 0.05 * max(step.progress.learning_rate for step in steps)


# ── what is stored ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_validation_stores_metric_checkpoint_and_sample(make: Callable[..., Trainer], store: Store) -> None:
    events = whole(make("run", steps=25))
    run = store.runs.get("run")
    told = [event.metric.step for event in validated(events)]
    assert told == [10, 20, 25]
    assert [sample.step for sample in store.samples.list(run)] == told
    assert [sample.text for sample in store.samples.list(run)] == [event.sample for event in validated(events)]
    checkpoints = store.checkpoints.list(run)
    assert [each.step for each in checkpoints] == told
    losses = {each.step: each.validation_loss for each in checkpoints}
    assert [step for step, loss in losses.items() if loss == min(losses.values())] == [each.step for each in checkpoints if each.best]
    assert [each.step for each in checkpoints if each.last] == [25]
    assert [each.state_bytes > 0 for each in checkpoints] == [False, False, True]
    assert run.best_validation_loss == min(losses.values())
    metrics = {metric.step: metric for metric in store.metrics.list(run)}
    assert metrics.keys() == set(told)
    for metric in metrics.values():
        assert metric.validation_loss is not None
        assert metric.bits_per_char == pytest.approx(metric.validation_loss / math.log(2))
        assert None not in (metric.loss, metric.learning_rate, metric.grad_norm, metric.characters_per_second)


def test_the_best_is_told_when_it_is_best(make: Callable[..., Trainer], store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = iter([3.0, 2.0, 2.5, 2.0])
    real = trainer.evaluate
    monkeypatch.setattr(trainer, "evaluate", lambda *args: real(*args)._replace(loss=next(losses)))
    events = whole(make("run", steps=40))
    assert [event.best for event in validated(events)] == [True, True, False, False]
    assert store.checkpoints.get(store.runs.get("run"), "best").step == 20
    assert result(store, "run")[1]["best_step"] == 20


def test_bits_per_character_count_characters_whatever_the_symbols_are(store: Store) -> None:
    store.corpora.add("ko", ["한글은 소리를 적는 글자이다.\n" * 40], "test")
    ratios = {}
    for settings in ({"normalization": "nfd"}, {"level": "byte"}, {}):
        model = ModelConfig(hidden_size=4, **settings)
        training = TrainingConfig(steps=2, batch_size=2, seq_length=8)
        events = whole(Trainer(store, claimed_run(store, "ko", model, training)))
        metric = validated(events)[-1].metric
        assert metric.bits_per_char is not None
        assert metric.validation_loss is not None
        ratios[str(settings)] = metric.bits_per_char * math.log(2) / metric.validation_loss
    assert ratios["{}"] == pytest.approx(1)
    assert ratios["{'level': 'byte'}"] == pytest.approx(len("한글은 소리를 적는 글자이다.\n".encode()) / 17, rel=0.05)
    assert 1.5 < ratios["{'normalization': 'nfd'}"] < 3


def test_a_short_text_is_read_as_fewer_streams(make: Callable[..., Trainer]) -> None:
    prepared = next(make("run", steps=2, batch_size=500).events())
    assert isinstance(prepared, Prepared)
    assert prepared.notes == ["the text is short: it is read as 84 streams instead of 500"]


# ── ends ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_stopped_run_is_saved_and_paused(make: Callable[..., Trainer], store: Store) -> None:
    events = until(make("run", steps=100), 7)
    assert isinstance(events[-1], Ended)
    run = events[-1].run
    assert (run.state, run.message, run.step, run.owner) == ("paused", "paused by a test", 7, None)
    assert store.checkpoints.get(run, "last").validation_loss is None
    assert not validated(events)


def test_a_run_that_is_left_can_go_on_at_once(make: Callable[..., Trainer], store: Store) -> None:
    killed(make("run", steps=100), 7)
    run = store.runs.get("run")
    assert (run.state, run.message) == ("paused", "stopped before the last steps were saved")


def test_a_run_that_diverges_fails_with_its_sentence_and_keeps_its_checkpoints(make: Callable[..., Trainer], store: Store) -> None:
    linear = ModelConfig(cell="rnn", activation="identity", hidden_size=5)
    work = make("wild", linear, steps=400, learning_rate=1000, optimizer="sgd", clip_norm=0, schedule="constant", warmup=0.9)
    work.stop("paused at the start")
    whole(work)
    with pytest.raises(TrainingDiverged, match=r"of step \d+ is (nan|inf|-inf), not a finite number") as caught:
        whole(trainer.resume(store, "wild"))
    run = store.runs.get("wild")
    assert (run.state, run.message, run.owner) == ("failed", str(caught.value), None)
    assert run.checkpoints >= 1
    Checkpoint.from_bytes(store.checkpoints.load(run, "last")[1])


def test_what_is_foreseen_by_nobody_fails_the_run(make: Callable[..., Trainer], store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LanguageModel, "new", lambda *_, **__: (_ for _ in ()).throw(MemoryError("Unable to allocate 508. GiB")))
    with pytest.raises(OutOfMemory, match=r"Unable to allocate 508. GiB.*choose a smaller hidden_size"):
        whole(make("huge", steps=5))
    assert store.runs.get("huge").state == "failed"
    assert "not enough memory" in (store.runs.get("huge").message or "")
    monkeypatch.setattr(LanguageModel, "new", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        whole(make("broken", steps=5))
    assert store.runs.get("broken").message == "ZeroDivisionError: division by zero"


def test_a_run_that_another_took_is_left_to_it(make: Callable[..., Trainer], store: Store) -> None:
    work = make("run", steps=30)
    events = work.events()
    next(events)
    store.runs.release(work.run, "paused")
    store.runs.claim("run", owner="another")
    with pytest.raises(RunBusy):
        list(events)
    assert store.db.execute("SELECT owner FROM runs").fetchone()[0] == "another"


@pytest.mark.parametrize(("times", "state"), [(2, "succeeded"), (100, "paused")])
def test_a_locked_database_is_waited_for(
    make: Callable[..., Trainer], store: Store, monkeypatch: pytest.MonkeyPatch, times: int, state: str
) -> None:
    tried: list[int] = []
    save = store.checkpoints.save

    def busy(run: Run, metric: Metric, *rest: Any) -> Any:
        tried.append(metric.step)
        if len(tried) <= times:
            raise DatabaseBusy("x.db", 10)
        return save(run, metric, *rest)

    monkeypatch.setattr(store.checkpoints, "save", busy)
    work = make("run", steps=10)
    if state == "succeeded":
        whole(work)
    else:
        with pytest.raises(DatabaseBusy):
            whole(work)
    assert store.runs.get("run").state == state
    assert tried == [10] * min(times + 1, checkpointing.SAVE_ATTEMPTS)


# ── time ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def ticking(work: Trainer, clock: Clock, seconds: float) -> list[Event]:
    """Each step takes so long."""
    events = []
    for event in work.events():
        events.append(event)
        if isinstance(event, Stepped):
            clock.now += seconds
    return events


def test_a_budget_is_the_time_that_is_spent(make: Callable[..., Trainer], store: Store, clock: Clock) -> None:
    events = ticking(make("run", budget=60.0, validation_interval=0), clock, 0.5)
    assert 57 <= clock.now - 1000 <= 60.5
    shares = [event.progress.share for event in stepped(events)]
    assert shares == sorted(shares)
    rates = [event.progress.learning_rate for event in stepped(events)]
    assert rates[-1] < 0.02 * max(rates)
    left = [event.seconds_left for event in stepped(events)]
    assert left[len(left) // 2] == pytest.approx(30, abs=2)
    assert isinstance(events[0], Prepared)
    assert events[0].steps is None
    assert store.runs.get("run").seconds == pytest.approx(clock.now - 1000)


def test_a_budget_that_is_over_at_once_says_so(make: Callable[..., Trainer], store: Store, clock: Clock) -> None:
    ticking(make("run", budget=5.0), clock, 6)
    assert store.runs.get("run").step == 1
    assert store.runs.get("run").message == "the time was over after one step"
    ticking(make("other", budget=60.0), clock, 6)
    assert store.runs.get("other").message is None


def test_a_budget_counts_what_was_spent_before_and_starts_anew_when_it_is_extended(
    make: Callable[..., Trainer], store: Store, clock: Clock
) -> None:
    work = make("run", budget=60.0, validation_interval=0)
    for event in work.events():
        if isinstance(event, Stepped):
            clock.now += 1
            if event.progress.step == 20:
                work.stop("enough")
    assert store.runs.get("run").seconds == 20
    events = ticking(Trainer(store, store.runs.claim("run"), clock=clock), clock, 1)
    assert len(stepped(events)) == pytest.approx(40, abs=2)
    extension = TrainingConfig(**store.runs.get("run").training_config | LENGTHS | {"budget": 30.0})
    events = ticking(Trainer(store, store.runs.claim("run"), clock=clock, extension=extension), clock, 1)
    assert len(stepped(events)) == pytest.approx(30, abs=2)
    assert stepped(events)[0].progress.share == pytest.approx(0, abs=0.05)


def test_counting_baselines_is_part_of_the_budget(make: Callable[..., Trainer], clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(*_: Any) -> dict[int, float]:
        clock.now += 5
        return {0: 1.0}

    monkeypatch.setattr(learning_curve, "ngram_losses", slow)
    monkeypatch.setattr(learning_curve, "BUDGET_SHARE", 1.0)
    monkeypatch.setattr(learning_curve, "PACE", 1350 / 5)
    events = ticking(make("run", budget=60.0, validation_interval=1000), clock, 0.5)  # the only validation is the last one
    assert 59 <= clock.now - 1000 <= 60.5
    assert len(validated(events)) == 1
    events = ticking(make("short", budget=10.0, validation_interval=1000), clock, 0.5)
    assert [event.standing.worse_than for event in validated(events)] == [None]


def test_what_came_before_training_is_part_of_the_budget(store: Store, corpus: Corpus, clock: Clock) -> None:
    training = TrainingConfig(budget=60.0, batch_size=3, seq_length=16)
    run = claimed_run(store, "tale", MODEL, training)
    events = ticking(Trainer(store, run, began=clock.now - 45, clock=clock), clock, 1)
    assert len(stepped(events)) == pytest.approx(15, abs=2)


def test_a_budget_that_a_validation_ends_is_not_validated_twice(
    make: Callable[..., Trainer], store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = trainer.evaluate

    def slow(*args: Any) -> Any:
        clock.now += 100
        return real(*args)

    monkeypatch.setattr(trainer, "evaluate", slow)
    events = ticking(make("run", budget=60.0, validation_interval=5), clock, 1)
    assert [event.metric.step for event in validated(events)] == [5]
    assert store.runs.get("run").state == "succeeded"


def test_a_spent_budget_still_ends_with_a_checkpoint(store: Store, corpus: Corpus, clock: Clock) -> None:
    run = claimed_run(store, "tale", MODEL, TrainingConfig(budget=5.0))
    events = whole(Trainer(store, run, began=clock.now - 60, clock=clock))
    assert len(stepped(events)) == 1  # what was never trained should not pass for a model
    assert store.runs.get(run.name).checkpoints == 1


def test_an_extension_that_gets_worse_keeps_the_best(make: Callable[..., Trainer], store: Store) -> None:
    whole(make("run", steps=20, validation_interval=5))
    before = {each.step: (each.validation_loss, each.bits_per_char) for each in store.checkpoints.list(store.runs.get("run"))}
    best = store.checkpoints.get(store.runs.get("run"), "best").step
    work = trainer.resume(store, "run", steps=20)
    for event in work.events():
        if isinstance(event, Prepared):
            break
    kept = {each.step: (each.validation_loss, each.bits_per_char) for each in store.checkpoints.list(store.runs.get("run"))}
    assert kept == before
    assert None not in kept[20]
    assert store.checkpoints.get(store.runs.get("run"), "best").step == best


def test_saves_and_heartbeats_come_in_time(
    make: Callable[..., Trainer], store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    signs: list[tuple[str, float]] = []
    save, beat = store.checkpoints.save, store.runs.heartbeat
    monkeypatch.setattr(store.checkpoints, "save", lambda *args: (signs.append(("save", clock.now)), save(*args))[1])

    def beaten(run: Run) -> None:
        signs.append(("beat", clock.now))
        beat(run)
        raise DatabaseBusy("x.db", 10)  # it can wait for the next one

    monkeypatch.setattr(store.runs, "heartbeat", beaten)
    ticking(make("run", steps=300, validation_interval=300), clock, 1)
    moments = [1000.0, *(moment for _, moment in signs)]
    assert max(later - earlier for earlier, later in itertools.pairwise(moments)) <= run_control.HEARTBEAT + 2
    saves = [1000.0, *(moment for sign, moment in signs if sign == "save")]
    assert max(later - earlier for earlier, later in itertools.pairwise(saves)) <= trainer.SAVE_EVERY + 2
    assert len(saves) == pytest.approx(6, abs=1)
    assert store.runs.get("run").state == "succeeded"


def test_without_an_interval_short_runs_are_validated_twenty_times(make: Callable[..., Trainer]) -> None:
    events = whole(make("run", ModelConfig(hidden_size=2), steps=450, validation_interval=0))
    assert [event.metric.step for event in validated(events)] == [*range(22, 450, 22), 450]
