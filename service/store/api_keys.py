"""Makes API keys, stores their hashes by name, and checks the keys of requests.

Only hashes are kept, in memory and in the database. A key that is made here is 32 random bytes, so a plain SHA-256 of it is as hard
to reverse as the key is to guess; nothing slower is needed.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import re
import secrets
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from model.errors import InvalidSetting, UnreadableSource, Word
from service.store import names
from service.store.database import Connections, now, stored_time
from service.system.errors import KeyNotFound, NameTaken, StoreError, WeakKey

# ── stored keys ───────────────────────────────────────────────────────────────────────────────────────────────────────


SCOPES = ("write", "train", "admin")  # what a key may do: write texts and read; also upload and train; everything
LONGEST_LIFE = 36_500 * 86_400.0  # seconds


@dataclass(frozen=True, kw_only=True)
class ApiKey:
    """A key without its secret; `used_at` is right to a minute, and None before the first use."""

    name: str
    scope: str = "admin"
    created_at: str
    expires_at: str | None = None  # None: never
    used_at: str | None = None

    @property
    def expired(self) -> bool:
        """Whether its lifetime is over."""
        return self.expires_at is not None and self.expires_at <= now()

    def allows(self, scope: str) -> bool:
        """Whether it may do what needs a scope, since each scope includes those before it."""
        return SCOPES.index(self.scope) >= SCOPES.index(scope)


class Keys:
    """The table `keys`."""

    def __init__(self, connections: Connections) -> None:
        self._file = connections

    def add(self, sha256: str, name: str | None = None, *, scope: str = "admin", seconds: float | None = None) -> ApiKey:
        """Stores the hash of a key, under a made-up name if none is given; it expires after some `seconds`, or never.

        Raises `InvalidName`, `NameTaken` and `InvalidSetting`.
        """
        if name is not None:
            name = names.checked("key", name)
        if seconds is not None and not 0 < seconds <= LONGEST_LIFE:
            raise InvalidSetting(
                "expires", Word(f"{seconds:g} seconds"), "more than 0 and at most 36,500d", "leave it out if the key never expires"
            )
        expires_at = None if seconds is None else stored_time(datetime.now(UTC) + timedelta(seconds=seconds))
        with self._file.immediate() as db:
            if name is None:
                name = names.free("key", "key", self._has)
            elif self._has(name):
                raise NameTaken("key", name)
            values = name, sha256, scope, now(), expires_at
            db.execute("INSERT INTO keys (name, sha256, scope, created_at, expires_at) VALUES (?, ?, ?, ?, ?)", values)
            return self.by_hash()[sha256]

    def list(self) -> tuple[ApiKey, ...]:
        """Returns all keys, the oldest first."""
        return tuple(self.by_hash().values())

    def by_hash(self) -> dict[str, ApiKey]:
        """Returns the keys by their SHA-256 in hexadecimal, the oldest first."""
        found = self._file.rows("SELECT sha256, name, scope, created_at, expires_at, used_at FROM keys ORDER BY id")
        return {row.pop("sha256"): ApiKey(**row) for row in found}

    def revoke(self, name: str) -> None:
        """Deletes a key, which is invalid from now on. Raises `KeyNotFound`."""
        with self._file.immediate(frees=True) as db:
            if not db.execute("DELETE FROM keys WHERE name = ?", (names.stored(name),)).rowcount:
                raise KeyNotFound(name, [key.name for key in self.list()], self._file.path)

    def used(self, name: str) -> None:
        """Notes that a key was used, unless the file is locked at this moment: no request waits for that."""
        with contextlib.suppress(StoreError), self._file.without_waiting() as db:
            db.execute("UPDATE keys SET used_at = ? WHERE name = ?", (now(), name))

    def _has(self, name: str) -> bool:
        return self._file.row("SELECT 1 FROM keys WHERE name = ?", names.stored(name)) is not None


# ── keys and their check ──────────────────────────────────────────────────────────────────────────────────────────────

VARIABLE = "CHARLOOM_API_KEYS"
BYTES = 32  # of randomness in a key that is made here
LEAST = 16  # characters of a key that a user chose
NOTED = 60.0  # seconds between two notes that a key was used
FIRST = "first-start"  # the name of the key that a start makes if other machines can reach the service and no key is set


def new() -> str:
    """Returns a new random key: ``cl-`` and 43 characters that need no quoting anywhere."""
    return "cl-" + secrets.token_urlsafe(BYTES)


def hashed(key: str) -> str:
    """Returns the SHA-256 of a key in hexadecimal."""
    return hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()


def given(variable: str | None, file: Path | None = None) -> tuple[str, ...]:
    """Returns the hashes of keys from an environment variable (separated by commas or white space) and a file (one a line).

    In the file, lines that begin with # are comments. Raises `WeakKey`, and `UnreadableSource` for a file that cannot be read.
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
    """Makes and stores the first key of a service that other machines can reach; returns it, and its hash if it could not be stored.

    If the database cannot be written, the key is valid until the service ends.
    """
    key = new()
    try:
        keys.add(hashed(key), FIRST)
    except StoreError:
        return key, (hashed(key),)
    return key, ()


class Keyring:
    """Checks keys against the stored ones and those given at the start. May be used from any thread."""

    def __init__(self, keys: Keys, from_outside: tuple[str, ...] = ()) -> None:
        """`from_outside` are hashes that are valid beside the stored ones."""
        self._keys = keys
        self._outside = {sha256: ApiKey(name=f"given-{sha256[:8]}", created_at=now()) for sha256 in from_outside}
        self._noted: dict[str, float] = {}
        self._last: dict[str, ApiKey] = {}

    def refresh(self) -> None:
        """Reads the stored keys for those who ask for the last ones that were read; keeps those if the store cannot be read."""
        with contextlib.suppress(StoreError):
            self._last = self._keys.by_hash()

    def has_any(self, *, last: bool = False) -> bool:
        """Returns whether there is any key; with ``last``, among those that were read last, without the store. Raises `StoreError`."""
        return bool(self._outside or (self._last if last else self._keys.by_hash()))

    def find(self, secret: str, *, last: bool = False) -> ApiKey | None:
        """Returns a key, which may have expired, or None if there is no such key; in a time that depends on no key.

        With ``last``, looks among the keys that were read last, and does not touch the store. Raises `StoreError`.
        """
        sha256, found = hashed(secret), None
        stored = self._last if last else self._keys.by_hash()
        for known, key in (*self._outside.items(), *stored.items()):
            if hmac.compare_digest(sha256.encode(), known.encode()):  # a damaged one may hold other than ASCII
                found = key
        if found is not None and sha256 in stored and not found.expired and not last:
            self._note(found.name)
        return found

    def _note(self, name: str) -> None:
        now = time.monotonic()
        if now - self._noted.get(name, -NOTED) >= NOTED:
            self._noted[name] = now
            self._keys.used(name)
