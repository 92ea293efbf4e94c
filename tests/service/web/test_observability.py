"""``GET /health``, also while the first model is trained, and ``GET /metrics``, read by Prometheus' own parser."""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from service.store import Metric, Run, Store, database
from service.store.api_keys import hashed
from service.system import hardware
from service.system.errors import StoreError
from service.web import observability
from service.web.app import create_app
from service.web.observability import FIRST_CHARACTERS_BUCKETS, TURN_BUCKETS, EngineMetrics
from service.web.service_config import ServiceConfig

# ── metrics ──────────────────────────────────────────────────────────────────────────────────────────────────────────

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture
def app(path: Path) -> Iterator[Flask]:
    app = create_app(ServiceConfig(db=path, max_rows=7))
    yield app
    app.extensions["charloom"].close()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


def scraped(client: FlaskClient) -> Samples:
    """(name, labels) -> value"""
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert answer.mimetype == "text/plain"
    families = text_string_to_metric_families(answer.get_data(as_text=True))
    return {(sample.name, frozenset(sample.labels.items())): sample.value for family in families for sample in family.samples}


def one(samples: Samples, name: str, **labels: str) -> float:
    return samples[name, frozenset(labels.items())]


def test_requests_are_counted_by_route_method_and_status(client: FlaskClient) -> None:
    for _ in range(3):
        client.get("/health").close()
    client.head("/health").close()
    client.get("/somebody/made/this/up").close()
    client.get("/another").close()
    client.open("/health", method="BREW").close()
    client.post("/generate", json={"length": -1}).close()
    found = scraped(client)
    assert one(found, "charloom_requests_total", route="/health", method="GET", status="200") == 3
    assert one(found, "charloom_requests_total", route="/health", method="HEAD", status="200") == 1
    assert one(found, "charloom_requests_total", route="none", method="GET", status="404") == 2
    assert one(found, "charloom_requests_total", route="none", method="other", status="405") == 1
    assert one(found, "charloom_requests_total", route="/generate", method="POST", status="400") == 1
    assert one(found, "charloom_request_seconds_count", route="/health") == 4
    assert not any(name.endswith("_created") for name, _ in found)


def test_what_was_written_is_counted(client: FlaskClient, add_model: Callable[..., Run]) -> None:
    add_model()
    text = client.post("/generate", json={"length": 120, "seed": 1}).get_json()["text"]
    with client.post("/generate", json={"length": 30, "n": 2, "stream": True}) as answer:
        assert answer.get_data()
    found = scraped(client)
    assert one(found, "charloom_characters_total") >= len(text) + 60
    assert one(found, "charloom_first_characters_seconds_count") == 2
    assert one(found, "charloom_first_characters_seconds_bucket", le="+Inf") == 2
    assert one(found, "charloom_first_characters_seconds_sum") > 0
    assert one(found, "charloom_step_seconds_count") > 1
    assert one(found, "charloom_step_seconds_sum") > 0
    assert one(found, "charloom_rows_active") == one(found, "charloom_requests_waiting") == 0
    assert one(found, "charloom_rows_limit") == 7


def test_durations_fall_into_buckets_by_their_upper_ends() -> None:
    registry = CollectorRegistry()
    metrics = EngineMetrics(registry)
    for seconds in (0.001, 0.005, 0.3, 100.0):
        metrics.first_characters(seconds)
    for seconds in (1e-5, 2e-5, 5.0):
        metrics.turn(seconds, 3)

    def buckets(name: str, ends: tuple[float, ...]) -> list[float | None]:
        return [registry.get_sample_value(f"{name}_bucket", {"le": end}) for end in (*map(str, ends), "+Inf")]

    first = buckets("charloom_first_characters_seconds", FIRST_CHARACTERS_BUCKETS)
    assert first == [2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 4]
    assert buckets("charloom_step_seconds", TURN_BUCKETS) == [1, *[2] * 10, 3]
    assert registry.get_sample_value("charloom_characters_total") == 9


def test_jobs_and_the_losses_of_those_that_run(client: FlaskClient, store: Store, add_model: Callable[..., Run]) -> None:
    add_model("done")
    add_model("stopped", state="paused")
    run = add_model("busy", state="running")
    store.metrics.append(run, [Metric(step=110, loss=1.5, validation_loss=1.75), Metric(step=120, loss=1.25)])
    found = scraped(client)
    states = {dict(labels)["state"]: value for (name, labels), value in found.items() if name == "charloom_jobs"}
    assert states == {"queued": 0, "running": 1, "paused": 1, "succeeded": 1, "failed": 0, "cancelled": 0}
    assert one(found, "charloom_job_loss", run="busy") == 1.25
    assert one(found, "charloom_job_validation_loss", run="busy") == 1.75
    assert one(found, "charloom_job_step", run="busy") == 120
    assert {dict(labels)["run"] for name, labels in found if name.startswith("charloom_job_")} == {"busy"}


def test_a_store_that_cannot_be_read_leaves_only_its_part_out(client: FlaskClient, app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise StoreError("it is damaged")

    monkeypatch.setattr(app.extensions["charloom"].store.runs, "list", fail)
    found = scraped(client)
    assert one(found, "charloom_characters_total") == 0
    assert not any(name.startswith("charloom_job") for name, _ in found)


def test_it_tells_of_its_process(client: FlaskClient) -> None:
    found = scraped(client)
    if ("process_resident_memory_bytes", frozenset()) not in found:
        pytest.skip("this system has no /proc")
    assert one(found, "process_resident_memory_bytes") > 2**20


def test_it_needs_a_key_where_keys_are_set(path: Path) -> None:
    app = create_app(ServiceConfig(db=path, keys=(hashed("0123456789abcdef"),)))
    assert app.test_client().get("/metrics").status_code == 401
    assert app.test_client().get("/metrics", headers={"Authorization": "Bearer 0123456789abcdef"}).status_code == 200
    app.extensions["charloom"].close()


def test_two_services_of_one_process_count_apart(path: Path, tmp_path: Path) -> None:
    apps = [create_app(path), create_app(tmp_path / "other.db")]
    apps[0].test_client().get("/health").close()
    counted = [any(dict(labels).get("route") == "/health" for _, labels in scraped(app.test_client())) for app in apps]
    assert counted == [True, False]
    for app in apps:
        app.extensions["charloom"].close()


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
    monkeypatch.setattr(observability.time, "monotonic", lambda: clock[0])
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
