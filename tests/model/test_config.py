"""Every range of every setting, from both sides; wrong types; wording; and the way to JSON and back."""

from __future__ import annotations

import dataclasses
import json
import math
import subprocess
import sys
import typing
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.config import ModelConfig, SamplingConfig, TrainingConfig
from model.errors import InvalidSetting, UnknownSetting
from model.settings import Biases, Numbers, Setting, default_of, settings_of, types_of

CONFIGS = (ModelConfig, TrainingConfig, SamplingConfig)

# Written by hand, apart from the table in the code: field -> values at the ends of its range, and values just beyond them.
TINY, LESS_THAN_ONE, MORE_THAN_ONE = 5e-324, math.nextafter(1, 0), math.nextafter(1, 2)
SHARE = ([0.0, 0.5, 1.0], [-TINY, MORE_THAN_ONE])
SHARE_BELOW_ONE = ([0.0, 0.5, LESS_THAN_ONE], [-TINY, 1.0])
SHARE_ABOVE_ZERO = ([TINY, 0.5, 1.0], [0.0, -TINY, MORE_THAN_ONE])
RANGES: dict[tuple[type[Any], str], tuple[list[Any], list[Any]]] = {
    (ModelConfig, "cell"): (["lstm", "gru", "rnn"], ["LSTM", "", "elman"]),
    (ModelConfig, "activation"): (["tanh"], ["sigmoid", ""]),
    (ModelConfig, "hidden_size"): ([1, 16_384], [0, -1, 16_385]),
    (ModelConfig, "num_layers"): ([1, 64], [0, 65]),
    (ModelConfig, "embedding_size"): ([0, 16_384], [-1, 16_385]),
    (ModelConfig, "dropout"): SHARE_BELOW_ONE,
    (ModelConfig, "level"): (["char", "byte"], ["word"]),
    (ModelConfig, "normalization"): (["nfc", "nfd", "none"], ["NFC", "nfkc"]),
    (ModelConfig, "min_count"): ([None, 1, 10**9], [0, 10**9 + 1]),
    (TrainingConfig, "epochs"): ([None, TINY, 0.5, 1e6], [0.0, -1.0, math.nextafter(1e6, 2e6)]),
    (TrainingConfig, "steps"): ([None, 1, 10**9], [0, 10**9 + 1]),
    (TrainingConfig, "budget"): ([None, TINY, 31_536_000.0], [0.0, 31_536_001.0]),
    (TrainingConfig, "max_epochs"): ([None, TINY, 1e6], [0.0, math.nextafter(1e6, 2e6)]),
    (TrainingConfig, "batch_size"): ([1, 65_536], [0, 65_537]),
    (TrainingConfig, "seq_length"): ([1, 65_536], [0, 65_537]),
    (TrainingConfig, "reset_rate"): SHARE,
    (TrainingConfig, "optimizer"): (["adam", "rmsprop", "adagrad", "sgd"], ["adamw"]),
    (TrainingConfig, "learning_rate"): ([TINY, 1000.0], [0.0, math.nextafter(1000, 2000)]),
    (TrainingConfig, "input_rate"): ([0.0, 1000.0], [-TINY, 1000.1]),
    (TrainingConfig, "output_rate"): ([0.0, 1000.0], [-TINY, 1000.1]),
    (TrainingConfig, "schedule"): (["cosine", "constant", "exponential"], ["linear"]),
    (TrainingConfig, "warmup"): SHARE_BELOW_ONE,
    (TrainingConfig, "final_learning_rate"): SHARE_ABOVE_ZERO,
    (TrainingConfig, "beta1"): SHARE_BELOW_ONE,
    (TrainingConfig, "beta2"): SHARE_BELOW_ONE,
    (TrainingConfig, "momentum"): SHARE_BELOW_ONE,
    (TrainingConfig, "epsilon"): ([1e-16, 1.0], [0.0, 1e-17, MORE_THAN_ONE]),
    (TrainingConfig, "weight_decay"): ([0.0, 100.0], [-TINY, 100.1]),
    (TrainingConfig, "clip_norm"): ([0.0, 1e9], [-TINY, 1.1e9]),
    (TrainingConfig, "clip_value"): ([0.0, 1e9], [-TINY, 1.1e9]),
    (TrainingConfig, "validation_fraction"): ([TINY, 0.5], [0.0, math.nextafter(0.5, 1)]),
    (TrainingConfig, "validation_size"): ([0, 10**12], [-1, 10**12 + 1]),
    (TrainingConfig, "validation_interval"): ([0, 10**12], [-1, 10**12 + 1]),
    (TrainingConfig, "patience"): ([0, 10**12], [-1, 10**12 + 1]),
    (TrainingConfig, "seed"): ([0, 2**63 - 1], [-1, 2**63]),
    (SamplingConfig, "prompt"): (["", "\x00", "\ud800", "x" * 10**6], []),
    (SamplingConfig, "prompt_ids"): ([None, (), (0, 5, 5), (-1, 10**30)], []),
    (SamplingConfig, "length"): ([None, 0, 10**9], [-1, 10**9 + 1]),
    (SamplingConfig, "min_length"): ([0, 10**9], [-1, 10**9 + 1]),
    (SamplingConfig, "temperature"): (
        [0.0, -0.0, TINY, 100.0, ((0, 1.0),), ((0, 0.0), (1, 100.0), (10**12, 0.5)), tuple((i, 0.5) for i in range(1000))],
        [-TINY, 100.1, (), ((0, 100.1),), ((1, 1.0),), ((0, 1.0), (0, 2.0)), ((0, 1.0), (5, 1.0), (4, 1.0)), ((-1, 1.0),)],
    ),
    (SamplingConfig, "top_k"): ([0, 2_000_000], [-1, 2_000_001]),
    (SamplingConfig, "top_p"): SHARE,
    (SamplingConfig, "min_p"): SHARE,
    (SamplingConfig, "repetition_penalty"): ([TINY, 1.0, 100.0], [0.0, -1.0, 100.1]),
    (SamplingConfig, "presence_penalty"): ([-2.0, 0.0, 2.0], [-2.1, 2.1]),
    (SamplingConfig, "frequency_penalty"): ([-2.0, 0.0, 2.0], [-2.1, 2.1]),
    (SamplingConfig, "logit_bias"): ([{}, {0: -100.0, 7: 100.0}, {-1: 0.0, 10**19: 1.0}], [{0: 100.1}, {0: 1.0, 1: -101.0}, {0: math.nan}]),
    (SamplingConfig, "logprobs"): ([None, 0, 20], [-1, 21]),
    (SamplingConfig, "echo"): ([False, True], []),
    (SamplingConfig, "stop"): ([(), ("a",), ("a",) * 16], [("a",) * 17, ("",), ("a", "")]),
    (SamplingConfig, "max_copy"): ([None, 1, 10**9], [0, -1, 10**9 + 1]),
    (SamplingConfig, "seed"): ([None, 0, 2**63 - 1], [-1, 2**63]),
    (SamplingConfig, "n"): ([1, 1024], [0, 1025]),
    (SamplingConfig, "records"): ([None, 1, 10**6], [0, -1, 10**6 + 1]),
    (SamplingConfig, "new"): ([False], [True]),  # without records there is nothing to leave out
    (SamplingConfig, "unique"): ([False], [True]),
    (SamplingConfig, "valid"): ([False], [True]),
}
FIELDS = [(cls, field.name) for cls in CONFIGS for field, _ in settings_of(cls)]
each_field = pytest.mark.parametrize(("cls", "name"), FIELDS, ids=[f"{cls.__name__}.{name}" for cls, name in FIELDS])


def test_every_field_has_its_range_here() -> None:
    assert set(FIELDS) == set(RANGES)


@each_field
def test_the_ends_of_the_range_are_allowed_and_kept(cls: type[Any], name: str) -> None:
    for value in RANGES[cls, name][0]:
        assert getattr(cls(**{name: value}), name) == value


@each_field
def test_beyond_the_range_is_refused_by_name(cls: type[Any], name: str) -> None:
    for value in RANGES[cls, name][1]:
        with pytest.raises(InvalidSetting) as refused:
            cls(**{name: value})
        assert refused.value.param == name
        assert str(refused.value).startswith(f"{name} is ")


OF_NO_FIELD = [math.nan, math.inf, -math.inf, 10**400, -(10**400), 10**5000, b"x", [True], [[]], ["a", 1], (None,), {"a": 1}, {1: "a"}]
OF_NO_FIELD += [1j, object(), np.int64(1), np.float64(0.5)]
OF_ONE_KIND: dict[Any, Any] = {int: 1, float: 0.5, str: "char", bool: True, tuple: ["a"], Numbers: [1], Biases: {1: 1.0}}


@each_field
def test_values_of_other_types_are_refused_and_nothing_else_is_raised(cls: type[Any], name: str) -> None:
    kind, optional = types_of(cls)[name]
    others = [value for other, value in OF_ONE_KIND.items() if other != kind and (other, kind) != (int, float)]
    for value in OF_NO_FIELD + others + ([] if optional else [None]):
        with pytest.raises(InvalidSetting):
            cls(**{name: value})


@pytest.mark.parametrize("cls", CONFIGS)
def test_defaults_are_valid_and_of_their_type(cls: type[Any]) -> None:
    config = cls()
    for field, _ in settings_of(cls):
        kind, optional = types_of(cls)[field.name]
        value = getattr(config, field.name)
        assert isinstance(value, typing.get_origin(kind) or kind) or (optional and value is None)
        assert default_of(field) == value
        assert cls(**{field.name: value}) == config


def test_what_serves_for_what() -> None:
    """A whole number for a number, a list for a tuple, and what JSON makes of the keys of an object."""
    config = SamplingConfig(temperature=1, stop=["a", "b"], prompt_ids=[1, 2], logit_bias={"3": 4, "-5": 0})  # type: ignore[arg-type, dict-item]
    assert type(config.temperature) is float
    assert config.stop == ("a", "b")
    assert config.prompt_ids == (1, 2)
    assert config.logit_bias == {3: 4.0, -5: 0.0}
    assert SamplingConfig(temperature=[[0, 1], [7, 2]]).temperature == ((0, 1.0), (7, 2.0))  # type: ignore[arg-type]
    for key in ("", "-", "1.0", "1_0", " 1", "+1", "01", "1\n", "١", "x", "1" * 21):
        with pytest.raises(InvalidSetting, match="logit_bias"):
            SamplingConfig(logit_bias={key: 1.0})  # type: ignore[dict-item]


def test_the_course_of_the_temperature() -> None:
    assert SamplingConfig(temperature=0.5).temperature_schedule == ((0, 0.5),)
    assert SamplingConfig(temperature=((0, 0.5), (9, 1.0))).temperature_schedule == ((0, 0.5), (9, 1.0))


MALFORMED = [((0,),), ((0, 1.0, 2.0),), ((0.0, 1.0),), ((0, None),), ((0, math.nan),), ((True, 1.0),), (5,), ("ab",)]


@pytest.mark.parametrize("course", [*MALFORMED, tuple((i, 0.5) for i in range(1001))])
def test_what_is_no_course(course: Any) -> None:
    with pytest.raises(InvalidSetting, match=r"\[position, value\] pairs"):
        SamplingConfig(temperature=course)


def test_a_prompt_is_given_once() -> None:
    with pytest.raises(InvalidSetting, match=r"prompt_ids is .* left out if prompt is given"):
        SamplingConfig(prompt="a", prompt_ids=(1,))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: SamplingConfig(temperature=-1.0),
            "temperature is -1.0; it must be a number from 0 to 100 (0 always takes the likeliest character)",
        ),
        (lambda: ModelConfig(hidden_size=70_000), "hidden_size is 70000; it must be a whole number from 1 to 16,384"),
        (lambda: ModelConfig(cell="LSTM"), "cell is 'LSTM'; it must be one of: lstm, gru, rnn"),
        (lambda: ModelConfig(dropout=1.0), "dropout is 1.0; it must be a number of 0 or more and below 1 (0 drops nothing)"),
        (lambda: TrainingConfig(learning_rate=0.0), "learning_rate is 0.0; it must be a number above 0 and at most 1,000"),
        (lambda: TrainingConfig(validation_size=-1), "validation_size is -1; it must be a whole number from 0 to 1,000,000,000,000"),
        (
            lambda: SamplingConfig(temperature=((1, 0.5),)),
            "temperature is ((1, 0.5),); it must be a list of up to 1,000 [position, value] pairs, positions ascending from 0, each value",
        ),
        (lambda: SamplingConfig(prompt=5), "prompt is 5; it must be a string"),  # type: ignore[arg-type]
        (lambda: SamplingConfig(stop="ab"), "stop is 'ab'; it must be a list of strings"),  # type: ignore[arg-type]
        (lambda: SamplingConfig(stop=("",)), "stop is ['']; it must be made of strings that are not empty"),
        (
            lambda: ModelConfig(activation="relu"),
            "activation is 'relu'; it must be tanh for the cell lstm (only rnn has a choice)",
        ),
        (
            lambda: TrainingConfig(epochs=3, steps=5),
            "steps is 5; it must be left out if epochs is given (a run has one length)",
        ),
        (lambda: ModelConfig.from_dict({"hidden": 5}), "hidden is not a known setting; known are: activation, cell, dropout, "),
    ],
)
def test_messages_word_for_word(make: Any, message: str) -> None:
    with pytest.raises(InvalidSetting) as refused:
        make()
    assert str(refused.value).startswith(message)
    assert str(refused.value) == message or isinstance(refused.value, UnknownSetting) or "pairs" in message


def test_only_rnn_has_a_choice_of_activation() -> None:
    assert [ModelConfig(cell="rnn", activation=activation).activation for activation in ("tanh", "relu", "identity")]
    for cell in ("lstm", "gru"):
        with pytest.raises(InvalidSetting, match="activation"):
            ModelConfig(cell=cell, activation="identity")


@pytest.mark.parametrize("pair", [("epochs", "steps"), ("epochs", "budget"), ("steps", "budget")])
def test_a_run_has_one_length(pair: tuple[str, str]) -> None:
    with pytest.raises(InvalidSetting, match=pair[1]):
        TrainingConfig(**dict.fromkeys(pair, 1))  # type: ignore[arg-type]


@pytest.mark.parametrize("cls", CONFIGS)
def test_settings_cannot_be_changed(cls: type[Any]) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        cls().seed = 1


@given(st.data())
def test_to_json_and_back(data: st.DataObject) -> None:
    cls = data.draw(st.sampled_from(CONFIGS))
    values = {name: data.draw(st.sampled_from(good)) for (of, name), (good, _) in RANGES.items() if of is cls and data.draw(st.booleans())}
    values = {name: value for name, value in values.items() if name not in ("epochs", "budget")}
    if values.get("prompt_ids") is not None:
        values.pop("prompt", None)
    if values.get("records") is not None:
        values = {name: value for name, value in values.items() if name not in ("n", "stop")}
        values |= {name: data.draw(st.booleans()) for name in ("new", "unique", "valid")}
    config = cls(**values)
    assert cls.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert list(config.to_dict()) == [name for of, name in FIELDS if of is cls]
    for name, value in values.items():
        assert getattr(config, name) == value


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(), inner, max_size=3)),
    max_leaves=5,
)


@given(st.sampled_from(CONFIGS), st.data())
def test_any_json_is_read_or_refused_with_a_sentence(cls: type[Any], data: st.DataObject) -> None:
    names = st.one_of(st.sampled_from([name for of, name in FIELDS if of is cls]), st.text())
    values = data.draw(st.dictionaries(names, json_values, max_size=3))
    try:
        config = cls.from_dict(values)
    except InvalidSetting:
        return
    assert {name: config.to_dict()[name] for name in values} == values


def test_every_setting_says_what_it_means() -> None:
    for cls, name in FIELDS:
        setting: Setting = cls.__dataclass_fields__[name].metadata["setting"]
        assert setting.meaning
        assert not setting.meaning.endswith(".")


def test_needs_no_numpy() -> None:
    code = "import sys, model.config; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
