"""What the service tells about itself."""

from __future__ import annotations

from typing import Literal

from service.api.shapes.base import Count, Shape


class Training(Shape, kw_only=True):
    """What is being trained; `share` is None where it cannot be told, `run` where it has only just begun."""

    run: str | None
    share: float | None
    step: int
    epoch: float
    validation_loss: float | None


class Health(Shape, kw_only=True):
    """Whether the service can do its work."""

    status: Literal["ok", "training"]
    version: str
    sqlite_version: str
    journal_mode: str
    models: Count
    training: Training | None
    rows: Count
    waiting: Count
