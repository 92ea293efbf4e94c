"""The network in C does what the one in numpy does, and no number depends on threads or company."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.config import ModelConfig
from model.functions import log_probabilities
from model.kernels.library import Library, LogprobArrays, SamplingRow
from model.kernels.network import KernelNetwork
from model.language_model import LanguageModel

CELLS = [("lstm", "tanh"), ("gru", "tanh"), ("rnn", "tanh"), ("rnn", "relu")]


class Case:
    """A network of odd sizes, some text for it, and what numpy makes of it in double precision."""

    def __init__(self, cell: str, activation: str, seed: int) -> None:
        rng = np.random.default_rng(seed)
        layers, self.T, self.B = (int(each) for each in rng.integers(1, [4, 30, 30]))
        self.H, self.V, E = (int(each) for each in rng.integers(1, 71, 3))
        dropout = 0.3 * (seed % 3 == 0)
        embedding = E * (seed % 2)
        config = ModelConfig(
            cell=cell, activation=activation, num_layers=layers, hidden_size=self.H, embedding_size=embedding, dropout=dropout
        )
        self.boundary = self.V - 1 if seed // 2 % 2 else None
        self.model = LanguageModel.new(config, self.V, seed, boundary=self.boundary)
        self.ids, self.targets = rng.integers(0, self.V + 1, (2, self.T, self.B))  # V is the unknown symbol
        if self.boundary is not None:
            self.ids[rng.random(self.ids.shape) < 0.2] = self.boundary
        self.state = (0.3 * rng.standard_normal(self.model.zero_state(self.B).shape)).astype(np.float32)
        self.exact = LanguageModel(config, self.V, self.model.parameters.astype(np.float64), self.boundary)
        self.masks = self.model.masks(np.random.Generator(np.random.PCG64(seed)), self.B)


def error(found: Any, exact: Any) -> float:
    """The largest error, relative to the largest number."""
    return float(np.abs(found - exact).max() / np.abs(exact).max())


@pytest.fixture(params=[(*cell, seed) for cell in CELLS for seed in range(12)], ids=lambda each: "-".join(map(str, each)))
def case(request: pytest.FixtureRequest) -> Case:
    return Case(*request.param)


def test_loss_state_and_gradients_are_those_of_numpy(library: Library, case: Case) -> None:
    exact_gradients = case.exact.parameters.zeros_like()
    state = case.state.astype(np.float64)
    exact_loss, exact_state = case.exact.loss_and_gradients(case.ids, case.targets, state, exact_gradients, masks=case.masks)
    found = []
    for threads in (1, 2, 3, 8):
        network, gradients = KernelNetwork(library, case.model, threads=threads, trains=True), case.model.parameters.zeros_like()
        gradients.flat[:] = np.nan  # all of them are overwritten
        loss, after = network.loss_and_gradients(case.ids, case.targets, case.state, gradients, masks=case.masks)
        found.append((loss, after.tobytes(), gradients.flat.tobytes()))
    assert len(set(found)) == 1
    assert loss == pytest.approx(exact_loss, rel=1e-5)
    assert error(after, exact_state) < 1e-5
    for name in gradients:
        assert error(gradients[name], exact_gradients[name]) < 1e-5 or np.abs(exact_gradients[name]).max() < 1e-9, name


def test_a_text_is_read_as_in_training_and_as_by_numpy(library: Library, case: Case) -> None:
    exact, exact_state, tape = case.exact.forward(case.ids, case.state.astype(np.float64))
    network = KernelNetwork(library, case.model)
    logits, state = network.forward(case.ids, case.state)
    output, _ = network.read(case.ids, case.state)
    assert error(logits, exact) < 1e-5
    assert error(state, exact_state) < 1e-5
    assert error(output, tape.output) < 1e-5
    logs = network.log_probabilities(output.reshape(-1, case.H))
    np.testing.assert_allclose(logs, log_probabilities(logits.reshape(-1, case.V)), atol=1e-5)
    if case.masks is None:
        gradients = case.model.parameters.zeros_like()
        training = KernelNetwork(library, case.model, trains=True)
        loss, after = training.loss_and_gradients(case.ids, case.targets, case.state, gradients)
        costs, _ = network.nats(case.ids, case.targets, case.state)
        assert float(costs.mean()) == pytest.approx(loss, rel=1e-12)
        assert after.tobytes() == state.tobytes()


def test_a_stream_has_the_same_bits_alone_and_in_company(library: Library, case: Case) -> None:
    together, state = KernelNetwork(library, case.model, threads=3).forward(case.ids, case.state)
    network = KernelNetwork(library, case.model)
    for b in range(case.B):
        alone, after = network.forward(case.ids[:, b : b + 1], case.state[:, :, b : b + 1])
        assert alone.tobytes() == together[:, b : b + 1].tobytes()
        assert after.tobytes() == state[:, :, b : b + 1].tobytes()


@pytest.mark.parametrize(("cell", "activation"), CELLS)
def test_records_between_boundaries_are_read_as_each_alone(library: Library, cell: str, activation: str) -> None:
    """To the last bit, with any state before, and so are their gradients, to rounding."""
    config = ModelConfig(cell=cell, activation=activation, num_layers=2, hidden_size=21, embedding_size=5)
    model = LanguageModel.new(config, 9, seed=3, boundary=8)
    rng, T, B = np.random.default_rng(4), 40, 7
    ids = np.where(rng.random((T + 1, B)) < 0.15, 8, rng.integers(0, 10, (T + 1, B)))
    ids[0] = 8
    inputs, targets = ids[:-1], ids[1:]
    network, gradients, sums = KernelNetwork(library, model, threads=2, trains=True), *(model.parameters.zeros_like() for _ in range(2))
    dirty = rng.standard_normal(model.zero_state(B).shape)
    logits, _ = network.forward(inputs, dirty)
    network.loss_and_gradients(inputs, targets, dirty, gradients)
    for b in range(B):
        firsts = [*np.flatnonzero(inputs[:, b] == 8).tolist(), T]
        for first, last in pairwise(firsts):
            record = slice(first, last), slice(b, b + 1)
            alone, _ = network.forward(inputs[record], model.zero_state(1))
            assert alone.tobytes() == logits[record].tobytes()
            part = model.parameters.zeros_like()
            network.loss_and_gradients(inputs[record], targets[record], model.zero_state(1), part, count=T * B)
            sums.flat[:] += part.flat
    for name in gradients:
        assert error(gradients[name], sums[name]) < 2e-5, name


def test_what_the_library_cannot_read_is_refused(library: Library) -> None:
    case = Case("lstm", "tanh", 1)
    network = KernelNetwork(library, case.model, trains=True)
    for ids in (case.ids - 5, case.ids + 2**32):
        with pytest.raises(ValueError, match="they must be from 0 to 2147483647"):
            network.forward(ids.astype(np.int64), case.state)
    with pytest.raises(ValueError, match="ids are float64, not whole numbers"):
        network.forward(case.ids + 0.5, case.state)
    with pytest.raises(ValueError, match="ids have shape"):
        network.nats(case.ids, case.targets[1:] if case.T > 1 else case.targets[:, 1:], case.state)
    with pytest.raises(ValueError, match="the kernels need float32"):
        network.forward(case.ids, case.state[:, :, :-1])
    with pytest.raises(ValueError, match="the kernels need float32"):
        network.loss_and_gradients(case.ids, case.targets, case.state, case.exact.parameters.zeros_like())
    with pytest.raises(ValueError, match="the kernels need float32"):
        KernelNetwork(library, case.exact)
    with pytest.raises(ValueError, match="the kernels need float32"):
        network.log_probabilities(np.zeros((1, case.H), np.float64))
    for threads in (0, -1):
        with pytest.raises(ValueError, match=f"threads is {threads}; it must be 1 or more"):
            KernelNetwork(library, case.model, threads=threads)
    assert KernelNetwork(library, case.model, threads=3 * 10**9).threads == 256, "no machine has too many processors"
    gradients = case.model.parameters.zeros_like()
    with pytest.raises(ValueError, match="not made for training"):
        KernelNetwork(library, case.model).loss_and_gradients(case.ids, case.targets, case.state, gradients)
    gradients.flat.flags.writeable = False
    with pytest.raises(ValueError, match="writable: False"):
        network.loss_and_gradients(case.ids, case.targets, case.state, gradients)
    larger = LanguageModel(case.model.config, case.model.vocabulary_size + 1, case.model.parameters)
    with pytest.raises(ValueError, match="the kernels need float32"):
        KernelNetwork(library, larger)


def test_a_sampling_step_checks_its_arrays(library: Library) -> None:
    case = Case("lstm", "tanh", 1)
    network = KernelNetwork(library, case.model)
    state, random, drawn = case.model.zero_state(2), np.zeros((2, 3)), np.zeros((2, 3), np.int32)
    rows = (SamplingRow * 2)()
    rows[0].last, rows[1].last = -(10**8), 10**8  # such ids are the unknown symbol
    rows[0].alternatives = rows[1].alternatives = -1
    network.sample(2, 3, rows, state, random, None, None, drawn, LogprobArrays())
    for wrong in (
        (rows, state, random.astype(np.float32), drawn),
        (rows, state, random[:, ::-1], drawn),
        (rows, state, random, drawn[:, :2]),
        (rows, state, random, drawn.astype(np.int64)),
        (rows, state[:, :, :1], random, drawn),
    ):
        with pytest.raises(ValueError, match="the kernels need"):
            network.sample(2, 3, *wrong[:3], None, None, wrong[3], LogprobArrays())
    with pytest.raises(ValueError, match="there are 1 rows for 2 texts"):
        network.sample(2, 3, (SamplingRow * 1)(), state, random, None, None, drawn, LogprobArrays())


def test_a_process_ends_while_another_thread_computes() -> None:
    """What a thread uses is not freed when the interpreter ends."""
    code = """
import threading, time
import numpy as np
from model.backend import network_for
from model.config import ModelConfig
from model.language_model import LanguageModel
model = LanguageModel.new(ModelConfig(cell="lstm", num_layers=2, hidden_size=256), 60)
network, ids = network_for(model, 2, trains=True), np.zeros((64, 64), np.int32)
gradients, state = model.parameters.zeros_like(), model.zero_state(64)
begun = threading.Event()
def work():
    while True:
        network.loss_and_gradients(ids, ids, state, gradients)
        begun.set()
threading.Thread(target=work, daemon=True).start()
begun.wait()
time.sleep(0.1)
"""
    for _ in range(3):
        subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3], timeout=60)
