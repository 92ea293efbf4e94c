"""GET /health, and what is said while a first model is trained."""

from __future__ import annotations

from collections.abc import Callable

from flask.testing import FlaskClient

from service.store import Run, Store


def test_an_empty_store(client: FlaskClient, store: Store) -> None:
    assert client.get("/health").get_json() == {
        "status": "ok",
        "version": client.get("/health").get_json()["version"],
        "sqlite_version": store.sqlite_version,
        "journal_mode": store.journal_mode,
        "models": 0,
        "training": None,
        "rows": 0,
        "waiting": 0,
    }
    answer = client.post("/generate")
    assert answer.status_code == 404
    assert answer.get_json()["error"]["message"] == "no model is trained yet; train one with: charloom train python"


def test_the_first_model_is_being_trained(client: FlaskClient, add_model: Callable[..., Run]) -> None:
    add_model("default", steps=(), state="running")
    health = client.get("/health").get_json()
    assert (health["status"], health["models"]) == ("training", 0)
    assert health["training"] == {"run": "default", "share": 0.0, "step": 0, "epoch": 0.0, "validation_loss": None}
    for body in ({}, {"model": "default"}):
        answer = client.post("/generate", json=body)
        assert answer.status_code == 503
        assert answer.headers["Retry-After"] == "5"
        assert answer.get_json()["error"]["message"].startswith("the model default is being trained (0% done)")


def test_it_waits_for_a_worker(client: FlaskClient, store: Store) -> None:
    store.runs.create("default", corpus=None, model_config={}, training_config={"steps": 400}, queued=True)
    store.runs.create("next", corpus=None, model_config={}, training_config={"steps": 400}, queued=True)
    health = client.get("/health").get_json()
    assert (health["status"], health["training"]["run"], health["training"]["share"]) == ("training", "default", 0.0)
    for body in ({}, {"model": "default"}):
        assert client.post("/generate", json=body).status_code == 503


def test_another_run_is_being_trained(client: FlaskClient, add_model: Callable[..., Run]) -> None:
    add_model("one")
    add_model("two", state="running")
    health = client.get("/health").get_json()
    assert (health["status"], health["models"], health["training"]["run"], health["training"]["share"]) == ("ok", 2, "two", 0.25)
    assert client.post("/generate").status_code == 200
