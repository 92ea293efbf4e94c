"""No client keeps others waiting: not by sending half, not by sending or reading slowly, not in crowds. With a real service."""

from __future__ import annotations

import contextlib
import http.client
import json
import resource
import select
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from service.store import Run, Store
from service.store.api_keys import hashed
from service.web.http_connection import LARGEST_HEAD, SLOWEST_RATE, HttpConnection
from service.web.http_server import SPARE_THREADS
from service.web.rate_limits import RateLimits
from service.web.service_config import ServiceConfig
from service.web.wsgi_bridge import BODY

Server = Any  # of conftest.py
KEY = "0123456789abcdef"
LARGE_BODIES = RateLimits(ServiceConfig(db=Path("none"))).bodies.each  # of one caller


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


def test_200_that_wait_to_be_asked_for_little(launch: Callable[..., Server], add_model: Callable[..., Run]) -> None:
    add_model()
    server = launch()
    with crowd(server, [post(b"", "Content-Length: 10", "Expect: 100-continue")] * 200):
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
    server = launch(max_rows=1, max_waiting=4, max_followers=0, CONNECTIONS=40)
    with crowd(server, [b"GET /hea"] * 100) as all_:
        assert answers(server)
        assert statuses(all_[0]) in ([503], [])  # a connection that ends before all is read may lose its last answer
        all_[-1].sendall(b"lth HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert statuses(all_[-1]) == [200]
    assert server.stop() == (0, "")


def test_few_threads_are_lent_to_large_bodies(server: Server) -> None:
    large = post(b"{" * (BODY + 10), "Content-Length: 1000000")
    with crowd(server, [large] * (LARGE_BODIES + 1)) as all_:
        [refused], _, _ = select.select(all_, [], [], 10)
        all_.remove(refused)
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
    server = launch(max_rows=1, max_waiting=0, max_followers=0)  # so that there are fewer threads, none of which waits for them
    with ExitStack() as stack:
        all_ = [stack.enter_context(download(server)) for _ in range(SPARE_THREADS + 40)]
        assert answers(server)
        assert all(reads_all(connection) for connection in all_)
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
    server = launch(LONGEST_LAG=1.0)
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


@pytest.mark.parametrize(("coding", "status"), [("gzip", 400), ("gzip, chunked", 400), ("x-own", 400)])
def test_a_transfer_coding_that_nobody_understands(server: Server, coding: str, status: int) -> None:
    assert statuses(server.connect(post(b"2\r\n\x1f\x8b\r\n0\r\n\r\n", f"Transfer-Encoding: {coding}"))) == [status]


def test_pipelined_requests_are_answered_in_order(server: Server) -> None:
    connection = server.connect(GET + post(b'{"length": 1}') + GET[:20])
    time.sleep(0.3)  # so that the last one comes apart
    connection.sendall(GET[20:-2] + b"Connection: close\r\n\r\n")
    assert statuses(connection) == [200, 200, 200]


def test_headers_without_end(server: Server) -> None:
    connection = server.connect(b"GET / HTTP/1.1\r\n")
    connection.sendall(b"X: y\r\n" * (LARGEST_HEAD // 6 + 10))
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
    server = launch(NEXT_BYTES=0.3)
    with crowd(server, HALVES):
        assert server.health()
        assert server.stop() == (0, "")


# ── what clients make of HTTP ─────────────────────────────────────────────────────────────────────────────────────────


def memory(server: Server) -> int:
    """Bytes of the process that answers."""
    text = Path(f"/proc/{child(server)}/status").read_text()
    return 1024 * int(text.split("VmRSS:")[1].split()[0])


def open_files(server: Server) -> int:
    """Files that the process that answers has open."""
    return len(list(Path(f"/proc/{child(server)}/fd").iterdir()))


def child(server: Server) -> int:
    """The process that answers."""
    return int(Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()[0])


@pytest.mark.parametrize("request_", [GET, post(b'{"length": 1, "model": "none"}')], ids=["GET", "POST"])
def test_requests_far_ahead_of_their_answers_take_little_memory(launch: Callable[..., Server], request_: bytes) -> None:
    server = launch()
    before = memory(server)
    with contextlib.suppress(OSError), server.connect() as connection:
        connection.settimeout(3)
        for _ in range(40):
            connection.sendall(request_ * (2**18 // len(request_)))
    assert memory(server) - before < 30_000_000
    assert server.health()
    assert server.stop() == (0, "")


def test_a_request_that_offers_another_protocol_is_answered_in_this_one(server: Server) -> None:
    """As Java's HTTP client and curl --http2 do. What follows its headers is its body, and no request."""
    body = b"GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"
    head = post(body, f"Content-Length: {len(body)}", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk")
    for pause in (0.0, 0.3):
        connection = server.connect(head[: -len(body)])
        time.sleep(pause)
        connection.sendall(body + GET[:-2] + b"Connection: close\r\n\r\n")
        assert statuses(connection) == [400, 200]  # not JSON, and /health
    ask = post(b'{"length": 1}', "Content-Length: 13", "Connection: Upgrade, close", "Upgrade: TLS/1.2")
    assert statuses(server.connect(ask)) == [200]


def test_the_end_of_an_answer_that_is_not_read_is_not_waited_for(launch: Callable[..., Server], store: Store) -> None:
    store.corpora.add("long", [LONG[:200_000]], "long.txt")
    server = launch(LONGEST_LAG=1.0)
    assert server.health()
    with download(server) as connection:
        assert connection.recv(1)
    before = open_files(server)  # with those of the database, in the thread that read the file
    request = b"GET /v1/files/long/content HTTP/1.1\r\nHost: localhost\r\n"
    connections = []
    for last in (b"\r\n", b"Connection: close\r\n\r\n"):
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", server.port))
        connection.sendall(request + last)
        connections.append(connection)
    for _ in range(100):
        if open_files(server) <= before:
            break
        time.sleep(0.1)
    else:
        raise AssertionError("their connections stay open")
    for connection in connections:
        connection.close()
    assert server.stop() == (0, "")


def test_small_bodies_that_do_not_arrive_make_room_for_others(launch: Callable[..., Server], add_model: Callable[..., Run]) -> None:
    add_model()
    server = launch(CONNECTIONS=40)
    with crowd(server, [post(b"", "Content-Length: 100")] * 60):
        assert answers(server)
    assert server.stop() == (0, "")


def test_a_crowd_never_takes_the_last_file(launch: Callable[..., Server], add_model: Callable[..., Run]) -> None:
    add_model()
    server = launch(environment={"CHARLOOM_TEST_FILES": "400"})
    with crowd(server, [b"GET /hea"] * 600):
        assert answers(server)
        assert open_files(server) < 390
    status, errors = server.stop()
    assert status == 0
    assert [line for line in errors.splitlines() if "ulimit -n" not in line] == []


def test_an_old_client_gets_no_chunks(server: Server) -> None:
    body = b'{"length": 30, "stream": true}'
    connection = server.connect(post(body, f"Content-Length: {len(body)}").replace(b"HTTP/1.1", b"HTTP/1.0"))
    data = b""
    while more := connection.recv(65536):
        data += more
    connection.close()
    head, _, events = data.partition(b"\r\n\r\n")
    assert b"chunked" not in head
    assert events.startswith(b"data: ")
    assert events.endswith(b"data: [DONE]\n\n")


def test_the_whole_address_as_for_a_proxy(server: Server) -> None:
    assert statuses(server.connect(b"GET http://localhost/health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")) == [200]


TARGETS = [
    "http://[",
    "http://[::1",
    "http://[x]/",
    "//[",
    "/%",
    "/%ff%00",
    "http:",
    "http://",
    "://",
    "x",
    "x:1",
    "*",
    "?",
    "#",
    "/#[",
    "@",
    "[",
    "a://b",
]


def test_targets_that_are_malformed_are_refused_in_json(server: Server) -> None:
    """RFC 9112, 3.2: only a path and a whole address with a host name what is asked for."""
    for method in ("GET", "POST", "OPTIONS", "CONNECT"):
        for target in [*TARGETS, "localhost:1"]:
            with server.connect(f"{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()) as connection:
                response = http.client.HTTPResponse(connection, method="GET")
                response.begin()
                known = method != "CONNECT" and (target.startswith("/") or (method, target) == ("OPTIONS", "*"))
                assert response.status in ((404, 405, 200, 204) if known else (400,)), (method, target)
                if response.status >= 400:
                    assert json.loads(response.read())["error"]["type"] == (
                        "not_found_error" if response.status == 404 else "invalid_request_error"
                    )


# ── keep-alive ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_connection_is_used_again_after_longer_than_most_clients_wait(launch: Callable[..., Server]) -> None:
    server = launch(KEEP_ALIVE=4)
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    for pause in (0.0, 2.5, 2.5):
        time.sleep(pause)
        connection.request("GET", "/health")
        assert connection.getresponse().read()
    sock = connection.sock
    assert sock is not None
    sock.settimeout(10)
    assert sock.recv(1) == b""  # closed in order, without a reset
    connection.close()
    assert server.stop() == (0, "")


def test_a_body_that_is_refused_may_still_arrive_and_the_connection_is_kept(server: Server) -> None:
    head = b"POST /nothing HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nContent-Length: 300000\r\n\r\n"
    with server.connect(head + b"x" * 1000) as connection:
        assert connection.recv(12) == b"HTTP/1.1 404"
        connection.sendall(b"x" * 299_000 + GET)
        data = b""
        while b'"status"' not in data:
            data += connection.recv(65536)
        assert b"HTTP/1.1 200 OK" in data


def test_a_refusal_arrives_though_the_client_sends_on(launch: Callable[..., Server]) -> None:
    """Also if the connection ends with it: bytes that arrive after the end would make the system throw the response away."""
    server = launch(max_body=2000)
    for last in ("Connection: close", "Connection: keep-alive"):
        for _ in range(20):
            with server.connect(post(b"", "Content-Length: 3000000", last)) as connection:
                connection.sendall(b" " * 3_000_000)
                assert connection.recv(12) == b"HTTP/1.1 413"
    assert server.stop() == (0, "")


def test_a_body_that_is_refused_and_never_arrives_is_not_waited_for(launch: Callable[..., Server]) -> None:
    server = launch(LINGER=0.3)
    head = b"POST /nothing HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nContent-Length: 300000\r\n\r\n"
    assert statuses(server.connect(head + b"x" * 1000)) == [404]
    assert server.stop() == (0, "")


# ── the parts ─────────────────────────────────────────────────────────────────────────────────────────────────────────


class Transport:
    """Counts what waits for the client."""

    waiting = 0

    def get_write_buffer_size(self) -> int:
        """Bytes that were written and not sent."""
        return self.waiting


def lag(monkeypatch: pytest.MonkeyPatch, steps: list[tuple[float, int]]) -> list[float]:
    """How far a client lags behind after each of (seconds, bytes that still wait), beginning with 10 * SLOWEST_RATE at second 0."""
    moment = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: moment)
    connection = HttpConnection.__new__(HttpConnection)
    connection.transport, connection.flow = Transport(), type("Flow", (), {"pause_writing": int, "resume_writing": int})()  # type: ignore[assignment]
    connection._lag_before, connection._wait_began = 0.0, None
    connection.transport.waiting = 10 * SLOWEST_RATE  # type: ignore[attr-defined]
    connection.pause_writing()
    found = []
    for moment, waiting in steps:
        connection.transport.waiting = waiting  # type: ignore[attr-defined]
        found.append(connection.lag(moment))
    connection.resume_writing()
    assert connection.lag(moment + 100) == found[-1]  # nothing waits, so no time counts
    return found


def test_who_does_not_read_lags_behind_by_all_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    assert lag(monkeypatch, [(1.0, 10 * SLOWEST_RATE), (7.0, 10 * SLOWEST_RATE)]) == [1.0, 7.0]


def test_who_reads_at_the_least_rate_does_not_lag_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    assert lag(monkeypatch, [(1.0, 9 * SLOWEST_RATE), (10.0, 0)]) == [0.0, 0.0]


def test_who_was_quick_gets_no_credit(monkeypatch: pytest.MonkeyPatch) -> None:
    assert lag(monkeypatch, [(1.0, 0)]) == [0.0]
