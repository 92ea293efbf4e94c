"""POST /v1/inspect and /v1/inspect/cells, against the network's own forward pass and other routes."""

from __future__ import annotations

import json
import math
import random
import subprocess
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from flask import Flask
from flask.testing import FlaskClient

from model.checkpoint import Checkpoint
from model.config import ModelConfig
from model.inspection.state_reader import SYMBOLS
from model.language_model import LanguageModel
from model.vocabulary import SymbolCounts, Vocabulary
from service.inspection import cell_search
from service.inspection.inspector import Inspector
from service.store import Metric, Run, Store
from service.system.concurrency import Turns

URL, CELLS = "/v1/inspect", "/v1/inspect/cells"
NOTHING: dict[str, Any] = {"include": [], "units": []}
TEXT = "ab c\nbca Z"  # Z is outside the alphabet


@pytest.fixture(autouse=True)
def _models(add_model: Callable[..., Run]) -> None:
    add_model("one", seed=1, cell="lstm", num_layers=2, hidden_size=6)
    add_model("two", seed=2, text="abcé\n", normalization="nfd")


@pytest.fixture
def ask(client: FlaskClient) -> Callable[..., dict[str, Any]]:
    """What is answered to a request that must be answered."""

    def asked(url: str = URL, **body: Any) -> dict[str, Any]:
        answer = client.post(url, json=body)
        assert answer.status_code == 200, answer.get_json()
        found: dict[str, Any] = answer.get_json()
        return found

    return asked


def one_by_one(app: Flask, name: str, text: str) -> tuple[list[Any], dict[tuple[int, str], Any], Any]:
    """A naive loop over the symbols of a text: what all units held after each, gates, and the probabilities before it.

    The line end before the text is the first.
    """
    checkpoint = app.extensions["charloom"].models.get(name).checkpoint
    model, vocabulary = checkpoint.model, checkpoint.vocabulary
    state = model.zero_state(1)
    held, expected = [], []
    gates: dict[tuple[int, str], Any] = {}
    for symbol in vocabulary.encode("\n" + text).tolist():
        logits, state, tape = model.forward(np.array([[symbol]]), state)
        layers = [model.cell.signals(each) for each in tape.cells]
        held.append([layer.memory[0, 0].tolist() for layer in layers])
        for number, layer in enumerate(layers):
            for gate, values in layer.gates.items():
                gates.setdefault((number, gate), []).append(values[0, 0].copy())
        p = np.exp(logits[0, 0].astype(np.float64))
        expected.append(p / p.sum())
    return held, gates, expected[:-1]


# ── one text ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_all_of_it(app: Flask, ask: Callable[..., dict[str, Any]]) -> None:
    found = ask(model="one", text=TEXT, units=["1:4", "0:0"], alternatives=2)
    held, gates, expected = one_by_one(app, "one", TEXT)
    assert {name: found[name] for name in ("object", "model", "cell", "num_layers", "hidden_size", "text", "characters", "unknown")} == {
        "object": "inspection",
        "model": "one@100",
        "cell": "lstm",
        "num_layers": 2,
        "hidden_size": 6,
        "text": TEXT,
        "characters": 10,
        "unknown": 1,
    }
    assert [each["unit"] for each in found["units"]] == ["1:4", "0:0"]
    for each, (layer, unit) in zip(found["units"], ((1, 4), (0, 0)), strict=True):
        assert each["activations"] == pytest.approx([step[layer][unit] for step in held[1:]], abs=1e-3)
    names = ["\n", " ", "a", "b", "c"]
    for c, bits, told, p in zip(TEXT, found["bits"], found["alternatives"], expected, strict=True):
        assert bits == pytest.approx(-math.log2(p[names.index(c)]) if c in names else math.log2(1_114_112), abs=1e-3)
        likeliest = sorted(range(5), key=lambda symbol: -p[symbol])[:2]
        assert told == [[names[symbol], pytest.approx(p[symbol], abs=1e-4)] for symbol in likeliest]
    assert found["bits_per_char"] == pytest.approx(sum(found["bits"]) / 10, abs=1e-3)
    for gate in found["gates"]:
        values = np.array(gates[gate["layer"], gate["gate"]])  # (T + 1, H), with the line end
        assert gate["left"] == pytest.approx((values < 0.1).mean(axis=0).tolist(), abs=1e-3)
        assert gate["right"] == pytest.approx((values > 0.9).mean(axis=0).tolist(), abs=1e-3)
    assert [(gate["layer"], gate["name"]) for gate in found["gates"]] == [
        (n, name) for n in (0, 1) for name in ("input", "forget", "output")
    ]
    assert sorted(each["symbol"] for each in found["neighbours"]) == names, "the symbols themselves, not signs for them"
    assert all(len(each["nearest"]) == 4 for each in found["neighbours"])
    assert len(found["map_shares"]) == 2


def test_the_liveliest_unit_is_shown_where_none_is_named(app: Flask, ask: Callable[..., dict[str, Any]]) -> None:
    found = ask(model="one", text=TEXT)
    held, _, _ = one_by_one(app, "one", TEXT)
    layer, unit = divmod(int(np.argmax(np.var(np.array(held).reshape(-1, 12), axis=0))), 6)
    assert found["liveliest"] == found["units"][0]["unit"]
    assert found["liveliest"] == f"{layer}:{unit}"


@pytest.mark.parametrize("separator", [None, "\n\n", "\n%\n", "\x1e", " <=> "])
def test_it_says_what_score_says(
    client: FlaskClient, ask: Callable[..., dict[str, Any]], add_model: Callable[..., Run], separator: str | None
) -> None:
    """Also for characters of several symbols, and for a separator, which is one symbol of several characters."""
    text = f"abéc{separator or ''}aé{separator or ''}\n"
    add_model("parted", seed=2, text="abcé\n", normalization="nfd", separator=separator)
    scored = client.post("/v1/score", json={"model": "parted", "text": text, "logprobs": 3}).get_json()["data"][0]
    found = ask(model="parted", text=text, include=["surprise"], units=[], alternatives=3)
    bits = [0.0] * len(text)
    first: dict[int, dict[str, float]] = {}
    for offset, logprob, top in zip(*(scored["logprobs"][name] for name in ("text_offset", "token_logprobs", "top_logprobs")), strict=True):
        bits[offset] -= logprob / math.log(2)
        first.setdefault(offset, top)
    assert found["bits"] == pytest.approx(bits, abs=1e-3)
    for told, top in zip(filter(None, found["alternatives"]), first.values(), strict=True):
        assert all(share == pytest.approx(math.exp(top[symbol]), abs=1e-3) for symbol, share in told)
    assert found["bits_per_char"] == pytest.approx(scored["bits_per_char"], abs=1e-3)


def test_only_what_is_wanted_is_told(ask: Callable[..., dict[str, Any]]) -> None:
    told = {
        "surprise": {"bits", "bits_per_char", "alternatives"},
        "gates": {"gates", "liveliest"},
        "neighbours": {"neighbours", "map_shares"},
    }
    for part, names in told.items():
        found = ask(model="one", text=TEXT, include=[part], units=[])
        assert {name for name, value in found.items() if value is None} == set().union(*told.values()) - names
        assert found["units"] == []
    assert ask(model="one", text="", include=["neighbours"], units=[])["neighbours"]
    assert ask(model="one", text="abc", include=["surprise"], units=[], alternatives=0)["alternatives"] == [[], [], []]


def test_a_text_is_read_once_for_all_units(app: Flask, ask: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    passes = LanguageModel.read

    def counted(self: LanguageModel, ids: Any, *rest: Any, **more: Any) -> Any:
        read.append(len(ids))
        return passes(self, ids, *rest, **more)

    monkeypatch.setattr(LanguageModel, "read", counted)
    every = [f"{layer}:{unit}" for layer in (0, 1) for unit in range(6)]
    together = ask(model="one", text=TEXT, include=[], units=every)["units"]
    assert sum(read) == len(TEXT) + 1
    apart = [ask(model="one", text=TEXT, include=[], units=[unit])["units"][0] for unit in every]
    assert apart == together
    assert sum(read) == len(TEXT) + 1, "nothing was read again"
    assert ask(model="two", text=TEXT, include=[], units=["0:0"])["units"][0]["activations"] != together[0]["activations"]
    assert sum(read) > len(TEXT) + 1
    read.clear()
    everything = ask(model="one", text=TEXT + "b")
    assert sum(read) == len(TEXT) + 2, "one reading tells all"
    assert ask(model="one", text=TEXT + "b") == everything, "also where units and gates are known, and surprise is not"
    # A service that may keep nothing reads anew, and says the same.
    service = app.extensions["charloom"]
    service.inspector = Inspector(service.store, 60, memory=0)
    found = ask(model="one", text=TEXT, include=[], units=every)["units"]
    for one, other in zip(found, together, strict=True):
        assert one["activations"] == pytest.approx(other["activations"], abs=2e-3), "half as many bits are kept"
    assert not service.inspector._cache._values


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({}, 400, "text"),
        ({"text": ""}, 400, "text"),
        ({"text": "", "include": ["neighbours"]}, 400, "text"),
        ({"text": "a", "model": "three"}, 404, "model"),
        ({"text": "a", "units": ["2:0"]}, 400, "units"),
        ({"text": "a", "units": ["0:6"]}, 400, "units"),
        ({"text": "a", "units": ["0-1"]}, 400, "units"),
        ({"text": "a", "units": "0:1"}, 400, "units"),
        ({"text": "a", "units": ["0:0"] * 65}, 400, "units"),
        ({"text": "a", "include": ["everything"]}, 400, "include"),
        ({"text": "a", "alternatives": 21}, 400, "alternatives"),
        ({"text": "ab c" * 4000, "units": ["0:0"] * 40}, 400, "units"),
        ({"text": "ab c" * 7000, "alternatives": 20}, 400, "alternatives"),
        ({"text": "a" * 100_001}, 400, "text"),
        ({"text": "a", "unit": "0:1"}, 400, "unit"),
    ],
)
def test_what_is_refused(app: Flask, client: FlaskClient, body: dict[str, Any], status: int, param: str) -> None:
    app.config["MAX_CONTENT_LENGTH"] = 2**20
    answer = client.post(URL, json={"model": "one", **body})
    assert (answer.status_code, answer.get_json()["error"]["param"]) == (status, param)


def test_half_a_surrogate_pair_is_an_unknown_character(client: FlaskClient) -> None:
    answer = client.post(URL, data='{"text": "a\\ud800b", "model": "one"}', content_type="application/json")
    assert (answer.get_json()["text"], answer.get_json()["unknown"]) == ("a?b", 1)


def test_turns_and_time(app: Flask, client: FlaskClient) -> None:
    service = app.extensions["charloom"]
    service.store.corpora.add("tale", ["a tale"], "tale.txt")
    turns = service.inspector._turns = service.cells._turns = Turns(1, 0, 60)
    with turns.turn("address:127.0.0.1"):
        for url, body in ((URL, {"text": "a"}), (CELLS, {"corpus": "tale"})):
            answer = client.post(url, json={"model": "one", **body})
            assert (answer.status_code, answer.get_json()["error"]["code"]) == (429, "too_many_requests")
            assert answer.headers["Retry-After"]
        other = client.post(URL, json={"model": "one", "text": "a"}, environ_base={"REMOTE_ADDR": "127.0.0.2"})
        assert other.status_code == 200
    service.inspector = Inspector(service.store, 1e-4)
    answer = client.post(URL, json={"model": "one", "text": "ab c" * 1000})
    assert (answer.status_code, answer.get_json()["error"]["code"]) == (503, "took_too_long")


def test_a_client_that_left_is_not_served_further(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.web.api.inspect.client_left", lambda request: lambda: True)
    answer = app.test_client().post(URL, json={"model": "one", "text": "abc"})
    assert answer.status_code == 400, "nobody reads it"


def test_a_text_can_be_looked_at_while_others_are_written(app: Flask, ask: Callable[..., dict[str, Any]]) -> None:
    stream = app.test_client().post("/generate", json={"model": "one", "length": 1000, "seed": 5, "stream": True}).iter_encoded()
    first = next(stream)
    alone = ask(model="one", text=TEXT)
    pieces = [json.loads(line[6:]) for line in b"".join([first, *stream]).splitlines() if line.startswith(b"data: {")]
    written = app.test_client().post("/generate", json={"model": "one", "length": 1000, "seed": 5}).get_json()["text"]
    assert "".join(piece["text"] for piece in pieces if "text" in piece) == written
    assert ask(model="one", text=TEXT) == alone


def test_reading_makes_way_for_writing(app: Flask, ask: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    service = app.extensions["charloom"]
    pauses: list[float] = []
    monkeypatch.setattr("service.system.concurrency.time.sleep", pauses.append)
    ask(model="one", text="ab c" * 100)
    assert pauses == [], "nobody writes"
    service.inspector = Inspector(service.store, 60, lambda: True)
    ask(model="one", text="ab c" * 100)
    assert len(pauses) == math.ceil(401 / SYMBOLS)


# ── cells ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def weaver(store: Store) -> Run:
    """A network whose unit 2 counts open brackets, and its corpus."""
    rng = random.Random(3)
    text = "".join(rng.choices(["loom ", "(red gold) ", "((a) knot) ", "724\n", "thread, "], k=3000))
    store.corpora.add("knots", [text], "knots.txt")
    config = ModelConfig(cell="rnn", activation="relu", hidden_size=4)
    vocabulary = Vocabulary.build(SymbolCounts("char", "nfc").add([text]))
    model = LanguageModel.new(config, vocabulary.size)
    model.parameters.flat[:] = 0
    for c, weight in (("(", 1.0), (")", -1.0)):
        model.parameters["layers.0.Wx"][int(vocabulary.encode(c)[0]), 2] = weight
    model.parameters["layers.0.Wh"][2, 2] = 1
    store.runs.create("weaver", corpus="knots", model_config=config.to_dict(), training_config={"steps": 10, "seed": 5})
    run = store.runs.claim("weaver")
    store.checkpoints.save(run, Metric(step=7, validation_loss=1.0), Checkpoint(model, vocabulary, {"step": 7}).to_bytes(), None)
    return store.runs.release(run, "succeeded")


def test_cells_are_found_once(app: Flask, ask: Callable[..., dict[str, Any]], weaver: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    found = ask(CELLS, model="weaver")
    assert (found["object"], found["model"], found["network"], found["corpus"]) == ("cells", "weaver@7", "rnn 1x4", "knots")
    first = found["cells"][0]
    assert (first["feature"], first["unit"], first["f1"], first["found"], first["learned"]) == ("round_brackets", "0:2", 1.0, True, True)
    assert first["fresh"] < 0.9
    excerpt = first["excerpt"]
    held = ask(model="weaver", text=excerpt["text"], include=[], units=["0:2"])["units"][0]["activations"]
    assert all((value >= first["threshold"]) == first["above"] for value, holds in zip(held, excerpt["holds"], strict=True) if holds)
    monkeypatch.setattr(subprocess, "Popen", None)
    assert ask(CELLS, model="weaver@7", corpus="knots") == found, "it was known"


def test_what_cannot_be_searched(client: FlaskClient, store: Store, weaver: Run) -> None:
    def refused(**body: Any) -> tuple[int, str, str]:
        answer = client.post(CELLS, json=body)
        error = answer.get_json()["error"]
        return answer.status_code, error["param"], error["message"]

    assert refused(model="one")[:2] == (400, "corpus"), "it was imported"
    assert refused(model="one", corpus="none")[:2] == (404, "corpus")
    assert refused(model="none")[:2] == (404, "model")
    store.corpora.add("dot", ["."], "dot.txt")
    status, _, message = refused(model="weaver", corpus="dot")
    assert status == 503
    assert message.startswith("looking for cells of the model weaver@7 in corpus dot failed: corpus dot has 1 character;")


def test_a_search_ends_where_nobody_waits_for_it(
    app: Flask, client: FlaskClient, ask: Callable[..., dict[str, Any]], weaver: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Any] = []

    class Popen(subprocess.Popen[bytes]):
        def __init__(self, *args: Any, **more: Any) -> None:
            super().__init__(*args, **more)
            started.append(self)

    monkeypatch.setattr(subprocess, "Popen", Popen)
    monkeypatch.setattr(cell_search, "POLL", 0.01)
    monkeypatch.setattr("service.web.api.inspect.client_left", lambda request: lambda: True)
    assert client.post(CELLS, json={"model": "weaver"}).status_code == 400
    assert [process.returncode for process in started] == [-9]
    monkeypatch.undo()
    assert ask(CELLS, model="weaver")["cells"], "the next one is served"
