"""Nobody keeps others waiting: not by sending half, not by sending slowly, not by coming in crowds. With a real gunicorn."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import resource
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from gunicorn.http.errors import InvalidChunkSize
from werkzeug.exceptions import BadRequest

from service.store import Run, Store
from service.store.api_keys import hashed
from service.web import gthread
from service.web.gthread import LARGE_BODIES, SLOW_READERS, Late, LimitedBody, limited, refusal
from service.web.slow_clients import BODY, HEAD, SLOWEST

Server = Any  # of conftest.py
KEY = "0123456789abcdef"


def post(body: bytes, *headers: str) -> bytes:
    """A request for /generate as bytes; without `headers` its length is told."""
    head = "\r\n".join(["Host: localhost", "Content-Type: application/json", *(headers or [f"Content-Length: {len(body)}"])])
    return f"POST /generate HTTP/1.1\r\n{head}\r\n\r\n".encode() + body


LONG = "warp and weft\n" * 400_000
GET = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
CHUNKED = "Transfer-Encoding: chunked"
HALVES = [
    b"",
    b"GET /hea",
    b"POST /generate HTTP/1.1\r\nHost: localhost\r\n",
    post(b'{"length": 1}')[:-4],
    post(b"7\r\n{", CHUNKED),
    post(b"zz", CHUNKED),
    post(b"{" * (BODY + 10), "Content-Length: 1000000"),
    post(b"", "Content-Length: 1000000", "Expect: 100-continue"),
    GET + b"GET /health HT",
    GET + post(b"{", "Content-Length: 10"),
]


@contextmanager
def crowd(server: Server, sent: list[bytes]) -> Iterator[list[socket.socket]]:
    """Connections over which something was sent."""
    with ExitStack() as stack:
        yield [stack.enter_context(server.connect(data)) for data in sent]


def answers(server: Server) -> bool:
    """Whether it does all its work for somebody else, each within ten seconds."""
    for method, path, body in (("GET", "/health", None), ("GET", "/v1/models", None), ("POST", "/generate", '{"length": 3}')):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
        connection.request(method, path, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        assert answer.read()
        connection.close()
        assert answer.status == 200
    return True


def statuses(connection: socket.socket) -> list[int]:
    """The statuses of all answers until the other side closes; then so do we."""
    data = b""
    try:
        while more := connection.recv(65536):
            data += more
    except ConnectionError:
        pass
    connection.close()
    return [int(part.split()[0]) for part in data.split(b"HTTP/1.1 ")[1:]]


@pytest.mark.parametrize("sent", [HALVES * 20, HALVES[-2:] * 100], ids=["of every kind", "behind a whole one"])
def test_200_half_sent_requests(launch: Callable[..., Server], add_model: Callable[..., Run], sent: list[bytes]) -> None:
    add_model()
    server = launch()
    with crowd(server, sent):
        assert answers(server)
    assert server.stop() == (0, "")


def test_200_that_send_a_byte_now_and_then(launch: Callable[..., Server], add_model: Callable[..., Run]) -> None:
    add_model()
    server = launch()
    with crowd(
        server, [b"", post(b"", "Content-Length: 50"), post(b"", CHUNKED), post(b"{" * BODY, "Content-Length: 1000000")] * 50
    ) as all_:
        for number in range(30):
            for connection in all_:
                try:
                    connection.send(b"GET / HTTP/1.1\r\nX: 5\r\n............"[number : number + 1])
                except OSError:  # it was given up
                    continue
            if number % 10 == 0:
                assert answers(server)
    assert server.stop() == (0, "")


def test_1000_connections_are_each_answered(launch: Callable[..., Server], add_model: Callable[..., Run]) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 4096:
        pytest.skip("this system allows too few open files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 4096), hard))
    try:
        add_model()
        server = launch()
        request = post(b'{"length": 20}', "Content-Length: 14", "Connection: close")
        with crowd(server, [request[:40]] * 1000) as all_:
            assert answers(server)
            for connection in all_:
                connection.sendall(request[40:])
            found = [statuses(connection) for connection in all_]
        assert {status for [status] in found} <= {200, 429}
        assert found.count([200]) >= 64
        health = server.health()
        assert (health["rows"], health["waiting"]) == (0, 0)
        assert server.stop() == (0, "")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_where_there_are_too_many_those_that_waited_longest_go(launch: Callable[..., Server], add_model: Callable[..., Run]) -> None:
    add_model()
    server = launch(max_rows=1, max_waiting=4, max_followers=0, connections=40)
    with crowd(server, [b"GET /hea"] * 100) as all_:
        assert answers(server)
        assert statuses(all_[0]) == [503]
        all_[-1].sendall(b"lth HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert statuses(all_[-1]) == [200]
    assert server.stop() == (0, "")


def test_few_threads_are_lent_to_large_bodies(server: Server) -> None:
    large = post(b"{" * (BODY + 10), "Content-Length: 1000000")
    with crowd(server, [large] * LARGE_BODIES) as all_:
        refused = server.connect(large)
        assert statuses(refused) == [429]
        assert answers(server)
        all_[0].sendall(b" " * (1_000_000 - BODY - 10))
        assert all_[0].recv(12) == b"HTTP/1.1 400"  # that was not JSON, but it was read
    for _ in range(100):  # theirs are given back as soon as the service sees that they have gone
        status = server.ask("POST", "/generate", {"length": 1, "prompt": " " * 200_000})[0]
        if status == 200:
            break
        time.sleep(0.1)
    assert status == 200


def test_a_body_that_has_arrived_lets_the_next_one_come(server: Server) -> None:
    body = json.dumps({"prompt": " " * 2 * BODY, "length": 100_000, "stream": True}).encode()
    with crowd(server, [post(body)] * LARGE_BODIES) as all_:
        for connection in all_:
            assert connection.recv(12) == b"HTTP/1.1 200"
        assert server.ask("POST", "/generate", {"length": 1, "prompt": " " * 2 * BODY})[0] == 200
    for _ in range(100):  # until the service sees that those before it have gone
        if not server.health()["rows"]:
            break
        time.sleep(0.1)


def test_a_crowd_that_hardly_reads_its_answers(launch: Callable[..., Server], add_model: Callable[..., Run], store: Store) -> None:
    add_model()
    store.corpora.add("long", [LONG], "long.txt")
    server = launch(max_rows=1, max_waiting=0, max_followers=0)  # with 33 threads
    with ExitStack() as stack:
        all_ = [stack.enter_context(download(server)) for _ in range(70)]
        assert answers(server)
        kept = sum(reads_all(connection) for connection in all_)
        assert SLOW_READERS <= kept < 70
    assert server.stop() == (0, "")


def download(server: Server) -> socket.socket:
    """A connection over which a long text was asked for, and which takes little of it by itself."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(20)
    connection.connect(("127.0.0.1", server.port))
    connection.sendall(b"GET /v1/files/long/content HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    return connection


def reads_all(connection: socket.socket) -> bool:
    """Whether the long text comes before the other side ends the connection, now that it is read."""
    size = 0
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**20)
    with contextlib.suppress(ConnectionError):
        while data := connection.recv(2**20):
            size += len(data)
    return size > len(LONG) - 10_000  # of which a little may have been read before


def test_a_client_that_reads_a_little_now_and_then(launch: Callable[..., Server], store: Store) -> None:
    store.corpora.add("long", [LONG], "long.txt")
    server = launch(reading=1.0)
    with download(server) as connection:
        for _ in range(60):
            connection.recv(100)
            time.sleep(0.05)
        assert not reads_all(connection)
    with download(server) as connection:
        assert reads_all(connection)
    assert server.stop() == (0, "")


def test_what_is_announced_too_large_is_refused_before_it_is_sent(launch: Callable[..., Server]) -> None:
    server = launch(max_body=100_000, max_upload=200_000)
    form = "Content-Type: multipart/form-data; boundary=x"
    for path, length, limit in (("/generate", 100_001, b"100,000"), ("/v1/files", 200_001, b"200,000"), ("/v1/files", 10**14, b"200,000")):
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\n{form}\r\nContent-Length: {length}\r\n\r\n"
        with server.connect(head.encode() + b"{") as connection:
            answer = b""
            while b"}}" not in answer:
                answer += connection.recv(65536)
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert b"the body is larger than %b bytes" % limit in answer
    assert server.stop() == (0, "")


@pytest.mark.parametrize("coding", ["gzip", "gzip, chunked", "x-own"])
def test_a_transfer_coding_that_nobody_understands(server: Server, coding: str) -> None:
    assert statuses(server.connect(post(b"\x1f\x8b", f"Transfer-Encoding: {coding}"))) == [501]


def test_pipelined_requests_are_answered_in_order(server: Server) -> None:
    connection = server.connect(GET + post(b'{"length": 1}') + GET[:20])
    time.sleep(0.3)  # so that the last one comes apart
    connection.sendall(GET[20:-2] + b"Connection: close\r\n\r\n")
    assert statuses(connection) == [200, 200, 200]


def test_headers_without_end(server: Server) -> None:
    connection = server.connect(b"GET / HTTP/1.1\r\n")
    connection.sendall(b"X: y\r\n" * (HEAD // 6 + 10))
    assert statuses(connection) == [431]


def test_a_client_that_asks_before_it_sends(launch: Callable[..., Server], add_model: Callable[..., Run]) -> None:
    add_model()
    server = launch(keys=[hashed(KEY)])
    ask = ("Content-Length: 14", "Expect: 100-continue", "Connection: close")
    assert statuses(server.connect(post(b"", *ask))) == [401]  # it may keep its body
    connection = server.connect(post(b"", *ask, f"Authorization: Bearer {KEY}"))
    assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
    connection.sendall(b'{"length": 20}')
    assert statuses(connection) == [200]
    assert server.stop() == (0, "")


def test_half_sent_requests_do_not_keep_it_from_stopping(launch: Callable[..., Server]) -> None:
    server = launch(next_bytes=0.3)
    with crowd(server, HALVES):
        assert server.health()
        assert server.stop() == (0, "")


# ── the parts ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_no_wait_for_bytes_goes_on_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gthread, "NEXT_BYTES", 0.05)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        limited(ours)
        with pytest.raises(BlockingIOError):
            ours.recv(1)


@pytest.mark.parametrize(("length", "reads"), [(10, [4, 6]), (10, [100]), (None, [100, 1]), (None, [-1, -1])])
def test_a_body_says_when_it_has_arrived(length: int | None, reads: list[int]) -> None:
    said: list[bool] = []
    with socket.socket() as sock:
        body = LimitedBody(io.BytesIO(b"0123456789"), length, sock, Late(), lambda: said.append(True))
        for size in reads[:-1]:
            body.read(size)
        assert not said
        body.read(reads[-1])
    assert said


def test_a_body_gets_more_time_as_it_comes() -> None:
    late = Late(deadline=100.0)
    with socket.socket() as sock:
        body = LimitedBody(io.BytesIO(b"x" * 3 * SLOWEST), None, sock, late, lambda: None)
        body.read(SLOWEST)
        assert late.deadline == 101.0
        body.read()
    assert late.deadline == 103.0


def test_malformed_chunks_are_the_clients_fault() -> None:
    class Stream:
        def read(self, size: int) -> bytes:
            raise InvalidChunkSize(b"zz")

    with socket.socket() as sock, pytest.raises(BadRequest, match="the chunks of the body are malformed"):
        LimitedBody(Stream(), None, sock, None, lambda: None).read()


@pytest.mark.parametrize(("status", "kind"), [(408, "invalid_request_error"), (429, "rate_limit_error"), (503, "server_error")])
def test_who_is_refused_before_the_application_sees_it_gets_the_one_shape(status: int, kind: str) -> None:
    head, body = refusal(status, "no").split(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert f"Content-Length: {len(body)}".encode() in head
    assert (b"Retry-After: 1" in head) == (status != 408)
    error = json.loads(body)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["message"], error["type"]) == ("no", kind)
