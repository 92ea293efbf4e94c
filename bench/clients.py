"""Runs many HTTP clients in one thread, so that measuring takes little time from the measured service."""

from __future__ import annotations

import json
import selectors
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

PATIENCE = 300.0  # seconds for all of them together


@dataclass
class Answer:
    """What one client got. Times are seconds since the first of all clients asked."""

    status: int = 0  # 0 where the connection broke before any answer
    first: float | None = None  # until the first characters of a text
    last: float = 0.0  # until the end
    data: bytearray = field(default_factory=bytearray)

    @property
    def text(self) -> str:
        """The text that the events of the stream make up."""
        return "".join(_text_of(event) for event in _events(self.data))

    @property
    def whole(self) -> bool:
        """Whether it came to its end."""
        return b"data: [DONE]" in self.data


def ask(port: int, path: str, bodies: list[dict[str, Any]], seconds: float = PATIENCE) -> list[Answer]:
    """Send all requests at once, each over a connection of its own, and read the answers to their ends."""
    selector = selectors.DefaultSelector()
    began = time.perf_counter()
    answers = []
    for body in bodies:
        answer = Answer()
        answers.append(answer)
        connection = socket.socket()
        connection.setblocking(False)
        with suppress(BlockingIOError):
            connection.connect(("127.0.0.1", port))
        selector.register(connection, selectors.EVENT_WRITE, (answer, _request(path, body)))
    while selector.get_map() and time.perf_counter() - began < seconds:
        for key, _ in selector.select(1.0):
            _advance(selector, key, time.perf_counter() - began)
    for key in list(selector.get_map().values()):
        _close(selector, key)
    selector.close()
    return answers


def _request(path: str, body: dict[str, Any]) -> bytes:
    data = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nConnection: close\r\n"
    return f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data


def _advance(selector: selectors.BaseSelector, key: selectors.SelectorKey, now: float) -> None:
    """Send what is to be sent, or take what has come."""
    connection: Any = key.fileobj
    answer, request = key.data
    try:
        if request:
            connection.sendall(request)
            selector.modify(connection, selectors.EVENT_READ, (answer, b""))
            return
        data = connection.recv(2**16)
    except OSError:
        data = b""
    answer.last = now
    if not data:
        _close(selector, key)
        return
    answer.data += data
    if not answer.status and len(answer.data) > 12:
        answer.status = int(answer.data[9:12])
    if answer.first is None and b"data: " in answer.data:
        answer.first = now


def _close(selector: selectors.BaseSelector, key: selectors.SelectorKey) -> None:
    selector.unregister(key.fileobj)
    connection: Any = key.fileobj
    connection.close()


def _events(data: bytearray) -> Iterator[Any]:
    """The events of a stream in chunks, each of which holds whole events."""
    for line in bytes(data).split(b"\n"):
        if line.startswith(b"data: {"):
            yield json.loads(line[6:])


def _text_of(event: Any) -> str:
    choices = event.get("choices")
    return "".join(choice["text"] for choice in choices) if choices is not None else event.get("text", "")
