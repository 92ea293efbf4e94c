"""Orders the default model, so that there is something to try after one command."""

from __future__ import annotations

from typing import TYPE_CHECKING

from model.config import SamplingConfig
from service.store import Run, Store
from service.system.errors import RunBusy
from service.system.processes import describe
from service.training import corpus_import, jobs

if TYPE_CHECKING:
    from service.training import trainer

NAME, CORPUS = "default", "python"
MARK = "first_model"  # the key of a run's request that tells it from a run to which a user gave that name
BUDGET = 60.0  # seconds
VALIDATION = 50_000  # symbols, so that there is time for several validations, and one sees it learn


def order(store: Store) -> Run | None:
    """Queue the default model, or what is left of it, for workers; returns None if a model can be used already, or will be soon.

    A queued run that a user paused stays paused. Raises `SourceError`, `TextError`, `StoreError`.
    """
    found = _default_runs(store)
    interrupted = [run for run in found if run.state == "paused" and not run.queued]
    for run in interrupted or [run for run in found if run.state == "failed" and not run.checkpoints]:
        return jobs.resume(store, run.name)
    if _usable(store) or any(run.state in ("queued", "running", "paused") for run in found):
        return None
    return _ordered(store, queued=True)


def trainer_of_first(store: Store, began: float | None = None) -> trainer.Trainer | None:
    """Claim the default model, or what is left of it, for this process; returns None if nothing of it is left or another can be used.

    Raises `RunBusy` if another process is training it and no model can be used yet.
    """
    from service.training import trainer

    found = _default_runs(store)
    unfinished = [run for run in found if run.state in ("queued", "paused") or (run.state == "failed" and not run.checkpoints)]
    if not unfinished:
        if _usable(store):
            return None
        for run in found:
            if run.state == "running":
                raise RunBusy(run.name, describe(run.owner))
        unfinished = [_ordered(store, queued=False)]
    return trainer.resume(store, unfinished[0].name, began=began)


def _default_runs(store: Store) -> list[Run]:
    return [run for run in store.runs.list() if run.request.get(MARK)]


def _ordered(store: Store, *, queued: bool) -> Run:
    corpus, _ = corpus_import.corpus_for(store, CORPUS)
    training = {"budget": BUDGET, "validation_size": VALIDATION}
    spec = jobs.JobSpec(corpus=corpus.name, training=training, name=NAME, exact=False, extra={MARK: True})
    return jobs.submit(store, spec, queued=queued)


def _usable(store: Store) -> bool:
    return any(run.checkpoints for run in store.runs.list())


def sample(store: Store) -> str:
    """Returns a text by the newest model."""
    from service.generation.sample import write

    return "".join(write(store, None, SamplingConfig(prompt="def ", length=300, temperature=0.7, seed=1)).pieces())
