"""What happened to runs, in words and numbers: what a client follows while a job trains."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from service.store.connection import Connections
from service.store.times import now

if TYPE_CHECKING:
    from service.store.runs import Run

LEVELS = ("info", "warn", "error")
TYPES = ("message", "metrics")


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened to a run. `id` ascends within the database. `data` are the numbers of an event of type ``metrics``."""

    id: int
    run: str
    created_at: str
    level: str  # one of LEVELS
    message: str
    type: str  # one of TYPES
    data: dict[str, Any] | None


class Events:
    """The table `events`."""

    def __init__(self, connections: Connections) -> None:
        self._file = connections

    def add(self, run: Run, message: str, *, level: str = "info", data: Mapping[str, Any] | None = None) -> None:
        """Note what happened to a run; with `data` it is of type ``metrics``. Raises `StoreError`."""
        self._file.execute(
            "INSERT INTO events (run, created_at, level, type, message, data) VALUES (?, ?, ?, ?, ?, ?)",
            run.id,
            now(),
            level,
            "message" if data is None else "metrics",
            message,
            None if data is None else json.dumps(dict(data), ensure_ascii=False),
        )

    def list(
        self, run: Run, *, after: int = 0, before: int | None = None, limit: int = 1000, newest_first: bool = False
    ) -> tuple[Event, ...]:
        """The events of a run with ``after < id < before``, at most `limit`, in the order of ids or in the opposite one."""
        rows = self._file.rows(
            f"""SELECT id, created_at, level, type, message, data FROM events WHERE run = ? AND id > ? AND id < ?
            ORDER BY id {"DESC" if newest_first else "ASC"} LIMIT ?""",
            run.id,
            after,
            before if before is not None else 2**63 - 1,
            limit,
        )
        return tuple(Event(run=run.name, **{**row, "data": json.loads(row["data"]) if row["data"] else None}) for row in rows)
