"""/v1/completions: every field against the sampler itself, and what clients of OpenAI's API rely on."""

from __future__ import annotations

import gc
import json
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.backend import network_for
from model.checkpoint import Checkpoint
from model.config import SamplingConfig
from model.output_text import Piece, SymbolLogprob
from model.sampling import generate
from service.generation import model_cache
from service.store import Run, Store
from service.web.api.completion_adapter import COMPLETION
from service.web.app import create_app
from service.web.service_config import ServiceConfig

URL = "/v1/completions"


@pytest.fixture(autouse=True)
def checkpoint(add_model: Callable[..., Run], store: Store) -> Checkpoint:
    add_model()
    return model_cache.load(store).checkpoint


def written(checkpoint: Checkpoint, **values: Any) -> list[tuple[str, list[SymbolLogprob]]]:
    """Each text of a request, and its scores, from the sampler itself."""
    config = SamplingConfig(**values)
    found: list[tuple[str, list[SymbolLogprob]]] = [("", []) for _ in range(config.n)]
    for piece in generate(network_for(checkpoint.model), checkpoint.vocabulary, config):
        text, scores = found[piece.choice]
        found[piece.choice] = text + piece.text, scores + list(piece.logprobs)
    return found


def texts(body: dict[str, Any]) -> list[str]:
    assert [choice["index"] for choice in body["choices"]] == list(range(len(body["choices"])))
    return [choice["text"] for choice in body["choices"]]


def events(data: bytes) -> list[Any]:
    """The events of a stream without its end."""
    *blocks, done, nothing = data.decode().split("\n\n")
    assert (done, nothing) == ("data: [DONE]", "")
    return [json.loads(block.removeprefix("data: ")) for block in blocks]


def test_an_answer(client: FlaskClient, checkpoint: Checkpoint) -> None:
    answer = client.post(URL, json={"model": "latest", "prompt": "aé", "max_tokens": 30, "seed": 7, "stop": "zz", "user": "x"})
    assert answer.status_code == 200
    body = answer.get_json()
    assert body.pop("id").startswith("cmpl-")
    assert body.pop("created") > 1_700_000_000
    assert body.pop("system_fingerprint").endswith(" first@100")
    [(text, _)] = written(checkpoint, prompt="aé", length=30, seed=7)
    assert body == {
        "object": "text_completion",
        "model": "first",
        "choices": [{"text": text, "index": 0, "logprobs": None, "finish_reason": "length"}],
        "usage": {"prompt_tokens": 2, "completion_tokens": 30, "total_tokens": 32},
        "charloom": {
            "checkpoint": "first@100",
            "seed": 7,
            "temperature": [[0, 0.8]],
            "out_of_time": False,
            "prompts": [
                {
                    "seed": 7,
                    "temperature": [[0, 0.8]],
                    "symbols": 2,
                    "truncated": False,
                    "substituted": [{"character": "é", "by": None, "times": 1}],
                }
            ],
        },
    }


def test_a_made_up_seed_makes_the_text_again(client: FlaskClient) -> None:
    first = client.post(URL, json={"prompt": ["a", "b"], "n": 2, "temperature": 1.5}).get_json()
    facts, remade = first["charloom"], []
    assert facts["prompts"][0]["seed"] != facts["prompts"][1]["seed"]  # the same prompt twice should not give the same text twice
    for prompt, told in zip("ab", facts["prompts"], strict=True):
        again = {"model": facts["checkpoint"], "seed": told["seed"], "temperature": told["temperature"]}
        remade += texts(client.post(URL, json={"prompt": prompt, "n": 2, **again}).get_json())
    assert remade == texts(first)
    assert len(remade[0]) == 500


def test_a_seed_of_minus_one_is_drawn_and_a_top_p_of_zero_takes_the_likeliest(client: FlaskClient) -> None:
    for url, length in ((URL, "max_tokens"), ("/generate", "length")):
        drawn = [client.post(url, json={length: 40, "seed": -1}).get_json() for _ in range(2)]
        seeds = [body["charloom"]["seed"] if url == URL else body["seed"] for body in drawn]
        assert min(seeds) >= 0
        assert seeds[0] != seeds[1]
        greedy = client.post(url, json={length: 40, "temperature": 0}).get_json()
        for seed in (1, 2):
            found = client.post(url, json={length: 40, "top_p": 0, "temperature": 3, "seed": seed}).get_json()
            assert found["choices" if url == URL else "text"] == greedy["choices" if url == URL else "text"]


def test_null_is_as_if_it_were_left_out(client: FlaskClient) -> None:
    body = client.post(URL, json={**dict.fromkeys(COMPLETION.fields), "seed": 3}).get_json()
    assert texts(body) == texts(client.post(URL, json={"seed": 3}).get_json())


HARMLESS: list[dict[str, Any]] = [
    {"best_of": 0},
    {"best_of": 1},
    {"best_of": 1, "n": 2},
    {"best_of": 2, "n": 2},
    {"logit_bias": {}},
    {"logit_bias": {"50256": -100, "-1": 5}},
    {"stop": []},
    {"stop": [""]},
    {"stop": ""},
    {"suffix": ""},
    {"user": "someone"},
    {"stream_options": {}},
    {"stream_options": {"include_usage": True}},
    {"stream_options": {"include_usage": False, "include_obfuscation": True}},
    {"top_k": -1},
    {"top_k": 0},
    {"ignore_eos": True},
    {"max_completion_tokens": 40},
    {"stop": [str(number) for number in range(16)]},
    {"logit_bias": {"foo": 0}},
    {"presence_penalty": 0, "frequency_penalty": 0, "repetition_penalty": 1},
    {"logprobs": 0},
]


@pytest.mark.parametrize("field", HARMLESS, ids=json.dumps)
def test_harmless_values_of_real_clients(client: FlaskClient, field: dict[str, Any]) -> None:
    body = {"prompt": "ab", "max_tokens": 40, "seed": 1}
    expected = texts(client.post(URL, json={**body, "n": field.get("n", 1)}).get_json())
    for stream in (False, True):
        answer = client.post(URL, json={**body, **field, "stream": stream})
        assert answer.status_code == 200
        if not stream:
            assert texts(answer.get_json()) == expected


@pytest.mark.parametrize(
    ("prompt", "meant"),
    [
        ("", [{}]),
        ([], [{}]),
        ("ab", [{"prompt": "ab"}]),
        (["ab"], [{"prompt": "ab"}]),
        (["ab", "", "c"], [{"prompt": "ab"}, {}, {"prompt": "c"}]),
        ([2, 3], [{"prompt_ids": (2, 3)}]),
        ([-5, 10**30, 2], [{"prompt_ids": (-5, -5, 2)}]),
        ([[2, 3], [], [4]], [{"prompt_ids": (2, 3)}, {}, {"prompt_ids": (4,)}]),
    ],
)
def test_prompts(client: FlaskClient, checkpoint: Checkpoint, prompt: Any, meant: list[dict[str, Any]]) -> None:
    """Each as if it were sent alone, with the same seed."""
    body = client.post(URL, json={"prompt": prompt, "max_tokens": 30, "seed": 5, "n": 1}).get_json()
    assert texts(body) == [written(checkpoint, length=30, seed=5, **each)[0][0] for each in meant]
    read = sum(max(1, len(each.get("prompt", each.get("prompt_ids", "")))) for each in meant)
    assert body["usage"] == {"prompt_tokens": read, "completion_tokens": 30 * len(meant), "total_tokens": read + 30 * len(meant)}
    assert [each["seed"] for each in body["charloom"]["prompts"]] == [5] * len(meant)


def test_several_texts_of_several_prompts(client: FlaskClient, checkpoint: Checkpoint) -> None:
    body = client.post(URL, json={"prompt": ["a", "b"], "n": 2, "max_tokens": 9, "seed": 3}).get_json()
    assert texts(body) == [text for prompt in "ab" for text, _ in written(checkpoint, prompt=prompt, length=9, seed=3, n=2)]


def test_our_settings_by_their_names(client: FlaskClient, checkpoint: Checkpoint) -> None:
    theirs = {
        "prompt": "abc",
        "max_tokens": 60,
        "min_tokens": 20,
        "temperature": [[0, 2], [10, 0.5]],
        "top_p": 0.95,
        "top_k": 3,
        "min_p": 0.01,
        "repetition_penalty": 1.2,
        "presence_penalty": 0.3,
        "frequency_penalty": -0.1,
        "logit_bias": {"1": 1.5},
        "stop": ["ab", "bc"],
        "seed": 11,
    }
    ours = {"length": 60, "min_length": 20, **{name: value for name, value in theirs.items() if not name.endswith("tokens")}}
    ours |= {"temperature": ((0, 2.0), (10, 0.5)), "stop": ("ab", "bc")}
    assert texts(client.post(URL, json=theirs).get_json()) == [written(checkpoint, **ours)[0][0]]


def test_a_stop_string_ends_a_text(client: FlaskClient) -> None:
    [text] = texts(client.post(URL, json={"seed": 1, "max_tokens": 200}).get_json())
    for stop in (text[50:54], [text[50:54]], ["zzz", text[50:54], "yyy", "xxx"]):
        for logprobs in (None, 0):
            asked = {"seed": 1, "max_tokens": 200, "stop": stop, "logprobs": logprobs}
            body = client.post(URL, json=asked).get_json()
            assert texts(body) == [text[: text.index(text[50:54])]]
            assert body["choices"][0]["finish_reason"] == "stop"
            assert body["usage"]["completion_tokens"] == text.index(text[50:54]), "the symbols of the text, and none of the stop string"
            *_, last = events(client.post(URL, json={**asked, "stream": True, "stream_options": {"include_usage": True}}).data)
            assert last["usage"] == body["usage"]


@pytest.mark.parametrize(("level", "normalization"), [("char", "nfc"), ("char", "nfd"), ("byte", "none")])
def test_symbols_before_a_stop_string_are_counted_exactly(
    client: FlaskClient, add_model: Callable[..., Run], level: str, normalization: str
) -> None:
    """A character may consist of several symbols, and the last one is held back as long as an accent may follow."""
    add_model("other", text="a\u0301e\u0308kzé\u0323", level=level, normalization=normalization)
    asked = {"model": "other", "max_tokens": 300, "temperature": 1.5, "logprobs": 0}
    for seed in range(8):
        [choice] = client.post(URL, json={**asked, "seed": seed}).get_json()["choices"]
        stop = choice["text"][40:42]
        body = client.post(URL, json={**asked, "seed": seed, "stop": stop}).get_json()
        [stopped] = body["choices"]
        assert stopped["finish_reason"] == "stop"
        end = len(stopped["text"])
        before = [offset for offset in choice["logprobs"]["text_offset"] if offset - choice["logprobs"]["text_offset"][0] < end]
        assert body["usage"]["completion_tokens"] == len(before) == len(stopped["logprobs"]["tokens"])


def test_symbols_may_be_biased_as_they_are_written(client: FlaskClient, checkpoint: Checkpoint) -> None:
    asked = {"seed": 1, "max_tokens": 300, "temperature": 2}
    assert "b" in texts(client.post(URL, json=asked).get_json())[0]
    told = {"b": -100, "foo": 5, "é": 100, "\ud800": 1, "": 1}  # what is no symbol of the alphabet does nothing
    body = client.post(URL, json={**asked, "logit_bias": told}).get_json()
    assert "b" not in texts(body)[0]
    by_id = {str(checkpoint.vocabulary.encode("b")[0]): -100}
    assert texts(body) == texts(client.post(URL, json={**asked, "logit_bias": by_id}).get_json())
    both = {**by_id, "c": -100}
    assert not set("bc") & set(texts(client.post(URL, json={**asked, "logit_bias": both}).get_json())[0])


# ── log-probabilities ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("echo", [False, True])
@pytest.mark.parametrize("count", [0, 2])
def test_logprobs(client: FlaskClient, checkpoint: Checkpoint, count: int, echo: bool) -> None:
    body = client.post(URL, json={"prompt": "abéc", "max_tokens": 20, "seed": 3, "logprobs": count, "echo": echo}).get_json()
    [(text, scores)] = written(checkpoint, prompt="abéc", length=20, seed=3, logprobs=count, echo=echo)
    [choice] = body["choices"]
    assert choice["text"] == text
    assert choice["logprobs"]["tokens"] == list(text)
    begin = 0 if echo else len("ab\ufffdc")  # as in OpenAI's API, offsets count from the beginning of the prompt
    assert choice["logprobs"]["text_offset"] == list(range(begin, begin + len(text)))
    assert choice["logprobs"]["token_logprobs"] == [score.logprob for score in scores]
    if not count:
        assert choice["logprobs"]["top_logprobs"] is None
        return
    for score, top in zip(scores, choice["logprobs"]["top_logprobs"], strict=True):
        if score.logprob is None:
            assert top is None
        else:
            assert list(top)[:2] == [name for name, _ in score.alternatives]
            assert top == {**dict(score.alternatives), score.text: score.logprob}
    if echo:
        assert text.startswith("ab\ufffdc")
        assert choice["logprobs"]["token_logprobs"][0] is None
        assert choice["logprobs"]["token_logprobs"][2] == pytest.approx(-13.9235, abs=1e-3)


def test_scoring_a_prompt_as_evaluation_harnesses_do(client: FlaskClient) -> None:
    body = client.post(URL, json={"prompt": ["ab", [2, 3]], "max_tokens": 0, "logprobs": 1, "echo": True}).get_json()
    assert texts(body) == ["ab", "ab"]
    assert body["choices"][0]["logprobs"] == body["choices"][1]["logprobs"]
    assert body["usage"] == {"prompt_tokens": 4, "completion_tokens": 0, "total_tokens": 4}


@pytest.mark.parametrize("echo", [False, True])
def test_best_of(patient: Flask, checkpoint: Checkpoint, echo: bool) -> None:
    """Those with the highest mean log-probability of what was written, the best first."""
    asked = {"prompt": ["abc", "b"], "max_tokens": 12, "temperature": 2, "seed": 9, "stop": ["ca"], "echo": echo}
    client = patient.test_client()
    body = client.post(URL, json={**asked, "n": 2, "best_of": 4}).get_json()
    expected = []
    for prompt in ("abc", "b"):
        each = written(checkpoint, prompt=prompt, length=12, temperature=2, seed=9, stop=("ca",), n=4, logprobs=0)
        means = [sum(score.logprob or 0 for score in scores) / len(scores) if scores else 0 for _, scores in each]
        order = sorted(range(4), key=lambda i: -means[i])
        expected += [(prompt if echo else "") + each[i][0] for i in order[:2]]
    assert texts(body) == expected
    assert all(choice["logprobs"] is None for choice in body["choices"])
    assert body["usage"]["completion_tokens"] > sum(map(len, texts(body))) - 8 * echo
    told = client.post(URL, json={**asked, "n": 2, "best_of": 4, "logprobs": 1}).get_json()
    assert texts(told) == expected
    assert all(choice["logprobs"]["tokens"] for choice in told["choices"])


# ── streams ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def joined(chunks: list[Any], n: int) -> list[dict[str, Any]]:
    """The choices that the events of a stream make up."""
    found: list[dict[str, Any]] = [{"text": "", "index": index, "logprobs": None, "finish_reason": None} for index in range(n)]
    for chunk in chunks:
        for choice in chunk["choices"]:
            mine = found[choice["index"]]
            assert mine["finish_reason"] is None, "nothing comes after the end"
            mine["text"] += choice["text"]
            mine["finish_reason"] = choice["finish_reason"]
            if choice["logprobs"] and mine["logprobs"]:
                for name, values in choice["logprobs"].items():
                    mine["logprobs"][name] = values if values is None else mine["logprobs"][name] + values
            else:
                mine["logprobs"] = choice["logprobs"]
    return found


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.fixed_dictionaries(
        {"seed": st.integers(0, 9)},
        optional={
            "prompt": st.one_of(st.text(max_size=5), st.lists(st.text(max_size=2), min_size=1, max_size=2)),
            "max_tokens": st.integers(0, 50),
            "n": st.integers(1, 2),
            "temperature": st.floats(0, 2),
            "stop": st.lists(st.text("ab", min_size=1, max_size=2), max_size=2),
            "logprobs": st.integers(0, 3),
            "echo": st.booleans(),
            "stream_options": st.sampled_from([None, {"include_usage": True}]),
        },
    )
)
def test_a_stream_is_the_answer_in_pieces(client: FlaskClient, body: dict[str, Any]) -> None:
    whole = client.post(URL, json=body).get_json()
    answer = client.post(URL, json={**body, "stream": True})
    assert answer.mimetype == "text/event-stream"
    chunks = events(answer.data)
    assert joined(chunks, len(whole["choices"])) == whole["choices"]
    assert {chunk["id"] for chunk in chunks} == {chunks[0]["id"]}
    assert all(chunk["object"] == "text_completion" for chunk in chunks)
    assert {chunk["system_fingerprint"] for chunk in chunks} == {whole["system_fingerprint"]}
    assert [chunk.get("charloom") for chunk in chunks] == [None] * (len(chunks) - 1) + [whole["charloom"]]
    if body.get("stream_options"):
        assert [chunk["usage"] for chunk in chunks] == [None] * (len(chunks) - 1) + [whole["usage"]]
        assert chunks[-1]["choices"] == []
    else:
        assert all("usage" not in chunk and len(chunk["choices"]) == 1 for chunk in chunks)


def broken() -> list[Piece]:
    raise ValueError("a secret of the house")


def test_an_error_in_mid_stream_is_an_event(client: FlaskClient, app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    model = app.extensions["charloom"].models.get("latest")
    monkeypatch.setattr(model.sampler, "step", broken)
    answer = client.post(URL, json={"stream": True})
    assert answer.status_code == 200
    block, nothing = answer.data.decode().split("\n\n")
    assert nothing == ""
    assert json.loads(block.removeprefix("data: "))["error"]["code"] == "generation_failed"
    answer.close()
    assert not app.extensions["charloom"].running._requests


# ── changing the temperature ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def patient(path: Path) -> Iterator[Flask]:
    """A service that writes long texts."""
    app = create_app(ServiceConfig(db=path, max_length=10**6))
    yield app
    app.extensions["charloom"].close()


def test_a_temperature_is_changed_while_it_is_written(patient: Flask, checkpoint: Checkpoint) -> None:
    asked = {"prompt": ["ab", "c"], "max_tokens": 6_000, "seed": 3, "temperature": 1, "stream": True}
    client = patient.test_client()
    answer = client.post(URL, json=asked, buffered=False)
    stream = answer.iter_encoded()
    parts = [next(stream)]
    name = json.loads(parts[0].removeprefix(b"data: "))["id"]
    changed = client.patch(f"{URL}/{name}", json={"temperature": 0.25})
    assert changed.status_code == 200
    parts += stream
    chunks = events(b"".join(parts))
    facts = chunks[-1]["charloom"]
    assert facts == changed.get_json()
    for index, each in enumerate(facts["prompts"]):
        [[_, before], [position, after]] = each["temperature"]
        assert (before, after) == (1.0, 0.25)
        assert 0 < position < 6_000
        course = tuple((position, value) for position, value in each["temperature"])
        [(text, _)] = written(checkpoint, prompt=asked["prompt"][index], length=6_000, seed=3, temperature=course)
        assert joined(chunks, 2)[index]["text"] == text
    answer.close()
    assert not patient.extensions["charloom"].running._requests
    assert client.patch(f"{URL}/{name}", json={"temperature": 1}).status_code == 404


def test_nobody_else_changes_it(patient: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    client = patient.test_client()
    answer = client.post(URL, json={"max_tokens": 10**6, "stream": True}, buffered=False)
    name = json.loads(next(answer.iter_encoded()).removeprefix(b"data: "))["id"]
    with monkeypatch.context() as patch:
        patch.setattr("service.web.api.completions.caller", lambda: "somebody else")
        refused = client.patch(f"{URL}/{name}", json={"temperature": 1})
        assert refused.status_code == 404
        assert refused.get_json()["error"]["code"] == "completion_not_found"
    for body in ({}, {"temperature": "hot"}, {"temperature": [[0, 1]]}, {"temperature": 101}, {"seed": 1}):
        assert client.patch(f"{URL}/{name}", json=body).status_code == 400
    assert client.patch(f"{URL}/cmpl-nothing", json={"temperature": 1}).status_code == 404
    assert client.patch(f"{URL}/{name}", json={"temperature": 1}).status_code == 200
    answer.close()
    assert client.patch(f"{URL}/{name}", json={"temperature": 1}).status_code == 404


# ── what is refused ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("body", "param", "sentence"),
    [
        ({"max_tokens": 1001}, "max_tokens", "max_tokens is 1001; it must be a whole number from 0 to 1,000 (the limit of this service)"),
        ({"max_tokens": -1}, "max_tokens", "max_tokens is -1; it must be a whole number from 0 to 1,000,000,000"),
        ({"n": 5}, "n", "n is 5; it must be a whole number from 1 to 4 (the limit of this service)"),
        (
            {"n": 3, "prompt": ["a", "b"]},
            "n",
            "n is 3; it must be a whole number from 1 to 2 for each of 2 prompts",
        ),
        ({"prompt": ["a"] * 5}, "prompt", "prompt is a list of 5; it must be a list of at most 4 (the limit of this service)"),
        ({"best_of": 5}, "best_of", "best_of is 5; it must be a whole number from 1 to 4"),
        ({"n": 3, "best_of": 2}, "best_of", "best_of is 2; it must be 0, or at least n, which is 3"),
        ({"best_of": 2, "stream": True}, "best_of", "best_of is 2; it must be 0 or n if stream is true"),
        ({"stop": list("abcdefghijklmnopq")}, "stop", "it must be a string, or a list of at most 16"),
        ({"max_tokens": 5, "max_completion_tokens": 6}, "max_completion_tokens", "left out if max_tokens is given, or 5 as well"),
        ({"max_completion_tokens": 1001}, "max_completion_tokens", "max_completion_tokens is 1001; it must be a whole number from 0 to"),
        ({"seed": -2}, "seed", "seed is -2; it must be a whole number from -1 to"),
        ({"logprobs": 21}, "logprobs", "logprobs is 21; it must be a whole number from 0 to 20"),
        ({"prompt": ["a", 1]}, "prompt", "prompt is ['a', 1]; it must be a string, a list of strings, a list of symbol ids"),
        ({"prompt": 5}, "prompt", "prompt is 5; it must be a string, a list of strings"),
        ({"prompt": [1.5]}, "prompt", "prompt is [1.5]; it must be"),
        ({"logit_bias": {"a": "b"}}, "logit_bias", "logit_bias is {'a': 'b'}; it must be an object of numbers from -100 to 100"),
        ({"logit_bias": {"1": 101}}, "logit_bias", "logit_bias is {'1': 101}; it must be an object"),
        ({"stream_options": {"what": 1}}, "stream_options.what", "stream_options.what is not a known setting"),
        ({"presence_penalty": 3}, "presence_penalty", "it must be a number from -2 to 2"),
        ({"temperature": [[1, 1]]}, "temperature", "pairs, positions ascending from 0"),
        ({"length": 5}, "length", "length is not a known setting; known are: best_of"),
    ],
)
def test_what_is_refused(client: FlaskClient, body: dict[str, Any], param: str, sentence: str) -> None:
    answer = client.post(URL, json=body)
    assert answer.status_code == 400
    error = answer.get_json()["error"]
    assert (error["param"], error["type"]) == (param, "invalid_request_error")
    assert sentence in error["message"]


def test_an_unknown_model(client: FlaskClient) -> None:
    answer = client.post(URL, json={"model": "second"})
    assert (answer.status_code, answer.get_json()["error"]["param"]) == (404, "model")


@pytest.mark.usefixtures("short_of_time")
def test_what_takes_too_long_says_so(client: FlaskClient) -> None:
    body = client.post(URL, json={"max_tokens": 1000, "n": 4, "prompt": "a"}).get_json()
    assert body["charloom"]["out_of_time"]
    assert {choice["finish_reason"] for choice in body["choices"]} == {"length"}


def test_nothing_is_kept_of_an_answer(client: FlaskClient, app: Flask) -> None:
    """Not even until the garbage is collected: the memory of models is counted by who uses them."""
    service = app.extensions["charloom"]
    client.post(URL, json={"max_tokens": 5})
    model = weakref.ref(service.models.get("latest"))
    gc.collect()
    gc.disable()
    try:
        client.post(URL, json={"max_tokens": 5, "prompt": ["a", "b"]})
        client.post(URL, json={"max_tokens": 5, "stream": True}).close()
        service.models._loaded.clear()
        assert model() is None
    finally:
        gc.enable()
    assert not service.running._requests
    assert not service.engine._requests
