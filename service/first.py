"""The first model: trained on text that every machine has, so that there is something to try after one command."""

from __future__ import annotations

from model.config import ModelConfig, SamplingConfig, TrainingConfig
from model.errors import NoModelYet, RunNotFound
from service import intake, trainer
from service.store import Store
from service.writing import write

NAME, CORPUS = "default", "python"
BUDGET = 60.0  # seconds
VALIDATION = 50_000  # symbols, so that there is time for several validations, and one sees it learn


def trainer_of_first(store: Store, began: float | None = None) -> trainer.Trainer | None:
    """What is left to train of the default model; None where any model can be used already, unless it is this one, unfinished.

    Raises `RunBusy` where another process is training it and nothing can be used yet.
    """
    try:
        run = store.runs.get(NAME)
    except RunNotFound:
        run = None
    if run is not None and run.state == "paused" and run.corpus is not None:
        return trainer.resume(store, NAME, began=began)
    try:
        store.runs.latest()
    except NoModelYet:
        if run is not None:  # it ended before its first checkpoint
            return trainer.resume(store, NAME, began=began)
        corpus, _ = intake.corpus_for(store, CORPUS)
        training = TrainingConfig(budget=BUDGET, validation_size=VALIDATION)
        return trainer.Trainer(store, trainer.create(store, corpus.name, ModelConfig(cell="gru"), training, name=NAME), began=began)
    return None


def sample(store: Store) -> str:
    """A text by the model that is there now."""
    return "".join(write(store, None, SamplingConfig(prompt="def ", length=300, temperature=0.7, seed=1)).pieces())
