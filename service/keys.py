"""Who may call: keys from the environment, from a file, or stored by name. Only their hashes are kept, in memory and in the database.

A key is 32 random bytes, so a plain SHA-256 of it is as hard to reverse as the key is to guess; nothing slower is needed.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from pathlib import Path

from model.errors import StoreError, UnreadableSource, WeakKey
from service.store.keys import Keys

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
