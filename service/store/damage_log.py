"""Remembers what was found damaged while it was read, for `/health`, and logs it once."""

from __future__ import annotations

import logging
import threading
from collections.abc import Hashable

MOST = 100  # damaged things that are remembered

log = logging.getLogger("charloom")


class DamageLog:
    """What of one database was found damaged since this process began. May be used from any thread."""

    def __init__(self) -> None:
        self._found: dict[Hashable, str] = {}
        self._lock = threading.Lock()

    def note(self, thing: str, why: str, key: Hashable = None) -> None:
        """Remembers that a thing, such as ``checkpoint first@100``, is damaged; logs it if that was not known. `key` names it, too."""
        key = thing if key is None else key
        with self._lock:
            if key in self._found or len(self._found) >= MOST:
                return
            self._found[key] = thing
        log.error("damaged in the database: %s (%s); charloom check says what is lost and how it is mended", thing, why)

    def is_sound(self, key: Hashable) -> None:
        """Forgets the damage of a thing that was replaced, or was read whole."""
        if self._found:
            with self._lock:
                self._found.pop(key, None)

    def found(self) -> list[str]:
        """Returns what is damaged, as things."""
        with self._lock:
            return list(self._found.values())
