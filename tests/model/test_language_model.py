"""The whole network: right gradients in every configuration, chunks like the whole, and that it learns."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from model.cells import CELLS
from model.config import ModelConfig
from model.functions import UNKNOWN_COST, cross_entropy, softmax
from model.gradient_check import TOLERANCE, gradient_errors
from model.language_model import LanguageModel
from model.parameters import Parameters

T, B, V, E, H = 6, 3, 7, 4, 5
CELL_NAMES = sorted(CELLS)
UNKNOWN = V


def drawn(*shape: int, below: int = V + 1, seed: int = 0) -> Any:
    """Random ids; the unknown symbol is among them."""
    return np.random.Generator(np.random.PCG64(seed)).integers(0, below, shape)


def new(
    cell: str = "lstm", size: int = V, seed: int = 1, dtype: Any = np.float64, boundary: int | None = None, **settings: Any
) -> LanguageModel:
    """A small model whose biases are not zero, so that none can be forgotten."""
    model = LanguageModel.new(ModelConfig(cell=cell, **({"hidden_size": H} | settings)), size, seed, dtype, boundary)
    rng = np.random.Generator(np.random.PCG64(seed))
    for view in model.parameters.values():
        if view.ndim == 1:
            view += rng.standard_normal(view.shape) / 2
    return model


def random_state(model: LanguageModel, seed: int = 2) -> Any:
    return np.random.Generator(np.random.PCG64(seed)).standard_normal(model.zero_state(B).shape) / 2


INPUTS, TARGETS = drawn(T, B, seed=3), drawn(T, B, seed=4)
INPUTS[2, 1] = TARGETS[3, 0] = UNKNOWN


# ── gradients ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("dropout", [0.0, 0.4])
@pytest.mark.parametrize("num_layers", [1, 2, 3])
@pytest.mark.parametrize("embedding_size", [0, E])
@pytest.mark.parametrize("cell", CELL_NAMES)
def test_gradients(cell: str, embedding_size: int, num_layers: int, dropout: float) -> None:
    model = new(cell, embedding_size=embedding_size, num_layers=num_layers, dropout=dropout)
    errors = gradient_errors(model, INPUTS, TARGETS, random_state(model), dropout_seed=7 if dropout else None, directions=1)
    assert len(errors) == len(model.parameters) + 2
    assert max(errors.values()) <= TOLERANCE, errors


@pytest.mark.parametrize("embedding_size", [0, E])
@pytest.mark.parametrize("cell", CELL_NAMES)
def test_gradients_of_a_model_of_records(cell: str, embedding_size: int) -> None:
    model = new(cell, embedding_size=embedding_size, num_layers=2, dropout=0.4, boundary=V - 1)
    inputs = INPUTS.copy()
    inputs[0, 0] = inputs[3, 0] = inputs[4, 2] = V - 1
    errors = gradient_errors(model, inputs, TARGETS, random_state(model), dropout_seed=7)
    assert max(errors.values()) <= TOLERANCE, errors


@pytest.mark.parametrize("activation", ["relu", "identity"])
def test_gradients_of_the_other_activations(activation: str) -> None:
    model = new("rnn", activation=activation, num_layers=2, seed=2)  # no unit is so close to relu's kink that a step crosses it
    errors = gradient_errors(model, INPUTS, TARGETS, random_state(model))
    assert max(errors.values()) <= TOLERANCE, errors


@pytest.mark.parametrize("embedding_size", [0, E])
def test_gradients_of_a_large_alphabet(embedding_size: int) -> None:
    size = 500
    model = new("gru", size, embedding_size=embedding_size)
    inputs, targets = drawn(T, B, below=size + 1, seed=3), drawn(T, B, below=size + 1, seed=4)
    inputs[0], inputs[2, 1], targets[3, 0] = inputs[1], size, size
    errors = gradient_errors(model, inputs, targets, random_state(model))
    assert max(errors.values()) <= TOLERANCE, errors


def test_gradients_replace_what_was_there_and_the_loss_is_the_mean() -> None:
    model = new(num_layers=2)
    clean, dirty = model.parameters.zeros_like(), model.parameters.zeros_like()
    dirty.flat[:] = np.nan
    loss, end = model.loss_and_gradients(INPUTS, TARGETS, random_state(model), clean)
    model.loss_and_gradients(INPUTS, TARGETS, random_state(model), dirty)
    np.testing.assert_array_equal(dirty.flat, clean.flat)
    logits, expected_end, _ = model.forward(INPUTS, random_state(model))
    assert loss == pytest.approx(cross_entropy(logits.reshape(-1, V), TARGETS.ravel())[0] / (T * B), rel=1e-14)
    np.testing.assert_array_equal(end, expected_end)


# ── symbols ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("embedding_size", [0, E])
def test_taking_rows_equals_multiplying_one_hot_vectors(embedding_size: int) -> None:
    """And the unknown symbol is the mean of all others: a vector of 1/V."""
    model = new("gru", embedding_size=embedding_size)
    one_hot = np.vstack((np.eye(V), np.full(V, 1 / V)))[INPUTS]  # (T, B, V)
    layer = model.parameters.layer(0)
    x = one_hot @ model.parameters["embedding"] if embedding_size else one_hot
    h, _, _ = model.cell.forward(layer, x @ layer["Wx"] + layer["b"], model.zero_state(B)[0])
    logits, _, _ = model.forward(INPUTS, model.zero_state(B))
    np.testing.assert_allclose(logits, h @ model.parameters["Wy"] + model.parameters["by"], rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("embedding_size", [0, E])
def test_a_table_made_before_gives_the_same(embedding_size: int) -> None:
    model = new(embedding_size=embedding_size)
    table = model.input_table()
    assert table.shape == (V + 1, embedding_size or 4 * H)
    kept = table.copy()
    logits, _, _ = model.forward(INPUTS, model.zero_state(B), table=table)
    np.testing.assert_array_equal(logits, model.forward(INPUTS, model.zero_state(B))[0])
    np.testing.assert_array_equal(table, kept)


def test_the_unknown_symbol_has_no_logit_and_as_target_a_fixed_cost_and_no_gradient() -> None:
    model, grads = new(), new().parameters.zeros_like()
    assert model.forward(INPUTS, model.zero_state(B))[0].shape == (T, B, V)
    loss, _ = model.loss_and_gradients(INPUTS, np.full((T, B), UNKNOWN), model.zero_state(B), grads)
    assert loss == pytest.approx(UNKNOWN_COST)
    assert not grads.flat.any()
    loss, _ = model.loss_and_gradients(INPUTS, np.full((T, B), UNKNOWN), model.zero_state(B), grads, unknown_cost=1.5)
    assert loss == pytest.approx(1.5)


def test_a_model_of_zeros_finds_all_symbols_alike() -> None:
    model = new()
    model.parameters.flat[:] = 0
    loss, _ = model.loss_and_gradients(INPUTS % V, TARGETS % V, model.zero_state(B), model.parameters.zeros_like())
    assert loss == pytest.approx(math.log(V), rel=1e-14)


# ── state and chunks ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("cell", CELL_NAMES)
def test_chunks_equal_the_whole(cell: str) -> None:
    """To rounding: a product of fewer rows may be summed in another order."""
    model = new(cell, num_layers=2, embedding_size=E)
    whole, end, _ = model.forward(INPUTS, random_state(model))
    state, parts = random_state(model), []
    for part in (INPUTS[:1], INPUTS[1:4], INPUTS[4:]):
        logits, state, _ = model.forward(part, state)
        parts.append(logits)
    np.testing.assert_allclose(np.concatenate(parts), whole, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(state, end, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(("cell", "states"), [("rnn", 1), ("gru", 1), ("lstm", 2)])
def test_zero_state(cell: str, states: int) -> None:
    state = new(cell, num_layers=3, dtype=np.float32).zero_state(B)
    assert (state.shape, state.dtype) == ((3, states, B, H), np.float32)
    assert not state.any()


def test_rows_of_a_batch_do_not_mix() -> None:
    model = new(num_layers=2)
    logits, end, _ = model.forward(INPUTS, random_state(model))
    for row in range(B):
        alone, end_alone, _ = model.forward(INPUTS[:, row : row + 1], random_state(model)[:, :, row : row + 1])
        np.testing.assert_allclose(alone[:, 0], logits[:, row], rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(end_alone[:, :, 0], end[:, :, row], rtol=1e-12, atol=1e-13)


def test_reading_is_the_forward_pass_without_the_logits() -> None:
    model = new(num_layers=2)
    output, end, _ = model.read(INPUTS, random_state(model))
    logits, expected_end, tape = model.forward(INPUTS, random_state(model))
    np.testing.assert_array_equal(output, tape.output)
    np.testing.assert_array_equal(end, expected_end)
    np.testing.assert_allclose(logits, output @ model.parameters["Wy"] + model.parameters["by"], rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("cell", CELL_NAMES)
def test_single_precision_is_close_to_double(cell: str) -> None:
    model = new(cell, num_layers=2, embedding_size=E)
    single = LanguageModel(model.config, V, model.parameters.astype(np.float32))
    grads, single_grads = model.parameters.zeros_like(), single.parameters.zeros_like()
    loss, end = model.loss_and_gradients(INPUTS, TARGETS, model.zero_state(B), grads)
    single_loss, single_end = single.loss_and_gradients(INPUTS, TARGETS, single.zero_state(B), single_grads)
    assert single_loss == pytest.approx(loss, rel=1e-6)
    assert single_grads.flat.dtype == single_end.dtype == np.float32
    np.testing.assert_allclose(single_end, end, atol=1e-6)
    assert np.linalg.norm(single_grads.flat - grads.flat) <= 2e-6 * np.linalg.norm(grads.flat)


# ── dropout ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_dropout_drops_its_share_for_a_whole_sequence_and_keeps_the_mean() -> None:
    model, streams = new(hidden_size=64, num_layers=2, dropout=0.3), 500
    masks = model.masks(np.random.Generator(np.random.PCG64(0)), streams)
    assert masks is not None
    _, _, tape = model.forward(drawn(5, streams), model.zero_state(streams), masks=masks)
    first, second = masks
    for mask in masks:
        assert mask.shape == (streams, 64)
        np.testing.assert_allclose(np.unique(mask), [0, 1 / 0.7])
        assert (mask == 0).mean() == pytest.approx(0.3, abs=0.01)
        assert mask.mean() == pytest.approx(1, abs=0.015)
    assert ((first == 0) & (second == 0)).mean() == pytest.approx(0.09, abs=0.01)
    np.testing.assert_array_equal(tape.inputs[1] == 0, np.broadcast_to(first == 0, tape.inputs[1].shape))
    np.testing.assert_array_equal(tape.output == 0, np.broadcast_to(second == 0, tape.output.shape))


def test_dropout_does_not_touch_the_state_that_a_single_layer_carries() -> None:
    model = new(dropout=0.5)
    masks = model.masks(np.random.Generator(np.random.PCG64(0)), B)
    dropped, end, _ = model.forward(INPUTS, model.zero_state(B), masks=masks)
    plain, expected, _ = model.forward(INPUTS, model.zero_state(B))
    np.testing.assert_array_equal(end, expected)
    assert (dropped != plain).any()


def test_without_a_share_to_drop_the_generator_is_left_alone() -> None:
    model, rng = new(dropout=0.0), np.random.Generator(np.random.PCG64(0))
    before = rng.bit_generator.state
    assert model.masks(rng, B) is None
    assert rng.bit_generator.state == before


# ── learning ──────────────────────────────────────────────────────────────────────────────────────────────────────────

TEXT = (
    'The loom was old, and so was she; it clattered when the wind blew. "What do you weave?" the miller\'s boy asked. '
    '"Words," she said, "27 a day, 9 on Sundays," and threw the shuttle back once more. Snap\n'
)
ALPHABET = sorted(set(TEXT))
TEXT_IDS = np.array([ALPHABET.index(character) for character in TEXT])
assert len(TEXT) == 200


class Adam:
    """Kingma and Ba 2015, algorithm 1."""

    def __init__(self, parameters: Parameters, rate: float) -> None:
        self.w, self.rate, self.t = parameters.flat, rate, 0
        self.m, self.v = np.zeros_like(self.w), np.zeros_like(self.w)

    def step(self, g: Any) -> None:
        self.t += 1
        self.m += 0.1 * (g - self.m)
        self.v += 0.01 * (g * g - self.v)
        self.w -= self.rate * (self.m / (1 - 0.9**self.t)) / (np.sqrt(self.v / (1 - 0.99**self.t)) + 1e-8)


GOLDEN_LOSSES = {
    "gru": [3.529986, 3.456574, 3.650745, 3.408356, 3.452278, 3.303559, 3.349729, 2.96551, 2.869738, 3.28328],
    "lstm": [3.532713, 3.522484, 3.511908, 3.456491, 3.422487, 3.391465, 3.375759, 3.327409, 3.123321, 3.248564],
    "rnn": [3.417175, 3.50052, 3.640008, 3.504713, 3.457508, 3.340441, 3.409933, 2.679394, 2.966929, 3.200077],
}


@pytest.mark.parametrize("cell", CELL_NAMES)
def test_ten_golden_losses(cell: str) -> None:
    """Ten steps of Adam over ten chunks with the state carried, in single precision; equal on all BLAS kernels to 2e-5."""
    config = ModelConfig(cell=cell, hidden_size=24, num_layers=2, embedding_size=10, dropout=0.1)
    model = LanguageModel.new(config, len(ALPHABET), seed=5)
    optimizer, grads = Adam(model.parameters, 0.01), model.parameters.zeros_like()
    rng = np.random.Generator(np.random.PCG64(6))
    streams = TEXT_IDS[:100].reshape(2, 50).T  # (50, 2)
    state, losses = model.zero_state(2), []
    for step in range(10):
        at = 7 * (step % 7)
        inputs, targets = streams[at : at + 7], streams[at + 1 : at + 8]
        if at == 0:
            state = model.zero_state(2)
        loss, state = model.loss_and_gradients(inputs, targets, state, grads, masks=model.masks(rng, 2))
        optimizer.step(grads.flat)
        losses.append(loss)
    np.testing.assert_allclose(losses, GOLDEN_LOSSES[cell], rtol=0, atol=2e-5)


@pytest.mark.parametrize("cell", CELL_NAMES)
def test_learns_a_short_text_by_heart(cell: str) -> None:
    """200 characters to less than 0.02 nats each, and then writes them itself."""
    model = LanguageModel.new(ModelConfig(cell=cell, hidden_size=64), len(ALPHABET), seed=0)
    optimizer, grads = Adam(model.parameters, 0.01), model.parameters.zeros_like()
    inputs, targets = TEXT_IDS[:-1, None], TEXT_IDS[1:, None]  # (199, 1)
    loss = math.inf
    for _ in range(300):
        loss, _ = model.loss_and_gradients(inputs, targets, model.zero_state(1), grads)
        if loss < 0.015:
            break
        grads.flat *= min(1, 1 / np.linalg.norm(grads.flat))
        optimizer.step(grads.flat)
    assert loss < 0.02

    written, state = [TEXT_IDS[0]], model.zero_state(1)
    for _ in range(199):
        logits, state, _ = model.forward(np.array([[written[-1]]]), state)
        written.append(softmax(logits[0, 0]).argmax())
    assert "".join(ALPHABET[i] for i in written) == TEXT
