"""``GET /health``: whether the service can do its work, and what is being trained."""

from __future__ import annotations

from dataclasses import asdict

from flask import Blueprint, Response

from service.api.answers import answer
from service.api.operations import operation
from service.api.shapes import Health, Training
from service.serving import Service


def routes(service: Service, version: str) -> Blueprint:
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
