"""Runs and checkpoints as models."""

from __future__ import annotations

from typing import Literal

from service.api.shapes.base import Seconds, Shape


class ModelFacts(Shape, kw_only=True):
    """What is known about a model. Losses are nats per symbol; sizes are None where no checkpoint can be read."""

    latest: bool
    state: str
    corpus: str | None
    cell: str
    hidden_size: int
    num_layers: int
    level: str
    parameters: int | None
    alphabet_size: int | None
    step: int
    epoch: float
    seconds: float
    loss: float | None
    validation_loss: float | None
    bits_per_char: float | None
    best_step: int | None
    steps: list[int]


class Model(Shape, kw_only=True):
    """A run that has a checkpoint, or one checkpoint of it."""

    id: str
    object: Literal["model"] = "model"
    created: Seconds
    owned_by: Literal["charloom"] = "charloom"
    meta: ModelFacts
