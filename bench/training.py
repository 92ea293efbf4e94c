"""Training speed: forward, backward, clipping and Adam on carried state, ours beside `torch.nn.LSTM` and `torch.nn.GRU`."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np

from model.batches import Streams
from model.config import ModelConfig, TrainingConfig
from model.language_model import LanguageModel
from model.training import TrainingState, train
from service import machine

VOCABULARY = 65
STEPS = 3  # in one measurement
REPETITIONS = 5
GRID = [("lstm", 128, 1), ("gru", 128, 1), ("lstm", 256, 1), ("lstm", 256, 2), ("lstm", 512, 2)]
STREAMS, LENGTH = 64, 64


def ours(cell: str, hidden_size: int, num_layers: int, ids: np.ndarray[Any, Any]) -> Callable[[], None]:
    """A function that trains for `STEPS` steps, with the threads that a run would have."""
    config = TrainingConfig(batch_size=STREAMS, seq_length=LENGTH)
    model = LanguageModel.new(ModelConfig(cell=cell, hidden_size=hidden_size, num_layers=num_layers), VOCABULARY)
    streams = Streams(ids, STREAMS, LENGTH)
    state = TrainingState.new(model, streams, config)
    state.last_step = 10**9
    steps = train(model, streams, config, state)

    threads = machine.threads_for(model.config, config)

    def run() -> None:
        with machine.blas_threads(threads):
            for _ in range(STEPS):
                next(steps)

    return run


def theirs(cell: str, hidden_size: int, num_layers: int, ids: np.ndarray[Any, Any]) -> Callable[[], None]:
    """The same in PyTorch, written as its users would."""
    import torch
    from torch import nn

    embedding = nn.Embedding(VOCABULARY, hidden_size)
    recurrent = {"lstm": nn.LSTM, "gru": nn.GRU}[cell](hidden_size, hidden_size, num_layers)
    output = nn.Linear(hidden_size, VOCABULARY)
    parameters = [*embedding.parameters(), *recurrent.parameters(), *output.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=1e-3, fused=True)
    streams = Streams(ids.astype(np.int64), STREAMS, LENGTH)
    chunks = [tuple(torch.from_numpy(np.ascontiguousarray(part)) for part in streams.chunk(index)) for index in range(streams.chunks)]
    carried: list[Any] = [None, 0]

    def run() -> None:
        for _ in range(STEPS):
            inputs, targets = chunks[carried[1] % len(chunks)]
            h, state = recurrent(embedding(inputs), carried[0])
            loss = nn.functional.cross_entropy(output(h).flatten(0, 1), targets.flatten())
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            carried[0] = tuple(part.detach() for part in state) if cell == "lstm" else state.detach()
            carried[1] += 1

    return run


def measure() -> list[dict[str, Any]]:
    """Medians over interleaved repetitions, in characters per second."""
    ids = np.random.default_rng(0).integers(0, VOCABULARY, 400_000).astype(np.uint8)
    rows = []
    for cell, hidden_size, num_layers in GRID:
        runs = {"charloom": ours(cell, hidden_size, num_layers, ids), "pytorch": theirs(cell, hidden_size, num_layers, ids)}
        times: dict[str, list[float]] = {name: [] for name in runs}
        for repetition in range(REPETITIONS + 1):
            for name, run in runs.items():
                began = time.perf_counter()
                run()
                if repetition:  # the first one warms up
                    times[name].append(time.perf_counter() - began)
        speeds = {name: STEPS * STREAMS * LENGTH / median(each) for name, each in times.items()}
        rows.append({"network": f"{cell} {num_layers}x{hidden_size}", **speeds, "ratio": speeds["charloom"] / speeds["pytorch"]})
    return rows
