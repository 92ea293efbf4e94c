"""The same text, settings and seed give the same weights and texts: on every processor, with any number of threads, in every release."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from model import backend, parameters
from model.kernels.library import Library, instruction_sets, path_of
from tests.model.golden import make_texts, make_weights

TABLES = Path(__file__).parent / "golden"


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
    same("weights.json", {name: make_weights.weights_of(case, threads) for name, case in make_weights.CASES.items()})


@pytest.mark.usefixtures("instruction_set")
@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_texts_are_those_of_the_table_with_each_setting_and_in_any_company(threads: int) -> None:
    same("texts.json", make_texts.texts_together(threads))
    if threads == 1:
        same("texts.json", make_texts.texts_alone())


def same(table: str, found: dict[str, str]) -> None:
    golden = json.loads((TABLES / table).read_text())
    assert [name for name in golden if found.get(name) != golden[name]] == []
    assert found.keys() == golden.keys()
    assert len(set(golden.values())) == len(golden)
