"""The application as a whole, and its page."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from service.store import Run
from service.system.errors import DatabaseUnusable
from service.web.app import create_app
from service.web.pages import imports
from service.web.service_config import ServiceConfig

STATIC = Path(__file__).parents[3] / "service" / "web" / "static"


@pytest.fixture
def client(path: Path) -> FlaskClient:
    return create_app(str(path)).test_client()


def test_a_path_is_enough(path: Path, add_model: Callable[..., Run]) -> None:
    add_model()
    for config in (path, str(path), ServiceConfig(db=path)):
        assert create_app(config).test_client().get("/health").get_json()["models"] == 1


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a database, but long enough to be taken for one" * 100)
    with pytest.raises(DatabaseUnusable, match="is not an SQLite database"):
        create_app(tmp_path / "notes.txt")


def test_nothing_foreign_runs_in_the_page(client: FlaskClient) -> None:
    answer = client.get("/")
    assert answer.status_code == 200
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    page = answer.get_data(as_text=True)
    assert not re.search(r"<script(?![^>]*src=)|<style|\son\w+=|\sstyle=|https?://", page)
    for name in re.findall(r'(?:src|href)="(/static/[^"]+)"', page):
        with client.get(name) as file:
            assert file.status_code == 200


def test_no_file_is_left_over(client: FlaskClient) -> None:
    files = {str(file.relative_to(STATIC)): file for file in STATIC.rglob("*") if file.is_file() and file.name != "README.md"}
    pages = [client.get("/").get_data(as_text=True), client.get("/docs").get_data(as_text=True)]
    pages.append((STATIC.parent / "templates" / "key.html").read_text())
    waiting = {first or second for page in pages for first, second in re.findall(r"/static/([\w./-]+)|filename='([\w./-]+)'", page)}
    used = set()
    while waiting:
        name = waiting.pop()
        used.add(name)
        beside = imports(name, files[name].read_text(), later=True) if name.endswith(".js") else []
        if name == "page.js":  # its table of views names their styles
            beside += re.findall(r'"([\w./-]+\.css)"', files[name].read_text())
        waiting |= set(beside) - used
    assert used == set(files)


def test_the_script_finds_what_it_needs(client: FlaskClient) -> None:
    page, script = client.get("/").get_data(as_text=True), (STATIC / "page.js").read_text()
    ids = set(re.findall(r'"#(\w+)"', script))
    assert ids
    for name in ids:
        assert f'id="{name}"' in page


def test_head_and_options(client: FlaskClient) -> None:
    assert client.head("/health").status_code == 200
    assert set(client.options("/generate").headers["Allow"].split(", ")) == {"OPTIONS", "POST"}
