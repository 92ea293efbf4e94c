"""The page's files on their way to a browser."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from service.web.app import create_app
from service.web.pages import PRELOADED

STATIC = Path(__file__).parents[3] / "service" / "web" / "static"


@pytest.fixture
def client(path: Path) -> FlaskClient:
    return create_app(str(path)).test_client()


def test_files_travel_compressed_where_the_browser_takes_that(client: FlaskClient) -> None:
    plain = (STATIC / "page.js").read_bytes()
    with client.get("/static/page.js", headers={"Accept-Encoding": "gzip, br"}) as answer:
        assert answer.headers["Content-Encoding"] == "gzip"
        assert answer.content_length == len(answer.data) < len(plain)
        assert gzip.decompress(answer.data) == plain
        etag = answer.headers["ETag"]
    with client.get("/static/page.js", headers={"Accept-Encoding": "gzip", "If-None-Match": etag}) as answer:
        assert (answer.status_code, answer.data) == (304, b"")
    for encodings in ({}, {"Accept-Encoding": "br"}, {"Accept-Encoding": "gzip;q=0"}):
        with client.get("/static/page.js", headers=encodings) as answer:
            assert "Content-Encoding" not in answer.headers
            assert answer.headers["Vary"] == "Accept-Encoding"
            assert answer.data == plain


def test_parts_and_small_files_stay_as_they_are(client: FlaskClient) -> None:
    for name, headers, status in (("page.js", {"Range": "bytes=0-9"}, 206), ("icon.svg", {}, 200)):
        with client.get(f"/static/{name}", headers={"Accept-Encoding": "gzip", **headers}) as answer:
            assert answer.status_code == status
            assert "Content-Encoding" not in answer.headers


def test_it_names_what_it_needs_first_and_the_limits(client: FlaskClient) -> None:
    page = client.get("/").get_data(as_text=True)
    assert 'data-max-length="100000"' in page
    for name in PRELOADED:
        assert f'<link rel="modulepreload" href="/static/{name}">' in page
        assert (STATIC / name).is_file()
