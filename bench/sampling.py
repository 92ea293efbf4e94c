"""Sampling speed: characters per second for 1, 8 and 64 texts at temperature 0.8, ours beside a stepped `torch.nn.LSTM`."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any

from bench.training import VOCABULARY
from model.config import ModelConfig, SamplingConfig
from model.language_model import LanguageModel
from model.sampling import generate
from model.vocabulary import Vocabulary

REPETITIONS = 3
TEMPERATURE = 0.8
GRID = [(128, 1), (256, 2), (512, 2)]
TEXTS = (1, 8, 64)


def ours(hidden_size: int, num_layers: int, texts: int, length: int) -> Callable[[], None]:
    """A function that writes `texts` texts of `length` characters."""
    model = LanguageModel.new(ModelConfig(hidden_size=hidden_size, num_layers=num_layers), VOCABULARY)
    vocabulary = Vocabulary("char", "none", range(10, 10 + VOCABULARY))
    config = SamplingConfig(length=length, n=texts, temperature=TEMPERATURE, seed=0)

    def run() -> None:
        for _ in generate(model, vocabulary, config):
            pass

    return run


def theirs(hidden_size: int, num_layers: int, texts: int, length: int) -> Callable[[], None]:
    """The same in PyTorch."""
    import torch
    from torch import nn

    embedding = nn.Embedding(VOCABULARY, hidden_size)
    recurrent = nn.LSTM(hidden_size, hidden_size, num_layers)
    output = nn.Linear(hidden_size, VOCABULARY)

    def run() -> None:
        with torch.inference_mode():
            ids, state = torch.zeros(1, texts, dtype=torch.long), None
            for _ in range(length):
                h, state = recurrent(embedding(ids), state)
                p = torch.softmax(output(h[0]) / TEMPERATURE, dim=-1)
                ids = torch.multinomial(p, 1).T

    return run


def measure() -> list[dict[str, Any]]:
    """Medians over interleaved repetitions, in characters per second."""
    rows = []
    for hidden_size, num_layers in GRID:
        for texts in TEXTS:
            length = 200 if texts > 1 else 400
            runs = {"charloom": ours(hidden_size, num_layers, texts, length), "pytorch": theirs(hidden_size, num_layers, texts, length)}
            times: dict[str, list[float]] = {name: [] for name in runs}
            for _ in range(REPETITIONS):
                for name, run in runs.items():
                    began = time.perf_counter()
                    run()
                    times[name].append(time.perf_counter() - began)
            speeds = {name: texts * length / median(each) for name, each in times.items()}
            rows.append(
                {"network": f"lstm {num_layers}x{hidden_size}, {texts} texts", **speeds, "ratio": speeds["charloom"] / speeds["pytorch"]}
            )
    return rows
