"""The types of bodies say the same as the configurations that they are made from."""

from __future__ import annotations

import contextlib
import json
import re
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.exceptions import BadRequest

from model.config import ModelConfig, SamplingConfig, TrainingConfig, settings_of
from model.errors import CharloomError, InvalidSetting, UnknownSetting
from service.api.schema import GENERATE, Body, fields_of

BODIES = {each: Body(each.__name__, fields_of(each)) for each in (ModelConfig, TrainingConfig, SamplingConfig)}
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=-(10**30), max_value=10**30),
    st.sampled_from([0, 1, 2, 100, 2**63 - 1, 2**63, 10**400, 0.5, 1.0, 2.5, 1e300]),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=3),
    st.sampled_from(["lstm", "adam", "nfc", "byte"]),
    st.lists(st.one_of(st.text(min_size=1, max_size=2), st.integers()), max_size=3),
    st.dictionaries(st.text(max_size=2), st.integers(), max_size=2),
)


@st.composite
def one_setting(draw: st.DrawFn) -> tuple[Any, str, Any]:
    configuration = draw(st.sampled_from(list(BODIES)))
    name = draw(st.sampled_from([field.name for field, _ in settings_of(configuration)]))
    return configuration, name, draw(VALUES)


@given(one_setting())
def test_a_body_is_refused_exactly_where_the_configuration_refuses_in_the_same_words(case: tuple[Any, str, Any]) -> None:
    configuration, name, value = case

    def outcome(make: Any) -> str | None:
        try:
            make()
        except CharloomError as error:
            return str(error).partition("; ")[2]  # what it must be; before it stands the value, 0 or 0.0
        return None

    data = json.dumps({name: value}).encode()
    expected = outcome(lambda: configuration.from_dict({name: value}))
    assert outcome(lambda: configuration.from_dict(BODIES[configuration].parse(data))) == expected


def test_route_fields() -> None:
    assert GENERATE.parse(b'{"model": "first@best", "stream": true}') == {"model": "first@best", "stream": True}
    with pytest.raises(InvalidSetting, match="stream is 'yes'; it must be true or false"):
        GENERATE.parse(b'{"stream": "yes"}')
    with pytest.raises(InvalidSetting, match="model is 3; it must be a string"):
        GENERATE.parse(b'{"model": 3}')
    with pytest.raises(UnknownSetting, match=r"modle is not a known setting; known are: .*model.*temperature"):
        GENERATE.parse(b'{"modle": "first"}')


def test_the_schema_knows_ranges_and_meanings() -> None:
    schema = msgspec.json.schema(GENERATE.type)["$defs"]["Generate"]["properties"]
    assert schema["temperature"]["minimum"] == 0
    assert schema["temperature"]["maximum"] == 100
    assert schema["temperature"]["default"] == 0.8
    assert schema["stream"]["type"] == "boolean"
    assert all("description" in json.dumps(field) for field in schema.values())


@pytest.mark.parametrize("data", [b"", b"  \n", b"{}", "{}".encode("utf-16"), b'{"seed": 1, "seed": null}'])
def test_what_is_accepted(data: bytes) -> None:
    SamplingConfig.from_dict(GENERATE.parse(data))


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"{", "the body is not JSON"),
        (b'{"length": NaN}', "the body is not JSON: it has no NaN"),
        (b'{"length": -Infinity}', "it has no -Infinity"),
        (b'{"length": 5,}', "the body is not JSON"),
        (b'{"prompt": "\xff"}', "the body is not UTF-8: what stands at byte 12"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b'{"length": 1' + b"0" * 5000 + b"}", "the body is not JSON"),
        (b"[]", "the body is a list; it must be a JSON object"),
        (b'"text"', "the body is a string"),
        (b"true", "the body is true or false"),
        (b"null", "the body is null"),
        (b"17", "the body is a number"),
    ],
)
def test_what_is_no_object(data: bytes, sentence: str) -> None:
    with pytest.raises(BadRequest) as raised:
        GENERATE.parse(data)
    assert sentence in str(raised.value.description)


def test_a_long_unknown_name_is_not_repeated_as_a_whole() -> None:
    with pytest.raises(UnknownSetting) as raised:
        GENERATE.parse(b'{"' + b"x" * 10_000 + b'": 1}')
    assert len(str(raised.value)) < 300


@given(st.binary(max_size=60))
def test_no_bytes_break_it(data: bytes) -> None:
    with contextlib.suppress(CharloomError, BadRequest):
        SamplingConfig.from_dict(GENERATE.parse(data))


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b'{"model": null}', "model is null; it must be a string"),
        (b'{"top_k": true}', "top_k is true; it must be a whole number from 0 to 2,000,000"),
    ],
)
def test_words_of_json_are_shown_as_the_client_wrote_them(body: bytes, sentence: str) -> None:
    with pytest.raises(InvalidSetting, match=f"^{re.escape(sentence)}"):
        GENERATE.parse(body)
