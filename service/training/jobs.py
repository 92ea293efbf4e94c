"""Training as a job: what a client may ask of the queue. Workers (`service.training.worker`) carry it out.

::

    run = jobs.submit(store, JobSpec(corpus="tale", model={"cell": "gru"}, training={"budget": 60.0}))
    jobs.pause(store, run.name)
    jobs.resume(store, run.name)
    for event in jobs.events(store, run.name, after=0):
        print(event.message)

What is asked for before anybody trains: a new run, or more of one that is stored. Names and limits are checked here.

`service.training.trainer` carries out what is ordered; nothing here reads a text or holds a model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from model.config import ModelConfig, TrainingConfig
from model.errors import InvalidSetting, TextTooShort
from service.store import Corpus, Event, Run, Store, StoredCheckpoint
from service.store.blobs import LARGEST
from service.system import hardware
from service.system.errors import RunCannotChange, RunCannotGoOn
from service.training.corpus_import import LEAST_TEXT

# ── orders ───────────────────────────────────────────────────────────────────────────────────────────────────────────

DEFAULT_BUDGET = 180.0  # seconds, where a run is given no length


def create(
    store: Store,
    corpus: str,
    model: ModelConfig,
    training: TrainingConfig,
    *,
    name: str | None = None,
    threads: int = 0,
    processes: int = 0,
    ranks: int = 1,
) -> Run:
    """A new run of `corpus`, claimed by this process; without `name` one is made up from the cell and the corpus.

    `threads` and `processes` 0 take the fixed rule of `hardware.workers_for`; several `ranks` of MPI are one process each. Raises
    `NameTaken`, `InvalidName`, `CorpusNotFound`, `TextTooShort`.
    """
    if training.epochs is None and training.steps is None and training.budget is None:
        training = replace(training, budget=DEFAULT_BUDGET)
    found = store.corpora.get(corpus)
    if found.characters < LEAST_TEXT:
        raise TextTooShort(f"corpus {corpus}", found.characters, LEAST_TEXT)
    workers = hardware.workers_for(model, training, 1 if ranks > 1 else processes, threads)
    run = store.runs.create(
        name if name is not None else f"{corpus}-{model.cell}",
        corpus=corpus,
        model_config=model.to_dict(),
        training_config=training.to_dict(),
        environment=hardware.environment(workers, ranks),
        exact=name is not None,
    )
    return store.runs.claim(run.name)


def extension(run: Run, *, epochs: float | None = None, steps: int | None = None, budget: float | None = None) -> TrainingConfig | None:
    """The settings that a stored run goes on with for that much longer; None without a length, where it goes on as it was.

    Raises `InvalidSetting`, and `RunCannotGoOn` for a finished run without a length or an imported one.
    """
    if run.corpus is None:
        raise RunCannotGoOn(run.name, "it was imported and has no corpus to train on")
    more = {key: value for key, value in (("epochs", epochs), ("steps", steps), ("budget", budget)) if value is not None}
    if run.state == "succeeded" and not more:
        raise RunCannotGoOn(run.name, "it has finished; say how much longer to train it with --epochs, --steps or --budget")
    return TrainingConfig.from_dict({**run.training_config, "epochs": None, "steps": None, "budget": None, **more}) if more else None


# ── jobs ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

ORDER = "order"  # under this key of `Run.environment` stands what was asked for, until a worker's child has settled it
FREE_OF_PARENT = ("dropout",)  # the settings of a network that may change when its training goes on with another text


@dataclass(frozen=True, kw_only=True)
class JobSpec:
    """What to train. Settings that are not given are chosen as ``charloom train`` chooses them."""

    corpus: str  # a stored one
    validation_corpus: str | None = None  # validate on (validation_size symbols of) this one, and learn from all of `corpus`
    model: Mapping[str, Any] = field(default_factory=dict)  # fields of ModelConfig by name, only those that the user chose
    training: Mapping[str, Any] = field(default_factory=dict)  # fields of TrainingConfig: seed and budget, too
    learning_rate_multiplier: float = 1.0  # of the learning rate that is chosen where none is given
    parent: str | None = None  # a MODEL (RUN, RUN@STEP, RUN@best, RUN@last, latest) to go on from: its network and alphabet are kept
    name: str | None = None  # of the run; by default made from the corpus, the cell and a suffix
    suffix: str = ""
    exact: bool = True  # False: the name is only a wish, and made free by a number
    max_steps: int | None = None  # end a longer run there: a limit of the service, not a choice of the user
    mark: Mapping[str, Any] = field(default_factory=dict)  # facts to keep in the run's `environment`


# ── a new one ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def submit(store: Store, spec: JobSpec) -> Run:
    """Check everything that can be checked now, and queue the run; where something is refused, nothing is left of it.

    `Run.state` is ``queued``. Where neither epochs nor steps are given, a budget rules (three minutes, if none is given), and what
    is left open is chosen from the text and the speed of the worker's machine when it begins; an event then says what.

    Raises `InvalidSetting` (also `UnknownSetting`, `InvalidName`, `ModelTooLarge`; `.param` names the field), `CorpusNotFound`,
    `TextTooShort`, `NameTaken`, `RunNotFound`, `CheckpointNotFound`, `NoModelYet`, `CheckpointError`, `StoreError`.
    """
    training = TrainingConfig.from_dict(spec.training)
    if not 0 < spec.learning_rate_multiplier <= 1000:
        raise InvalidSetting("learning_rate_multiplier", spec.learning_rate_multiplier, "a number above 0 and at most 1,000")
    corpus = long_enough(store, spec.corpus)
    if spec.validation_corpus is not None:
        long_enough(store, spec.validation_corpus)
        if "validation_fraction" in spec.training:
            must = "left out where validation_corpus is given"
            raise InvalidSetting("validation_fraction", training.validation_fraction, must, "all of the corpus is learned from")
    if spec.max_steps is not None and training.steps is not None and training.steps > spec.max_steps:
        raise InvalidSetting("steps", training.steps, f"a whole number from 1 to {spec.max_steps:,}", "the limit of this service")
    if spec.name is not None and spec.exact:
        store.runs.check_free(spec.name)
    if spec.parent is not None:
        parent = store.checkpoints.get(*store.runs.resolve(spec.parent))
        model, V = _like_parent(store, parent, corpus, spec.model)
    else:
        parent, model = None, ModelConfig.from_dict(spec.model)
        V = 256 if model.level == "byte" else corpus.alphabet_size
        _refuse_empty_alphabet(store, corpus, model)
    if not _chosen_later(training) or parent or spec.model.keys() - {"cell"}:
        from service.system.hardware import refuse_too_large

        refuse_too_large(model, training.optimizer, V, min(training.batch_size * training.seq_length, corpus.bytes), LARGEST)
    kept = {name: value for name, value in model.to_dict().items() if parent and name not in FREE_OF_PARENT}
    order = {"given": {**kept, **spec.model, **spec.training}, "learning_rate_multiplier": spec.learning_rate_multiplier}
    limit = {} if spec.max_steps is None else {"max_steps": spec.max_steps}
    with store.immediate():
        run = store.runs.create(
            spec.name if spec.name is not None else "-".join(filter(None, (corpus.name, model.cell, spec.suffix))),
            corpus=corpus.name,
            model_config=model.to_dict(),
            training_config=training.to_dict(),
            environment={**spec.mark, **limit, ORDER: order},
            exact=spec.name is not None and spec.exact,
            queued=True,
            parent=f"{parent.run}@{parent.step}" if parent else None,
            validation_corpus=spec.validation_corpus,
        )
        if parent:
            store.checkpoints.begin_with(run, parent)
        if spec.max_steps is not None:
            store.events.add(run, f"ends after {spec.max_steps:,} steps at the latest, the limit of this service", level="warn")
        store.events.add(run, f"queued, to be trained on corpus {corpus.name}{f' from model {run.parent}' if parent else ''}")
        return store.runs.get(run.name)


def long_enough(store: Store, name: str) -> Corpus:
    """A corpus that one can learn from. Raises `CorpusNotFound` and `TextTooShort`."""
    corpus = store.corpora.get(name)
    if corpus.characters < LEAST_TEXT:
        raise TextTooShort(f"corpus {name}", corpus.characters, LEAST_TEXT)
    return corpus


def _chosen_later(training: TrainingConfig) -> bool:
    """Whether a time rules, so that what is left open is chosen by the worker's child."""
    return training.epochs is None and training.steps is None


def _like_parent(store: Store, parent: StoredCheckpoint, corpus: Corpus, given: Mapping[str, Any]) -> tuple[ModelConfig, int]:
    """The network of a stored model, and its number of symbols. Raises `InvalidSetting` for what it cannot become."""
    from model.checkpoint import Checkpoint as Loaded

    label = f"{parent.run}@{parent.step}"
    _, data = store.checkpoints.load(store.runs.get(parent.run), parent.step)
    loaded = Loaded.from_bytes(data, f"checkpoint {label}")
    theirs = loaded.model.config.to_dict()
    config = ModelConfig.from_dict({**theirs, **given})  # names and ranges first
    for name in given:
        if name not in FREE_OF_PARENT and getattr(config, name) != theirs[name]:
            raise InvalidSetting(name, given[name], f"left out, or {theirs[name]!r}", f"that of the model {label}, which is gone on from")
    alphabet = "".join(store.corpora.alphabet(corpus.name))
    if (loaded.vocabulary.encode(alphabet) == loaded.vocabulary.unknown).all():
        raise InvalidSetting("corpus", corpus.name, f"one that has characters of the model {label}", "this one has none of them")
    return config, loaded.vocabulary.size


def _refuse_empty_alphabet(store: Store, corpus: Corpus, model: ModelConfig) -> None:
    if model.min_count is not None and model.level == "char":
        most = max(store.corpora.alphabet(corpus.name).values())
        if model.min_count > most:
            must = f"at most {most:,} for corpus {corpus.name}"
            raise InvalidSetting("min_count", model.min_count, must, "no symbol occurs more often")


# ── one that is there ─────────────────────────────────────────────────────────────────────────────────────────────────


def pause(store: Store, name: str) -> Run:
    """Ask a run to save and pause: a queued one at once, a running one within two seconds (then `Run.wanted` is ``paused``).

    Whoever trains it, also the command line. A paused run stays as it is. Raises `RunNotFound`, and `RunCannotChange` (a `Conflict`)
    for a run that has ended or is being cancelled.
    """
    return _ask(store, name, "paused", refused=("succeeded", "failed", "cancelled"))


def cancel(store: Store, name: str) -> Run:
    """Ask a run to save and end as ``cancelled``: at once where nobody trains it, else within two seconds. Its checkpoints stay.

    A cancelled run stays as it is. Raises `RunNotFound`, and `RunCannotChange` (a `Conflict`) for one that succeeded or failed.
    """
    return _ask(store, name, "cancelled", refused=("succeeded", "failed"))


def _ask(store: Store, name: str, state: str, refused: tuple[str, ...]) -> Run:
    with store.immediate():
        run = store.runs.get(name)
        if run.state in refused:
            raise RunCannotChange(name, state, "it is cancelled already" if run.state == "cancelled" else f"it has {run.state}")
        if run.wanted == "cancelled" and state == "paused":
            raise RunCannotChange(name, state, "it is being cancelled; resume it to take that back")
        if state in (run.state, run.wanted):
            return run
        store.events.add(run, f"to be {state}, as was asked" if run.state == "running" else f"{state}, as was asked")
        return store.queue.ask(run, state, f"{state} on request")


def resume(store: Store, name: str) -> Run:
    """Queue a paused, cancelled or failed run again; it goes on from its last checkpoint. Takes back a wish to pause or cancel.

    A queued or running run stays as it is. Raises `RunNotFound`, and `RunCannotGoOn` (a `Conflict`) for a run that has succeeded
    or was imported.
    """
    with store.immediate():
        run = store.runs.get(name)
        if run.corpus is None:
            raise RunCannotGoOn(name, "it was imported and has no corpus to train on; train a new run from it as its parent")
        if run.state == "succeeded":
            raise RunCannotGoOn(name, "it has finished; train a new run from it as its parent")
        if run.state == "queued" or (run.state == "running" and run.wanted is None):
            return run
        store.events.add(run, f"to go on from step {run.step:,}, as was asked")
        return store.queue.put(run, "waits for a worker")


def events(
    store: Store, name: str, *, after: int = 0, before: int | None = None, limit: int = 1000, newest_first: bool = False
) -> tuple[Event, ...]:
    """What happened to a run: events with ``after < id < before``, at most `limit`, in the order of ids or in the opposite one.

    Ids ascend within the database and are never used twice. Every run has events, whoever trained it. Raises `RunNotFound`.
    """
    return store.events.list(store.runs.get(name), after=after, before=before, limit=limit, newest_first=newest_first)
