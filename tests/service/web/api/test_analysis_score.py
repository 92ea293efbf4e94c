"""POST /v1/score: log-likelihoods equal those of the mathematics, and the likeliest of several models is named."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from model.backend import network_for
from model.log_likelihood import score
from service.store import Run

URL_SCORE = "/v1/score"


@pytest.fixture(autouse=True)
def _models(add_model: Callable[..., Run]) -> None:
    add_model("one", seed=1)
    add_model("two", seed=2, text="abcé\n", normalization="nfd")


def logprobs(app: Flask, name: str, text: str) -> list[float]:
    """From the model itself."""
    checkpoint = app.extensions["charloom"].models.get(name).checkpoint
    ids = checkpoint.vocabulary.encode(text)
    return [each for part in score(network_for(checkpoint.model), checkpoint.vocabulary, ids) for each in part.logprobs.tolist()]


def test_one_model(client: FlaskClient, app: Flask) -> None:
    answer = client.post(URL_SCORE, json={"text": "ab Zc", "model": "one", "logprobs": 2})
    assert answer.status_code == 200
    body = answer.get_json()
    expected = logprobs(app, "one", "ab Zc")
    [found] = body.pop("data")
    assert body == {"object": "list", "characters": 5, "likeliest": "one@100"}
    details = found.pop("logprobs")
    assert found == {
        "model": "one@100",
        "symbols": 5,
        "unknown": 1,
        "log_likelihood": pytest.approx(sum(expected)),
        "loss": pytest.approx(-sum(expected) / 5),
        "bits_per_char": pytest.approx(-sum(expected) / 5 / math.log(2)),
        "probability": 1.0,
    }
    assert details["tokens"] == list("ab Zc")
    assert details["token_logprobs"] == expected
    assert expected[3] == pytest.approx(-math.log(1_114_112))
    assert details["text_offset"] == [0, 1, 2, 3, 4]
    assert [len(top) for top in details["top_logprobs"]] in ([2] * 5, *[[2 + (i >> j & 1) for j in range(5)] for i in range(32)])
    for token, own, top in zip(details["tokens"], details["token_logprobs"], details["top_logprobs"], strict=True):
        assert top[token] == own


def test_every_line_end_is_scored_as_lf(client: FlaskClient) -> None:
    found = [client.post(URL_SCORE, json={"text": text, "model": "one"}).get_json() for text in ("ab\nc\n", "ab\r\nc\r\n", "ab\rc\r")]
    assert found[0] == found[1] == found[2]
    assert found[0]["characters"] == 5


def test_what_it_says_is_what_completions_say(client: FlaskClient) -> None:
    """But for the first symbol, which has nothing before it there."""
    asked = {"model": "one", "prompt": "\nab ca", "max_tokens": 0, "echo": True, "logprobs": 1}
    told = client.post("/v1/completions", json=asked).get_json()["choices"][0]["logprobs"]
    body = client.post(URL_SCORE, json={"text": "ab ca", "model": "one", "logprobs": 1}).get_json()["data"][0]["logprobs"]
    assert body["token_logprobs"] == pytest.approx(told["token_logprobs"][1:], abs=1e-6)
    assert [list(each) for each in body["top_logprobs"]] == [list(each) for each in told["top_logprobs"][1:]]


def test_several_models_say_who_wrote_it(client: FlaskClient, app: Flask) -> None:
    text = client.post("/generate", json={"model": "two", "length": 60, "temperature": 0.5, "seed": 3}).get_json()["text"] + "é"
    body = client.post(URL_SCORE, json={"text": text, "model": ["one", "two@100"], "logprobs": None}).get_json()
    one, two = sum(logprobs(app, "one", text)), sum(logprobs(app, "two", text))
    assert [each["model"] for each in body["data"]] == ["one@100", "two@100"]
    assert [each["log_likelihood"] for each in body["data"]] == pytest.approx([one, two])
    assert [each["probability"] for each in body["data"]] == pytest.approx([1 / (1 + math.exp(two - one)), 1 / (1 + math.exp(one - two))])
    assert body["likeliest"] == ("one@100" if one > two else "two@100")
    assert [each["logprobs"] for each in body["data"]] == [None, None]
    assert body["characters"] == len(text)
    assert body["data"][1]["symbols"] == len(unicodedata.normalize("NFD", text)) > len(text)
    for each in body["data"]:
        assert each["bits_per_char"] == pytest.approx(-each["log_likelihood"] / math.log(2) / len(text))


def test_a_long_text(client: FlaskClient) -> None:
    body = client.post(URL_SCORE, json={"text": "ab c" * 3000, "logprobs": None}).get_json()
    assert body["data"][0]["symbols"] == 12_000


def test_an_empty_text(client: FlaskClient) -> None:
    body = client.post(URL_SCORE, json={"text": "", "model": ["one", "two"]}).get_json()
    assert [each["probability"] for each in body["data"]] == [0.5, 0.5]
    assert [(each["loss"], each["bits_per_char"], each["log_likelihood"]) for each in body["data"]] == [(None, None, 0.0)] * 2


def test_half_a_surrogate_pair_is_an_unknown_character(client: FlaskClient) -> None:
    answer = client.post(URL_SCORE, data='{"text": "a\\ud800b", "model": "one"}', content_type="application/json")
    assert answer.get_json()["data"][0]["logprobs"]["tokens"] == ["a", "?", "b"]
    assert answer.get_json()["data"][0]["unknown"] == 1


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({}, 400, "text"),
        ({"text": 5}, 400, "text"),
        ({"text": None}, 400, "text"),
        ({"text": "a", "model": []}, 400, "model"),
        ({"text": "a", "model": ["one"] * 17}, 400, "model"),
        ({"text": "a", "model": "three"}, 404, "model"),
        ({"text": "a", "model": ["one", "three"]}, 404, "model"),
        ({"text": "a", "logprobs": 21}, 400, "logprobs"),
        ({"text": "a" * 19_000, "model": ["one", "two", "one"], "logprobs": 20}, 400, "logprobs"),
        ({"text": "a", "prompt": "b"}, 400, "prompt"),
    ],
)
def test_what_is_refused_of_score(client: FlaskClient, body: dict[str, Any], status: int, param: str) -> None:
    answer = client.post(URL_SCORE, json=body)
    assert (answer.status_code, answer.get_json()["error"]["param"]) == (status, param)
