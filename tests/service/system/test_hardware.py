"""What cannot be trained here is refused before it is begun, and what is stored of the machine."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from threadpoolctl import ThreadpoolController

from model.config import ModelConfig
from service.store.blobs import LARGEST
from service.system import hardware
from service.system.errors import ModelTooLarge
from service.system.hardware import refuse_too_large

# ── machine ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def blas_now() -> list[int]:
    return [library["num_threads"] for library in ThreadpoolController().info() if library["user_api"] == "blas"]


def test_all_cores_train_unless_they_are_shared_or_the_user_chose(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "cores", lambda: 6)
    monkeypatch.setattr(hardware, "library", lambda: SimpleNamespace(name="avx2"))
    assert [hardware.training_threads(*given) for given in ((), (0, 4), (0, 9), (3,), (3, 9))] == [6, 1, 1, 3, 3]
    assert hardware.arithmetic() == "kernels avx2"
    monkeypatch.setattr(hardware, "library", lambda: None)
    assert [hardware.training_threads(*given) for given in ((), (3,))] == [1, 3]
    assert hardware.arithmetic() == f"numpy {np.__version__} {hardware.blas()}"


def test_the_environment_is_ready_for_json() -> None:
    found = hardware.environment(3)
    assert json.loads(json.dumps(found)) == found
    assert (found["threads"], found["arithmetic"], found["numpy"]) == (3, hardware.arithmetic(), np.__version__)
    assert "ranks" not in found
    assert hardware.environment(1, 4)["ranks"] == 4


def test_the_blas_is_named() -> None:
    np.dot(np.ones((2, 2)), np.ones((2, 2)))
    assert re.fullmatch(r"\w+ [\w.]+( \w+)?", hardware.blas())


def test_a_blas_that_cannot_be_told_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ThreadpoolController, "info", lambda self: [{"user_api": "openmp"}])
    assert hardware.blas() == "unknown"


def test_giving_memory_back_does_no_harm_where_it_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    hardware.give_memory_back()

    def none(name: object) -> object:
        raise OSError("there is no such library")

    monkeypatch.setattr(hardware.ctypes, "CDLL", none)
    hardware.give_memory_back()


def test_threads_are_limited_inside_and_given_back() -> None:
    before = blas_now()
    with hardware.blas_threads(2):
        assert set(blas_now()) <= {2}
        with hardware.blas_threads(1):
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
    monkeypatch.setattr(hardware, "GROUP", tmp_path)
    monkeypatch.setattr(hardware.os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    if written is not None:
        (tmp_path / "cpu.max").write_text(written)
    assert hardware.cores() == expected


def test_cores_and_memory_are_told() -> None:
    assert hardware.cores() >= 1
    free = hardware.free_memory()
    assert free is None or free > 0


# ── capacity ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_the_database_cannot_hold_is_refused() -> None:
    with pytest.raises(ModelTooLarge, match=r"hidden_size is 16,384, which makes .* parameters; .* in one part of a checkpoint"):
        refuse_too_large(ModelConfig(hidden_size=16_384), "adam", 100, 2048, LARGEST)


def test_what_memory_cannot_hold_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "free_memory", lambda: 50_000_000)
    refuse_too_large(ModelConfig(hidden_size=256), "adam", 100, 2048, LARGEST)
    with pytest.raises(ModelTooLarge, match=r"of memory, and 0.1 GB is the limit"):
        refuse_too_large(ModelConfig(hidden_size=256), "adam", 100, 200_000, LARGEST)
    monkeypatch.setattr(hardware, "free_memory", lambda: None)
    refuse_too_large(ModelConfig(hidden_size=256), "adam", 100, 200_000, LARGEST)


def test_one_memory_of_the_optimizer_leaves_room_for_twice_the_model() -> None:
    model = ModelConfig(hidden_size=6400)
    refuse_too_large(model, "sgd", 100, 2048, LARGEST)
    with pytest.raises(ModelTooLarge):
        refuse_too_large(model, "adam", 100, 2048, LARGEST)
