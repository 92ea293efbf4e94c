"""What was left open when a run was ordered, chosen by the process that begins to train it."""

from __future__ import annotations

from dataclasses import replace

from model.config import ModelConfig, TrainingConfig
from service import machine, recipe
from service.jobs import ORDER
from service.orders import DEFAULT_BUDGET
from service.store import Run, Store

HIGHEST_RATE = 1000.0  # that TrainingConfig allows


def settle(store: Store, run: Run) -> tuple[Run, list[str]]:
    """Choose for a claimed run, once and for all; the run as it is then, and what to tell of it.

    Where a time rules, the speed of this machine is measured for about a second. Raises `InvalidSetting`, `StoreError`.
    """
    if "threads" in run.environment:  # settled before
        return run, []
    order = run.environment.get(ORDER, {})
    given = order.get("given", {})
    model, training = ModelConfig.from_dict(run.model_config), TrainingConfig.from_dict(run.training_config)
    notes, processes = [], 0
    if training.epochs is None and training.steps is None:
        corpus = store.corpora.get(run.corpus or "")
        budget = training.budget or DEFAULT_BUDGET
        model, training, workers, words = recipe.choose(corpus.characters, corpus.alphabet_size, budget, recipe.speed(), given)
        notes, processes = [words], workers.processes
    if "learning_rate" not in given:
        rate = training.learning_rate * order.get("learning_rate_multiplier", 1.0)
        training = replace(training, learning_rate=min(HIGHEST_RATE, rate))
    environment = {**run.environment, **machine.environment(machine.workers_for(model, training, processes))}
    run = store.runs.configure(run, model_config=model.to_dict(), training_config=training.to_dict(), environment=environment)
    return run, notes
