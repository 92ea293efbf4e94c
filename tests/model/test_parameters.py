"""Names and shapes on one flat vector, and the weights before training."""

from __future__ import annotations

import itertools
import math
import re

import numpy as np
import pytest

from model import parameters as module
from model.config import ModelConfig
from model.parameters import Parameters, count, initialise, orthogonal, shapes_of

V, E, H = 7, 4, 5


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (
            ModelConfig(cell="lstm", hidden_size=H, num_layers=2, embedding_size=E),
            {
                "embedding": (7, 4), "layers.0.Wx": (4, 20), "layers.0.b": (20,), "layers.0.Wh": (5, 20), "layers.1.Wx": (5, 20),
                "layers.1.b": (20,), "layers.1.Wh": (5, 20), "Wy": (5, 7), "by": (7,),
            },
        ),
        (
            ModelConfig(cell="gru", hidden_size=H),
            {
                "layers.0.Wx": (7, 15), "layers.0.b": (15,), "layers.0.Wh": (5, 15), "layers.0.bn": (5,), "Wy": (5, 7), "by": (7,),
            },
        ),
        (
            ModelConfig(cell="rnn", hidden_size=H),
            {"layers.0.Wx": (7, 5), "layers.0.b": (5,), "layers.0.Wh": (5, 5), "Wy": (5, 7), "by": (7,)},
        ),
    ],
)  # fmt: skip
def test_names_and_shapes(config: ModelConfig, expected: dict[str, tuple[int, ...]]) -> None:
    shapes = shapes_of(config, V)
    assert list(shapes.items()) == list(expected.items())
    assert count(config, V) == sum(math.prod(shape) for shape in expected.values()) == initialise(config, V, 0).flat.size
    documented = re.findall(r"^``([^`]+)``", module.__doc__ or "", flags=re.MULTILINE)
    assert {re.sub(r"\.\d\.", ".l.", name) for name in expected} <= set(documented)


def test_views_are_the_vector_in_order() -> None:
    parameters = Parameters({"a": (2, 3), "b": (4,)}, np.arange(10.0))
    assert list(parameters) == ["a", "b"]
    assert len(parameters) == 2
    assert parameters["a"].tolist() == [[0, 1, 2], [3, 4, 5]]
    parameters["b"][...] = -1
    assert parameters.flat.tolist() == [0, 1, 2, 3, 4, 5, -1, -1, -1, -1]
    parameters.flat *= 2
    assert parameters["a"][1, 2] == 10


def test_a_vector_of_the_wrong_length_is_refused() -> None:
    with pytest.raises(ValueError, match=r"flat has shape \(9,\), the parameters need \(10,\)"):
        Parameters({"a": (2, 3), "b": (4,)}, np.zeros(9))


def test_a_layer_is_found_by_its_number_and_not_by_a_prefix_of_it() -> None:
    config = ModelConfig(cell="gru", hidden_size=2, num_layers=12)
    parameters = initialise(config, V, 0)
    layer = parameters.layer(1)
    assert list(layer) == ["Wx", "b", "Wh", "bn"]
    assert all(np.shares_memory(view, parameters[f"layers.1.{name}"]) for name, view in layer.items())


def test_zeros_and_copies_are_vectors_of_their_own() -> None:
    parameters = initialise(ModelConfig(hidden_size=H), V, 0)
    zeros, double = parameters.zeros_like(), parameters.astype(np.float64)
    assert zeros.shapes == double.shapes == parameters.shapes
    assert (zeros.flat.dtype, double.flat.dtype) == (np.float32, np.float64)
    assert not zeros.flat.any()
    np.testing.assert_array_equal(double.flat, parameters.flat)
    for other in (zeros, double, parameters.astype(np.float32)):
        assert not np.shares_memory(other.flat, parameters.flat)


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_initial_weights(cell: str) -> None:
    config = ModelConfig(cell=cell, hidden_size=64, num_layers=2, embedding_size=96)
    parameters = initialise(config, 80, seed=3, dtype=np.float64)
    assert parameters["embedding"].std() == pytest.approx(1, rel=0.05)
    assert parameters["layers.0.Wx"].std() == pytest.approx(2 / math.sqrt(96), rel=0.05)
    assert (parameters["embedding"] @ parameters["layers.0.Wx"]).std() == pytest.approx(2, rel=0.05)
    for name in ("layers.1.Wx", "Wy"):
        assert 0.99 / 8 < abs(parameters[name]).max() <= 1 / 8
        assert parameters[name].std() == pytest.approx(1 / 8 / math.sqrt(3), rel=0.05)
        assert parameters[name].mean() == pytest.approx(0, abs=0.005)
    for index in range(2):
        layer = parameters.layer(index)
        for gate in np.split(layer["Wh"], layer["Wh"].shape[1] // 64, axis=1):
            np.testing.assert_allclose(gate @ gate.T, np.eye(64), atol=1e-13)
        bias = np.zeros_like(layer["b"])
        if cell == "lstm":
            bias[64:128] = 1  # i f o g
        np.testing.assert_array_equal(layer["b"], bias)
        assert not layer.get("bn", np.zeros(1)).any()
    assert not parameters["by"].any()


def test_without_an_embedding_a_symbol_adds_as_much_to_the_gates() -> None:
    parameters = initialise(ModelConfig(cell="gru", hidden_size=64, num_layers=2), 80, seed=3)
    assert parameters["layers.0.Wx"].std() == pytest.approx(2, rel=0.05)
    assert abs(parameters["layers.1.Wx"]).max() <= 1 / 8


def test_places_are_those_of_the_views_in_the_vector() -> None:
    parameters = initialise(ModelConfig(cell="gru", hidden_size=H, embedding_size=E), V, 0)
    places = parameters.places()
    assert [index for place in places.values() for index in range(place.start, place.stop)] == list(range(parameters.flat.size))
    for name, place in places.items():
        np.testing.assert_array_equal(parameters.flat[place], parameters[name].ravel())


def test_initial_weights_depend_on_the_arguments_alone() -> None:
    config = ModelConfig(cell="lstm", hidden_size=H, embedding_size=E)
    first = initialise(config, V, seed=1)
    np.random.seed(5)  # the global generator has no say
    np.testing.assert_array_equal(initialise(config, V, seed=1).flat, first.flat)
    np.testing.assert_array_equal(initialise(config, V, seed=1, dtype=np.float64).flat.astype(np.float32), first.flat)
    assert (initialise(config, V, seed=2)["Wy"] != first["Wy"]).all()
    gates = np.split(first["layers.0.Wh"], 4, axis=1)
    assert not any(np.allclose(a, b) for a, b in itertools.pairwise(gates))


def test_orthogonal_matrices_are_uniform() -> None:
    """Without the signs of R the diagonal of Q would be negative far more often than positive."""
    rng = np.random.Generator(np.random.PCG64(0))
    drawn = np.array([orthogonal(3, rng) for _ in range(2000)])
    np.testing.assert_allclose(drawn.mean(axis=0), np.zeros((3, 3)), atol=0.06)  # 0 ± 0.013
    np.testing.assert_allclose((drawn**2).mean(axis=0), np.full((3, 3), 1 / 3), atol=0.04)
