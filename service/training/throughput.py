"""Measures how fast this machine trains, by training for a moment.

`work` counts the multiply-adds of learning from one symbol, so that the speed of one network predicts that of others.
"""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from model.batches import Streams
from model.cells import CELLS
from model.config import ModelConfig, TrainingConfig
from model.language_model import LanguageModel
from model.training import TrainingState, train
from service.system import hardware

MEASURING = 0.4  # seconds of training
STREAMS = 64  # of the measured run
SAMPLE_MODEL = ModelConfig(cell="lstm", hidden_size=256)  # the network that is measured ...
SAMPLE_TRAINING = TrainingConfig(batch_size=STREAMS, seq_length=32)
SAMPLE_ALPHABET = 64  # ... and the size of its alphabet
ELEMENTWISE = 200  # multiply-adds that take as long as a gate's own arithmetic for one symbol, forward and backward


class Speed(NamedTuple):
    """How fast this machine trains."""

    work: float  # multiply-adds per second, by all ranks together; see `work`
    threads: int  # of all ranks together


def speed(threads: int = 1, ranks: int = 1, seconds: float = MEASURING, streams: int = 0) -> Speed:
    """Trains the sample network with `streams` streams for `seconds`; assumes that each of several `ranks` is as fast as this one."""
    training = replace(SAMPLE_TRAINING, batch_size=max(1, (streams or STREAMS) // ranks))
    return Speed(ranks * work_per_second(threads, training=training, seconds=seconds), threads * ranks)


def work_per_second(
    threads: int,
    config: ModelConfig = SAMPLE_MODEL,
    training: TrainingConfig = SAMPLE_TRAINING,
    V: int = SAMPLE_ALPHABET,
    seconds: float = MEASURING,
) -> float:
    """Measures how many multiply-adds per second a network over V symbols trains with, on random streams."""
    B, T = training.batch_size, training.seq_length
    ids = np.random.default_rng(0).integers(0, V, 4 * B * T + 1).astype(np.min_scalar_type(V))
    streams = Streams(ids, B, T)
    with hardware.blas_threads(threads):
        model = LanguageModel.new(config, V)
        state = TrainingState.new(model, streams, training)
        state.last_step = 10**9
        began, symbols = math.inf, 0
        for progress in train(model, streams, training, state, threads=threads):
            now = time.perf_counter()
            if progress.step == 2:  # the first ones take memory and start threads
                began = now
            elif progress.step > 2:
                symbols += progress.symbols
                if now - began > seconds:
                    return symbols * work(config, V) / (now - began)
    raise AssertionError("training by steps has no other end")


def multiply_adds(config: ModelConfig, V: int) -> int:
    """Counts the multiply-adds of the matrix products for one symbol, forward."""
    H, gates = config.hidden_size, len(CELLS[config.cell].gates)
    first = config.embedding_size * gates * H
    return first + gates * H * H * (2 * config.num_layers - 1) + H * V


def work(config: ModelConfig, V: int) -> float:
    """Estimates learning from one symbol, in multiply-adds: the products, twice as many backward as forward, and what is elementwise."""
    gates = len(CELLS[config.cell].gates) * config.hidden_size * config.num_layers
    return 3 * multiply_adds(config, V) + ELEMENTWISE * gates
