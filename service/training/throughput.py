"""Measures how fast this machine trains, by training for a moment.

`work` counts the multiply-adds of learning from one symbol, so that the speed of one network predicts that of others.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from model.batches import Streams
from model.cells import CELLS
from model.config import ModelConfig, TrainingConfig
from model.functions import UNKNOWN_COST
from model.language_model import LanguageModel
from model.training import TrainingState, train
from service.system import hardware
from service.system.hardware import SUPPORTED, Workers
from service.training.parallel import train_in_processes

MEASURING = 0.4  # seconds of training for each way to split streams over processes
SAMPLE_MODEL = ModelConfig(cell="lstm", hidden_size=256)  # the network that is measured ...
SAMPLE_TRAINING = TrainingConfig(batch_size=64, seq_length=32)
SAMPLE_ALPHABET = 64  # ... and the size of its alphabet
STREAMS = (64, 128)  # the second if there are more processors than the first can be split over
EACH = (hardware.FEWEST_STREAMS, hardware.FEWEST_STREAMS // 2)  # streams of a process
DOUBLED = 0.85  # a judgement: with 128 streams a symbol teaches as much as this share of one (64 instead of 32 cost nothing)
ELEMENTWISE = 200  # multiply-adds that take as long as a gate's own arithmetic for one symbol, forward and backward


class Speed(NamedTuple):
    """How fast this machine trains."""

    work: float  # multiply-adds per second, by all processes together; see `work`
    workers: Workers
    given: bool = False  # whether the user chose the number of processes
    streams: int = STREAMS[0]  # that were split over the processes


def speed(
    processes: int = 0,
    threads: int = 0,
    ranks: int = 1,
    seconds: float = MEASURING,
    streams: int = 0,
    patience: float = math.inf,
    clock: Callable[[], float] = time.perf_counter,
) -> Speed:
    """Train the sample network for some `seconds` in each of the `ways`, and return the fastest; what is given (not 0) stays.

    Each of several `ranks` of MPI is one process, assumed to be as fast as this one. After `patience` seconds no further way is tried.
    """
    end = clock() + patience
    found: list[Speed] = []
    for count, split in ways(hardware.cores() // max(1, threads), ranks if ranks > 1 else processes, streams):
        if found and clock() > end:
            break
        here = 1 if ranks > 1 else count  # the other ranks are elsewhere, with streams of their own
        workers, training = Workers(here, max(1, threads)), replace(SAMPLE_TRAINING, batch_size=max(1, split * here // count))
        pace = work_per_second(workers, training=training, seconds=seconds) * count / here
        found.append(Speed(pace, workers, bool(processes) or ranks > 1, split))
    return max(found, key=lambda each: each.work * DOUBLED ** math.log2(each.streams / STREAMS[0]))


def ways(cores: int, processes: int = 0, streams: int = 0) -> list[tuple[int, int]]:
    """Return the pairs of processes and streams, split over them, that may be the fastest; what is given (not 0) stays.

    The most likely come first. With more processors there may be more streams: an update then learns from more text in the same time.
    """
    if processes:
        return [(processes, streams or next((B for B in STREAMS if B // EACH[0] >= processes), STREAMS[-1]))]
    sizes = [streams] if streams else [count for count in STREAMS if count <= STREAMS[0] or cores * EACH[0] > STREAMS[0]]
    most = max(1, cores) if SUPPORTED else 1  # more threads than cores may be asked for
    found = [(1, sizes[0])] + [(min(most, max(1, B // each)), B) for each in EACH for B in sizes]
    return list(dict.fromkeys(found))


def work_per_second(
    workers: Workers,
    config: ModelConfig = SAMPLE_MODEL,
    training: TrainingConfig = SAMPLE_TRAINING,
    V: int = SAMPLE_ALPHABET,
    seconds: float = MEASURING,
) -> float:
    """Measure how many multiply-adds per second a network over V symbols trains with, on random streams."""
    B, T = training.batch_size, training.seq_length
    ids = np.random.default_rng(0).integers(0, V, 4 * B * T + 1).astype(np.min_scalar_type(V))
    streams = Streams(ids, B, T)
    with hardware.blas_threads(workers.threads):
        model = LanguageModel.new(config, V)
        state = TrainingState.new(model, streams, training)
        processes = min(workers.processes, B)
        with train_in_processes(processes, model, streams, ids, training, state, UNKNOWN_COST) as (model, state, group):
            state.last_step = 10**9
            began, symbols = math.inf, 0
            for progress in train(model, streams, training, state, group=group):
                now = time.perf_counter()
                if progress.step == 2:  # the first ones make buffers, and the other processes are starting
                    began = now
                elif progress.step > 2:
                    symbols += progress.symbols
                    if now - began > seconds:
                        return symbols * work(config, V) / (now - began)
    raise AssertionError("training by steps has no other end")


def multiply_adds(config: ModelConfig, V: int) -> int:
    """Count the multiply-adds of the matrix products for one symbol, forward."""
    H, gates = config.hidden_size, len(CELLS[config.cell].gates)
    first = config.embedding_size * gates * H
    return first + gates * H * H * (2 * config.num_layers - 1) + H * V


def work(config: ModelConfig, V: int) -> float:
    """Estimate learning from one symbol, in multiply-adds: the products, twice as many backward as forward, and what is elementwise."""
    gates = len(CELLS[config.cell].gates) * config.hidden_size * config.num_layers
    return 3 * multiply_adds(config, V) + ELEMENTWISE * gates
