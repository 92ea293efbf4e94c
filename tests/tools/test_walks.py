"""The traces that docs/architecture.md is checked against pass the functions that a reader would look for, in their order."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tools.walks import ROOT, WALKS


@pytest.mark.parametrize(
    ("walk", "passed"),
    [
        ("prompt", ["service.web.api.generate.routes.generate", "service.generation.engine.Engine.submit", "model.sampling.Sampler.step"]),
        (
            "text",
            [
                "service.training.corpus_import.corpus_for",
                "service.store.corpora.Corpora.add",
                "model.training.train",
                "model.cells.lstm.backward",
            ],
        ),
    ],
)
def test_a_walk_passes_these_functions_in_this_order(walk: str, passed: list[str]) -> None:
    command = [sys.executable, "-m", "tools.walks", walk]
    lines = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    assert [line for line in lines if line in passed] == passed


def test_an_unknown_walk_is_refused_with_the_known_ones() -> None:
    answer = subprocess.run([sys.executable, "-m", "tools.walks", "x"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert answer.returncode == 1
    assert "|".join(WALKS) in answer.stderr
