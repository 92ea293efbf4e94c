"""The log: one line or object for each request, found again by its id, and nothing in it that is a secret."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from service.store import Run
from service.store.api_keys import hashed
from service.system.log_format import Json, Lines
from service.web.app import create_app
from service.web.observability import log, with_request_id
from service.web.service_config import ServiceConfig

KEY = "0123456789abcdef"
Server = Any  # of conftest.py


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What is logged, as JSON."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(Json())
    monkeypatch.setattr(log, "handlers", [handler])
    monkeypatch.setattr(log, "propagate", False)
    monkeypatch.setattr(log, "level", logging.INFO)
    logging.Logger.manager._clear_cache()  # type: ignore[attr-defined]
    return stream


@pytest.fixture
def app(path: Path, add_model: Callable[..., Run]) -> Iterator[Flask]:
    add_model()
    app = create_app(ServiceConfig(db=path, keys=(hashed(KEY),)))

    @app.get("/boom")
    def boom() -> str:
        raise RuntimeError("a fault")

    yield app
    app.extensions["charloom"].close()


def records(written: io.StringIO) -> list[dict[str, Any]]:
    """The objects that were logged."""
    return [json.loads(line) for line in written.getvalue().splitlines()]


BEARER = {"Authorization": f"Bearer {KEY}"}


def test_what_is_told_of_a_request(app: Flask, written: io.StringIO) -> None:
    answer = app.test_client().get("/v1/models/first", headers=BEARER)
    answer.close()
    [record] = records(written)
    assert record["message"].startswith(f"GET /v1/models/first {answer.status_code} ")
    assert record["level"] == "info"
    assert record["request_id"] == answer.headers["X-Request-ID"]
    assert (record["method"], record["path"], record["status"]) == ("GET", "/v1/models/first", answer.status_code)
    assert record["caller"] == f"key:given-{hashed(KEY)[:8]}"
    assert record["seconds"] > 0
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", record["time"])


def test_a_stream_is_told_when_all_is_sent(app: Flask, written: io.StringIO) -> None:
    answer = app.test_client().post("/generate", json={"stream": True, "length": 50}, headers=BEARER)
    assert records(written) == []
    assert answer.get_data()
    answer.close()
    [record] = records(written)
    assert (record["route"], record["status"]) == ("/generate", 200)


def test_neither_prompts_nor_keys_nor_queries_are_written(app: Flask, written: io.StringIO) -> None:
    client = app.test_client()
    for headers in (BEARER, {"Authorization": "Bearer a-wrong-secret-key"}):
        client.post("/generate?q=a-secret-query", json={"prompt": "a-secret-prompt", "length": 5}, headers=headers).close()
        client.post("/generate", json={"prompt": ["a-secret-list"]}, headers=headers).close()
        client.post("/generate", data='{"prompt": "a-secret-half', content_type="application/json", headers=headers).close()
        client.get("/boom?q=a-secret-query", headers=headers).close()
    assert len(records(written)) == 9  # and one about the fault
    for secret in ("secret", KEY, hashed(KEY)):
        assert secret not in written.getvalue().replace(f"given-{hashed(KEY)[:8]}", "")


def test_pages_and_monitors_are_told_only_where_they_fail(app: Flask, written: io.StringIO) -> None:
    client = app.test_client()
    for path in ("/", "/health", "/static/page.js"):
        client.get(path).close()
    client.get("/metrics", headers=BEARER).close()
    assert records(written) == []
    client.get("/metrics").close()
    client.get("/static/nothing").close()
    assert [(record["path"], record["status"]) for record in records(written)] == [("/metrics", 401), ("/static/nothing", 404)]


@pytest.mark.parametrize("given", ["abc", "3f2a-4c.5:6_7", "x" * 64])
def test_an_id_that_is_brought_along_is_kept(app: Flask, written: io.StringIO, given: str) -> None:
    answer = app.test_client().get("/nothing", headers={"X-Request-ID": given})
    answer.close()
    assert answer.headers["X-Request-ID"] == given
    assert records(written)[0]["request_id"] == given


@pytest.mark.parametrize("given", ["", "x" * 65, "a b", "a\tb", "a\xff", "{}", "a\x1b[31m", "<b>"])
def test_any_other_is_made_anew(app: Flask, written: io.StringIO, given: str) -> None:
    answers = [app.test_client().get("/nothing", environ_overrides={"HTTP_X_REQUEST_ID": given}) for _ in range(2)]
    for answer in answers:
        answer.close()
        assert re.fullmatch("[0-9a-f]{24}", answer.headers["X-Request-ID"])
    assert answers[0].headers["X-Request-ID"] != answers[1].headers["X-Request-ID"]


def test_a_fault_is_told_with_the_id_of_its_request(app: Flask, written: io.StringIO) -> None:
    answer = app.test_client().get("/boom", headers=BEARER)
    answer.close()
    fault, request = records(written)
    assert fault["level"] == "error"
    assert "RuntimeError: a fault" in fault["error"]
    assert fault["request_id"] == request["request_id"] == answer.headers["X-Request-ID"]


def test_nobody_forges_a_line(app: Flask, written: io.StringIO) -> None:
    app.test_client().get("/x%0A2026-07-04 12:00:00 INFO forged%1b[31m", headers=BEARER).close()
    assert "\n" not in written.getvalue()[:-1]
    record = logging.LogRecord("x", logging.INFO, "x", 1, "%s and é\u2028", ("a\nb\x1b[31m",), None)
    assert Lines().format(record).endswith(r" INFO a\nb\x1b[31m and é\u2028")


def test_lines(app: Flask) -> None:
    record = logging.LogRecord("x", logging.WARNING, "x", 1, "the %s", ("loom",), None)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d WARNING the loom", Lines().format(record))
    with app.test_request_context(headers={"X-Request-ID": "abc"}):
        app.preprocess_request()
        with_request_id(record)
        assert Lines().format(record).endswith(" WARNING the loom [abc]")


@pytest.mark.parametrize("form", ["lines", "json"])
def test_a_service_writes_its_log_on_standard_error(launch: Callable[..., Server], add_model: Callable[..., Run], form: str) -> None:
    add_model()
    server = launch(log_level="info", log_format=form)
    assert server.ask("POST", "/generate", {"length": 3})[0] == 200
    assert server.ask("GET", "/nothing")[0] == 404
    _, errors = server.stop()
    # A line is written when all is sent: by then the client may have asked for the next thing.
    lines = sorted((line for line in errors.splitlines() if "/generate" in line or "/nothing" in line), key=lambda line: "/nothing" in line)
    for line, (method, path, status) in zip(lines, [("POST", "/generate", 200), ("GET", "/nothing", 404)], strict=True):
        if form == "json":
            record = json.loads(line)
            assert (record["method"], record["path"], record["status"]) == (method, path, status)
        else:
            assert re.fullmatch(rf"[-0-9: ]{{19}} INFO {method} {path} {status} \d+\.\d{{3}} s \[[0-9a-f]{{24}}\]", line)
