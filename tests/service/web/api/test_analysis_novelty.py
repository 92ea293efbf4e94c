"""Novelty over HTTP: of any text, of generated texts, and of texts that must not copy."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.exceptions import ClientDisconnected

from service.novelty import Indexes, index_manager, report
from service.store import Corpus, Run
from service.system.concurrency import Turns
from service.system.errors import IndexNotReady, IndexTooLarge
from service.web.api.analysis import LONGEST_COMPARED

URL = "/v1/novelty"


@pytest.fixture(autouse=True)
def _model(add_model: Callable[..., Run], corpus: Corpus, tale: str) -> None:
    add_model("weaver", corpus=corpus.name, text=tale)


def longest(text: str, corpus: str) -> int:
    """The longest part of a text that stands in a corpus; found by trying."""
    return max(size for size in range(len(text) + 1) if any(text[at : at + size] in corpus for at in range(len(text) - size + 1)))


def events(response: Any) -> list[dict[str, Any]]:
    """Those of a stream, without the last one."""
    blocks = response.get_data(as_text=True).split("\n\n")
    assert blocks[-2:] == ["data: [DONE]", ""]
    return [json.loads(block.removeprefix("data: ")) for block in blocks[:-2]]


def not_ready(self: Indexes, corpus: Corpus) -> Any:
    raise IndexNotReady(corpus.name, 0.4)


def test_any_text(client: FlaskClient, tale: str) -> None:
    text = "abcd" + tale[300:360] + "zzzz"
    answer = client.post(URL, json={"model": "weaver", "text": text, "min_length": 20})
    assert answer.status_code == 200, answer.text
    found = answer.get_json()
    [span] = found["spans"]
    assert tale[span["offset"] : span["offset"] + span["length"]] == text[span["start"] : span["stop"]]
    assert span == found["longest"]
    assert span["length"] == longest(text, tale) >= 60
    assert span["line"] == tale[: span["offset"]].count("\n") + 1
    assert tale[: span["offset"]].endswith(span["before"])
    assert tale[span["offset"] + span["length"] :].startswith(span["after"])
    assert (found["corpus"], found["characters"], found["copied"]) == ("tale", 68, span["length"])
    assert found["share"] == round(found["copied"] / 68, 4)


def test_null_is_as_if_it_were_left_out(client: FlaskClient) -> None:
    plain = client.post(URL, json={"text": "the loom"}).get_json()
    assert client.post(URL, json={"text": "the loom", "prompt": None, "ended": None, "min_length": None}).get_json() == plain


def test_of_a_list_it_tells_which_lines_are_new(client: FlaskClient, tale: str) -> None:
    old = tale.splitlines()[3]
    found = client.post(URL, json={"text": f"{old[2:]}\nnothing like it\nhalf", "prompt": f"x\n{old[:2]}", "ended": False}).get_json()
    assert [(record["text"], record["new"]) for record in found["records"]] == [(old, False), ("nothing like it", True)]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "text"),
        ({"text": "x" * (LONGEST_COMPARED + 1)}, "the body is larger than"),
        ({"text": "abc", "min_length": 0}, "min_length is 0; it must be a whole number from 1"),
        ({"text": "abc", "model": "nobody"}, "nobody"),
        ({"text": "abc", "model": "alone"}, "the corpus of model alone is not stored here"),
    ],
)
def test_what_is_refused(client: FlaskClient, add_model: Callable[..., Run], body: dict[str, Any], message: str) -> None:
    add_model("alone")
    answer = client.post(URL, json=body)
    assert answer.status_code in (400, 404, 413)
    assert message in answer.get_json()["error"]["message"]


def test_too_long_a_text(app: Flask, client: FlaskClient) -> None:
    app.config["MAX_CONTENT_LENGTH"] = 10**7
    answer = client.post(URL, json={"text": "x" * (LONGEST_COMPARED + 1)})
    assert (answer.status_code, answer.get_json()["error"]["param"]) == (400, "text")
    assert client.post(URL, json={"text": "x" * LONGEST_COMPARED}).get_json()["spans"] == []


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("echo", [False, True])
def test_a_completion(client: FlaskClient, tale: str, stream: bool, echo: bool) -> None:
    asked = {"prompt": [tale[:40], tale[50:60]], "max_tokens": 30, "n": 2, "seed": 1, "novelty": True, "echo": echo, "stream": stream}
    answer = client.post("/v1/completions", json=asked)
    assert answer.status_code == 200, answer.text
    found = [choice for event in events(answer) for choice in event["choices"]] if stream else answer.get_json()["choices"]
    last = events(answer)[-1] if stream else answer.get_json()
    assert "novelty_error" not in last["charloom"]
    told = {choice["index"]: choice["novelty"] for choice in found if "novelty" in choice}
    assert sorted(told) == [0, 1, 2, 3]
    for index, novelty in told.items():
        text = "".join(choice["text"] for choice in found if choice["index"] == index)
        own = text[40 if index < 2 else 10 :] if echo else text
        assert novelty["longest"]["length"] == longest(own, tale)
        assert novelty["characters"] == len(own) == 30


def test_of_several_only_what_is_answered_is_compared(client: FlaskClient, tale: str) -> None:
    answer = client.post("/v1/completions", json={"max_tokens": 30, "n": 1, "best_of": 4, "seed": 1, "novelty": True}).get_json()
    [choice] = answer["choices"]
    assert choice["novelty"]["longest"]["length"] == longest(choice["text"], tale)


@pytest.mark.parametrize("stream", [False, True])
def test_the_simple_door(client: FlaskClient, tale: str, stream: bool) -> None:
    answer = client.post("/generate", json={"length": 40, "seed": 1, "novelty": True, "stream": stream})
    found = events(answer)[-1] if stream else answer.get_json()
    text = "".join(event["text"] for event in events(answer)[:-1]) if stream else found["text"]
    assert found["novelty"]["longest"]["length"] == longest(text, tale)
    assert "novelties" not in found
    several = client.post("/generate", json={"length": 40, "seed": 1, "novelty": True, "n": 2}).get_json()
    assert [each["longest"]["length"] for each in several["novelties"]] == [longest(text, tale) for text in several["texts"]]
    plain = client.post("/generate", json={"length": 40, "seed": 1}).get_json()
    assert not {"novelty", "novelties", "novelty_error"} & plain.keys()


@pytest.mark.parametrize("url", ["/v1/completions", "/generate"])
def test_no_text_copies_more_than_it_may(client: FlaskClient, tale: str, url: str) -> None:
    length = {"max_tokens" if url.startswith("/v1") else "length": 200}
    asked = {**length, "temperature": 0.9, "seed": 5, "max_copy": 2}
    found = client.post(url, json=asked).get_json()
    text = found["choices"][0]["text"] if url.startswith("/v1") else found["text"]
    assert longest(text, tale) == 2
    assert client.post(url, json=asked).get_json().get("choices", text) in (text, found.get("choices"))
    free = client.post(url, json={**asked, "max_copy": 100}).get_json()
    text = free["choices"][0]["text"] if url.startswith("/v1") else free["text"]
    assert longest(text, tale) > 2


def test_a_text_that_can_only_copy_ends(client: FlaskClient, add_model: Callable[..., Run], app: Flask) -> None:
    app.extensions["charloom"].store.corpora.add("a", ["a" * 100], "a.txt")
    add_model("only-a", corpus="a", text="a")
    found = client.post("/v1/completions", json={"model": "only-a", "max_tokens": 50, "max_copy": 3}).get_json()
    told = [(choice["text"], choice["finish_reason"], choice["meta"]) for choice in found["choices"]]
    assert told == [("aaa", "content_filter", {"finish_reason": "max_copy"})], "a word that OpenAI's clients know, and ours"
    assert client.post("/generate", json={"model": "only-a", "length": 50, "max_copy": 3}).get_json()["finish_reason"] == "max_copy"


@pytest.mark.parametrize("asked", [{"novelty": True}, {"max_copy": 5}])
@pytest.mark.parametrize("url", ["/v1/completions", "/generate"])
def test_a_model_without_its_corpus_says_so(client: FlaskClient, add_model: Callable[..., Run], url: str, asked: dict[str, Any]) -> None:
    add_model("alone")
    answer = client.post(url, json={"model": "alone", **asked})
    assert (answer.status_code, answer.get_json()["error"]["code"]) == (404, "nothing_to_compare")


def test_while_the_index_is_made_a_text_is_not_lost(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_manager, "GENERATION_WAIT", 0.1)
    monkeypatch.setattr(index_manager, "NOVELTY_WAIT", 0.2)
    monkeypatch.setattr(Indexes, "get", not_ready)
    found = client.post("/v1/completions", json={"max_tokens": 30, "novelty": True}).get_json()
    assert len(found["choices"][0]["text"]) == 30
    assert found["choices"][0]["novelty"] is None
    assert "40% done" in found["charloom"]["novelty_error"]["message"]
    found = client.post("/generate", json={"length": 30, "novelty": True}).get_json()
    assert (len(found["text"]), found["novelty"], found["novelty_error"]["code"]) == (30, None, "index_not_ready")
    for url, asked in ((URL, {"text": "abc"}), ("/generate", {"max_copy": 5})):
        answer = client.post(url, json=asked)
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")


def test_what_cannot_be_told_here_is_refused_before_anything_is_written(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def get(self: Indexes, corpus: Corpus) -> Any:
        raise IndexTooLarge(corpus.name, 9 * 10**9, 10**9, "memory")

    monkeypatch.setattr(Indexes, "get", get)
    for url, asked in ((URL, {"text": "abc"}), ("/generate", {"novelty": True}), ("/v1/completions", {"max_copy": 5})):
        answer = client.post(url, json=asked)
        assert (answer.status_code, answer.get_json()["error"]["code"]) == (503, "index_too_large")


def test_of_very_many_spans_the_longest_are_told(app: Flask, client: FlaskClient, tale: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "MAX_SPANS", 3)
    text = " zz ".join(tale[at : at + size] for at, size in ((0, 9), (100, 30), (200, 12), (300, 25), (400, 8)))
    whole = client.post(URL, json={"text": text, "min_length": 5}).get_json()
    assert len(whole["spans"]) == 3 < whole["found"]
    assert [span["start"] for span in whole["spans"]] == sorted(span["start"] for span in whole["spans"])
    monkeypatch.undo()
    every = client.post(URL, json={"text": text, "min_length": 5}).get_json()
    assert len(every["spans"]) == every["found"] == whole["found"]
    least = sorted(span["length"] for span in every["spans"])[-3]
    assert all(span["length"] >= least for span in whole["spans"])
    assert {name: every[name] for name in ("copied", "share", "longest")} == {name: whole[name] for name in ("copied", "share", "longest")}


def test_comparing_stops_once_the_client_has_left(app: Flask, tale: str) -> None:
    service = app.extensions["charloom"]
    run = service.find("weaver").run
    with pytest.raises(ClientDisconnected):
        service.comparer.compare(run, tale, lambda: True)


def test_the_queue_is_limited(app: Flask, client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app.extensions["charloom"].comparer, "_turns", Turns(1, 0, 60))
    with app.extensions["charloom"].comparer._turns.turn("address:127.0.0.1"):
        answer = client.post(URL, json={"text": "abc"})
        other = client.post(URL, json={"text": "abc"}, environ_base={"REMOTE_ADDR": "127.0.0.2"})
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "1")
    assert other.status_code == 200
