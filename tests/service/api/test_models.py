"""GET /v1/models."""

from __future__ import annotations

from collections.abc import Callable

from flask.testing import FlaskClient

from service.store import Run, Store


def test_no_models(client: FlaskClient) -> None:
    assert client.get("/v1/models").get_json() == {"object": "list", "data": []}


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
