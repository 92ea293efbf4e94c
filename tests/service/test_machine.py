"""What a run's bits depend on besides its settings."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from threadpoolctl import ThreadpoolController

from model.config import ModelConfig, TrainingConfig
from model.lanes import in_lanes
from model.language_model import LanguageModel
from model.products import InBlocks, Prepare, RowByRow
from service import machine


def blas_now() -> list[int]:
    return [library["num_threads"] for library in ThreadpoolController().info() if library["user_api"] == "blas"]


@pytest.mark.parametrize(
    ("cores", "hidden_size", "batch_size", "given", "expected"),
    [
        (1, 512, 64, {}, (1, 1)),
        (2, 512, 64, {}, (2, 1)),
        (64, 512, 64, {}, (4, 1)),  # sixteen streams each
        (2, 16, 64, {}, (1, 1)),  # too small
        (2, 512, 8, {}, (1, 1)),
        (4, 512, 64, {"threads": 2}, (2, 2)),
        (1, 16, 4, {"processes": 3}, (3, 1)),
        (2, 512, 64, {"processes": 1, "threads": 2}, (1, 2)),
    ],
)
def test_workers_follow_sizes_and_cores_alone(
    monkeypatch: pytest.MonkeyPatch, cores: int, hidden_size: int, batch_size: int, given: dict[str, int], expected: tuple[int, int]
) -> None:
    monkeypatch.setattr(machine, "cores", lambda: cores)
    monkeypatch.setattr(machine, "SUPPORTED", True)
    assert machine.workers_for(ModelConfig(hidden_size=hidden_size), TrainingConfig(batch_size=batch_size), **given) == expected
    monkeypatch.setattr(machine, "SUPPORTED", False)
    if "processes" not in given:
        assert machine.workers_for(ModelConfig(hidden_size=hidden_size), TrainingConfig(batch_size=batch_size), **given).processes == 1


def test_the_environment_is_ready_for_json() -> None:
    found = machine.environment(machine.Workers(processes=2, threads=3))
    assert json.loads(json.dumps(found)) == found
    assert found["threads"] == 3
    assert found["processes"] == 2
    assert found["numpy"] == np.__version__


def test_the_kernels_are_named() -> None:
    np.dot(np.ones((2, 2)), np.ones((2, 2)))
    assert re.fullmatch(r"\w+ [\w.]+( \w+)?", machine.kernels())


@pytest.mark.parametrize(
    ("kernels", "hidden_size", "agree", "expected", "tried"),
    [
        ("openblas 0.3.31 SkylakeX", 4, True, InBlocks, [{(4, 12), (4, 7)}]),
        ("openblas 0.3.31 SkylakeX", 4, False, RowByRow, [{(4, 12), (4, 7)}]),
        ("openblas 0.3.31 Haswell", 400, True, in_lanes, [{(400, 1200)}]),
        ("openblas 0.3.31 Haswell", 400, False, RowByRow, [{(400, 1200)}]),
        ("openblas 0.3.31 Haswell", 4, True, RowByRow, []),
        ("unknown", 400, True, RowByRow, []),
    ],
)
def test_products_of_sampling_follow_kernels_and_sizes(
    monkeypatch: pytest.MonkeyPatch, kernels: str, hidden_size: int, agree: bool, expected: Prepare, tried: list[set[tuple[int, int]]]
) -> None:
    found = []
    monkeypatch.setattr(machine, "kernels", lambda: kernels)
    monkeypatch.setattr(machine, "rows_agree", lambda prepare, shapes, counts=(): found.append(set(shapes)) or agree)
    machine._prepare_for.cache_clear()
    model = LanguageModel.new(ModelConfig(cell="gru", hidden_size=hidden_size, num_layers=2), 7)
    assert [machine.prepare_for(model) for _ in range(2)] == [expected] * 2
    assert found == tried
    machine._prepare_for.cache_clear()


def test_kernels_that_cannot_be_told_are_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ThreadpoolController, "info", lambda self: [{"user_api": "openmp"}])
    assert machine.kernels() == "unknown"


def test_giving_memory_back_does_no_harm_where_it_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    machine.give_memory_back()

    def none(name: object) -> object:
        raise OSError("there is no such library")

    monkeypatch.setattr(machine.ctypes, "CDLL", none)
    machine.give_memory_back()


def test_threads_are_limited_inside_and_given_back() -> None:
    before = blas_now()
    with machine.blas_threads(2):
        assert set(blas_now()) <= {2}
        with machine.blas_threads(1):
            assert set(blas_now()) <= {1}
        assert set(blas_now()) <= {2}
    assert blas_now() == before


@pytest.mark.parametrize(
    ("written", "expected"),
    [(None, 8), ("max 100000\n", 8), ("200000 100000\n", 2), ("20000 100000\n", 1), ("1600000 100000\n", 8), ("?", 8)],
)
def test_a_container_has_no_more_cores_than_its_share_pays_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, written: str | None, expected: int
) -> None:
    monkeypatch.setattr(machine, "GROUP", tmp_path)
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    if written is not None:
        (tmp_path / "cpu.max").write_text(written)
    assert machine.cores() == expected


def test_cores_and_memory_are_told() -> None:
    assert machine.cores() >= 1
    free = machine.free_memory()
    assert free is None or free > 0
