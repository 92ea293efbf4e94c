"""What every configuration is made of, apart from what each of them holds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.errors import InvalidSetting
from model.settings import Biases, Numbers, Setting, Settings, default_of, read, read_schedule, setting, settings_of, types_of


@dataclass(frozen=True, kw_only=True)
class Kettle(Settings):
    """A configuration of nothing."""

    volume: float = setting(1.5, "how much fits", unit="litres", above=0, below=10)
    heat: float | tuple[tuple[int, float], ...] = setting(100.0, "how hot it gets", at_least=0, at_most=100, varies=True)
    marks: tuple[int, ...] = setting((), "where the lines are", at_least=0)
    weights: Mapping[int, float] = setting({}, "of its parts", at_most=2)
    whistles: bool = setting(True, "whether it does")
    owner: str | None = setting(None, "whose it is", choices=("me", "you"))
    inside: list[str] = field(default_factory=list)  # no setting


def test_what_is_no_setting_is_left_alone() -> None:
    assert [each.name for each, _ in settings_of(Kettle)] == ["volume", "heat", "marks", "weights", "whistles", "owner"]
    assert Kettle(inside=["water"]).inside == ["water"]


def test_types() -> None:
    found = types_of(Kettle)
    assert found["volume"] == found["heat"] == (float, False)
    assert found["marks"] == (Numbers, False)
    assert found["weights"] == (Biases, False)
    assert found["whistles"] == (bool, False)
    assert found["owner"] == (str, True)


def test_defaults_are_made_anew() -> None:
    fields = {each.name: each for each, _ in settings_of(Kettle)}
    assert default_of(fields["weights"]) == {}
    assert default_of(fields["weights"]) is not default_of(fields["weights"])
    assert default_of(fields["volume"]) == 1.5


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "volume": st.floats(0.1, 9),
            "heat": st.one_of(st.floats(0, 100), st.just([[0, 5.0], [7, 80.0]])),
            "marks": st.lists(st.integers(0, 10**30), max_size=3),
            "weights": st.dictionaries(st.integers(-(10**19), 10**19), st.floats(-1e300, 2), max_size=3),
            "whistles": st.booleans(),
            "owner": st.sampled_from([None, "me"]),
        },
    )
)
def test_to_json_and_back(values: dict[str, Any]) -> None:
    kettle = Kettle(**values)
    assert Kettle.from_dict({name: value for name, value in json.loads(json.dumps(kettle.to_dict())).items() if name != "inside"}) == kettle


PAIRS = "a list of up to 1,000 [position, value] pairs, positions ascending from 0"


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"volume": 10}, "volume is 10; it must be a number above 0 and below 10"),
        ({"marks": [1, -1]}, "marks is [1, -1]; it must be a list of whole numbers of 0 or more"),
        ({"marks": [1, True]}, "marks is [1, True]; it must be a list of whole numbers of 0 or more"),
        (
            {"weights": {1: 3}},
            "weights is {1: 3}; it must be an object whose keys are whole numbers and whose values are each a number at most 2",
        ),
        ({"whistles": 1}, "whistles is 1; it must be true or false"),
        ({"owner": "they"}, "owner is 'they'; it must be one of: me, you"),
        ({"heat": 101.0}, "heat is 101.0; it must be a number from 0 to 100"),
        ({"heat": ((0, 101.0),)}, f"heat is ((0, 101.0),); it must be {PAIRS}, each value a number from 0 to 100"),
    ],
)
def test_refusals(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InvalidSetting) as refused:
        Kettle(**values)
    assert str(refused.value) == sentence
    assert refused.value.param == next(iter(values))


def test_an_optional_setting_may_be_none_and_another_may_not() -> None:
    assert Kettle(owner=None).owner is None
    with pytest.raises(InvalidSetting):
        Kettle(volume=None)  # type: ignore[arg-type]


def test_a_course() -> None:
    assert read_schedule([[0, 1], [5, 2.5]]) == ((0, 1.0), (5, 2.5))
    for bad in ([], [[1, 1]], [[0, 1], [0, 2]], [[0, 1], [3, 2], [2, 3]], [[0]], [5], ["01"]):
        with pytest.raises(ValueError):  # noqa: PT011
            read_schedule(bad)


def test_a_string_is_no_number_but_as_a_key() -> None:
    assert read({"5": 1, -3: 2}, Biases) == {5: 1.0, -3: 2.0}
    for value, kind in (("5", int), (5.0, int), (True, float), ([1], tuple), ("a", tuple), ({1: 2}, Numbers)):
        with pytest.raises(ValueError):  # noqa: PT011
            read(value, kind)


def test_flags_of_a_setting() -> None:
    plain = Setting(meaning="a thing")
    assert (plain.varies, plain.option) == (False, True)
