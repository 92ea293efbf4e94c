"""The types of bodies say the same as the configurations that they are made from."""

from __future__ import annotations

import contextlib
import json
import re
import time
from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from werkzeug.exceptions import BadRequest

from model.config import ModelConfig, SamplingConfig, TrainingConfig
from model.errors import CharloomError, InvalidSetting, UnknownSetting
from model.settings import Setting, settings_of, types_of
from service.web.validation import (
    GENERATE,
    REQUIRED,
    ROUTE_FIELDS,
    Body,
    Field,
    Query,
    _has_too_many,
    _not_json,
    _number,
    _parsed,
    fields_of,
    route_fields,
)

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
    st.lists(st.one_of(st.tuples(st.integers(-1, 3), st.floats(-1, 101)), st.lists(st.integers(0, 1), max_size=3)), max_size=3),
    st.dictionaries(st.text("0123-_a", max_size=2), st.integers(-101, 101), max_size=2),
)


@st.composite
def one_setting(draw: st.DrawFn) -> tuple[Any, str, Any]:
    configuration = draw(st.sampled_from(list(BODIES)))
    name = draw(st.sampled_from([field.name for field, _ in settings_of(configuration)]))
    return configuration, name, draw(VALUES)


@example((ModelConfig, "hidden_size", 1.0))
@example((ModelConfig, "hidden_size", 1e300))
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
    if isinstance(value, float) and value.is_integer() and types_of(configuration)[name][0] is int:
        value = int(value)  # JSON has one kind of number, and some clients write 1.0 for 1
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
    assert schema["min_p"]["minimum"] == 0
    assert schema["min_p"]["maximum"] == 1
    assert schema["temperature"]["default"] == 0.8
    number, course = schema["temperature"]["anyOf"]
    assert (number["minimum"], number["maximum"]) == (0, 100)
    assert course["items"]["prefixItems"][1] == number
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
        (b'{"prompt": "\xff"}', "the body is not UTF-8: byte 12 cannot be decoded"),
        (b"[" * 10_000, "nested too deeply"),
        (b'{"a":' * 10_000, "nested too deeply"),
        (b"[" * 100_000, "more than 10,000 lists and objects"),
        (b'{"a":' * 100_000, "more than 10,000 lists and objects"),
        (b'{"prompt": [' + b"[1]," * 100_000, "more than 10,000 lists and objects"),
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


def test_brackets_in_strings_are_no_lists_and_are_told_from_lists_in_linear_time() -> None:
    brackets = r"[{\"[" * 100_000 + "\\\\"
    parsed = GENERATE.parse(b'{"prompt": "' + brackets.encode() + b'", "stop": ["[", "\\""]}')
    assert parsed["prompt"] == brackets.replace(r"\"", '"').replace("\\\\", "\\")
    for data in (b'"' * 1_000_000, b'\\"' * 500_000, b'"\\"' * 300_000, b'"' + b"\\" * 1_000_000, b'"\\\n' * 200_000):
        began = time.monotonic()
        with pytest.raises(BadRequest, match="not JSON"):
            GENERATE.parse(data)
        assert time.monotonic() - began < 5


def test_a_long_unknown_name_is_not_repeated_as_a_whole() -> None:
    with pytest.raises(UnknownSetting) as raised:
        GENERATE.parse(b'{"' + b"x" * 10_000 + b'": 1}')
    assert len(str(raised.value)) < 400


@given(st.binary(max_size=60))
def test_no_bytes_break_it(data: bytes) -> None:
    with contextlib.suppress(CharloomError, BadRequest):
        SamplingConfig.from_dict(GENERATE.parse(data))


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b'{"model": null}', "model is null; it must be a string"),
        (b'{"top_k": true}', "top_k is true; it must be a whole number from -1 to 2,000,000"),
    ],
)
def test_words_of_json_are_shown_as_the_client_wrote_them(body: bytes, sentence: str) -> None:
    with pytest.raises(InvalidSetting, match=f"^{re.escape(sentence)}"):
        GENERATE.parse(body)


# ── what routes add ───────────────────────────────────────────────────────────────────────────────────────────────────

INNER = Body("Inner", {"size": Field(int, False, REQUIRED, Setting(meaning="how large", at_least=1))})
OUTER = Body(
    "Outer",
    {
        "inner": Field(INNER, True, None, Setting(meaning="what is inside")),
        "names": Field(tuple, False, ("a",), Setting(meaning="what they are called")),
        "either": Field(Literal["auto"] | Annotated[float, msgspec.Meta(gt=0)], True, None, Setting(meaning="x"), "auto or more than 0"),
    },
)
WORDS = Query(
    "Words",
    {
        "limit": Field(int, False, 20, Setting(meaning="at most", at_least=1, at_most=100)),
        "stream": Field(bool, False, False, Setting(meaning="whether")),
        "glob": Field(tuple, False, (), Setting(meaning="which")),
        "after": Field(str, False, None, Setting(meaning="behind")),
    },
)


@pytest.mark.parametrize(
    ("data", "param", "sentence"),
    [
        (b'{"inner": {}}', "inner.size", "inner.size is missing; it must be given: how large"),
        (b'{"inner": {"size": 0}}', "inner.size", "inner.size is 0; it must be a whole number of 1 or more"),
        (b'{"inner": {"size": 1, "colour": 2}}', "inner.colour", "inner.colour is not a known setting; known are: size"),
        (b'{"inner": 5}', "inner", "inner is 5; it must be an object"),
        (b'{"inner": null, "either": 0}', "either", "either is 0; it must be auto or more than 0"),
        (b'{"names": ["a", 1]}', "names", "names is ['a', 1]; it must be a list of strings"),
    ],
)
def test_objects_inside_objects(data: bytes, param: str, sentence: str) -> None:
    with pytest.raises(InvalidSetting, match=f"^{re.escape(sentence)}") as raised:
        OUTER.parse(data)
    assert raised.value.param == param


def test_objects_inside_objects_that_are_right() -> None:
    for body in ({}, {"inner": None, "either": None}, {"inner": {"size": 3}, "either": "auto", "names": []}, {"either": 2}):
        assert OUTER.parse(json.dumps(body).encode()) == body


def test_words_become_values_of_the_right_type() -> None:
    assert WORDS.read({}) == {"limit": 20, "stream": False, "glob": [], "after": None}
    asked = {"limit": ["3", "5"], "stream": ["true"], "glob": ["a", "b"], "after": ["x"], "utm_source": ["y"]}
    assert WORDS.read(asked) == {"limit": 5, "stream": True, "glob": ["a", "b"], "after": "x"}
    for name, word in (("limit", "0"), ("limit", "x"), ("limit", "1.5"), ("limit", "9" * 5000), ("stream", "maybe")):
        with pytest.raises(InvalidSetting, match=f"^{name} is") as raised:
            WORDS.read({name: [word]})
        assert raised.value.param == name


def test_the_one_table_of_route_fields() -> None:
    assert list(route_fields("list")) == ["after", "limit", "order"]
    assert list(route_fields("list", "limit")) == ["limit"]
    for name, field in ROUTE_FIELDS.items():
        assert field.setting.meaning, name
        assert not field.setting.meaning.endswith("."), name


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(JSON, st.booleans())
@example({"": 1e300, "a": [1.0, -0.0, 1e22, 2**70]}, False)
@example("\ud800", True)
def test_both_parsers_find_the_same_values(value: Any, ascii: bool) -> None:
    data = json.dumps(value, ensure_ascii=ascii).encode("utf-8", "surrogatepass")
    try:
        expected = json.loads(data, parse_float=_number, parse_constant=_not_json)
    except UnicodeDecodeError:
        with pytest.raises(UnicodeDecodeError):
            _parsed(data)
        return
    found = _parsed(data)
    assert (repr(found), type(found)) == (repr(expected), type(expected))


@given(st.lists(st.sampled_from([b'"', b"\\", b"[", b"{", b"]", b"a", b'"[', b'\\"'])), st.integers(0, 5))
def test_lists_and_objects_are_counted_outside_of_strings(parts: list[bytes], most: int) -> None:
    data, inside, count, escaped = b"".join(parts), False, 0, False
    for byte in data.decode():
        if inside:
            inside, escaped = (byte != '"' or escaped), byte == "\\" and not escaped
        elif byte == '"':
            inside, escaped = True, False
        else:
            count += byte in "[{"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("service.web.validation.MOST_CONTAINERS", most)
        assert _has_too_many(data) == (count > most)
