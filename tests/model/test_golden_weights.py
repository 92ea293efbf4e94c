"""The same text, settings and seed give the same weights: on every processor, with any number of threads, in every release."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from model import backend, parameters
from model.kernels.library import Library, instruction_sets, path_of
from tests.model.golden.make_weights import CASES, weights_of

GOLDEN: dict[str, str] = json.loads((Path(__file__).parent / "golden" / "weights.json").read_text())


@pytest.fixture(params=instruction_sets() or ["none"])
def instruction_set(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """All is computed by its library."""
    name: str = request.param
    if name == "none" or not path_of(name).exists():
        pytest.skip(f"there is no library for {name} here; numpy's bits are not promised")
    library = Library(path_of(name), name)
    for module in (backend, parameters):
        monkeypatch.setattr(module, "library", lambda: library)
    return name


@pytest.mark.usefixtures("instruction_set")
@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_weights_after_50_steps_are_those_of_the_table(threads: int) -> None:
    found = {name: weights_of(case, threads) for name, case in CASES.items()}
    assert [name for name in GOLDEN if found.get(name) != GOLDEN[name]] == []
    assert found.keys() == GOLDEN.keys()
    assert len(set(GOLDEN.values())) == len(CASES)
