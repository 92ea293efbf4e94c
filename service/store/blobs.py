"""Stores bytes under their sha256 as long as a checkpoint needs them. All of it runs inside the caller's transaction."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from service.store.database import Connections
from service.system.errors import DatabaseUnusable

LARGEST = 1_000_000_000 - 1000  # bytes; SQLite's default limit for a row (https://sqlite.org/limits.html), less its other columns


def put(file: Connections, data: bytes) -> str:
    """Stores ``data`` once and returns its sha256; what is stored under it already is replaced if it is damaged.

    Raises `DatabaseUnusable` if it is larger than SQLite can hold.
    """
    if len(data) > LARGEST:
        raise DatabaseUnusable(
            str(file.path), f"a part of the checkpoint has {len(data):,} bytes, {LARGEST:,} is the limit; choose a smaller hidden_size"
        )
    sha256 = hashlib.sha256(data).hexdigest()
    stored = file.row("SELECT size, data FROM blobs WHERE sha256 = ?", sha256)
    if stored is None:
        write = "INSERT OR IGNORE INTO blobs (sha256, size, data) VALUES (?, ?, ?)"
    elif stored["data"] != data or stored["size"] != len(data):
        file.damage.is_sound(sha256)
        write = "UPDATE blobs SET size = ?2, data = ?3 WHERE sha256 = ?1"
    else:
        return sha256
    file.execute(write, sha256, len(data), data)
    file.execute(write, sha256 if stored is None else "", 0, b"")  # SQLite keeps a copy of what a statement was given last
    return sha256


def used_by(file: Connections, run: int) -> set[str]:
    """Returns the sha256 of the blobs that the checkpoints of a run need."""
    rows = file.rows("SELECT model_sha256, state_sha256 FROM checkpoints WHERE run = ?", run)
    return {sha256 for row in rows for sha256 in row.values() if sha256}


def drop_unused(file: Connections, candidates: Iterable[str]) -> None:
    """Deletes those of ``candidates`` that no checkpoint of any run needs."""
    for sha256 in candidates:
        file.execute(
            """DELETE FROM blobs WHERE sha256 = ?1 AND NOT EXISTS (SELECT 1 FROM checkpoints WHERE model_sha256 = ?1)
            AND NOT EXISTS (SELECT 1 FROM checkpoints WHERE state_sha256 = ?1)""",
            sha256,
        )
