"""Orthogonal matrices by the kernels are those of LAPACK, with the same bits for every instruction set."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from model import parameters
from model.kernels.library import Library, instruction_sets, path_of

SIZES = [1, 2, 7, 8, 9, 16, 31, 64, 130, 257]


def by(library: Library | None, size: int, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(parameters, "library", lambda: library)
    return parameters.orthogonal(size, np.random.Generator(np.random.PCG64(size)))


@pytest.mark.parametrize("size", SIZES)
def test_it_is_orthogonal_and_that_of_lapack(library: Library, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    found = by(library, size, monkeypatch)
    single = found.astype(np.float32).astype(np.float64)
    np.testing.assert_allclose(single.T @ single, np.eye(size), rtol=0, atol=1e-6)
    np.testing.assert_allclose(single @ single.T, np.eye(size), rtol=0, atol=1e-6)
    np.testing.assert_allclose(found, by(None, size, monkeypatch), rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", SIZES)
def test_instruction_sets_give_the_same_bits(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    libraries = [Library(path_of(name), name) for name in instruction_sets() if path_of(name).exists()]
    if len(libraries) < 2:
        pytest.skip("this processor has the library of one instruction set at most")
    assert len({by(library, size, monkeypatch).tobytes() for library in libraries}) == 1
