"""The speed of this machine is that of its best way to split streams over processes."""

from __future__ import annotations

import math

import pytest

from model.config import CELLS, ModelConfig, TrainingConfig
from model.language_model import LanguageModel
from service.system import hardware
from service.system.hardware import Workers
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


@pytest.mark.parametrize(
    ("cores", "given", "expected"),
    [
        (0, {}, [(1, 64)]),
        (1, {}, [(1, 64)]),
        (2, {}, [(1, 64), (2, 64)]),
        (4, {}, [(1, 64), (4, 64)]),
        (6, {}, [(1, 64), (4, 64), (6, 128), (6, 64)]),
        (64, {}, [(1, 64), (4, 64), (8, 128), (8, 64), (16, 128)]),
        (64, {"streams": 48}, [(1, 48), (3, 48), (6, 48)]),
        (64, {"streams": 5}, [(1, 5)]),
        (2, {"processes": 6}, [(6, 128)]),
        (2, {"processes": 2}, [(2, 64)]),
        (2, {"processes": 3, "streams": 7}, [(3, 7)]),
        (64, {"processes": 64}, [(64, 128)]),
    ],
)
def test_more_processors_try_more_processes_and_streams(
    monkeypatch: pytest.MonkeyPatch, cores: int, given: dict[str, int], expected: list[tuple[int, int]]
) -> None:
    monkeypatch.setattr(throughput, "SUPPORTED", True)
    assert throughput.ways(cores, **given) == expected
    monkeypatch.setattr(throughput, "SUPPORTED", False)
    assert {processes for processes, _ in throughput.ways(cores, **given)} == {given.get("processes", 1)}


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Processes and streams that were measured; eight processors, each process slowed by the others."""
    found: list[tuple[int, int]] = []

    def measured(workers: Workers, training: TrainingConfig, seconds: float) -> float:
        found.append((workers.processes, training.batch_size))
        return 10.0 * workers.processes**0.8 * (1 - 4 / training.batch_size)

    monkeypatch.setattr(throughput, "work_per_second", measured)
    monkeypatch.setattr(throughput, "SUPPORTED", True)
    monkeypatch.setattr(hardware, "cores", lambda: 8)
    return found


def test_speed_is_that_of_the_best_way(tried: list[tuple[int, int]]) -> None:
    found = throughput.speed()
    assert tried == [(1, 64), (4, 64), (8, 128), (8, 64)]
    assert found == Speed(pytest.approx(49.48, rel=0.001), Workers(8, 1), streams=64), "128 streams are not so much faster as they cost"
    assert throughput.speed(streams=128) == Speed(pytest.approx(51.13, rel=0.001), Workers(8, 1), streams=128)
    assert throughput.speed(processes=2) == Speed(pytest.approx(16.32, rel=0.001), Workers(2, 1), given=True)
    assert throughput.speed(threads=4).workers == Workers(2, 4)


def test_ranks_are_measured_as_one_of_them(tried: list[tuple[int, int]]) -> None:
    assert throughput.speed(ranks=4) == Speed(40.0 * (1 - 4 / 16), Workers(1, 1), given=True)
    assert tried == [(1, 16)]


def test_a_slow_machine_tries_fewer_ways(tried: list[tuple[int, int]]) -> None:
    times = iter([0.0, 2.0, 9.0])
    assert throughput.speed(patience=3.0, clock=lambda: next(times)).workers == Workers(4, 1)
    assert tried == [(1, 64), (4, 64)]


def test_speed_is_measured_by_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throughput, "MEASURING", 0.01)
    found = throughput.speed(processes=1)
    assert math.isfinite(found.work)
    assert found.work > 1e6
