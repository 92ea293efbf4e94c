"""Completions that are being written, by id: whoever began one can still change its temperature."""

from __future__ import annotations

import secrets
import threading

from model.errors import CompletionNotFound
from service.requests import Request


class Running:
    """May be used from any thread."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[str, Request]] = {}
        self._lock = threading.Lock()

    @staticmethod
    def new() -> str:
        """An id that nobody can guess."""
        return f"cmpl-{secrets.token_hex(12)}"

    def add(self, caller: str, request: Request) -> str:
        """Give a request an id until `remove`."""
        name = self.new()
        with self._lock:
            self._found[name] = caller, request
        return name

    def remove(self, name: str) -> None:
        """Forget an id, if it is known."""
        with self._lock:
            self._found.pop(name, None)

    def get(self, caller: str, name: str) -> Request:
        """The request that has an id, for the same caller. Raises `CompletionNotFound`, also where it has just been written to its end."""
        with self._lock:
            owner, request = self._found.get(name, (None, None))
        if request is None or owner != caller or not request.unfinished:
            raise CompletionNotFound(name)
        return request
