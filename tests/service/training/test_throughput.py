"""The speed of this machine is measured by training, and counts the products."""

from __future__ import annotations

import math

import pytest

from model.config import CELLS, ModelConfig, TrainingConfig
from model.language_model import LanguageModel
from service.training import throughput
from service.training.throughput import Speed, multiply_adds


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(("layers", "embedding"), [(1, 0), (2, 0), (3, 7)])
def test_multiply_adds_are_those_of_the_matrices_that_are_multiplied(cell: str, layers: int, embedding: int) -> None:
    config = ModelConfig(cell=cell, hidden_size=12, num_layers=layers, embedding_size=embedding)
    parameters = LanguageModel.new(config, 9).parameters
    looked_up = "embedding" if embedding else "layers.0.Wx"
    expected = sum(view.size for name, view in parameters.items() if view.ndim == 2 and name != looked_up)
    assert multiply_adds(config, 9) == expected


def test_ranks_are_assumed_to_be_as_fast_as_this_one(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []

    def measured(threads: int, training: TrainingConfig, seconds: float) -> float:
        asked.append((threads, training.batch_size))
        return 10.0

    monkeypatch.setattr(throughput, "work_per_second", measured)
    assert throughput.speed() == Speed(10.0, 1)
    assert throughput.speed(3, ranks=4) == Speed(40.0, 12)
    assert throughput.speed(2, ranks=4, streams=50) == Speed(40.0, 8)
    assert throughput.speed(1, ranks=4, streams=2).work == 40
    assert asked == [(1, 64), (3, 16), (2, 12), (1, 1)]


def test_speed_is_measured_by_training() -> None:
    found = throughput.speed(2, seconds=0.01)
    assert math.isfinite(found.work)
    assert found.work > 1e6
