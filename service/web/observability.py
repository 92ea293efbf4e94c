"""Counts, logs and reports the service's work: ``/metrics`` for Prometheus, a log line for each request.

Requests and steps are counted as they happen. The state of the engine, of the queue and of the store is read for each answer.
"""

from __future__ import annotations

import json
import logging
import re
import secrets
import time
from collections import Counter as Tally
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from flask import Blueprint, Flask, Response, g, has_request_context, request
from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, Summary, disable_created_metrics
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from service.generation.engine import Observer
from service.store import STATES
from service.system.errors import StoreError
from service.web.errors import error_object
from service.web.openapi import operation
from service.web.state import Service

# ── metrics ──────────────────────────────────────────────────────────────────────────────────────────────────────────

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# Upper ends of the buckets, in seconds
FIRST_CHARACTERS_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)
TURN_BUCKETS = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0)


class EngineMetrics(Observer):
    """Counts the engine's work in a registry. A turn costs about 2 microseconds more by it."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._characters = Counter("charloom_characters", "Characters written", registry=registry)
        self._first = Histogram(
            "charloom_first_characters_seconds",
            "From a request to its first characters",
            buckets=FIRST_CHARACTERS_BUCKETS,
            registry=registry,
        )
        self._turn = Histogram(
            "charloom_step_seconds", "One turn of a model: a few steps for all its texts", buckets=TURN_BUCKETS, registry=registry
        )

    def first_characters(self, seconds: float) -> None:
        self._first.observe(seconds)

    def turn(self, seconds: float, characters: int) -> None:
        self._turn.observe(seconds)
        self._characters.inc(characters)


class StateCollector:
    """Reads the state of the engine and of the runs for each answer."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def collect(self) -> Iterator[Metric]:
        """Yield the gauges; those of the runs are left out if the store cannot be read."""
        engine, store = self._service.engine, self._service.store
        yield GaugeMetricFamily("charloom_rows_active", "Texts that are being written", engine.rows)
        yield GaugeMetricFamily("charloom_rows_limit", "Texts that may be written at the same time", self._service.config.max_rows)
        yield GaugeMetricFamily("charloom_requests_waiting", "Requests that wait for their turn", engine.waiting)
        yield GaugeMetricFamily(
            "charloom_damaged", "Things in the database that were found damaged when they were read", len(store.damaged)
        )
        yield GaugeMetricFamily("charloom_disk_free_bytes", "Room on the disk of the database", store.room.free)
        yield GaugeMetricFamily("charloom_disk_least_bytes", "Room that what is stored leaves there", store.room.least)
        yield GaugeMetricFamily("charloom_disk_reserve_bytes", "Room that is kept for what makes room", store.room.reserve)
        try:
            yield from self._runs()
        except StoreError:
            return

    def _runs(self) -> Iterator[Metric]:
        runs = self._service.store.runs.list()
        states = Tally(run.state for run in runs)
        jobs = GaugeMetricFamily("charloom_jobs", "Training runs by state", labels=["state"])
        for state in STATES:
            jobs.add_metric([state], states[state])
        yield jobs
        running = [run for run in runs if run.state == "running"]
        steps = GaugeMetricFamily("charloom_job_step", "Steps of a running job", labels=["run"])
        losses = GaugeMetricFamily("charloom_job_loss", "Loss of a running job, in nats per character", labels=["run"])
        validation = GaugeMetricFamily("charloom_job_validation_loss", "Its last validation loss, in nats per character", labels=["run"])
        for run in running:
            last = self._service.store.metrics.last(run)
            steps.add_metric([run.name], last.step if last else run.step)
            if last is not None and last.loss is not None:
                losses.add_metric([run.name], last.loss)
            if last is not None and last.validation_loss is not None:
                validation.add_metric([run.name], last.validation_loss)
        yield from (steps, losses, validation)


def new_registry() -> CollectorRegistry:
    """Return a registry that reports the process."""
    disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each counter, of no use here
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    return registry


def install_metrics(app: Flask, service: Service, registry: CollectorRegistry) -> Callable[[int], None]:
    """Count the requests of `app` in `registry`, and add the route that shows it.

    Returns a function that counts a request that the server refuses, by its status.
    """
    requests = Counter("charloom_requests", "Requests that were answered", ["route", "method", "status"], registry=registry)
    durations = Summary("charloom_request_seconds", "Time until the last byte of an answer", ["route"], registry=registry)
    registry.register(StateCollector(service))
    blueprint = Blueprint("metrics", __name__)

    @blueprint.get("/metrics")
    @operation("service", media="text/plain")
    def metrics() -> Response:
        """Report the work of the service in the format of Prometheus."""
        return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)

    @app.after_request
    def count(response: Response) -> Response:
        route = request.url_rule.rule if request.url_rule else "none"  # an unknown path would make a new label
        method = request.method if request.method in METHODS else "other"
        requests.labels(route, method, str(response.status_code)).inc()
        began = g.began  # set by install_request_log
        response.call_on_close(lambda: durations.labels(route).observe(time.perf_counter() - began))
        return response

    app.register_blueprint(blueprint)
    return lambda status: requests.labels("none", "none", str(status)).inc()


# ── request log ───────────────────────────────────────────────────────────────────────────────────────────────────────

HEADER = "X-Request-ID"
VALID_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")  # a client's id that is safe in a log and in a header
# Polled by a page, a container or a monitor: logged only if they fail.
QUIET = frozenset({"health.health", "health.ready", "pages.index", "static", "metrics.metrics"})

log = logging.getLogger("charloom")


def request_id(given: str) -> str:
    """Return the id of a request: the one that its client has given, or a new one."""
    return given if VALID_ID.fullmatch(given) else secrets.token_hex(12)


def with_request_id(record: logging.LogRecord) -> bool:
    """Add the id of the current request to a log record: a filter that lets all records pass."""
    if has_request_context():
        record.request_id = g.get("request_id")
    return True


log.addFilter(with_request_id)


def install_request_log(app: Flask) -> None:
    """Give each request its id and its start time (`flask.g.request_id`, `g.began`), and log its answer once its last byte is sent."""

    @app.before_request
    def begin() -> None:
        g.began = time.perf_counter()
        g.request_id = request_id(request.headers.get(HEADER, ""))

    @app.after_request
    def answered(response: Response) -> Response:
        response.headers[HEADER] = g.request_id
        facts = {
            "request_id": g.request_id,
            "method": request.method,
            "path": quote(request.path[:200]),  # so that no path can forge a line
            "route": request.url_rule.rule if request.url_rule else None,
            "status": response.status_code,
            "caller": g.get("caller"),
        }
        level = logging.DEBUG if request.endpoint in QUIET and response.status_code < 400 else logging.INFO
        began = g.began
        response.call_on_close(lambda: log_answer(level, facts, time.perf_counter() - began))
        return response


def log_answer(level: int, facts: dict[str, Any], seconds: float) -> None:
    """Log one answer, with `facts` for the JSON format."""
    log.log(
        level,
        "%s %s %s %.3f s",
        facts["method"],
        facts["path"],
        facts["status"],
        seconds,
        extra={"facts": {**facts, "seconds": round(seconds, 6)}},
    )


# ── refusals by the server ───────────────────────────────────────────────────────────────────────────────────────────

Headers = list[tuple[bytes, bytes]]


class Refusals:
    """Answers requests that the application never sees: in the one shape of errors, with an id, counted and logged as others."""

    def __init__(self, count: Callable[[int], None] = lambda status: None) -> None:
        """`count` is called with each status."""
        self._count = count

    def response(self, status: int, message: str, client: str, given_id: str = "") -> tuple[Headers, bytes]:
        """Return the headers and the body of an error response, after which the connection ends."""
        self._count(status)
        id_ = request_id(given_id)
        facts = {"request_id": id_, "route": None, "status": status, "address": client}
        log.info("a request from %s is refused with %d: %s", client, status, message, extra={"facts": facts, "request_id": id_})
        error = error_object(status, message, HTTPStatus(status).name.lower())
        body = json.dumps(error).encode() + b"\n"
        headers = [
            (b"connection", b"close"),
            (b"content-type", b"application/json"),
            (b"x-content-type-options", b"nosniff"),
            (HEADER.lower().encode(), id_.encode()),
            (b"content-length", str(len(body)).encode()),
        ]
        if status == 503:
            headers.append((b"retry-after", b"1"))
        return headers, body


def as_bytes(status: int, headers: Headers, body: bytes) -> bytes:
    """Return a whole HTTP/1.1 response."""
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}".encode(), *(name + b": " + value for name, value in headers)]
    return b"\r\n".join([*lines, b"", b""]) + body
