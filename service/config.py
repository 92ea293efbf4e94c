"""What a service is given: the database and its limits. Needs no numpy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class ServiceConfig:
    """`first_model` tells whether a process that trains a first model is at work."""

    db: Path
    max_length: int = 100_000  # symbols of one text
    max_texts: int = 64  # of one request
    max_body: int = 2**20  # bytes
    max_rows: int = 64  # texts written at the same time; more would each be slower, and hardly more done together
    max_waiting: int = 32  # requests
    model_memory: int = 2**29  # bytes of models that wait to be used again
    first_model: Callable[[], bool] = field(default=lambda: False, repr=False)
