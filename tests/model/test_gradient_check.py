"""The checker is checked: it passes what is right, and it objects when any one gradient of any cell is 0.1 % off."""

from __future__ import annotations

import doctest
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from model import cells, gradient_check
from model.cells import CELLS, rnn
from model.config import ModelConfig
from model.errors import CharloomError, WrongGradient
from model.gradient_check import TOLERANCE, check_gradients, derivative_along, directional_error, gradient_errors
from model.language_model import LanguageModel
from model.parameters import Parameters, shapes_of

T, B, V, E, H = 4, 3, 7, 6, 5
CELL_NAMES = sorted(CELLS)
INPUTS, TARGETS = np.random.Generator(np.random.PCG64(0)).integers(0, V + 1, (2, T, B))
OFF = 1.001


def config_of(cell: str) -> ModelConfig:
    return ModelConfig(cell=cell, hidden_size=H, num_layers=2, embedding_size=E)


class Sabotaged(LanguageModel):
    """Its backward pass is right until `spoil` had its hands on the gradients."""

    spoil: Callable[[Parameters, Any], None]

    def backward(self, tape: Any, dlogits: Any, grads: Parameters, **options: Any) -> Any:
        dstate = super().backward(tape, dlogits, grads, **options)
        type(self).spoil(grads, dstate)
        return dstate


def sabotaged(cell: str, spoil: Callable[[Parameters, Any], None]) -> LanguageModel:
    kind = type("Spoiled", (Sabotaged,), {"spoil": staticmethod(spoil)})
    model: LanguageModel = kind.new(config_of(cell), V, seed=1)
    return model


EVERY_TENSOR = [(cell, name) for cell in CELL_NAMES for name in [*shapes_of(config_of(cell), V), "state"]]


@pytest.mark.parametrize("cell", CELL_NAMES)
def test_passes_what_is_right(cell: str) -> None:
    errors = check_gradients(sabotaged(cell, lambda grads, dstate: None), INPUTS, TARGETS)
    assert list(errors) == ["flat", *shapes_of(config_of(cell), V), "state"]
    assert max(errors.values()) <= TOLERANCE == 1e-7


@pytest.mark.parametrize(("cell", "name"), EVERY_TENSOR)
def test_objects_when_one_tensor_is_a_thousandth_off(cell: str, name: str) -> None:
    def spoil(grads: Parameters, dstate: Any) -> None:
        wrong = dstate if name == "state" else grads[name]
        wrong *= OFF

    with pytest.raises(WrongGradient, match=f"{name} by 1.0e-03") as caught:
        check_gradients(sabotaged(cell, spoil), INPUTS, TARGETS, directions=1)
    assert set(caught.value.errors) - {"flat"} == {name}
    assert ("flat" in caught.value.errors) == (name != "state")
    assert caught.value.errors[name] == pytest.approx(0.001, rel=2e-3)


@pytest.mark.parametrize(("cell", "name"), EVERY_TENSOR)
def test_objects_when_one_entry_is_a_thousandth_off(cell: str, name: str) -> None:
    def spoil(grads: Parameters, dstate: Any) -> None:
        wrong = dstate if name == "state" else grads[name]
        wrong.flat[abs(wrong).argmax()] *= OFF

    with pytest.raises(WrongGradient) as caught:
        check_gradients(sabotaged(cell, spoil), INPUTS, TARGETS)
    assert set(caught.value.errors) - {"flat"} == {name}


def _own_gradients() -> list[tuple[str, str]]:
    return [(cell, name) for cell in CELL_NAMES for name in ["dz", "dstate", *CELLS[cell].shapes(H)]]


@pytest.mark.parametrize(("cell", "name"), _own_gradients())
def test_objects_when_what_a_cell_returns_is_a_thousandth_off(monkeypatch: pytest.MonkeyPatch, cell: str, name: str) -> None:
    """Such as dz, from which the language model makes the gradients of everything below."""
    right = CELLS[cell].backward

    def wrong(p: Any, tape: Any, dh: Any, grads: Any, *others: Any, **options: Any) -> Any:
        own = {key: np.zeros_like(value) for key, value in p.items()}
        dz, dstate = right(p, tape, dh, own, *others, **options)
        made = {"dz": dz, "dstate": dstate} | own
        made[name] *= OFF
        for key in CELLS[cell].shapes(H):
            grads[key][...] += own[key]
        return dz, dstate

    monkeypatch.setattr(rnn, "backward", wrong if cell == "rnn" else rnn.backward)
    monkeypatch.setitem(cells.CELLS, cell, CELLS[cell]._replace(backward=wrong))
    expected = {
        "dz": {"embedding", "layers.0.Wx", "layers.0.b", "layers.1.Wx", "layers.1.b", "layers.0.Wh", "state"},
        "dstate": {"state"},
    }.get(name, {f"layers.0.{name}", f"layers.1.{name}"})
    errors = gradient_errors(LanguageModel.new(config_of(cell), V, seed=1), INPUTS, TARGETS)
    found = {key for key, error in errors.items() if error > TOLERANCE} - {"flat"}
    assert expected <= found <= expected | ({"layers.0.bn"} if name == "dz" else set())


@pytest.mark.parametrize("mistake", ["zero", "negative", "reversed", "forgotten row", "not a number", "infinite"])
@pytest.mark.parametrize("name", ["embedding", "layers.1.Wh", "by"])
def test_objects_to_mistakes_of_other_kinds(mistake: str, name: str) -> None:
    def spoil(grads: Parameters, dstate: Any) -> None:
        wrong = grads[name]
        match mistake:
            case "zero":
                wrong[...] = 0
            case "negative":
                wrong *= -1
            case "reversed":
                wrong[...] = wrong.ravel()[::-1].reshape(wrong.shape).copy()
            case "forgotten row":
                wrong[2] = 0
            case "not a number":
                wrong.flat[0] = math.nan
            case _:
                wrong.flat[0] = math.inf

    with pytest.raises(WrongGradient) as caught:
        check_gradients(sabotaged("lstm", spoil), INPUTS, TARGETS)
    assert set(caught.value.errors) == {"flat", name}


def test_objects_to_a_gradient_that_goes_on_adding() -> None:
    """Gradients of an earlier batch that were not cleared."""

    class Adding(LanguageModel):
        def loss_and_gradients(self, inputs: Any, targets: Any, state: Any, grads: Parameters, **options: Any) -> Any:
            super().loss_and_gradients(inputs, targets, state, grads, **options)
            once = grads.flat.copy()
            result = super().loss_and_gradients(inputs, targets, state, grads, **options)
            grads.flat += once
            return result

    with pytest.raises(WrongGradient):
        check_gradients(Adding.new(config_of("gru"), V), INPUTS, TARGETS)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_model_and_the_state_are_not_changed(dtype: type) -> None:
    model = LanguageModel.new(config_of("lstm"), V, dtype=dtype)
    state = np.random.Generator(np.random.PCG64(1)).standard_normal(model.zero_state(B).shape).astype(dtype)
    kept, kept_state = model.parameters.flat.copy(), state.copy()
    assert max(check_gradients(model, INPUTS, TARGETS, state).values()) <= TOLERANCE
    np.testing.assert_array_equal(model.parameters.flat, kept)
    np.testing.assert_array_equal(state, kept_state)


def test_the_state_and_the_dropout_seed_are_used() -> None:
    model = LanguageModel.new(ModelConfig(cell="gru", hidden_size=H, dropout=0.5), V)
    state = np.ones_like(model.zero_state(B))
    results = [
        gradient_errors(model, INPUTS, TARGETS, start, dropout_seed=seed)
        for start, seed in [(None, None), (state, None), (None, 1), (None, 2), (None, 1)]
    ]
    assert all(max(errors.values()) <= TOLERANCE for errors in results)
    assert results[2] == results[4]
    assert len({errors["flat"] for errors in results}) == 4


def test_a_gradient_too_small_to_be_measured_passes() -> None:
    """The state before 400 steps of a cell that forgets."""
    model = LanguageModel.new(ModelConfig(cell="lstm", hidden_size=H), V)
    ids = np.arange(401)[:, None] % V
    model.parameters["Wy"][...] = 0  # nothing that the cell does matters, but for rounding
    errors = check_gradients(model, ids[:-1], ids[1:], directions=1)
    assert errors["state"] <= TOLERANCE
    assert errors["Wy"] <= TOLERANCE


def test_the_error_names_what_is_wrong_and_what_to_do() -> None:
    error = WrongGradient({"Wy": 0.001, "by": math.inf}, 1e-7)
    assert isinstance(error, CharloomError)
    assert str(error) == (
        "the gradients disagree with finite differences: Wy by 1.0e-03, by by inf, relative to their length;"
        " at most 1e-07 is rounding: check the backward pass of what is named"
    )


# ── on functions whose derivative is known ────────────────────────────────────────────────────────────────────────────


def test_the_difference_quotient_is_exact_for_polynomials_up_to_the_fourth_degree() -> None:
    x = np.array([0.7, -1.3])
    direction = np.array([2.0, 1.0])
    measured = derivative_along(lambda: float(x[0] ** 4 + 3 * x[0] * x[1] ** 2 - x[1]), x, direction, step=0.5)
    expected = np.dot(direction, [4 * 0.7**3 + 3 * 1.3**2, 6 * 0.7 * -1.3 - 1])
    assert measured == pytest.approx(expected, rel=1e-13)
    assert x.tolist() == [0.7, -1.3]


def test_values_are_put_back_though_the_loss_raises() -> None:
    x = np.array([0.1, 0.2, 0.3])

    def loss() -> float:
        raise ArithmeticError

    with pytest.raises(ArithmeticError):
        derivative_along(loss, x, np.ones(3))
    assert x.tolist() == [0.1, 0.2, 0.3]


def test_the_relative_error_is_that_of_the_length() -> None:
    x = np.linspace(-1, 1, 30).reshape(5, 6)
    right = np.cos(x) * np.arange(30).reshape(5, 6)

    def loss() -> float:
        return float((np.sin(x) * np.arange(30).reshape(5, 6)).sum())

    assert directional_error(loss, x, right) < 1e-10
    for share in (1e-6, 1e-3, 0.5):
        assert directional_error(loss, x, right * (1 - share)) == pytest.approx(share, rel=1e-3)
    assert directional_error(loss, x, np.zeros_like(x)) == pytest.approx(1)
    assert directional_error(lambda: math.nan, x, right) == math.inf
    assert directional_error(lambda: 3.0, x, np.zeros_like(x)) == 0
    assert directional_error(lambda: 3.0, x, np.full_like(x, 1e-3)) == pytest.approx(1)


def test_an_error_across_the_gradient_is_seen_by_the_random_directions() -> None:
    x, right = np.zeros(50), np.zeros(50)
    right[0] = 1
    across = np.zeros(50)
    across[7] = 1e-3
    for seed in range(20):
        assert directional_error(lambda: float(x[0]), x, right + across, seed=seed) > TOLERANCE


def test_a_shorter_step_tells_a_kink_from_a_mistake() -> None:
    x = np.array([1e-4, 1.0])

    def loss() -> float:
        return float(np.maximum(x, 0).sum())

    right, wrong = np.array([1.0, 1.0]), np.array([1.0, OFF])
    assert directional_error(loss, x, right) > TOLERANCE
    assert directional_error(loss, x, right, step=1e-5) <= TOLERANCE
    assert directional_error(loss, x, wrong, step=1e-5) > TOLERANCE


def test_the_example_in_the_documentation_runs() -> None:
    result = doctest.testmod(gradient_check)
    assert result.attempted > 5
    assert result.failed == 0
