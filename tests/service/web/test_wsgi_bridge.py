"""Small WSGI applications behind a real uvicorn: what they are given, what arrives of their responses, and how many threads they hold."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import http.client
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import uvicorn

from service.web.admission import AT_ONCE, ParsingOrder
from service.web.http_connection import HttpConnection
from service.web.server import listen
from service.web.wsgi_bridge import BODY, BUFFER, FRESH, WsgiBridge

Application = Callable[[dict[str, Any], Any], Any]


@pytest.fixture
def serve() -> Iterator[Callable[..., int]]:
    """Serve an application with some threads; returns the port."""
    with contextlib.ExitStack() as stack:

        def serving(application: Application, threads: int = 4, **more: Any) -> int:
            listener = listen("127.0.0.1", 0)
            port: int = listener.getsockname()[1]
            bridge = WsgiBridge(application, threads=threads, connections=100, **more)
            server = uvicorn.Server(
                uvicorn.Config(bridge, http=HttpConnection, ws="none", lifespan="on", log_config=None, access_log=False)
            )
            thread = threading.Thread(target=server.run, args=([listener],))
            thread.start()
            stack.callback(thread.join)
            stack.callback(setattr, server, "force_exit", True)
            stack.callback(setattr, server, "should_exit", True)
            return port

        yield serving


@contextlib.contextmanager
def connected(port: int, request: bytes = b"") -> Iterator[socket.socket]:
    """A connection that takes little by itself, over which a request was sent."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.settimeout(20)
        sock.connect(("127.0.0.1", port))
        sock.sendall(request)
        yield sock


def ask(port: int, method: str = "GET", path: str = "/", body: Any = None, **headers: str) -> tuple[int, bytes]:
    """(status, body)"""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def eventually(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


def get(path: str = "/") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


class Endless:
    """Responds with pieces without end at /endless, and with `ok` elsewhere; counts what is made and what is closed."""

    def __init__(self, piece: bytes = b"x" * 1000, pause: float = 0.0) -> None:
        self.piece, self.pause, self.made, self.closed = piece, pause, 0, 0

    def __call__(self, environ: dict[str, Any], start: Any) -> Iterator[bytes]:
        start("200 OK", [("Content-Type", "text/plain")])
        if environ["PATH_INFO"] != "/endless":
            yield b"ok"
            return
        try:
            while True:
                self.made += 1
                yield self.piece
                time.sleep(self.pause)
        finally:
            self.closed += 1


def test_readers_that_stop_hold_no_thread_and_little_of_their_responses(serve: Callable[..., int]) -> None:
    app = Endless()
    port = serve(app, threads=1)
    with contextlib.ExitStack() as stack:
        for _ in range(5):
            stack.enter_context(connected(port, get("/endless")))
        assert ask(port) == (200, b"ok")
        eventually(lambda: app.made > 5)
        before = -1
        while before != app.made:  # until all five wait
            before = app.made
            assert ask(port) == (200, b"ok")
            time.sleep(0.2)
        assert app.made * len(app.piece) < 5 * 1_000_000
        assert app.closed == 0
    eventually(lambda: app.closed == 5)


def test_a_reader_that_stops_and_goes_on_gets_all_of_it(serve: Callable[..., int]) -> None:
    content = random.Random(1).randbytes(3_000_000)

    def app(environ: dict[str, Any], start: Any) -> Iterator[bytes]:
        start("200 OK", [("Content-Length", str(len(content)))] if environ["PATH_INFO"] == "/length" else [])
        rng, begin = random.Random(2), 0
        while begin < len(content):
            size = rng.choice((0, 1, 1000, BUFFER, 3 * BUFFER + 1))
            yield content[begin : begin + size]
            begin += size

    port = serve(app, threads=1)
    for path in ("/length", "/chunks"):
        with connected(port, get(path)) as sock:
            time.sleep(0.3)
            response = http.client.HTTPResponse(sock)
            response.begin()
            assert response.read() == content


def test_a_client_that_leaves_ends_what_it_asked_for(serve: Callable[..., int]) -> None:
    app = Endless(piece=b"x", pause=0.01)  # which is always read in time, so a thread is busy with it
    port = serve(app)
    with connected(port, get("/endless")) as sock:
        assert sock.recv(100)
    eventually(lambda: app.closed == 1)
    assert ask(port) == (200, b"ok")


def test_the_application_can_ask_whether_its_client_has_left(serve: Callable[..., int]) -> None:
    begun, left = threading.Event(), threading.Event()

    def app(environ: dict[str, Any], start: Any) -> list[bytes]:
        has_left = environ["charloom.long"]()
        assert not has_left()
        begun.set()
        eventually(has_left)
        left.set()
        start("200 OK", [])
        return [b"too late"]

    with connected(serve(app), get()):
        assert begun.wait(10)
        assert not left.is_set()
    assert left.wait(10)


def test_a_part_of_a_response_does_not_pass_for_the_whole(serve: Callable[..., int], caplog: pytest.LogCaptureFixture) -> None:
    def app(environ: dict[str, Any], start: Any) -> Iterator[bytes]:
        start("200 OK", [])
        yield b"half"
        raise ValueError("lost the thread")

    port = serve(app)
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        ask(port)
    eventually(lambda: "lost the thread" in caplog.text)


def test_an_application_that_fails_is_an_internal_error(serve: Callable[..., int], caplog: pytest.LogCaptureFixture) -> None:
    def app(environ: dict[str, Any], start: Any) -> list[bytes]:
        raise ValueError("a secret")

    status, body = ask(serve(app))
    assert status == 500
    assert b'"server_error"' in body
    assert b"secret" not in body
    assert "a secret" in caplog.text


def test_a_context_lasts_over_all_threads_of_a_response(serve: Callable[..., int]) -> None:
    import contextvars

    variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable", default=0)
    threads: set[int] = set()

    def app(environ: dict[str, Any], start: Any) -> Iterator[bytes]:
        start("200 OK", [])
        for number in range(200):
            threads.add(threading.get_ident())
            assert variable.get() == number
            variable.set(number + 1)
            yield b"x" * 10_000

    port = serve(app, threads=3)
    for _ in range(10):
        with connected(port, get()) as sock:
            time.sleep(0.1)
            response = http.client.HTTPResponse(sock)
            response.begin()
            assert len(response.read()) == 2_000_000


def test_what_the_application_is_told(serve: Callable[..., int]) -> None:
    told: dict[str, Any] = {}

    def app(environ: dict[str, Any], start: Any) -> list[bytes]:
        told.update(environ)
        start("204 No Content", [])
        return []

    port = serve(app)
    lines = ["GET /a%20b/%C3%A9%2Fc?q=%20x&y HTTP/1.1", "Host: loom", "X-A: 1", "x-a: 2", "X_B: forged"]
    lines += ["SCRIPT_NAME: /x", "Script-Name: /y", "Cookie: a", "Cookie: b", "", ""]
    with connected(port, "\r\n".join(lines).encode()) as sock:
        assert sock.recv(1000).startswith(b"HTTP/1.1 204 No Content\r\n")
    wanted = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/a b/\xc3\xa9/c",
        "QUERY_STRING": "q=%20x&y",
        "REQUEST_URI": "/a%20b/%C3%A9%2Fc?q=%20x&y",
        "REMOTE_ADDR": "127.0.0.1",
        "SERVER_PORT": str(port),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "loom",
        "HTTP_X_A": "1,2",
        "HTTP_SCRIPT_NAME": "/y",
        "HTTP_COOKIE": "a;b",
        "wsgi.url_scheme": "http",
    }
    assert {name: told.get(name) for name in wanted} == wanted
    assert "HTTP_X_B" not in told


@pytest.mark.parametrize("step", [-1, 10_000])
def test_bodies_arrive_as_they_were_sent(serve: Callable[..., int], step: int) -> None:
    def app(environ: dict[str, Any], start: Any) -> list[bytes]:
        read, found = environ["wsgi.input"].read, hashlib.sha256()
        while piece := read(step):
            assert step < 0 or len(piece) <= step
            found.update(piece)
        start("200 OK", [])
        return [found.hexdigest().encode()]

    port = serve(app)
    for size in (0, 1, BODY - 1, BODY + 1, 5_000_000):
        content = random.Random(size).randbytes(size)
        chunks = (content[begin : begin + 70_000] for begin in range(0, size, 70_000))
        for body in (content, chunks):
            assert ask(port, "POST", body=body) == (200, hashlib.sha256(content).hexdigest().encode())


def test_a_client_that_waits_to_be_asked_is_not_waited_for_after_an_answer(serve: Callable[..., int]) -> None:
    def app(environ: dict[str, Any], start: Any) -> list[bytes]:
        start("403 Forbidden", [("Content-Length", "0")])
        return []

    request = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n"
    with connected(serve(app), request) as sock:
        answer = b""
        while data := sock.recv(1000):  # until the server ends the connection: what came next might be the body
            answer += data
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert b"connection: close" in answer


def test_heads_have_no_body(serve: Callable[..., int]) -> None:
    def app(environ: dict[str, Any], start: Any) -> list[bytes]:
        start("200 OK", [("Content-Length", "12")])
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [b"warp and wef"]

    port = serve(app)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    for method, body in (("HEAD", b""), ("GET", b"warp and wef"), ("HEAD", b"")):
        connection.request(method, "/")
        response = connection.getresponse()
        assert (response.getheader("content-length"), response.read()) == ("12", body)
    connection.close()


# ── probes and half-closed connections ───────────────────────────────────────────────────────────────────────────────


def test_a_probe_is_answered_while_all_threads_work_and_requests_wait(serve: Callable[..., int]) -> None:
    go_on, at_work = threading.Event(), threading.Semaphore(0)

    def app(environ: dict[str, Any], start: Any) -> list[bytes]:
        if environ["PATH_INFO"] != "/health":
            at_work.release()
            assert go_on.wait(20)
        start("200 OK", [("Content-Length", "2")])
        return [b"ok"]

    port = serve(app, threads=2)
    with contextlib.ExitStack() as stack:
        waiting = [stack.enter_context(connected(port, get("/work"))) for _ in range(20)]
        assert all(at_work.acquire(timeout=10) for _ in range(2))
        assert ask(port, path="/health") == (200, b"ok")
        assert ask(port, "HEAD", "/health") == (200, b"")
        go_on.set()
        for connection in waiting:
            assert connection.recv(100).startswith(b"HTTP/1.1 200")


def test_a_state_that_is_not_read_keeps_no_probe_waiting(serve: Callable[..., int]) -> None:
    go_on, read = threading.Event(), []

    def read_state(path: str) -> None:
        read.append(path)
        assert go_on.wait(20)

    def app(environ: dict[str, Any], start: Any) -> list[bytes]:
        start("200 OK", [])
        return [str(environ["charloom.state_was_read"]).encode()]

    port = serve(app, read_state=read_state)
    try:
        for _ in range(5):
            assert ask(port, path="/health") == (200, b"True")
        assert read == ["/health"]  # it is not read again while it is being read
    finally:
        go_on.set()


def test_a_probe_that_comes_seldom_is_told_the_state_of_now_though_reading_takes_a_moment(serve: Callable[..., int]) -> None:
    state: list[str] = []

    def read_state(path: str) -> None:
        time.sleep(5 * FRESH)
        state.append(path)

    def app(environ: dict[str, Any], start: Any) -> list[bytes]:
        start("200 OK", [])
        return [str(len(state)).encode()]

    assert ask(serve(app, read_state=read_state), path="/health") == (200, b"1")


def test_a_request_that_cannot_be_parsed_does_not_keep_others_from_it() -> None:
    order, parsed, told = ParsingOrder(), [], []

    def fail() -> None:
        raise ValueError("lost the thread")

    async def parse() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(str(context["exception"])))
        for each in (fail, lambda: order.put(lambda: parsed.append(2)), fail, lambda: parsed.append(1)):
            order.put(each)
        while len(parsed) < 2:
            await asyncio.sleep(0)

    asyncio.run(asyncio.wait_for(parse(), 10))
    assert (parsed, told) == ([1, 2], ["lost the thread"] * 2)


def test_few_requests_begin_at_a_time_and_all_of_them_in_order(serve: Callable[..., int]) -> None:
    beginning, most, order, lock = [0], [0], [], threading.Lock()

    def app(environ: dict[str, Any], start: Any) -> list[bytes]:
        with lock:
            order.append(int(environ["PATH_INFO"][1:]))
            beginning[0] += 1
            most[0] = max(most[0], beginning[0])
        time.sleep(0.002)
        with lock:
            beginning[0] -= 1
        environ["charloom.long"]()
        time.sleep(0.01)
        start("200 OK", [("Content-Length", "2")])
        return [b"ok"]

    port = serve(app, threads=50)
    with contextlib.ExitStack() as stack:
        for number in range(40):
            stack.enter_context(connected(port, get(f"/{number}")))
        eventually(lambda: len(order) == 40)
    assert most[0] <= AT_ONCE
    assert sum(abs(place - number) for place, number in enumerate(order)) <= 40 * AT_ONCE  # connections are accepted in any order


@pytest.mark.parametrize("seconds", [0.0, 2.5])
def test_a_client_that_only_sends_no_more_gets_its_answer(serve: Callable[..., int], seconds: float) -> None:
    def app(environ: dict[str, Any], start: Any) -> list[bytes]:
        has_left = environ["charloom.long"]()
        time.sleep(seconds)
        assert not has_left()
        start("200 OK", [("Content-Length", "2")])
        return [b"ok"]

    with connected(serve(app), get()) as connection:
        connection.shutdown(socket.SHUT_WR)
        with connection.makefile("rb") as answer:
            data = answer.read()  # to the end of the connection
    *interim, last = data.split(b"HTTP/1.1 ")[1:]
    assert all(each == b"100 Continue\r\n\r\n" for each in interim)
    assert bool(interim) == (seconds > 1)
    assert last.startswith(b"200 ")
    assert last.endswith(b"\r\n\r\nok")
