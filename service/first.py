"""The first model: trained on text that every machine has, so that there is something to try after one command."""

from __future__ import annotations

from model.config import SamplingConfig
from model.errors import NoModelYet, RunBusy
from service import intake, orders, recipe, trainer
from service.owner import describe
from service.store import Run, Store
from service.writing import write

NAME, CORPUS, MARK = "default", "python", "first_model"
BUDGET = 60.0  # seconds
VALIDATION = 50_000  # symbols, so that there is time for several validations, and one sees it learn


def marked(store: Store, run: Run) -> Run:
    """Note in a run that it is the first one, made unasked: its name could also be a user's choice."""
    return store.runs.configure(run, environment={**run.environment, MARK: True})


def unfinished(store: Store) -> Run | None:
    """The default run where it was interrupted; a run that only has its name is somebody's own."""
    found = [run for run in store.runs.list() if _is_first(run) and run.state in ("paused", "failed")]
    return next((run for run in found if run.state == "paused" or not run.checkpoints), None)


def _is_first(run: Run) -> bool:
    return bool(run.environment.get(MARK))


def trainer_of_first(store: Store, began: float | None = None) -> trainer.Trainer | None:
    """What is left to train of the default model; None where any model can be used already, unless it is this one, unfinished.

    Raises `RunBusy` where another process is training it and nothing can be used yet.
    """
    run = unfinished(store)
    if run is not None:
        return trainer.resume(store, run.name, began=began)
    try:
        store.runs.latest()
    except NoModelYet:
        busy = next((run for run in store.runs.list() if _is_first(run) and run.state == "running"), None)
        if busy is not None:
            raise RunBusy(busy.name, describe(busy.owner)) from None
        corpus, _ = intake.corpus_for(store, CORPUS)
        choice = recipe.choose(corpus.characters, corpus.alphabet_size, BUDGET, recipe.speed(), {"validation_size": VALIDATION})
        processes = choice.workers.processes
        run = orders.create(store, corpus.name, choice.model, choice.training, name=store.runs.free_name(NAME), processes=processes)
        return trainer.Trainer(store, marked(store, run), began=began, notes=[choice.words])
    return None


def sample(store: Store) -> str:
    """A text by the model that is there now."""
    return "".join(write(store, None, SamplingConfig(prompt="def ", length=300, temperature=0.7, seed=1)).pieces())
