"""API keys: made, read from outside, stored as hashes, checked.

Keys that were made here: their names, when they were made and used, and their hashes. A key itself is never stored.

Who may call: keys from the environment, from a file, or stored by name. Only their hashes are kept, in memory and in the database.

A key is 32 random bytes, so a plain SHA-256 of it is as hard to reverse as the key is to guess; nothing slower is needed.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sqlite_utils import Database

from model.errors import UnreadableSource
from service.store import names
from service.store.database import Connections, now
from service.system.errors import KeyNotFound, NameTaken, StoreError, WeakKey

# ── keys ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, kw_only=True)
class ApiKey:
    """What is known about a key; `used_at` is right to a minute, and None before its first use."""

    id: int
    name: str
    created_at: str
    used_at: str | None


class Keys:
    """The table `keys`."""

    def __init__(self, connections: Connections) -> None:
        self._file = connections

    def add(self, sha256: str, name: str | None = None) -> ApiKey:
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

    def list(self) -> tuple[ApiKey, ...]:
        """All keys, the oldest first."""
        return tuple(ApiKey(**row) for row in self._file.rows("SELECT id, name, created_at, used_at FROM keys ORDER BY id"))

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


# ── keys ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

VARIABLE = "CHARLOOM_API_KEYS"
BYTES = 32  # of randomness in a key that is made here
LEAST = 16  # characters of a key that a user made up
NOTED = 60.0  # seconds between two notes that a key was used
FIRST = "first-start"  # the name of the key that is made where others can reach the service and none is set


def new() -> str:
    """A key that nobody has: ``cl-`` and 43 characters that need no quoting anywhere."""
    return "cl-" + secrets.token_urlsafe(BYTES)


def hashed(key: str) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()


def given(variable: str | None, file: Path | None = None) -> tuple[str, ...]:
    """The hashes of keys that were set from outside: separated by commas or lines in a variable, one a line in a file.

    In a file, lines that begin with # are remarks. Raises `WeakKey`, and `UnreadableSource` for a file that cannot be read.
    """
    found = _checked(re.split(r"[,\s]+", variable or ""), VARIABLE)
    if file is not None:
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UnreadableSource(str(file), getattr(error, "strerror", None) or "it is not a text file") from None
        found += _checked([line.strip() for line in lines if not line.lstrip().startswith("#")], str(file))
    return tuple(dict.fromkeys(map(hashed, found)))


def _checked(keys: list[str], where: str) -> list[str]:
    found = [key for key in keys if key]
    if not all(re.fullmatch(rf"[!-~]{{{LEAST},}}", key) for key in found):
        raise WeakKey(where, LEAST)
    return found


def first(keys: Keys) -> tuple[str, tuple[str, ...]]:
    """A new key for a service that others can reach and that has none, and its hash where it could not be stored.

    A database that cannot be written keeps nobody out: there the key is valid until the service ends.
    """
    key = new()
    try:
        keys.add(hashed(key), FIRST)
    except StoreError:
        return key, (hashed(key),)
    return key, ()


class Keyring:
    """The keys that are valid at this moment. May be used from any thread."""

    def __init__(self, keys: Keys, from_outside: tuple[str, ...] = ()) -> None:
        """`from_outside`: hashes that are valid beside the stored ones."""
        self._keys = keys
        self._outside = {f"given-{sha256[:8]}": sha256 for sha256 in from_outside}
        self._noted: dict[str, float] = {}

    def __bool__(self) -> bool:
        """Whether there is any key. Raises `StoreError`."""
        return bool(self._outside or self._keys.hashes())

    def holder(self, key: str) -> str | None:
        """The name of the key, or None where it is not valid; how long that takes tells nothing about any key. Raises `StoreError`."""
        sha256, found = hashed(key), None
        stored = self._keys.hashes()
        for name, known in (*self._outside.items(), *stored.items()):
            if hmac.compare_digest(sha256, known):
                found = name
        if found in stored:
            self._note(str(found))
        return found

    def _note(self, name: str) -> None:
        now = time.monotonic()
        if now - self._noted.get(name, -NOTED) >= NOTED:
            self._noted[name] = now
            self._keys.used(name)
