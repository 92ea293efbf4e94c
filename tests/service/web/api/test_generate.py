"""POST /generate."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.config import SamplingConfig
from model.output_text import Piece
from service.generation.sample import write
from service.store import Run, Store
from service.system.errors import GenerationFailed
from service.web.validation import WITHOUT

AddModel = Callable[..., Run]


@pytest.fixture(autouse=True)
def _model(add_model: AddModel) -> None:
    add_model()


def events(data: bytes) -> list[Any]:
    """The events of a stream, in the strictest reading of the format."""
    assert data.endswith(b"\n\n")
    blocks = data.decode().split("\n\n")[:-1]
    assert all(block.startswith("data: ") and "\n" not in block for block in blocks)
    return [block if block == "data: [DONE]" else json.loads(block[6:]) for block in blocks]


@pytest.mark.parametrize("end", ["\r\n", "\r"])
def test_every_line_end_of_a_prompt_and_a_stop_string_is_lf(client: FlaskClient, end: str) -> None:
    for path in ("/generate", "/v1/completions"):
        for fields in ({"prompt": "ab{}c"}, {"prompt": "ab", "stop": ["{}"]}):
            bodies = [json.loads(json.dumps(fields).replace("{}", json.dumps(sign)[1:-1])) for sign in (end, "\n")]
            texts = []
            for body in bodies:
                found = client.post(path, json={**body, "seed": 5, "temperature": 1.5}).get_json()
                texts.append(found["text"] if path == "/generate" else found["choices"][0]["text"])
            assert texts[0] == texts[1]


def test_an_answer(client: FlaskClient) -> None:
    answer = client.post("/generate", json={"prompt": "ab", "length": 30, "seed": 7, "stop": ["zz"]})
    assert answer.status_code == 200
    assert answer.mimetype == "application/json"
    body = answer.get_json()
    assert body.pop("characters_per_second") > 0
    assert len(body.pop("text")) == 30
    assert body == {
        "model": "first",
        "checkpoint": "first@100",
        "seed": 7,
        "finish_reason": "length",
        "substituted": [],
        "prompt_truncated": False,
        "prompt_symbols": 2,
        "symbols": 30,
        "out_of_time": False,
        "parameters": {
            "length": 30,
            "min_length": 0,
            "temperature": 0.8,
            "top_k": 0,
            "top_p": 1.0,
            "min_p": 0.0,
            "repetition_penalty": 1.0,
            "presence_penalty": 0.0,
            "frequency_penalty": 0.0,
            "logit_bias": {},
            "stop": ["zz"],
            "max_copy": None,
            "n": 1,
            "records": None,
            "new": False,
            "unique": False,
            "valid": False,
        },
    }


def test_everything_is_optional_and_the_seed_makes_it_again(client: FlaskClient) -> None:
    first = client.post("/generate").get_json()
    assert 0 <= first["seed"] < 2**32
    assert len(first["text"]) == 500
    again = client.post("/generate", json={"model": first["checkpoint"], "seed": first["seed"], **first["parameters"]}).get_json()
    assert again["text"] == first["text"]


def test_it_is_the_text_of_the_command_line(client: FlaskClient, store: Store) -> None:
    asked = SamplingConfig(prompt="c", length=40, seed=3, temperature=1.2, repetition_penalty=1.3, presence_penalty=0.5, min_length=3)
    written = "".join(write(store, None, asked).pieces())
    body = {name: value for name, value in asked.to_dict().items() if name not in WITHOUT}
    assert "c" + client.post("/generate", json=body).get_json()["text"] + "\n" == written


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.fixed_dictionaries(
        {"seed": st.integers(0, 9)},
        optional={
            "prompt": st.text(max_size=5),
            "length": st.integers(0, 50),
            "n": st.integers(1, 3),
            "temperature": st.floats(0, 2),
            "stop": st.lists(st.text("ab", min_size=1, max_size=2), max_size=2),
        },
    )
)
def test_a_stream_is_the_answer_in_pieces(client: FlaskClient, body: dict[str, Any]) -> None:
    whole = client.post("/generate", json=body).get_json()
    answer = client.post("/generate", json={**body, "stream": True})
    assert answer.mimetype == "text/event-stream"
    *pieces, last, done = events(answer.data)
    assert done == "data: [DONE]"
    texts = [""] * body.get("n", 1)
    for piece in pieces:
        assert set(piece) == {"text", "index"}
        texts[piece["index"]] += piece["text"]
    assert texts == whole.pop("texts", None) or [whole.pop("text")]
    whole.pop("characters_per_second")
    last.pop("characters_per_second")
    assert last == whole


def test_a_course_of_the_temperature_and_a_bias(client: FlaskClient) -> None:
    hot = {"temperature": [[0, 3], [20, 0]], "length": 40, "seed": 5}
    text = client.post("/generate", json=hot).get_json()["text"]
    assert text[:20] == client.post("/generate", json={**hot, "temperature": 3}).get_json()["text"][:20]
    body = client.post("/generate", json={**hot, "logit_bias": {"1": 100, "77": 100}}).get_json()
    assert body["text"] == " " * 40
    assert body["parameters"]["logit_bias"] == {"1": 100.0, "77": 100.0}
    assert body["parameters"]["temperature"] == [[0, 3.0], [20, 0.0]]


@pytest.mark.usefixtures("short_of_time")
def test_what_takes_too_long_says_so(client: FlaskClient) -> None:
    body = client.post("/generate", json={"length": 1000, "n": 4}).get_json()
    assert (body["out_of_time"], body["finish_reasons"]) == (True, ["length"] * 4)
    assert body["symbols"] < 4000


def test_several_texts(client: FlaskClient) -> None:
    body = client.post("/generate", json={"n": 3, "seed": 5, "length": 20}).get_json()
    assert "text" not in body
    assert "finish_reason" not in body
    assert body["finish_reasons"] == ["length"] * 3
    alone = [client.post("/generate", json={"seed": 5 + index, "length": 20}).get_json()["text"] for index in range(3)]
    assert body["texts"] == alone


def test_a_prompt_is_never_refused(client: FlaskClient) -> None:
    body = client.post("/generate", data='{"prompt": "aéß\\ud800a", "length": 1}', content_type="application/json")
    assert body.status_code == 200
    assert body.get_json()["substituted"] == [
        {"character": "é", "by": None, "times": 1},
        {"character": "ß", "by": None, "times": 1},
        {"character": "?", "by": None, "times": 1},
    ]
    body = client.post("/generate", json={"prompt": "a" * 10_000, "length": 1}).get_json()
    assert (body["prompt_truncated"], body["prompt_symbols"]) == (True, 8192)


def test_stop(client: FlaskClient) -> None:
    text = client.post("/generate", json={"seed": 1, "length": 200}).get_json()["text"]
    body = client.post("/generate", json={"seed": 1, "length": 200, "stop": [text[50:54]]}).get_json()
    assert body["finish_reason"] == "stop"
    assert body["text"] == text[: text.index(text[50:54])]


@pytest.mark.parametrize(
    ("body", "param", "sentence"),
    [
        (
            {"temperature": "hot"},
            "temperature",
            "temperature is 'hot'; it must be a number from 0 to 100 (0 always takes the likeliest character)",
        ),
        ({"length": 1001}, "length", "length is 1001; it must be a whole number from 0 to 1,000 (the limit of this service)"),
        ({"length": -1}, "length", "length is -1; it must be a whole number from 0 to 1,000,000,000"),
        ({"n": 5}, "n", "n is 5; it must be a whole number from 1 to 4 (the limit of this service)"),
        ({"stop": [""]}, "stop", "stop is ['']; it must be made of strings that are not empty"),
        ({"seed": 2**63}, "seed", "seed is 9223372036854775808; it must be a whole number from -1 to 9,223,372,036,854,775,807"),
        ({"stream": 1}, "stream", "stream is 1; it must be true or false"),
        ({"model": "first@x"}, "model", "checkpoint is 'x'; it must be a step, best or last (for example first@100)"),
    ],
)
def test_what_is_refused(client: FlaskClient, body: dict[str, Any], param: str, sentence: str) -> None:
    answer = client.post("/generate", json=body)
    assert answer.status_code == 400
    error = answer.get_json()["error"]
    assert (error["param"], error["type"]) == (param, "invalid_request_error")
    assert sentence in error["message"]


@pytest.mark.parametrize(("model", "code"), [("second", "run_not_found"), ("first@7", "checkpoint_not_found"), ("\ud800", "run_not_found")])
def test_an_unknown_model(client: FlaskClient, model: str, code: str) -> None:
    answer = client.post("/generate", data=json.dumps({"model": model}), content_type="application/json")
    assert answer.status_code == 404
    assert answer.get_json()["error"]["code"] == code
    assert answer.get_json()["error"]["param"] == "model"


def test_content_types(client: FlaskClient) -> None:
    for kind in ("application/json", "application/json; charset=utf-8", "application/vnd.api+json"):
        assert client.post("/generate", data=b'{"length": 1}', content_type=kind).status_code == 200
    for kind in (None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        answer = client.post("/generate", data=b'{"length": 1}', content_type=kind)
        assert answer.status_code == 415
        assert "it must be application/json" in answer.get_json()["error"]["message"]


def test_a_packed_body(client: FlaskClient) -> None:
    packed = gzip.compress(b'{"length": 1}')
    answer = client.post("/generate", data=packed, content_type="application/json", headers={"Content-Encoding": "gzip"})
    assert answer.status_code == 415
    assert answer.get_json()["error"]["message"] == "the content encoding is gzip; send the body as it is, without Content-Encoding"
    assert client.post("/generate", json={"length": 1}, headers={"Content-Encoding": "Identity"}).status_code == 200


def test_a_large_body(client: FlaskClient) -> None:
    answer = client.post("/generate", json={"prompt": "a" * 20_000})
    assert answer.status_code == 413
    assert answer.get_json()["error"]["message"].startswith("the body is larger than 20,000 bytes")


def test_a_full_queue(client: FlaskClient, app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    scheduler = app.extensions["charloom"].engine._scheduler
    monkeypatch.setattr(scheduler, "_max_waiting", 0)
    monkeypatch.setattr(scheduler._taken, "rows", 10**6)
    answer = client.post("/generate")
    assert answer.status_code == 429
    assert int(answer.headers["Retry-After"]) >= 1
    assert answer.get_json()["error"]["type"] == "rate_limit_error"


def broken() -> list[Piece]:
    raise ValueError("a secret of the house")


def test_a_fault_while_writing(client: FlaskClient, app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    model = app.extensions["charloom"].models.get("latest")
    monkeypatch.setattr(model.sampler, "step", broken)
    answer = client.post("/generate")
    assert answer.status_code == 500
    assert answer.get_json()["error"]["code"] == "generation_failed"
    assert "secret" not in answer.get_data(as_text=True)
    monkeypatch.setattr(model, "sampler", model.new_sampler())
    monkeypatch.setattr(model.sampler, "step", broken)
    answer = client.post("/generate", json={"stream": True})
    assert answer.status_code == 200
    [error] = events(answer.data)
    assert error["error"]["code"] == "generation_failed"
    assert GenerationFailed("first@100").args[0] == error["error"]["message"]


def test_an_unforeseen_fault_in_a_stream_says_nothing_internal(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.web.api.generate.facts", lambda output: broken())
    *_, error = events(client.post("/generate", json={"stream": True, "length": 1}).data)
    assert error["error"]["code"] == "internal_error"
    assert "secret" not in str(error)


def test_a_stream_that_nobody_reads_is_forgotten(client: FlaskClient, app: Flask) -> None:
    answer = client.post("/generate", json={"stream": True, "length": 1000}, buffered=False)
    answer.close()
    engine = app.extensions["charloom"].engine
    engine.stop()
    assert engine.rows == 0
