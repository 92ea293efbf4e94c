"""Fixtures: the application over a store, and a client."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from model.output_text import Piece
from model.sampling import Sampler
from service.web.app import create_app
from service.web.service_config import ServiceConfig


@pytest.fixture
def app(path: Path) -> Iterator[Flask]:
    app = create_app(ServiceConfig(db=path, max_length=1000, max_texts=4, max_body=20_000))
    yield app
    app.extensions["charloom"].close()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def short_of_time(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer may take a fifth of a second, in which four steps are made."""
    step = Sampler.step

    def slowly(sampler: Sampler) -> list[Piece]:
        time.sleep(0.05)
        return step(sampler)

    monkeypatch.setattr(Sampler, "step", slowly)
    monkeypatch.setattr(app.extensions["charloom"].engine, "_max_seconds", 0.2)
