"""Keys that were made here: their names, when they were made and used, and their hashes. A key itself is never stored."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from sqlite_utils import Database

from model.errors import KeyNotFound, NameTaken, StoreError
from service.store import names
from service.store.connection import Connections
from service.store.times import now


@dataclass(frozen=True, kw_only=True)
class Key:
    """What is known about a key; `used_at` is right to a minute, and None before its first use."""

    id: int
    name: str
    created_at: str
    used_at: str | None


class Keys:
    """The table `keys`."""

    def __init__(self, connections: Connections) -> None:
        self._file = connections

    def add(self, sha256: str, name: str | None = None) -> Key:
        """Store the hash of a key, under a name made up where none is given. Raises `InvalidName` and `NameTaken`."""
        if name is not None:
            names.checked("key", name)
        with self._file.immediate() as db:
            if name is None:
                name = names.free("key", "key", self._has)
            elif self._has(name):
                raise NameTaken("key", name)
            db.execute("INSERT INTO keys (name, sha256, created_at) VALUES (?, ?, ?)", (name, sha256, now()))
            return next(key for key in self.list() if key.name == name)

    def list(self) -> tuple[Key, ...]:
        """All keys, the oldest first."""
        return tuple(Key(**row) for row in self._file.rows("SELECT id, name, created_at, used_at FROM keys ORDER BY id"))

    def hashes(self) -> dict[str, str]:
        """Name -> SHA-256 in hexadecimal."""
        return {row["name"]: row["sha256"] for row in self._file.rows("SELECT name, sha256 FROM keys ORDER BY id")}

    def revoke(self, name: str) -> None:
        """Forget a key: from now on it opens nothing. Raises `KeyNotFound`."""
        if not self._file.execute("DELETE FROM keys WHERE name = ?", name):
            raise KeyNotFound(name, [key.name for key in self.list()])

    def used(self, name: str) -> None:
        """Note that a key was used, unless the file cannot be written at this very moment: nobody waits for that."""
        with contextlib.suppress(StoreError), self._at_once() as db:
            db.execute("UPDATE keys SET used_at = ? WHERE name = ?", (now(), name))

    @contextlib.contextmanager
    def _at_once(self) -> Iterator[Database]:
        with self._file.using() as db:
            db.execute("PRAGMA busy_timeout = 0")
            try:
                yield db
            finally:
                db.execute(f"PRAGMA busy_timeout = {int(self._file.busy_timeout * 1000)}")

    def _has(self, name: str) -> bool:
        return self._file.row("SELECT 1 FROM keys WHERE name = ?", name) is not None
