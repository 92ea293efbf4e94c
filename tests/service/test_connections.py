"""Waits on sockets have limits."""

from __future__ import annotations

import io
import logging
import socket
import sys

import pytest
from gunicorn.http.errors import InvalidChunkSize
from werkzeug.exceptions import BadRequest

from service import connections
from service.connections import Body, is_news, limited


def test_neither_reading_nor_writing_waits_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "NEXT_BYTES", 0.05)
    monkeypatch.setattr(connections, "READING", 0.05)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        limited(ours)
        with pytest.raises(BlockingIOError):
            ours.recv(1)
        with pytest.raises(BlockingIOError):
            ours.sendall(b"x" * 2**24)


@pytest.mark.parametrize(("length", "reads"), [(10, [4, 6]), (10, [100]), (None, [100, 1]), (None, [-1, -1])])
def test_a_body_says_when_it_has_arrived(length: int | None, reads: list[int]) -> None:
    said: list[bool] = []
    body = Body(io.BytesIO(b"0123456789"), length, lambda: said.append(True))
    for size in reads[:-1]:
        body.read(size)
    assert not said
    body.read(reads[-1])
    assert said


def test_malformed_chunks_are_the_clients_fault() -> None:
    class Stream:
        def read(self, size: int) -> bytes:
            raise InvalidChunkSize(b"zz")

    with pytest.raises(BadRequest, match="the chunks of the body are malformed"):
        Body(Stream(), None, lambda: None).read()


def test_who_was_too_slow_is_not_logged() -> None:
    def record(error: BaseException) -> logging.LogRecord:
        try:
            raise error
        except BaseException:
            return logging.LogRecord("x", logging.ERROR, "x", 1, "x", (), sys.exc_info())

    assert not is_news(record(BlockingIOError()))
    assert is_news(record(OSError()))
    assert is_news(logging.LogRecord("x", logging.ERROR, "x", 1, "x", (), None))
