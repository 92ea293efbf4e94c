"""Counts, logs and reports the service's work: ``/metrics`` for Prometheus, ``/health`` and ``/ready``, a log line for each request.

Requests and steps are counted as they happen. The state of the engine, of the queue and of the store is read for each answer.
"""

from __future__ import annotations

import logging
import re
import secrets
import threading
import time
from collections import Counter as Tally
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any
from urllib.parse import quote

import msgspec
from flask import Blueprint, Flask, Response, g, has_request_context, request
from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, Summary, disable_created_metrics
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from model.errors import CharloomError
from service.generation.engine import Observer
from service.store import STATES
from service.system import hardware
from service.system.errors import NotReady, NoWorker, StoreError
from service.web.api.protocol import Health, Ready, Training
from service.web.api.responses import answer
from service.web.auth import is_known
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
        engine = self._service.engine
        yield GaugeMetricFamily("charloom_rows_active", "Texts that are being written", engine.rows)
        yield GaugeMetricFamily("charloom_rows_limit", "Texts that may be written at the same time", self._service.config.max_rows)
        yield GaugeMetricFamily("charloom_requests_waiting", "Requests that wait for their turn", engine.waiting)
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


def install_metrics(app: Flask, service: Service, registry: CollectorRegistry) -> None:
    """Count the requests of `app` in `registry`, and add the route that shows it."""
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


# ── request log ───────────────────────────────────────────────────────────────────────────────────────────────────────

HEADER = "X-Request-ID"
VALID_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")  # a client's id that is safe in a log and in a header
# Polled by a page, a container or a monitor: logged only if they fail.
QUIET = frozenset({"health.health", "health.ready", "pages.index", "static", "metrics.metrics"})

log = logging.getLogger("charloom")


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
        given = request.headers.get(HEADER, "")
        g.request_id = given if VALID_ID.fullmatch(given) else secrets.token_hex(12)

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


# ── health ───────────────────────────────────────────────────────────────────────────────────────────────────────────

NEGLECT = 30.0  # seconds that a job may wait for a worker that has nothing to do; one that has ended is replaced after 5


class Readiness:
    """Finds out whether the service can do all of its work: write to the database and the disk, and train what was ordered."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._neglected: dict[int, float] = {}  # id of a run -> when it was first seen to wait for an idle worker
        self._told: list[str] = []
        self._lock = threading.Lock()

    def check(self) -> None:
        """Raise `NotReady` with all reasons, in words that give nothing away: no key is needed. The log has the details, once."""
        reasons, details = [], []
        checks: tuple[tuple[str, Callable[[], None]], ...] = (
            ("the database cannot be written", self._service.store.check_writable),
            ("the disk has less room than min_disk must leave", self._service.check_room),
            ("jobs wait and no worker takes them", self._check_worker),
        )
        for words, check in checks:
            try:
                check()
            except CharloomError as error:
                reasons.append(words)
                details.append(str(error))
        with self._lock:
            told, self._told = self._told, reasons
        if reasons and reasons != told:
            log.warning("not ready: %s", "; ".join(details))
        if reasons:
            raise NotReady(reasons)
        if told:
            log.warning("ready again")

    def _check_worker(self) -> None:
        workers, now = self._service.config.workers, time.monotonic()
        found = self._service.store.queue.neglected(workers) if workers else []
        with self._lock:
            self._neglected = {run.id: self._neglected.get(run.id, now) for run in found}
        for run in found:
            if now - self._neglected[run.id] > NEGLECT:
                raise NoWorker(run.name, self._service.store.path)


def health_routes(service: Service, version: str) -> Blueprint:
    """Return the blueprint of `/health` and `/ready`."""
    blueprint = Blueprint("health", __name__)
    readiness = Readiness(service)

    @blueprint.get("/health")
    @operation("service", answer=Health)
    def health() -> Response:
        """Report that the service is alive, with its state and what is being trained.

        The status is 200 as long as requests are answered, whatever the state is.
        """
        try:
            models = sum(run.checkpoints > 0 for run in service.store.runs.list())
            training = service.training()
        except StoreError:
            found = Health(status="unreadable", version=version, training=None)
        else:
            now = Training(**asdict(training)) if training else None
            found = Health(status="training" if training and not models else "ok", version=version, training=now, models=models)
        if not is_known():
            hidden = found.training and msgspec.structs.replace(found.training, run=None)
            return answer(Health(status=found.status, version=version, training=hidden))
        found.arithmetic, found.threads = hardware.arithmetic(), hardware.cores()
        found.sqlite_version, found.journal_mode = service.store.sqlite_version, service.store.journal_mode
        found.rows, found.waiting = service.engine.rows, service.engine.waiting
        found.disk_free, found.no_room = service.store.room.free, service.store.room.shortage()
        found.no_reserve, found.damaged = service.store.room.no_reserve(), service.store.damaged
        return answer(found)

    @blueprint.get("/ready")
    @operation("service", answer=Ready, raises=(NotReady,))
    def ready() -> Response:
        """Report whether the service can do all of its work: 200 if it can, else 503 with the reasons.

        It can if the database can be written, the disk has the room that `min_disk` must leave, and no job has waited for 30 seconds
        although its workers have nothing to do. Reading, and generating text, need none of these.
        """
        readiness.check()
        return answer(Ready(status="ready"))

    return blueprint
