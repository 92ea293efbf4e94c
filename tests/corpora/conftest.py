"""Helpers that the tests of corpora/ share: readers, packers, and a real HTTP server on this machine."""

from __future__ import annotations

import io
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from corpora import open_source

Route = Callable[[BaseHTTPRequestHandler], None]


@pytest.fixture
def text_of() -> Callable[..., str]:
    """The whole text of a source."""

    def read(what: object, **options: Any) -> str:
        return "".join(open_source(str(what), **options).pieces())

    return read


@pytest.fixture(scope="session")
def tar_of() -> Callable[..., bytes]:
    """A tar of names and contents; a content may be a `TarInfo` of any other kind."""

    def pack(members: Mapping[str, bytes | tarfile.TarInfo], mode: str = "w", **options: Any) -> bytes:
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode=mode, **options) as archive:
            for name, content in members.items():
                if isinstance(content, tarfile.TarInfo):
                    archive.addfile(content)
                else:
                    member = tarfile.TarInfo(name)
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))
        return file.getvalue()

    return pack


@pytest.fixture(scope="session")
def zip_of() -> Callable[..., bytes]:
    """A zip of names (or `ZipInfo`) and contents."""

    def pack(members: Mapping[Any, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", compression) as archive:
            for name, content in members.items():
                archive.writestr(name, content)
        return file.getvalue()

    return pack


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Mapping[str, Route]], str]]:
    """Starts a server that answers each path with its function; returns the URL of its root."""
    monkeypatch.setenv("no_proxy", "*")
    started: list[tuple[ThreadingHTTPServer, threading.Thread]] = []

    def start(routes: Mapping[str, Route]) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                route = routes.get(self.path.partition("?")[0])
                if route is None:
                    self.send_error(404)
                else:
                    route(self)

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        started.append((server, thread))
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server, thread in started:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def answer() -> Callable[..., Route]:
    """A route that answers with this body and these headers; ``Content-Length`` is right unless given."""

    def make(body: bytes, status: int = 200, **headers: str) -> Route:
        def route(handler: BaseHTTPRequestHandler) -> None:
            handler.send_response(status)
            for name, value in ({"Content_Length": str(len(body))} | headers).items():
                if value:
                    handler.send_header(name.replace("_", "-"), value)
            handler.end_headers()
            handler.wfile.write(body)

        return route

    return make
