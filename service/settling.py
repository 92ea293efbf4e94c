"""What was left open when a run was ordered, chosen by the process that begins to train it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from model.config import ModelConfig, TrainingConfig
from model.vocabulary import SymbolCounts
from service import machine, recipe
from service.jobs import ORDER
from service.orders import DEFAULT_BUDGET
from service.store import Corpus, Run, Store

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
        model, training, workers, words = choice_for(store, corpus, model, training, given)
        notes, processes = [words], workers.processes
    if "learning_rate" not in given:
        rate = training.learning_rate * order.get("learning_rate_multiplier", 1.0)
        training = replace(training, learning_rate=min(HIGHEST_RATE, rate))
    environment = {**run.environment, **machine.environment(machine.workers_for(model, training, processes))}
    run = store.runs.configure(run, model_config=model.to_dict(), training_config=training.to_dict(), environment=environment)
    return run, notes


def choice_for(
    store: Store,
    corpus: Corpus,
    model: ModelConfig,
    training: TrainingConfig,
    given: Mapping[str, Any],
    *,
    processes: int = 0,
    threads: int = 0,
    ranks: int = 1,
    spent: Callable[[], float] = lambda: 0.0,
) -> recipe.Choice:
    """What `recipe.choose_here` chooses for a corpus, as it will be read."""
    counts = SymbolCounts.from_characters(model.level, model.normalization, store.corpora.alphabet(corpus.name))
    if counts is not None:
        symbols, alphabet = counts.total, int((counts.counts > 0).sum())
    else:  # some may melt into others, which only reading the text would tell
        symbols, alphabet = (corpus.bytes, 256) if model.level == "byte" else (corpus.characters, corpus.alphabet_size)
    budget = training.budget or DEFAULT_BUDGET
    return recipe.choose_here(symbols, alphabet, budget, given, processes=processes, threads=threads, ranks=ranks, spent=spent)
