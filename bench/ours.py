"""Runs the measured parts of Charloom: the same functions that its commands call."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.measuring import Run
from bench.processes import ROOT
from model.backend import network_for
from model.batches import Ids, Streams
from model.config import SamplingConfig, TrainingConfig
from model.functions import UNKNOWN_COST
from model.language_model import LanguageModel
from model.sampling import generate
from model.training import TrainingState, train
from model.vocabulary import Vocabulary
from service.store import Run as StoredRun
from service.store import Store
from service.system import hardware
from service.system.hardware import Workers
from service.training.parallel import train_in_processes


@contextmanager
def training(model: LanguageModel, ids: Ids, batch_size: int, seq_length: int) -> Iterator[tuple[Run, Workers]]:
    """Steps of training, with the processes and threads that a run of this size gets."""
    config = TrainingConfig(batch_size=batch_size, seq_length=seq_length, learning_rate=1e-3, schedule="constant", warmup=0, reset_rate=0)
    workers = hardware.workers_for(model.config, config)
    streams = Streams(ids, batch_size, seq_length)
    state = TrainingState.new(model, streams, config)
    state.last_step = 10**9
    with (
        hardware.blas_threads(workers.threads),
        train_in_processes(workers.processes, model, streams, ids, config, state, UNKNOWN_COST) as (model, state, group),
    ):
        steps = train(model, streams, config, state, group=group)

        def run(count: int) -> None:
            for _ in range(count):
                next(steps)

        yield run, workers


def sampling(model: LanguageModel, texts: int, temperature: float) -> Run:
    """Texts written side by side; a step is one character of each."""
    vocabulary = Vocabulary("char", "none", range(10, 10 + model.vocabulary_size))

    def run(count: int) -> None:
        config = SamplingConfig(length=count, n=texts, temperature=temperature, seed=0)
        for _ in generate(network_for(model), vocabulary, config):
            pass

    return run


def command(*arguments: str | Path) -> list[str]:
    """The command line, as processes are started with it."""
    return [sys.executable, str(ROOT / "cli.py"), *map(str, arguments)]


def newest_run(db: Path) -> StoredRun:
    """The run that a command has just trained."""
    with Store(db) as store:
        return store.runs.latest()
