"""/v1/models."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from service.store import Run, Store


def error(answer: TestResponse) -> tuple[int, str | None, str]:
    found = answer.get_json()["error"]
    return answer.status_code, found["param"], found["code"]


def test_no_models(client: FlaskClient) -> None:
    assert client.get("/v1/models").get_json() == {"object": "list", "data": [], "has_more": False, "first_id": None, "last_id": None}


def test_every_run_that_has_a_checkpoint(client: FlaskClient, add_model: Callable[..., Run]) -> None:
    add_model("one", steps=(100, 200), cell="lstm", text="abcd")
    add_model("none", steps=(), state="failed")
    add_model("two", state="running")
    two, one = client.get("/v1/models").get_json()["data"]
    assert [two["id"], two["object"], two["owned_by"]] == ["two", "model", "charloom"]
    assert two["created"] > 1_700_000_000
    assert [two["meta"]["latest"], two["meta"]["state"]] == [False, "running"]
    meta = one["meta"]
    assert meta["parameters"] == 4 * 8 * (4 + 8 + 1) + 8 * 4 + 4
    del meta["parameters"]
    assert meta == {
        "latest": True,
        "state": "succeeded",
        "corpus": None,
        "cell": "lstm",
        "hidden_size": 8,
        "num_layers": 1,
        "level": "char",
        "alphabet_size": 4,
        "separator": None,
        "step": 200,
        "epoch": 2.0,
        "seconds": 0.0,
        "loss": 2.0,
        "validation_loss": 2.0 - 200 / 1e6,
        "bits_per_char": 2.9,
        "best_step": 200,
        "steps": [100, 200],
    }


def test_a_damaged_checkpoint_does_not_hide_the_others(client: FlaskClient, store: Store, add_model: Callable[..., Run]) -> None:
    add_model("whole", text="abc")
    add_model("broken")
    with store.immediate() as db:
        [sha] = db.execute("SELECT model_sha256 FROM checkpoints JOIN runs ON runs.id = run WHERE name = 'broken'").fetchone()
        db.execute("UPDATE blobs SET data = x'00' WHERE sha256 = ?", (sha,))
    broken, whole = client.get("/v1/models").get_json()["data"]
    assert (broken["meta"]["parameters"], whole["meta"]["alphabet_size"]) == (None, 3)
    answer = client.post("/generate", json={"model": "broken"})
    assert answer.status_code == 500
    assert answer.get_json()["error"]["code"] == "damaged_checkpoint"
    assert client.post("/generate", json={"model": "whole"}).status_code == 200


def test_one_model(client: FlaskClient, add_model: Callable[..., Run]) -> None:
    add_model("one", steps=(100, 200, 300))
    whole = client.get("/v1/models").get_json()["data"][0]
    assert client.get("/v1/models/one").get_json() == whole
    assert client.get("/v1/models/latest").get_json() == whole
    step = client.get("/v1/models/one@200").get_json()
    assert (step["id"], step["meta"]["step"], step["meta"]["epoch"]) == ("one@200", 200, 2.0)
    assert (step["meta"]["validation_loss"], step["meta"]["steps"]) == (2.0 - 200 / 1e6, [100, 200, 300])
    for name in ("one@best", "one@last", "latest@300"):
        assert client.get(f"/v1/models/{name}").get_json()["id"] == "one@300"


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("none", (404, "model", "run_not_found")),
        ("one@7", (404, "model", "checkpoint_not_found")),
        ("one@x", (400, "model", "invalid_setting")),
        ("two", (404, "model", "checkpoint_not_found")),
    ],
)
def test_what_is_not_there(client: FlaskClient, add_model: Callable[..., Run], name: str, found: tuple[int, str, str]) -> None:
    add_model("one")
    add_model("two", steps=(), state="running")
    assert error(client.get(f"/v1/models/{name}")) == found


def test_latest_where_nothing_is_trained(client: FlaskClient) -> None:
    assert error(client.get("/v1/models/latest")) == (404, "model", "no_model_yet")


def test_a_run_is_deleted_with_all_that_is_its_own(client: FlaskClient, store: Store, add_model: Callable[..., Run]) -> None:
    add_model("one")
    add_model("two", steps=(), state="failed")
    for name in ("one", "two"):
        assert client.delete(f"/v1/models/{name}").get_json() == {"id": name, "object": "model", "deleted": True}
        assert error(client.delete(f"/v1/models/{name}")) == (404, "model", "run_not_found")
    with store.immediate() as db:
        assert db.execute("SELECT count(*) FROM blobs").fetchone()[0] == 0


def test_a_run_that_is_being_trained_stays(client: FlaskClient, add_model: Callable[..., Run]) -> None:
    add_model("one", state="running")
    answer = client.delete("/v1/models/one")
    assert error(answer) == (409, "model", "run_busy")
    assert answer.headers["X-Should-Retry"] == "false"


def test_what_may_have_changed_a_moment_ago_is_not_deleted(client: FlaskClient, add_model: Callable[..., Run]) -> None:
    add_model("one")
    for name in ("latest", "latest@100", "one@best", "one@last"):
        assert error(client.delete(f"/v1/models/{name}")) == (400, "model", "invalid_setting")


def test_a_checkpoint_is_deleted_but_not_the_last(client: FlaskClient, store: Store, add_model: Callable[..., Run]) -> None:
    add_model("one", steps=(300, 200, 100))  # the best comes first
    run = store.runs.get("one")
    best = max(checkpoint.step for checkpoint in store.checkpoints.list(run))
    assert best == 300
    assert error(client.delete("/v1/models/one@300")) == (409, "model", "checkpoint_in_use")
    assert client.delete("/v1/models/one@100").get_json()["deleted"] is True
    assert error(client.delete("/v1/models/one@100")) == (404, "model", "checkpoint_not_found")
    assert client.get("/v1/models/one").get_json()["meta"]["steps"] == [200, 300]


def test_a_checkpoint_is_pinned(client: FlaskClient, store: Store, add_model: Callable[..., Run]) -> None:
    run = add_model("first", steps=(100, 200))
    answer = client.post("/v1/models/first@100/pin")
    assert (answer.status_code, answer.get_json()["id"]) == (200, "first@100")
    assert [each.pinned for each in store.checkpoints.list(run)] == [True, False]
    assert client.delete("/v1/models/first@100/pin").status_code == 200
    assert [each.pinned for each in store.checkpoints.list(run)] == [False, False]
    for name in ("first", "first@best", "latest"):
        assert error(client.post(f"/v1/models/{name}/pin")) == (400, "model", "invalid_setting")
    assert error(client.post("/v1/models/first@150/pin")) == (404, "model", "checkpoint_not_found")
