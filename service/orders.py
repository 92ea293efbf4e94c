"""What is asked for before anybody trains: a new run, or more of one that is stored. Names and limits are checked here.

`service.trainer` carries out what is ordered; nothing here reads a text or holds a model.
"""

from __future__ import annotations

from dataclasses import replace

from model.config import ModelConfig, TrainingConfig
from model.errors import RunCannotGoOn, TextTooShort
from service import machine
from service.intake import LEAST_TEXT
from service.store import Run, Store

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

    `threads` and `processes` 0 take the fixed rule of `machine.workers_for`; several `ranks` of MPI are one process each. Raises
    `NameTaken`, `InvalidName`, `CorpusNotFound`, `TextTooShort`.
    """
    if training.epochs is None and training.steps is None and training.budget is None:
        training = replace(training, budget=DEFAULT_BUDGET)
    found = store.corpora.get(corpus)
    if found.characters < LEAST_TEXT:
        raise TextTooShort(f"corpus {corpus}", found.characters, LEAST_TEXT)
    workers = machine.workers_for(model, training, 1 if ranks > 1 else processes, threads)
    run = store.runs.create(
        name if name is not None else f"{corpus}-{model.cell}",
        corpus=corpus,
        model_config=model.to_dict(),
        training_config=training.to_dict(),
        environment=machine.environment(workers, ranks),
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
