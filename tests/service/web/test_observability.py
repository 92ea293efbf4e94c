"""``GET /metrics``, read by Prometheus' own parser."""

from __future__ import annotations

import http.client
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from service.store import Metric, Run, Store
from service.store.api_keys import hashed
from service.system.errors import StoreError
from service.web.app import create_app
from service.web.observability import FIRST_CHARACTERS_BUCKETS, TURN_BUCKETS, EngineMetrics, Refusals, as_bytes
from service.web.service_config import ServiceConfig

# ── metrics ──────────────────────────────────────────────────────────────────────────────────────────────────────────

Server = Any  # of conftest.py
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


# ── refusals by the server ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("status", "kind"), [(408, "invalid_request_error"), (503, "server_error")])
def test_a_refusal_has_the_one_shape(status: int, kind: str) -> None:
    head, body = as_bytes(status, *Refusals().response(status, "no", "10.0.0.7")).split(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert f"content-length: {len(body)}".encode() in head
    assert (b"retry-after: 1" in head) == (status != 408)
    error = json.loads(body)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["message"], error["type"]) == ("no", kind)


def test_it_is_logged_with_the_id_that_the_client_gave(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger("charloom"), "propagate", True)
    caplog.set_level(logging.INFO)
    headers, _ = Refusals().response(431, "no", "10.0.0.7", "mine-1")
    assert (b"x-request-id", b"mine-1") in headers
    [record] = caplog.records
    assert record.request_id == "mine-1"  # type: ignore[attr-defined]
    assert "10.0.0.7" in record.getMessage()
    headers, _ = Refusals().response(431, "no", "10.0.0.7", "not\r\nvalid")
    assert len(dict(headers)[b"x-request-id"]) == 24


def test_a_real_server_counts_what_it_refuses(server: Server) -> None:
    for sent, status in (
        (b"no HTTP at all\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Request-ID: far-too-long\r\n\r\n".replace(b"/health", b"/" * 9000), 414),
        (b"GET /health HTTP/1.1\r\nHost: localhost\r\n" + (b"X: " + b"y" * 94 + b"\r\n") * 400 + b"\r\n", 431),
    ):
        with server.connect(sent) as connection, connection.makefile("rb") as answer:
            data = answer.read()
            assert int(data.split()[1]) == status
            assert b"x-request-id: " in data
            assert (b"x-request-id: far-too-long\r\n" in data) == (status == 414)
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    connection.request("GET", "/metrics")
    metrics = connection.getresponse().read().decode()
    connection.close()
    for status in (400, 414, 431):
        assert f'charloom_requests_total{{method="none",route="none",status="{status}"}} 1.0' in metrics


def test_damage_and_the_disk_have_gauges(client: FlaskClient, app: Flask) -> None:
    found = scraped(client)
    room = app.extensions["charloom"].store.room
    assert one(found, "charloom_damaged") == 0
    assert one(found, "charloom_disk_free_bytes") > 0
    assert one(found, "charloom_disk_least_bytes") == room.least
    assert one(found, "charloom_disk_reserve_bytes") == (Path(f"{room._database}.reserve").stat().st_size if room.reserve else 0)
    app.extensions["charloom"].store._file.damage.note("checkpoint first@100", "for this test")
    assert one(scraped(client), "charloom_damaged") == 1
