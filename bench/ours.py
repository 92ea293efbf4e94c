"""Runs the measured parts of Charloom: the same functions that its commands call."""

from __future__ import annotations

import sys
from pathlib import Path

from bench.measuring import Run
from bench.processes import ROOT
from model.backend import network_for
from model.batches import Ids, Streams
from model.config import SamplingConfig, TrainingConfig
from model.language_model import LanguageModel
from model.sampling import generate
from model.training import TrainingState, train
from model.vocabulary import Vocabulary
from service.store import Run as StoredRun
from service.store import Store
from service.system import hardware


def training(model: LanguageModel, ids: Ids, batch_size: int, seq_length: int) -> Run:
    """Steps of training, with the threads that a run gets."""
    config = TrainingConfig(batch_size=batch_size, seq_length=seq_length, learning_rate=1e-3, schedule="constant", warmup=0, reset_rate=0)
    streams = Streams(ids, batch_size, seq_length)
    state = TrainingState.new(model, streams, config)
    state.last_step = 10**9
    steps = train(model, streams, config, state, threads=hardware.training_threads())

    def run(count: int) -> None:
        for _ in range(count):
            next(steps)

    return run


def sampling(model: LanguageModel, texts: int, temperature: float, threads: int = 1) -> Run:
    """Texts written side by side; a step is one character of each."""
    vocabulary = Vocabulary("char", "none", range(10, 10 + model.vocabulary_size))

    def run(count: int) -> None:
        config = SamplingConfig(length=count, n=texts, temperature=temperature, seed=0)
        for _ in generate(network_for(model, threads), vocabulary, config):
            pass

    return run


def command(*arguments: str | Path) -> list[str]:
    """The command line, as processes are started with it."""
    return [sys.executable, str(ROOT / "cli.py"), *map(str, arguments)]


def newest_run(db: Path) -> StoredRun:
    """The run that a command has just trained."""
    with Store(db) as store:
        return store.runs.latest()
