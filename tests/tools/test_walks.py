"""The traces that docs/architecture.md is checked against pass the functions that a reader would look for, in their order."""

from __future__ import annotations

import functools
import re
import subprocess
import sys
from typing import Any

import pytest

from model.backend import network_for
from model.config import ModelConfig, TrainingConfig
from model.language_model import LanguageModel
from model.optimizer import new_memory
from tools.walks import ROOT, WALKS


@functools.cache
def lines_of(walk: str) -> list[str]:
    """What the command prints."""
    command = [sys.executable, "-m", "tools.walks", walk]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()


def full_name(method: Any) -> str:
    """Its module, class and name."""
    return f"{method.__module__}.{method.__qualname__}"


NETWORK = network_for(LanguageModel.new(ModelConfig(hidden_size=4), 3))  # of the kernels, or of numpy without them


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
                full_name(NETWORK.loss_and_gradients),
                full_name(NETWORK.optimizer(new_memory(TrainingConfig(), NETWORK.model.parameters.flat), TrainingConfig()).update),
            ],
        ),
    ],
)
def test_a_walk_passes_these_functions_in_this_order(walk: str, passed: list[str]) -> None:
    assert [line for line in lines_of(walk) if line in passed] == passed


@pytest.mark.parametrize(("walk", "heading"), [("prompt", "## The path of a prompt"), ("text", "## The path of a text")])
def test_the_walk_that_is_described_is_the_one_that_is_taken(walk: str, heading: str) -> None:
    """Some of the names are classes and modules, or what only a socket or another process reaches: these are not in the trace."""
    section = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").partition(heading)[2].partition("\n## ")[0]
    named = re.findall(r"`((?:corpora|model|service)\.[\w.]+)`", section)
    called = set(lines_of(walk))
    assert len([name for name in named if name in called]) > 0.55 * len(named) > 20


def test_an_unknown_walk_is_refused_with_the_known_ones() -> None:
    answer = subprocess.run([sys.executable, "-m", "tools.walks", "x"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert answer.returncode == 1
    assert "|".join(WALKS) in answer.stderr
