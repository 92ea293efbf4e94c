"""What a caller has in a minute and at a time: told in headers as OpenAI's, refused with a sentence, and never at another's cost."""

from __future__ import annotations

import http.client
import json
import math
import re
import select
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from service.generation import scoring
from service.inspection import cell_search, inspector
from service.novelty import index_manager
from service.store import Run
from service.system.concurrency import MOST
from service.web.app import create_app
from service.web.http_server import threads_of
from service.web.rate_limits import HEADERS, RateLimits, reset_time
from service.web.service_config import ServiceConfig
from service.web.wsgi_bridge import BODY

GO = {"h": 3600, "m": 60, "s": 1, "ms": 0.001}


@contextmanager
def service(path: Path, **settings: Any) -> Iterator[tuple[FlaskClient, RateLimits, list[float]]]:
    """A client, the limits, and the clock that they have, which stands still."""
    app: Flask = create_app(ServiceConfig(db=path, **settings))
    limits: RateLimits = app.extensions["charloom"].limits
    now = [0.0]
    limits.requests._clock = limits.symbols._clock = lambda: now[0]
    try:
        yield app.test_client(), limits, now
    finally:
        app.extensions["charloom"].close()


def told(answer: TestResponse) -> tuple[str, ...]:
    return tuple(answer.headers[name] for name in HEADERS)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.012, "12ms"),
        (0.0001, "1ms"),
        (1, "1s"),
        (8.64, "8.64s"),
        (60, "1m0s"),
        (360, "6m0s"),
        (61.5, "1m1.5s"),
        (3600.25, "1h0m0.25s"),
    ],
)
def test_times_are_written_as_openai_writes_them(seconds: float, text: str) -> None:
    assert reset_time(seconds) == text


@given(st.floats(0, 1e6))
def test_a_time_that_was_written_is_read_again(seconds: float) -> None:
    """By the rules of Go's time.ParseDuration."""
    text = reset_time(seconds)
    assert re.fullmatch(r"(\d+(\.\d+)?(h|ms|m|s))+", text)
    read = sum(float(number) * GO[unit] for number, _, unit in re.findall(r"(\d+(\.\d+)?)(h|ms|m|s)", text))
    assert seconds - 1e-6 <= read <= seconds + 0.0011


def test_headers_count_what_was_asked_for_and_written(path: Path, add_model: Callable[..., Run]) -> None:
    add_model()
    with service(path, caller_requests=600, caller_symbols=6000) as (client, _, now):
        answer = client.post("/generate", json={"length": 100, "prompt": "abc"})
        assert told(answer) == ("600", "599", "100ms", "6000", str(6000 - 103), "1.03s")
        now[0] += 0.5
        answer = client.post("/v1/completions", json={"max_tokens": 50, "n": 3, "prompt": ["a", "bc"]})
        assert told(answer)[:2] == ("600", "599")
        assert int(told(answer)[4]) == 6000 - 103 + 50 - 3 * 50 * 2 - 3
        left = int(told(answer)[4])
        assert told(client.post("/v1/score", json={"text": "abcab"}))[4] == str(left - 5)
        assert told(client.post("/v1/inspect", json={"text": "abcabc"}))[4] == str(left - 11)
        for path_ in ("/health", "/v1/models", "/v1/files", "/openapi.json"):
            assert not any(name in client.get(path_).headers for name in HEADERS)
        now[0] += 1000
        assert told(client.post("/generate", json={"length": 0}))[1:3] == ("599", "100ms")


def test_a_stream_counts_what_was_written_when_its_client_left(path: Path, add_model: Callable[..., Run]) -> None:
    add_model()
    with service(path, max_length=10**6) as (client, limits, _):
        answer = client.post("/v1/completions", json={"max_tokens": 10**6, "stream": True}, buffered=False)
        next(answer.response)  # type: ignore[call-overload]
        assert limits.symbols.left("address:127.0.0.1") == limits.symbols.limit
        answer.close()
        spent = limits.symbols.limit - limits.symbols.left("address:127.0.0.1")
        assert 0 < spent < 10**6
        answer.close()
        assert limits.symbols.limit - limits.symbols.left("address:127.0.0.1") == spent


@pytest.mark.parametrize(("settings", "what"), [({"caller_requests": 2}, "requests"), ({"caller_symbols": 150}, "symbols")])
def test_a_caller_whose_minute_is_used_up_is_told_when_to_try_again(
    path: Path, add_model: Callable[..., Run], settings: dict[str, int], what: str
) -> None:
    add_model()
    with service(path, **settings) as (client, _, now):
        assert [client.post("/generate", json={"length": 100}).status_code for _ in range(2)] == [200, 200]
        answer = client.post("/generate", json={"length": 100})
        assert answer.status_code == 429
        error = answer.get_json()["error"]
        assert (error["type"], error["code"]) == ("rate_limit_error", "rate_limit_exceeded")
        [limit] = settings.values()
        assert f"your {limit} {what} a minute, the limit for one caller (--caller-{what}), are used up" in error["message"]
        assert told(answer)[1 if what == "requests" else 4] == "0"
        other = client.post("/generate", json={"length": 5}, environ_base={"REMOTE_ADDR": "127.0.0.2"})
        assert other.status_code == 200
        assert client.get("/v1/models").status_code == 200
        wait = int(answer.headers["Retry-After"])
        assert str(wait) in error["message"]
        assert wait == (30 if what == "requests" else math.ceil(53 / 2.5))
        now[0] += wait - 1
        assert client.post("/generate", json={"length": 5}).status_code == 429
        now[0] += 1
        assert client.post("/generate", json={"length": 5}).status_code == 200


def test_a_request_that_is_refused_takes_no_symbols(path: Path, add_model: Callable[..., Run]) -> None:
    add_model()
    with service(path, max_length=10) as (client, limits, _):
        assert client.post("/generate", json={"length": 100}).status_code == 400
        assert limits.symbols.left("address:127.0.0.1") == limits.symbols.limit
        assert limits.requests.left("address:127.0.0.1") == limits.requests.limit - 1


# ── threads ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("settings", [{}, {"max_rows": 1, "max_waiting": 0, "max_followers": 0, "caller_uploads": 12}, {"max_rows": 1024}])
def test_one_caller_cannot_hold_all_threads(settings: dict[str, int]) -> None:
    config = ServiceConfig(db=Path("x"), **settings)  # type: ignore[arg-type]
    turns = [(module.AT_ONCE, module.WAITING) for module in (scoring, inspector, cell_search, index_manager)]
    reading = sum(at_once + MOST * waiting for at_once, waiting in turns)
    writing = config.max_rows + max(1, MOST * config.max_waiting)
    held = writing + MOST * config.max_followers + RateLimits(config).bodies.each + reading
    assert held <= threads_of(config) - 25


# ── large bodies ──────────────────────────────────────────────────────────────────────────────────────────────────────

FORM = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\n'


def slow(
    port: int, address: str, path: str = "/v1/files", kind: str = "multipart/form-data; boundary=x", body: bytes = FORM
) -> http.client.HTTPConnection:
    """An upload from an address of this machine that has begun, and whose rest is still to come."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30, source_address=(address, 0))
    connection.putrequest("POST", path)
    connection.putheader("Content-Type", kind)
    connection.putheader("Content-Length", "1000000")
    connection.endheaders()
    connection.send(body + b"a" * BODY)
    return connection


def uploaded(port: int, address: str, name: str) -> int:
    """The status of a whole upload of 200 kB."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30, source_address=(address, 0))
    form = b'--x\r\nContent-Disposition: form-data; name="name"\r\n\r\n' + name.encode() + b"\r\n" + FORM
    body = form + b"the loom " * 25_000 + b"\r\n--x--\r\n"
    connection.request("POST", "/v1/files", body, {"Content-Type": "multipart/form-data; boundary=x"})
    status = connection.getresponse().status
    connection.close()
    return status


@pytest.mark.parametrize("body", ["uploads", "prompts"])
def test_slow_bodies_of_one_caller_keep_no_upload_of_another_waiting(
    launch: Callable[..., Any], add_model: Callable[..., Run], body: str
) -> None:
    add_model()
    server = launch(min_disk=0)
    kind: dict[str, Any] = {} if body == "uploads" else {"path": "/generate", "kind": "application/json", "body": b'{"prompt": "'}
    greedy = {each.sock: each for each in [slow(server.port, "127.0.0.1", **kind) for _ in range(9)]}
    [refused], _, _ = select.select(list(greedy), [], [], 10)  # any one of them: they arrive at the same time
    answer = greedy[refused].getresponse()
    error = json.loads(answer.read())["error"]
    assert (answer.status, int(answer.headers["Retry-After"]) > 0) == (429, True)
    assert error["code"] == "too_many_uploads"
    assert "one caller may send 8 at a time (--caller-uploads)" in error["message"]
    for number in range(3):
        assert uploaded(server.port, "127.0.0.2", f"tale-{number}") == 200
    assert uploaded(server.port, "127.0.0.3", "another") == 200
    for connection in greedy.values():
        connection.close()
