"""Ids of symbols in the shapes of vLLM: of a text as prompts are read, and back."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from service.store import Run

ALPHABETS = [
    ("char", "nfc", None),
    ("char", "nfd", None),
    ("byte", "none", None),
    ("char", "nfc", "\n"),
]  # the last one's texts are records
TEXT = "the bàd tale\n한국 ḳ"


@pytest.fixture(params=ALPHABETS, ids=str)
def level(request: pytest.FixtureRequest, add_model: Callable[..., Run]) -> str:
    """The level of an alphabet, whose model is called `m`."""
    add_model("m", text=TEXT, level=request.param[0], normalization=request.param[1], separator=request.param[2])
    return str(request.param[0])


def ids(client: FlaskClient, text: str, **asked: Any) -> Any:
    answer = client.post("/tokenize", json={"model": "m", "prompt": text, **asked})
    assert answer.status_code == 200, answer.text
    return answer.get_json()


@pytest.mark.usefixtures("level")
def test_there_and_back(client: FlaskClient) -> None:
    found = ids(client, TEXT, add_special_tokens=True)
    assert (found["count"], found["max_model_len"], found["token_strs"]) == (len(found["tokens"]), 8192, None)
    assert client.post("/detokenize", json={"model": "m", "tokens": found["tokens"]}).get_json() == {"prompt": TEXT}
    info = client.get("/tokenizer_info?model=m").get_json()
    assert ids(client, TEXT, return_token_strs=True)["token_strs"] == [info["symbols"][token] for token in found["tokens"]]
    assert (info["model"], info["vocab_size"], info["unk_token_id"]) == ("m@100", len(info["symbols"]), len(info["symbols"]) - 1)
    assert info["symbols"][info["unk_token_id"]] == info["unk_token"]
    assert (info["bos_token"], info["eos_token"]) == ("\n", "\n")


@pytest.mark.usefixtures("level")
@pytest.mark.parametrize("prompt", ["tale", "tåle", "xyz", "\ud800", "a" * 9000, "te\u0301l", "한국"])
def test_a_prompt_of_ids_is_the_prompt_that_they_were_made_from(app: Flask, client: FlaskClient, prompt: str) -> None:
    app.config["MAX_CONTENT_LENGTH"] = 2**20
    asked = {"model": "m", "seed": 1, "max_tokens": 30, "logprobs": 0, "echo": True}
    texts = [client.post("/v1/completions", json={**asked, "prompt": each}).get_json() for each in (prompt, ids(client, prompt)["tokens"])]
    assert texts[0]["choices"] == texts[1]["choices"]
    assert texts[0]["usage"] == texts[1]["usage"]


@pytest.mark.usefixtures("level")
def test_a_bias_by_id(client: FlaskClient) -> None:
    banned = {str(token): -100 for token in ids(client, "aet")["tokens"]}
    asked = {"model": "m", "prompt": "t", "max_tokens": 200, "temperature": 3, "logit_bias": banned}
    assert not set("aet") & set(client.post("/v1/completions", json=asked).get_json()["choices"][0]["text"])


@pytest.mark.usefixtures("level")
def test_what_is_replaced_is_told_and_nothing_is_nothing(client: FlaskClient) -> None:
    found = ids(client, "tå😀😀", return_token_strs=True)
    assert [(each["character"], each["times"]) for each in found["substituted"]][-1] == ("😀", 2)
    assert found["token_strs"][-1] == "\ufffd"
    info = client.get("/tokenizer_info?model=m").get_json()
    assert found["token_strs"] == [info["symbols"][token] for token in found["tokens"]]  # each id is one of them
    assert ids(client, "")["tokens"] == []
    assert client.post("/detokenize", json={"model": "m", "tokens": []}).get_json() == {"prompt": ""}
    assert client.post("/detokenize", json={"model": "m", "tokens": [-1, 10**30]}).get_json()["prompt"] == "\ufffd\ufffd"


def test_without_a_model_it_is_the_latest(client: FlaskClient, add_model: Callable[..., Run]) -> None:
    assert client.get("/tokenizer_info").status_code == 404
    add_model("other", text="xyz")
    info = client.get("/tokenizer_info").get_json()
    assert (info["model"], info["symbols"], info["eos_token"]) == ("other@100", ["x", "y", "z", "\ufffd"], None)
    assert client.post("/tokenize", json={"prompt": "zyx", "model": None}).get_json()["tokens"] == [2, 1, 0]


@pytest.mark.parametrize(
    ("url", "body", "status", "param"),
    [
        ("/tokenize", {}, 400, "prompt"),
        ("/tokenize", {"prompt": ["a"]}, 400, "prompt"),
        ("/tokenize", {"messages": []}, 400, "messages"),
        ("/tokenize", {"prompt": "a", "model": "none"}, 404, "model"),
        ("/detokenize", {"tokens": [1.5]}, 400, "tokens"),
        ("/detokenize", {"tokens": "a"}, 400, "tokens"),
        ("/detokenize", {}, 400, "tokens"),
    ],
)
def test_what_is_refused(client: FlaskClient, add_model: Callable[..., Run], url: str, body: Any, status: int, param: str) -> None:
    add_model()
    answer = client.post(url, json=body)
    assert (answer.status_code, answer.get_json()["error"]["param"]) == (status, param)


def test_very_many_different_characters_are_refused_at_once(app: Flask, client: FlaskClient, add_model: Callable[..., Run]) -> None:
    add_model()
    app.config["MAX_CONTENT_LENGTH"] = 2**20
    text = "".join(map(chr, range(0x4E00, 0x4E00 + 20_001)))
    began = time.monotonic()
    answer = client.post("/tokenize", json={"prompt": text})
    assert (answer.status_code, answer.get_json()["error"]["param"]) == (400, "prompt")
    assert client.post("/tokenize", json={"prompt": text[1:] * 3}).get_json()["count"] == 60_000
    assert time.monotonic() - began < 10
