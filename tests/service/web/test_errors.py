"""Every error is one JSON shape with the right status."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask, abort
from flask.testing import FlaskClient

from model import errors as errors_of_model
from model.errors import CharloomError, InvalidSetting
from service.system import errors as errors_of_service
from service.system.errors import DatabaseBusy, NameTaken, OutOfMemory, RunNotFound
from service.web.app import create_app
from service.web.errors import status_of


@pytest.fixture
def app(path: Path) -> Iterator[Flask]:
    app = create_app(path)

    @app.get("/boom")
    def boom() -> str:
        raise RuntimeError("a secret of the house")

    @app.get("/busy")
    def busy() -> str:
        raise DatabaseBusy(str(path), 10)

    @app.get("/teapot")
    def teapot() -> str:
        abort(418)

    @app.get("/folder/")
    def folder() -> str:
        return "here"

    yield app
    app.extensions["charloom"].close()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.mark.parametrize(
    ("method", "url", "status", "code"),
    [
        ("GET", "/nothing", 404, "not_found"),
        ("GET", "/static/nothing.css", 404, "not_found"),
        ("GET", "/static/../app.py", 404, "not_found"),
        ("GET", "/generate", 405, "method_not_allowed"),
        ("DELETE", "/health", 405, "method_not_allowed"),
        ("GET", "/boom", 500, "internal_error"),
        ("GET", "/busy", 503, "database_busy"),
        ("GET", "/teapot", 418, "im_ateapot"),
    ],
)
def test_the_shape(client: FlaskClient, method: str, url: str, status: int, code: str) -> None:
    answer = client.open(url, method=method)
    assert answer.status_code == status
    assert answer.mimetype == "application/json"
    error = answer.get_json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["code"] == code
    assert error["message"]


def test_what_a_405_says(client: FlaskClient) -> None:
    answer = client.get("/generate")
    assert answer.get_json()["error"]["message"] == "/generate does not take GET; it takes POST"
    assert "POST" in answer.headers["Allow"]


def test_a_500_says_nothing_internal_but_the_log_does(
    client: FlaskClient, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("charloom"), "propagate", True)
    assert "secret" not in client.get("/boom").get_data(as_text=True)
    assert "GET /boom failed" in caplog.text
    assert "a secret of the house" in caplog.text


def test_where_the_database_lies_is_not_told(client: FlaskClient, path: Path) -> None:
    message = client.get("/busy").get_json()["error"]["message"]
    assert message.startswith("charloom.db was locked")
    assert str(path.parent) not in message


def test_redirections_are_no_errors(client: FlaskClient) -> None:
    assert client.get("/folder").status_code == 308


def test_every_error_of_charloom_has_a_status() -> None:
    found = {**vars(errors_of_model), **vars(errors_of_service)}.values()
    kinds = [kind for kind in found if inspect.isclass(kind) and issubclass(kind, CharloomError)]
    assert len(kinds) > 30
    for kind in kinds:
        error = kind() if kind is OutOfMemory else kind.__new__(kind)
        assert 400 <= status_of(error) < 600
    assert status_of(InvalidSetting("seed", -1, "0 or more")) == 400
    assert status_of(RunNotFound("x")) == 404
    assert status_of(NameTaken("run", "x")) == 409
    assert status_of(KeyError("x")) == 500
