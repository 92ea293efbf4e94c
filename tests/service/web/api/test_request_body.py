"""Uploads to a real service: in chunks, too large, broken off, and never as a whole in memory."""

from __future__ import annotations

import http.client
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from service.store import Store

Server = Any  # of ../conftest.py
HEAD = b'--x\r\nContent-Disposition: form-data; name="file"; filename="tale.txt"\r\n\r\n'
END = b"\r\n--x--\r\n"
KIND = {"Content-Type": "multipart/form-data; boundary=x"}


def pieces(size: int) -> Iterator[bytes]:
    """A form with a file of so many bytes, in pieces of 100 kB."""
    yield HEAD
    for _ in range(size // 100_000):
        yield b"warp and weft " * 7142 + b"      ten.\n\n"
    yield END


def send(server: Server, body: Iterator[bytes] | bytes, headers: dict[str, str] | None = None) -> tuple[int, str]:
    """(status, answer)"""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.request("POST", "/v1/files", body, {**KIND, **(headers or {})}, encode_chunked=not isinstance(body, bytes))
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


def peak(server: Server) -> int:
    """The most memory that the process that answers has taken so far, in bytes."""
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children")
    if not children.exists():
        pytest.skip("this system does not list children")
    [worker] = children.read_text().split()
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{worker}/status").read_text())
    assert found
    return int(found[1]) * 1024


def test_in_chunks_and_never_as_a_whole_in_memory(launch: Callable[..., Server], store: Store) -> None:
    server = launch()
    assert send(server, pieces(2_000_000), {"Transfer-Encoding": "chunked"})[0] == 200
    before = peak(server)
    status, text = send(server, pieces(40_000_000), {"Transfer-Encoding": "chunked"})
    assert (status, store.corpora.get("tale-2").bytes) == (200, 40_000_000), text
    assert peak(server) - before < 30_000_000
    assert server.stop() == (0, "")


def test_too_large(launch: Callable[..., Server], store: Store) -> None:
    server = launch(max_upload=1_000_000)
    whole = b"".join(pieces(2_000_000))
    for body, headers in ((pieces(2_000_000), {"Transfer-Encoding": "chunked"}), (whole, {})):
        status, text = send(server, body, headers)
        assert status == 413
        assert "the body is larger than 1,000,000 bytes" in text
    assert send(server, b"".join(pieces(900_000)))[0] == 200
    assert [corpus.name for corpus in store.corpora.list()] == ["tale"]
    assert server.stop() == (0, "")


def test_a_client_that_leaves_in_the_middle(launch: Callable[..., Server], store: Store) -> None:
    server = launch()
    connection = server.connect(
        b"POST /v1/files HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=x\r\nContent-Length: 9000000\r\n\r\n"
        + HEAD
        + b"warp and weft\n" * 100_000
    )
    connection.close()
    assert send(server, b"".join(pieces(100_000)))[0] == 200
    assert server.stop() == (0, "")
    assert [corpus.name for corpus in store.corpora.list()] == ["tale"]
    with store.immediate() as db:
        assert db.execute("SELECT count(*) FROM texts").fetchone()[0] == 1
