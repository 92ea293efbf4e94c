"""``GET /metrics``: numbers about the service, in the format of Prometheus.

Requests are counted as they are answered; what the engine, the queue and the store hold is read when somebody asks.
"""

from __future__ import annotations

import time
from collections import Counter as Tally
from collections.abc import Iterator

from flask import Blueprint, Flask, Response, g, request
from prometheus_client import CollectorRegistry, Counter, ProcessCollector, Summary, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from model.errors import StoreError
from service.api.operations import operation
from service.serving import Service
from service.store import STATES

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


def install(app: Flask, service: Service) -> None:
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
        began = g.began  # of service.logs
        response.call_on_close(lambda: durations.labels(route).observe(time.perf_counter() - began))
        return response

    app.register_blueprint(blueprint)
