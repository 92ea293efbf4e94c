"""PyTorch's nn.RNN, nn.GRU and nn.LSTM with the same weights give the same numbers, forward and backward, to 1e-10.

The numbers that PyTorch 2.13.0 gave are kept in golden/pytorch.json. Where PyTorch is installed, golden/make_goldens.py is run
as well and gives new ones, for other random weights.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.config import ModelConfig
from model.functions import cross_entropy
from model.language_model import LanguageModel
from model.parameters import Parameters, shapes_of

GOLDEN = Path(__file__).parent / "golden"
STORED: list[dict[str, Any]] = json.loads((GOLDEN / "pytorch.json").read_text())


def named(case: dict[str, Any]) -> str:
    config = case["config"]
    return f"{config['cell']}-{config['activation']}-{'embedding' if config['embedding_size'] else 'table'}"


def assert_same(case: dict[str, Any]) -> None:
    def same(ours: Any, theirs: Any, what: str) -> None:
        np.testing.assert_allclose(ours, np.array(theirs), rtol=0, atol=1e-10, err_msg=f"{named(case)}: {what}")

    config, V = ModelConfig.from_dict(case["config"]), case["vocabulary_size"]
    shapes = shapes_of(config, V)
    assert shapes.keys() == case["parameters"].keys() == case["expected"]["gradients"].keys()
    flat = np.concatenate([np.ravel(case["parameters"][name]) for name in shapes])
    model = LanguageModel(config, V, Parameters(shapes, flat))
    inputs, targets, state = (np.array(case[name]) for name in ("inputs", "targets", "state"))

    logits, end, tape = model.forward(inputs, state)
    expected = case["expected"]
    same(tape.output, expected["output"], "output")
    same(logits, expected["logits"], "logits")
    same(end, expected["state"], "state")

    grads = model.parameters.zeros_like()
    loss, end = model.loss_and_gradients(inputs, targets, state, grads)
    same(loss, expected["loss"], "loss")
    same(end, expected["state"], "state")
    for name, gradient in expected["gradients"].items():
        same(grads[name], gradient, f"gradient of {name}")

    _, p = cross_entropy(logits.reshape(-1, V), targets.ravel())
    onehot = np.eye(V)[targets]
    dstate = model.backward(tape, (p.reshape(onehot.shape) - onehot) / targets.size, model.parameters.zeros_like())
    same(dstate, expected["dstate"], "dstate")


@pytest.mark.parametrize("case", STORED, ids=named)
def test_equals_the_numbers_that_pytorch_gave(case: dict[str, Any]) -> None:
    assert_same(case)


def test_the_stored_numbers_are_of_every_cell() -> None:
    kinds = {(case["config"]["cell"], case["config"]["activation"], bool(case["config"]["embedding_size"])) for case in STORED}
    pairs = [("rnn", "tanh"), ("rnn", "relu"), ("gru", "tanh"), ("lstm", "tanh")]
    assert kinds == {(cell, activation, embedded) for cell, activation in pairs for embedded in (False, True)}


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed; its stored numbers were compared")
def test_equals_pytorch_itself() -> None:
    made = subprocess.run([sys.executable, str(GOLDEN / "make_goldens.py"), "--seed", "2026"], check=True, capture_output=True, text=True)
    cases = json.loads(made.stdout)
    assert len(cases) == len(STORED)
    assert cases[0]["parameters"] != STORED[0]["parameters"]
    for case in cases:
        assert_same(case)
