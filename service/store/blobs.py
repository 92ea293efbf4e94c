"""Stores bytes under their sha256 as long as a checkpoint needs them. All of it runs inside the caller's transaction."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

from service.store.database import Connections
from service.system.errors import DatabaseUnusable

PIECE = 2**22  # bytes that are read at a time: a handle finds its place in the file by a list of pages, which takes time
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


def pieces(file: Connections, sha256: str) -> Iterator[bytes]:
    """Yields stored bytes in pieces; no lock is held between two. Less than all of them comes if they are removed meanwhile."""
    start = 0
    while row := file.row("SELECT rowid, size FROM blobs WHERE sha256 = ? AND length(data) > ?", sha256, start):
        with file.using() as db, _opened(db.conn, row["rowid"]) as blob:
            blob.seek(start)
            piece: bytes = blob.read(PIECE)
        start += len(piece)
        yield piece


def _opened(connection: Any, rowid: int) -> Any:
    """Returns a handle of stored bytes, by which a part is read without the rest; pysqlite3 has another name for it than Python."""
    open_blob = getattr(connection, "open_blob", None) or connection.blobopen
    return open_blob("blobs", "data", rowid, readonly=True)


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
