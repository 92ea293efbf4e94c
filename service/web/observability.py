"""Prometheus metrics and GET /health.

``GET /metrics``: numbers about the service, in the format of Prometheus.

Requests are counted as they are answered; what the engine, the queue and the store hold is read when somebody asks.

``GET /health``: whether the service can do its work, and what is being trained.
"""

from __future__ import annotations

import logging
import re
import secrets
import time
from collections import Counter as Tally
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any
from urllib.parse import quote

from flask import Blueprint, Flask, Response, g, has_request_context, request
from prometheus_client import CollectorRegistry, Counter, ProcessCollector, Summary, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from service.store import STATES
from service.system.errors import StoreError
from service.web.api.protocol import Health, Training
from service.web.api.responses import answer
from service.web.openapi import operation
from service.web.state import Service

# ── metrics ──────────────────────────────────────────────────────────────────────────────────────────────────────────

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Collector:
    """What is known at the moment of asking: the engine's work, and the runs of the store."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def collect(self) -> Iterator[Metric]:
        """Everything but the requests. A store that cannot be read leaves its part out."""
        engine, measured = self._service.engine, self._service.measurements
        yield CounterMetricFamily("charloom_characters", "Characters written", measured.characters)
        yield GaugeMetricFamily("charloom_rows_active", "Texts that are being written", engine.rows)
        yield GaugeMetricFamily("charloom_rows_limit", "Texts that may be written at the same time", self._service.config.max_rows)
        yield GaugeMetricFamily("charloom_requests_waiting", "Requests that wait for their turn", engine.waiting)
        for name, meaning, histogram in (
            ("charloom_first_characters_seconds", "From a request to its first characters", measured.first),
            ("charloom_step_seconds", "One turn of a model: a few steps for all its texts", measured.step),
        ):
            family = HistogramMetricFamily(name, meaning)
            family.add_metric([], histogram.cumulative(), histogram.sum)
            yield family
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


def install_metrics(app: Flask, service: Service) -> None:
    """Count the requests of `app`, and give it the route."""
    disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each counter, of no use here
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    requests = Counter("charloom_requests", "Requests that were answered", ["route", "method", "status"], registry=registry)
    durations = Summary("charloom_request_seconds", "Time until the last byte of an answer", ["route"], registry=registry)
    registry.register(Collector(service))
    blueprint = Blueprint("metrics", __name__)

    @blueprint.get("/metrics")
    @operation("service", media="text/plain")
    def metrics() -> Response:
        """Tell what the service does in numbers, in the format of Prometheus."""
        return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)

    @app.after_request
    def count(response: Response) -> Response:
        route = request.url_rule.rule if request.url_rule else "none"  # a path that somebody made up is no label
        method = request.method if request.method in METHODS else "other"
        requests.labels(route, method, str(response.status_code)).inc()
        began = g.began  # of install_request_log
        response.call_on_close(lambda: durations.labels(route).observe(time.perf_counter() - began))
        return response

    app.register_blueprint(blueprint)


# ── the log of requests ───────────────────────────────────────────────────────────────────────────────────────────────

HEADER = "X-Request-ID"
SANE = re.compile(r"[A-Za-z0-9._:-]{1,64}")  # what may stand in a log and in a header as it came
# Polled by a page, a container or a monitor: logged only if they fail.
QUIET = frozenset({"health.health", "pages.index", "static", "metrics.metrics"})

log = logging.getLogger("charloom")


def with_request_id(record: logging.LogRecord) -> bool:
    """Adds the id of the present request to a log record. A filter that lets all records pass."""
    if has_request_context():
        record.request_id = g.get("request_id")
    return True


log.addFilter(with_request_id)


def install_request_log(app: Flask) -> None:
    """Give each request its id and the time when it began (`flask.g.request_id`, `g.began`), and log its answer when all is sent."""

    @app.before_request
    def begin() -> None:
        g.began = time.perf_counter()
        given = request.headers.get(HEADER, "")
        g.request_id = given if SANE.fullmatch(given) else secrets.token_hex(12)

    @app.after_request
    def answered(response: Response) -> Response:
        response.headers[HEADER] = g.request_id
        facts = {
            "request_id": g.request_id,
            "method": request.method,
            "path": quote(request.path[:200]),  # so that nobody can forge a line
            "route": request.url_rule.rule if request.url_rule else None,
            "status": response.status_code,
            "caller": g.get("caller"),
        }
        level = logging.DEBUG if request.endpoint in QUIET and response.status_code < 400 else logging.INFO
        began = g.began
        response.call_on_close(lambda: write(level, facts, time.perf_counter() - began))
        return response


def write(level: int, facts: dict[str, Any], seconds: float) -> None:
    """One record about an answer."""
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


def health_routes(service: Service, version: str) -> Blueprint:
    """The route and its view."""
    blueprint = Blueprint("health", __name__)

    @blueprint.get("/health")
    @operation("service", answer=Health)
    def health() -> Response:
        """Say whether the service can do its work, and what is being trained."""
        models = sum(run.checkpoints > 0 for run in service.store.runs.list())
        training = service.training()
        return answer(
            Health(
                status="training" if training and not models else "ok",
                version=version,
                sqlite_version=service.store.sqlite_version,
                journal_mode=service.store.journal_mode,
                models=models,
                training=Training(**asdict(training)) if training else None,
                rows=service.engine.rows,
                waiting=service.engine.waiting,
            )
        )

    return blueprint
