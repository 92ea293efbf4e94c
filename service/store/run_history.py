"""Stores the metrics, samples and events of runs."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, NamedTuple

from service.store.database import Connections, now

if TYPE_CHECKING:
    from service.store.runs import Run


# ── metrics ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, kw_only=True)
class Metric:
    """The measurements of a run at a step; None means not measured. Losses are nats per symbol.

    `seconds` is the time spent training so far, over all resumptions. `created_at` is filled in when it is stored.
    """

    step: int
    epoch: float = 0.0
    loss: float | None = None
    validation_loss: float | None = None
    bits_per_char: float | None = None
    learning_rate: float | None = None
    grad_norm: float | None = None
    characters_per_second: float | None = None
    seconds: float = 0.0
    created_at: str = ""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A text drawn at a step of a run. `created_at` is filled in when it is stored."""

    step: int
    text: str
    prompt: str = ""
    temperature: float = 1.0
    seed: int | None = None
    created_at: str = ""


METRIC_COLUMNS = [field.name for field in fields(Metric)]
SAMPLE_COLUMNS = [field.name for field in fields(Sample)]

# A step may be stored twice (after a validation, and again when training stops there): what was measured stays.
UPSERT = f"""
    INSERT INTO metrics (run, {", ".join(METRIC_COLUMNS)}) VALUES (:run, {", ".join(":" + name for name in METRIC_COLUMNS)})
    ON CONFLICT (run, step) DO UPDATE SET
    {", ".join(f"{name} = coalesce(excluded.{name}, {name})" for name in METRIC_COLUMNS if name != "step")}
"""
INSERT_SAMPLE = f"""
    INSERT INTO samples (run, {", ".join(SAMPLE_COLUMNS)}) VALUES (:run, {", ".join(":" + name for name in SAMPLE_COLUMNS)})
"""


def finite(value: float | None) -> float | None:
    """Returns None for infinities and NaN: JSON has no word for them, and a diverged loss is never the best."""
    return value if value is not None and math.isfinite(value) else None


class Metrics:
    """The table `metrics`."""

    def __init__(self, connections: Connections) -> None:
        self._file = connections

    def append(self, run: Run, metrics: Iterable[Metric]) -> None:
        """Stores any number of rows in one transaction. Raises `StoreError`."""
        with self._file.immediate() as db:
            for metric in metrics:
                row = {name: finite(value) if isinstance(value, float) else value for name, value in asdict(metric).items()}
                row["created_at"] = metric.created_at or now()
                db.execute(UPSERT, {**row, "run": run.id})

    def list(self, run: Run, after: int = -1) -> tuple[Metric, ...]:
        """Returns the rows of steps larger than ``after``, in the order of steps."""
        columns = ", ".join(METRIC_COLUMNS)
        rows = self._file.rows(f"SELECT {columns} FROM metrics WHERE run = ? AND step > ? ORDER BY step", run.id, after)
        return tuple(Metric(**row) for row in rows)

    def last(self, run: Run) -> Metric | None:
        """Returns the newest row with a loss, with the last validation loss that was measured."""
        row = self._file.row(
            """SELECT step, loss, (SELECT validation_loss FROM metrics WHERE run = ?1 AND validation_loss IS NOT NULL
            ORDER BY step DESC LIMIT 1) AS validation_loss FROM metrics WHERE run = ?1 AND loss IS NOT NULL ORDER BY step DESC LIMIT 1""",
            run.id,
        )
        return Metric(**row) if row else None


class Samples:
    """The table `samples`."""

    def __init__(self, connections: Connections) -> None:
        self._file = connections

    def replace(self, run: Run, step: int, samples: Iterable[Sample]) -> None:
        """Replaces the samples of one step of a run."""
        with self._file.immediate() as db:
            db.execute("DELETE FROM samples WHERE run = ? AND step = ?", (run.id, step))
            for sample in samples:
                db.execute(INSERT_SAMPLE, {**asdict(sample), "step": step, "run": run.id, "created_at": sample.created_at or now()})

    def list(self, run: Run) -> tuple[Sample, ...]:
        """Returns all samples of a run, in the order of steps."""
        rows = self._file.rows(f"SELECT {', '.join(SAMPLE_COLUMNS)} FROM samples WHERE run = ? ORDER BY step, id", run.id)
        return tuple(Sample(**row) for row in rows)


# ── events ───────────────────────────────────────────────────────────────────────────────────────────────────────────

LEVELS = ("info", "warn", "error")
TYPES = ("message", "metrics")


@dataclass(frozen=True, kw_only=True)
class Event:
    """A message or numbers about a run, which clients follow while it trains.

    `id` ascends within the database. `data` are the numbers of an event of type ``metrics``.
    """

    id: int
    run: str
    created_at: str
    level: str  # one of LEVELS
    message: str
    type: str  # one of TYPES
    data: dict[str, Any] | None


class NewEvent(NamedTuple):
    """An event of type ``metrics`` that is to be stored."""

    message: str
    data: Mapping[str, Any]


class Events:
    """The table `events`."""

    def __init__(self, connections: Connections) -> None:
        self._file = connections

    def add(self, run: Run, message: str, *, level: str = "info", data: Mapping[str, Any] | None = None, durable: bool = True) -> None:
        """Stores an event of a run, ``durable`` as in `Store.immediate`; with `data` it is of type ``metrics``. Raises `StoreError`."""
        self._file.execute(
            "INSERT INTO events (run, created_at, level, type, message, data) VALUES (?, ?, ?, ?, ?, ?)",
            run.id,
            now(),
            level,
            "message" if data is None else "metrics",
            message,
            None if data is None else json.dumps(dict(data), ensure_ascii=False),
            durable=durable,
        )

    def list(
        self, run: Run, *, after: int = 0, before: int | None = None, limit: int = 1000, newest_first: bool = False
    ) -> tuple[Event, ...]:
        """Returns the events of a run with ``after < id < before``, at most `limit`, in the order of ids or in the opposite one."""
        rows = self._file.rows(
            f"""SELECT id, created_at, level, type, message, data FROM events WHERE run = ? AND id > ? AND id < ?
            ORDER BY id {"DESC" if newest_first else "ASC"} LIMIT ?""",
            run.id,
            after,
            before if before is not None else 2**63 - 1,
            limit,
        )
        return tuple(Event(run=run.name, **{**row, "data": json.loads(row["data"]) if row["data"] else None}) for row in rows)
