"""Orders training runs and changes them: the one way in for the command line, for HTTP and for the first model.

::

    run = jobs.submit(store, JobSpec(corpus="tale", model={"cell": "gru"}, training={"budget": 60.0}))
    jobs.pause(store, run.name)
    jobs.resume(store, run.name)
    for event in jobs.events(store, run.name, after=0):
        print(event.message)

`submit` checks the settings, the name, the parent, the size and the alphabet. What was asked for is stored as `Run.request`.
What the request leaves open is chosen by the process that trains the run (`service.training.hyperparameters.settle`).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from corpora import RecordFormat
from model.checkpoint import Checkpoint
from model.config import ModelConfig, TrainingConfig
from model.errors import InvalidSetting, TextTooShort
from model.vocabulary import SymbolCounts, Vocabulary
from service.store import Corpus, Event, Run, Store, StoredCheckpoint
from service.store.blobs import LARGEST
from service.store.job_queue import JobLimits
from service.store.runs import ENDED
from service.system.errors import CorpusNotFound, RunCannotChange, RunCannotGoOn
from service.system.hardware import refuse_too_large
from service.system.processes import POLL
from service.training.corpus_import import LEAST_TEXT

DEFAULT_BUDGET = 180.0  # seconds, if a run is given no length
LENGTHS = ("epochs", "steps", "budget")
CHANGE = 3.0  # seconds to wait until a running job has paused or ended, as was asked; that takes two at most
CHANGE_POLL = 0.1  # seconds between two looks meanwhile: a user waits for the answer
FREE_OF_PARENT = ("dropout",)  # the settings of a network that may change when its training goes on with another text


@dataclass(frozen=True, kw_only=True)
class JobSpec:
    """What to train. Settings that are not given are chosen from the text and the time, or are the defaults."""

    corpus: str  # a stored one
    validation_corpus: str | None = None  # validate on (validation_size symbols of) this one, and learn from all of `corpus`
    model: Mapping[str, Any] = field(default_factory=dict)  # fields of ModelConfig by name, only those that the user chose
    training: Mapping[str, Any] = field(default_factory=dict)  # fields of TrainingConfig: seed and budget, too
    learning_rate_multiplier: float = 1.0  # of the learning rate that is chosen if none is given
    threads: int = 0  # that share the work of a step; 0: as many as there are cores
    parent: str | None = None  # a MODEL (RUN, RUN@STEP, RUN@best, RUN@last, latest) to go on from: its network and alphabet are kept
    name: str | None = None  # of the run; by default made from the corpus, the cell and a suffix
    suffix: str = ""
    exact: bool = True  # False: `name` is a suggestion; a number is added if it is taken
    max_steps: int | None = None  # end a longer run there: a limit of the service, not a choice of the user
    max_seconds: float | None = None  # the same for its time
    caller: str | None = None  # who orders it over HTTP
    limits: JobLimits | None = None  # of the service, for the runs of this caller and of all
    extra: Mapping[str, Any] = field(default_factory=dict)  # further facts to keep in `Run.request`


# ── ordering ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def submit(store: Store, spec: JobSpec, *, queued: bool = True) -> Run:
    """Check everything that can be checked now, and store the run; if anything is refused, nothing is stored.

    A `queued` run waits for a worker; any other for the process that ordered it, which claims it with `trainer.resume`. If neither
    epochs nor steps are given, a budget rules (three minutes, if none is given): what is left open is then chosen from the text and
    the speed of the machine when training begins, and an event says what.

    Raises as `check_settings`, and `CorpusNotFound`, `TextTooShort`, `ModelTooLarge`, `CheckpointError`, `TooManyJobs`, `StoreError`;
    `.param` names the field of `spec` or the setting at fault.
    """
    if spec.limits is not None:
        store.queue.admit(spec.caller, spec.limits)  # before a parent is read
    check_settings(store, spec)
    training = TrainingConfig.from_dict(spec.training)
    corpus = _corpus_long_enough(store, spec.corpus, "corpus")
    validation = None
    if spec.validation_corpus is not None:
        validation = _corpus_long_enough(store, spec.validation_corpus, "validation_corpus")
    if spec.parent is not None:
        parent = store.checkpoints.get(*store.runs.resolve(spec.parent))
        model, V = _like_parent(store, parent, corpus, spec.model)
    else:
        parent, model = None, ModelConfig.from_dict(spec.model)
        V = _alphabet_size(store, corpus, model)
    time_rules = training.epochs is None and training.steps is None
    if not time_rules or parent or spec.model.keys() - {"cell"}:  # else the size is chosen later
        refuse_too_large(model, training.optimizer, V, min(training.batch_size * training.seq_length, corpus.bytes), LARGEST)
    with store.immediate():
        if spec.limits is not None:
            store.queue.admit(spec.caller, spec.limits)
        run = store.runs.create(
            spec.name if spec.name is not None else "-".join(filter(None, (corpus.name, model.cell, spec.suffix))),
            corpus=corpus.id,
            model_config=model.to_dict(),
            training_config=training.to_dict(),
            request=_request(spec, model if parent else None) | _formats(corpus, validation),
            exact=spec.name is not None and spec.exact,
            state="queued" if queued else "paused",  # until the process that ordered it claims it
            queued=queued,
            parent=f"{parent.run}@{parent.step}" if parent else None,
            validation_corpus=validation.id if validation else None,
            caller=spec.caller,
        )
        if parent:
            store.checkpoints.begin_with(run, parent)
        if spec.max_steps is not None:
            store.events.add(run, f"ends after {spec.max_steps:,} steps at the latest, the limit of this service", level="warn")
        if queued:
            store.events.add(run, f"queued, to be trained on corpus {corpus.name}{f' from model {run.parent}' if parent else ''}")
        return store.runs.get(run.id)


def check_settings(store: Store, spec: JobSpec) -> None:
    """Check what can be checked without the corpus, which need not be stored yet: it may take long to read.

    Raises `InvalidSetting` (also `UnknownSetting`, `InvalidName`), `NameTaken`, `RunNotFound`, `CheckpointNotFound`, `NoModelYet`.
    """
    if spec.parent is None:
        ModelConfig.from_dict(spec.model)
    else:
        store.checkpoints.get(*store.runs.resolve(spec.parent))
    training = TrainingConfig.from_dict(spec.training)
    if not 0 < spec.learning_rate_multiplier <= 1000:
        raise InvalidSetting("learning_rate_multiplier", spec.learning_rate_multiplier, "a number above 0 and at most 1,000")
    if spec.validation_corpus is not None and "validation_fraction" in spec.training:
        must = "left out if validation_corpus is given"
        raise InvalidSetting("validation_fraction", training.validation_fraction, must, "all of the corpus is learned from")
    if spec.max_steps is not None and training.steps is not None and training.steps > spec.max_steps:
        raise InvalidSetting("steps", training.steps, f"a whole number from 1 to {spec.max_steps:,}", "the limit of this service")
    if spec.max_seconds is not None and training.budget is not None and training.budget > spec.max_seconds:
        raise InvalidSetting("budget", training.budget, f"a number above 0 and at most {spec.max_seconds:,g}", "the limit of this service")
    if spec.name is not None and spec.exact:
        store.runs.check_free(spec.name)


def extension(run: Run, *, epochs: float | None = None, steps: int | None = None, budget: float | None = None) -> TrainingConfig | None:
    """Return the settings of a stored run with another length, to train it for that much longer; None if no length is given.

    Raises `InvalidSetting`, and `RunCannotGoOn` for a finished run without a length or an imported one.
    """
    if run.corpus is None:
        raise RunCannotGoOn(run.name, "it was imported and has no corpus to train on")
    longer = {key: value for key, value in zip(LENGTHS, (epochs, steps, budget), strict=True) if value is not None}
    if run.state == "succeeded" and not longer:
        raise RunCannotGoOn(run.name, "it has finished; say how much longer to train it with --epochs, --steps or --budget")
    return TrainingConfig.from_dict({**run.training_config, **dict.fromkeys(LENGTHS), **longer}) if longer else None


def count_symbols(store: Store, corpus: Corpus, model: ModelConfig) -> SymbolCounts | None:
    """Count the symbols of a corpus at the level and normalisation of `model`; None if only reading the text would tell."""
    return SymbolCounts.from_characters(model.level, model.normalization, store.corpora.alphabet(corpus))


def _request(spec: JobSpec, parent: ModelConfig | None) -> dict[str, Any]:
    """What is stored of an order: what the user chose, with the network of the `parent`, which is no longer open either."""
    kept = {name: value for name, value in parent.to_dict().items() if name not in FREE_OF_PARENT} if parent else {}
    options = {"threads": spec.threads, "max_steps": spec.max_steps, "max_seconds": spec.max_seconds}
    return {
        "given": {**kept, **spec.model, **spec.training},
        "learning_rate_multiplier": spec.learning_rate_multiplier,
        **{name: value for name, value in options.items() if value},
        **spec.extra,
    }


def _formats(corpus: Corpus, validation: Corpus | None) -> dict[str, Any]:
    """Return how the corpora of a run are cut into records, since that may change while the run waits or rests."""
    formats = {"records": corpus.records, "validation_records": validation.records if validation else None}
    return {name: RecordFormat.from_dict(records).to_dict() for name, records in formats.items() if records is not None}


def _corpus_long_enough(store: Store, name: str, param: str) -> Corpus:
    """Return a stored corpus that one can learn from. Raises `CorpusNotFound` and `TextTooShort`, which name the field `param`."""
    try:
        corpus = store.corpora.get(name)
        if corpus.characters < LEAST_TEXT:
            raise TextTooShort(f"corpus {name}", corpus.characters, LEAST_TEXT)
    except (CorpusNotFound, TextTooShort) as error:
        error.param = param
        raise
    return corpus


def _alphabet_size(store: Store, corpus: Corpus, model: ModelConfig) -> int:
    """The size of the alphabet that a new model will have. Raises `InvalidSetting` if `min_count` leaves none."""
    counts = count_symbols(store, corpus, model)
    if counts is None:  # an estimate, which training replaces by the exact number
        return 256 if model.level == "byte" else corpus.alphabet_size
    size = Vocabulary.build(counts, model.min_count).size + (corpus.records is not None)  # the boundary
    if size == (corpus.records is not None):
        must = f"at most {int(counts.counts.max()):,} for corpus {corpus.name}"
        raise InvalidSetting("min_count", model.min_count, must, "no symbol occurs more often")
    return size


def _like_parent(store: Store, parent: StoredCheckpoint, corpus: Corpus, given: Mapping[str, Any]) -> tuple[ModelConfig, int]:
    """Return the network of a stored model, and the size of its alphabet. Raises `InvalidSetting` for what it cannot become."""
    label = f"{parent.run}@{parent.step}"
    _, data = store.checkpoints.load(store.runs.get(parent.run), parent.step)
    loaded = Checkpoint.from_bytes(data, f"checkpoint {label}")
    fixed = loaded.model.config.to_dict()
    config = ModelConfig.from_dict({**fixed, **given})  # names and ranges first
    for name in given:
        if name not in FREE_OF_PARENT and getattr(config, name) != fixed[name]:
            raise InvalidSetting(name, given[name], f"left out, or {fixed[name]!r}", f"that of the model {label}, which is gone on from")
    alphabet = "".join(store.corpora.alphabet(corpus))
    if (loaded.vocabulary.encode_record(alphabet) == loaded.vocabulary.unknown).all():
        raise InvalidSetting("corpus", corpus.name, f"one that has characters of the model {label}", "this one has none of them")
    return config, loaded.vocabulary.size


# ── changing ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def pause(store: Store, name: str) -> Run:
    """Ask a run to save and pause: a queued one at once, a running one within two seconds (then `Run.wanted` is ``paused``).

    It does not matter which process trains it. A paused run stays as it is. Raises `RunNotFound`, and `RunCannotChange` (a
    `Conflict`) for a run that has ended or is being cancelled.
    """
    return _ask(store, name, "paused", refused=("succeeded", "failed", "cancelled"))


def cancel(store: Store, name: str) -> Run:
    """Ask a run to save and end as ``cancelled``: at once if no process trains it, else within two seconds. Its checkpoints stay.

    A cancelled run stays as it is. Raises `RunNotFound`, and `RunCannotChange` (a `Conflict`) for one that succeeded or failed.
    """
    return _ask(store, name, "cancelled", refused=("succeeded", "failed"))


def _ask(store: Store, name: str, state: str, refused: tuple[str, ...]) -> Run:
    with store.immediate(frees=True):
        run = store.runs.get(name)
        if run.state in refused:
            raise RunCannotChange(name, state, "it is cancelled already" if run.state == "cancelled" else f"it has {run.state}")
        if run.wanted == "cancelled" and state == "paused":
            raise RunCannotChange(name, state, "it is being cancelled; resume it to take that back")
        if state in (run.state, run.wanted):
            return run
        store.events.add(run, f"to be {state}, as was asked" if run.state == "running" else f"{state}, as was asked")
        return store.queue.ask(run, state, f"{state} on request")


def resume(store: Store, name: str, caller: str | None = None, limits: JobLimits | None = None) -> Run:
    """Queue a paused, cancelled or failed run again; it goes on from its last checkpoint. Takes back a request to pause or cancel.

    A queued or running run stays as it is. One that was not ordered over HTTP is then of the `caller`. Raises `RunNotFound`,
    `RunCannotGoOn` (a `Conflict`) for a run that has succeeded or was imported, and `TooManyJobs` if that is beyond `limits`.
    """
    with store.immediate():
        run = store.runs.get(name)
        if run.corpus is None:
            raise RunCannotGoOn(name, "it was imported and has no corpus to train on; train a new run from it as its parent")
        if run.state == "succeeded":
            raise RunCannotGoOn(name, "it has finished; train a new run from it as its parent")
        if run.state == "queued" or (run.state == "running" and run.wanted is None):
            return run
        if limits is not None and run.state != "running":
            store.queue.admit(run.caller or caller, limits)
        store.events.add(run, f"to go on from step {run.step:,}, as was asked")
        return store.queue.put(run, "waits for a worker", caller)


def settled(store: Store, run: Run) -> Run:
    """Return a run when it has made the change that it was asked for, or after `CHANGE` seconds."""
    deadline = time.monotonic() + CHANGE
    while run.wanted is not None and run.state == "running" and time.monotonic() < deadline:
        time.sleep(CHANGE_POLL)
        run = store.runs.get(run.id)
    return run


def followed(store: Store, name: str) -> Iterator[Event]:
    """Yield the events of a run, each as it happens, until the run has ended. Raises `RunNotFound`."""
    after, id_ = 0, store.runs.get(name).id
    while True:
        run = store.runs.get(id_)  # before the events are read, so that its last are among them
        found = store.events.list(run, after=after)
        yield from found
        if found:
            after = found[-1].id
        elif run.state in ENDED:
            return
        else:
            time.sleep(POLL)


def events(
    store: Store, name: str, *, after: int = 0, before: int | None = None, limit: int = 1000, newest_first: bool = False
) -> tuple[Event, ...]:
    """Return what happened to a run: events with ``after < id < before``, at most `limit`, in the order of ids or in the opposite one.

    Ids ascend within the database and are never used twice. Every run has events, trained by a worker or not. Raises `RunNotFound`.
    """
    return store.events.list(store.runs.get(name), after=after, before=before, limit=limit, newest_first=newest_first)
