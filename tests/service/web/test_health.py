"""``GET /health``, also while the first model is trained, and ``GET /ready``, through Flask and through a real server under load."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from service.store import Run, Store, database
from service.store.api_keys import hashed
from service.system import hardware
from service.web import health as health_module
from service.web.app import create_app
from service.web.service_config import ServiceConfig


@pytest.fixture
def app(path: Path) -> Iterator[Flask]:
    app = create_app(ServiceConfig(db=path, max_rows=7))
    yield app
    app.extensions["charloom"].close()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


# ── health ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_empty_store(client: FlaskClient, store: Store) -> None:
    health = client.get("/health").get_json()
    assert health == {
        "status": "ok",
        "version": health["version"],
        "arithmetic": hardware.arithmetic(),
        "threads": hardware.cores(),
        "sqlite_version": store.sqlite_version,
        "journal_mode": store.journal_mode,
        "models": 0,
        "training": None,
        "rows": 0,
        "waiting": 0,
        "disk_free": health["disk_free"],
        "no_room": None,
        "no_reserve": None,
        "damaged": [],
    }
    answer = client.post("/generate")
    assert answer.status_code == 404
    assert answer.get_json()["error"]["message"] == "no model is trained yet; train one with: charloom train python --db charloom.db"


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


KEY = "0123456789abcdef"


def test_without_a_key_health_names_and_counts_nothing(
    path: Path, add_model: Callable[..., Run], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_model("one")
    add_model("the-secret-project", state="running")
    app = create_app(ServiceConfig(db=path, keys=(hashed(KEY),)))
    client = app.test_client()
    for headers in ({}, {"Authorization": "Bearer fedcba9876543210"}, {"Authorization": "Basic eDp5"}):
        answer = client.get("/health", headers=headers)
        assert answer.status_code == 200
        training = {"run": None, "share": 0.25, "step": 100, "epoch": 1.0, "validation_loss": 1.9999}
        assert answer.get_json() == {"status": "ok", "version": answer.get_json()["version"], "training": training}
    monkeypatch.setattr(logging.getLogger("charloom"), "propagate", True)
    for guess in range(20):
        assert client.get("/health", headers={"Authorization": f"Bearer {guess:016}"}).get_json() == answer.get_json()
    assert "wrong keys in a row came from 127.0.0.1" in caplog.text  # a key can be guessed here no faster than elsewhere
    health = client.get("/health", headers={"Authorization": f"Bearer {KEY}"}).get_json()
    assert (health["models"], health["training"]["run"], health["rows"]) == (2, "the-secret-project", 0)
    app.extensions["charloom"].close()


def test_a_service_whose_database_cannot_be_read_is_alive(app: Flask, client: FlaskClient) -> None:
    app.extensions["charloom"].store.close()
    answer = client.get("/health")
    assert (answer.status_code, answer.get_json()["status"]) == (200, "unreadable")
    assert "models" not in answer.get_json()
    assert client.get("/ready").status_code == 503


# ── ready ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def unready(client: FlaskClient) -> str:
    """Why it is not ready."""
    answer = client.get("/ready")
    error = answer.get_json()["error"]
    assert (answer.status_code, answer.headers["Retry-After"], error["code"]) == (503, "5", "not_ready")
    return str(error["message"])


def test_it_is_ready(client: FlaskClient) -> None:
    answer = client.get("/ready")
    assert (answer.status_code, answer.get_json()) == (200, {"status": "ready"})
    assert client.head("/ready").status_code == 200


def test_a_database_that_another_process_locks_for_long(client: FlaskClient, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "PATIENCE", 0.1)
    with Store(path) as other, other.immediate():
        assert "the database cannot be written" in unready(client)
        assert client.get("/health").status_code == 200
    assert client.get("/ready").status_code == 200


def test_a_lock_that_is_held_for_a_moment_does_not_count(client: FlaskClient, path: Path) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        with Store(path) as other, other.immediate():
            begun.set()
            go_on.wait(0.3)

    holder = threading.Thread(target=hold)
    holder.start()
    begun.wait()
    assert client.get("/ready").status_code == 200
    go_on.set()
    holder.join()


def test_a_disk_without_room(path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    free = shutil.disk_usage(path.parent).free
    app = create_app(ServiceConfig(db=path, min_disk=free * 2, keys=(hashed(KEY),)))
    client = app.test_client()
    monkeypatch.setattr(logging.getLogger("charloom"), "propagate", True)
    caplog.clear()  # of what the start told
    for _ in range(3):
        assert unready(client) == (
            "the service is not ready: the disk has less room than min_disk must leave (its log says more); what is stored can be read"
        )
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(told) == 1  # a probe comes every few seconds
    assert "--min-disk" in told[0] or "min_disk" in told[0]
    app.extensions["charloom"].close()


def test_jobs_that_wait_in_vain(path: Path, store: Store, add_model: Callable[..., Run], monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(health_module.time, "monotonic", lambda: clock[0])
    app = create_app(ServiceConfig(db=path, workers=1))
    client = app.test_client()

    def after(seconds: float) -> int:
        clock[0] += seconds
        return client.get("/ready").status_code

    first = store.runs.create("first", corpus=None, model_config={}, training_config={"steps": 400}, queued=True)
    assert [after(seconds) for seconds in (0, 29, 2)] == [200, 200, 503]
    assert "jobs wait and no worker takes them" in unready(client)
    claimed = store.queue.claim_next()
    assert claimed is not None
    store.runs.create("second", corpus=None, model_config={}, training_config={"steps": 400}, queued=True)
    assert [after(seconds) for seconds in (0, 100, 100)] == [200, 200, 200]  # the worker has enough to do
    store.runs.release(claimed, "failed")
    assert [after(seconds) for seconds in (0, 29, 2)] == [200, 200, 503]
    app.extensions["charloom"].close()
    idle = create_app(ServiceConfig(db=path, workers=0))  # others may carry them out
    client = idle.test_client()
    assert [after(seconds) for seconds in (0, 100)] == [200, 200]
    idle.extensions["charloom"].close()
    assert first.name == "first"


def test_a_replaced_database_has_one_reason_and_its_own(client: FlaskClient, path: Path) -> None:
    path.rename(path.with_suffix(".moved"))
    assert unready(client) == (
        "the service is not ready: the database file was moved, deleted or replaced (its log says more); what is stored can be read"
    )


def test_damage_that_was_read_is_the_status(app: Flask, client: FlaskClient, add_model: Callable[..., Run], path: Path) -> None:
    add_model("first")
    with Store(path) as store:
        store.db.execute("UPDATE blobs SET data = zeroblob(length(data))")
    assert client.get("/health").get_json()["status"] == "ok"  # it has not been read yet
    assert client.post("/generate", json={"model": "first", "length": 1}).status_code == 500
    health = client.get("/health").get_json()
    assert (health["status"], len(health["damaged"])) == ("damaged", 1)
    assert health["damaged"][0].startswith("checkpoint first@")


# ── as the server asks: with what was read before ────────────────────────────────────────────────────────────────────

READ = {"charloom.state_was_read": True}


def test_a_probe_of_the_server_touches_no_database(app: Flask, client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database.Connections, "_handle", None)
    health = client.get("/health", environ_base=READ).get_json()
    assert (health["status"], health["models"]) == ("ok", 0)
    assert client.get("/ready", environ_base=READ).status_code == 503  # this was never read
    assert client.get("/health", environ_base=READ, headers={"Authorization": f"Bearer {KEY}"}).status_code == 200


def test_what_was_read_long_ago_is_not_told(app: Flask, client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [time.monotonic()]
    monkeypatch.setattr(health_module.time, "monotonic", lambda: clock[0])
    for path in ("/health", "/ready"):
        app.extensions["charloom.read_state"](path)
    for seconds, status, ready in ((health_module.OLD, "ok", 200), (0.1, "unreadable", 503)):
        clock[0] += seconds
        assert client.get("/health", environ_base=READ).get_json()["status"] == status
        assert client.get("/ready", environ_base=READ).status_code == ready


def test_keys_count_as_they_were_read_last(path: Path, store: Store) -> None:
    store.keys.add(hashed(KEY), "one")
    app = create_app(ServiceConfig(db=path))
    client, known = app.test_client(), {"Authorization": f"Bearer {KEY}"}
    assert "models" not in client.get("/health", environ_base=READ).get_json()
    assert "models" in client.get("/health", environ_base=READ, headers=known).get_json()
    store.keys.revoke("one")
    app.extensions["charloom.read_state"]("/health")
    assert "models" not in client.get("/health", environ_base=READ, headers=known).get_json()
    app.extensions["charloom"].close()
