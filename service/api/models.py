"""``GET /v1/models``: what can write."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from flask import Blueprint, Response

from model.errors import NoModelYet
from service.api.answers import answer
from service.serving import Service
from service.store import Run


def routes(service: Service) -> Blueprint:
    """The route and its view."""
    blueprint = Blueprint("models", __name__)

    @blueprint.get("/v1/models")
    def models() -> Response:
        try:
            latest = service.store.runs.latest().name
        except NoModelYet:
            latest = None
        data = [described(service, run, latest) for run in service.store.runs.list() if run.checkpoints]
        return answer({"object": "list", "data": data})

    return blueprint


def described(service: Service, run: Run, latest: str | None) -> dict[str, Any]:
    """A run that has a checkpoint, in the shape that clients of OpenAI's API know; what that has no word for is in ``meta``."""
    checkpoints = service.store.checkpoints.list(run)
    size = service.models.size(run)
    meta = {
        "latest": run.name == latest,
        "state": run.state,
        "corpus": run.corpus,
        "cell": run.model_config["cell"],
        "hidden_size": run.model_config["hidden_size"],
        "num_layers": run.model_config["num_layers"],
        "level": run.model_config["level"],
        "parameters": size and size.parameters,
        "alphabet_size": size and size.alphabet_size,
        "step": run.step,
        "epoch": run.epoch,
        "seconds": run.seconds,
        "loss": next((each.loss for each in reversed(checkpoints) if each.loss is not None), None),
        "validation_loss": run.best_validation_loss,
        "bits_per_char": run.best_bits_per_char,
        "best_step": next((each.step for each in checkpoints if each.best), None),
        "steps": [each.step for each in checkpoints],
    }
    created = int(datetime.fromisoformat(run.created_at).timestamp())
    return {"id": run.name, "object": "model", "created": created, "owned_by": "charloom", "meta": meta}
