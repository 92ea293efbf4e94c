"""Fixtures: the application over a store, and a client."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from service.app import create_app
from service.config import ServiceConfig


@pytest.fixture
def app(path: Path) -> Iterator[Flask]:
    app = create_app(ServiceConfig(db=path, max_length=1000, max_texts=4, max_body=20_000))
    yield app
    app.extensions["charloom"].close()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()
