"""The first model: trained on text that every machine has, so that there is something to try after one command."""

from __future__ import annotations

from typing import TYPE_CHECKING

from model.config import SamplingConfig
from service.store import Run, Store
from service.system.errors import RunBusy
from service.system.processes import describe
from service.training import corpus_import, jobs

if TYPE_CHECKING:
    from service.training import trainer

NAME, CORPUS, MARK = "default", "python", "first_model"
BUDGET = 60.0  # seconds
VALIDATION = 50_000  # symbols, so that there is time for several validations, and one sees it learn


def order(store: Store) -> Run | None:
    """Queue the default model, or what is left of it, for workers; None where any model can be used already, or it is on its way.

    What somebody paused who follows the queue stays paused. Raises `SourceError`, `TextError`, `StoreError`.
    """
    found = [run for run in store.runs.list() if _is_first(run)]
    interrupted = [run for run in found if run.state == "paused" and not run.queued]
    for run in interrupted or [run for run in found if run.state == "failed" and not run.checkpoints]:
        return jobs.resume(store, run.name)
    if _usable(store) or any(run.state in ("queued", "running", "paused") for run in found):
        return None
    corpus, _ = corpus_import.corpus_for(store, CORPUS)
    training = {"budget": BUDGET, "validation_size": VALIDATION}
    return jobs.submit(store, jobs.JobSpec(corpus=corpus.name, training=training, name=NAME, exact=False, mark={MARK: True}))


def trainer_of_first(store: Store, began: float | None = None) -> trainer.Trainer | None:
    """What is left to train of the default model, by this process; None where any model can be used already, unless it is this one.

    Raises `RunBusy` where another process is training it and nothing can be used yet.
    """
    from service.training import trainer

    found = [run for run in store.runs.list() if _is_first(run)]
    unfinished = [run for run in found if run.state in ("queued", "paused") or (run.state == "failed" and not run.checkpoints)]
    if not unfinished and not _usable(store):
        for run in found:
            if run.state == "running":
                raise RunBusy(run.name, describe(run.owner))
        order(store)
        unfinished = [run for run in store.runs.list() if _is_first(run)]
    return trainer.resume(store, unfinished[0].name, began=began) if unfinished else None


def _is_first(run: Run) -> bool:
    return bool(run.environment.get(MARK))  # its name could also be a user's choice


def _usable(store: Store) -> bool:
    return any(run.checkpoints for run in store.runs.list())


def sample(store: Store) -> str:
    """A text by the model that is there now."""
    from service.generation.sample import write

    return "".join(write(store, None, SamplingConfig(prompt="def ", length=300, temperature=0.7, seed=1)).pieces())
