"""The recipes of docs/serving.md, with real proxies: pages, streams, uploads and refusals below a path, and what clients cannot forge."""

from __future__ import annotations

import http.client
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any
from urllib.parse import urljoin, urlsplit

import pytest

from service.store import Run, Store
from tests.proxied import LANGUAGES, PREFIX, Proxied, proxied
from tests.served import Server, end, start

Response = http.client.HTTPResponse
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, put_model: Callable[..., Run]) -> Iterator[Server]:
    """A service with an untrained model that trusts the proxies on this machine."""
    db = tmp_path_factory.mktemp("service") / "charloom.db"
    with Store(db) as store:
        put_model(store)
    started = start(db, trusted_proxies=["127.0.0.1"], max_upload=8_000_000, max_length=10_000_000)
    yield started
    end(started)


@pytest.fixture(scope="module", params=LANGUAGES)
def proxy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, service: Server) -> Iterator[Proxied]:
    with proxied(request.param, tmp_path_factory.mktemp(request.param), service.port) as found:
        yield found


def ask(
    port: int, method: str, path: str, body: Any = None, source: str = "127.0.0.1", headers: Mapping[str, str] = MappingProxyType({})
) -> tuple[Response, bytes]:
    """The answer, and its body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30, source_address=(source, 0))
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    data = answer.read()
    connection.close()
    return answer, data


def test_every_link_leads_below_the_prefix_and_works(proxy: Proxied) -> None:
    for entry in ("/", "/docs"):
        answer, page = ask(proxy.port, "GET", PREFIX + entry, headers={"Accept": "text/html"})
        assert answer.status == 200
        links = {urljoin(proxy.url + entry, link) for link in re.findall(r'(?:src|href)="([^"#]+)"', page.decode())}
        assert len(links) > 3
        for link in links:
            assert link.startswith(proxy.url + "/")
            assert ask(proxy.port, "GET", urlsplit(link).path)[0].status == 200
    assert f'base_url="{proxy.url}/v1"' in page.decode()
    assert json.loads(ask(proxy.port, "GET", f"{PREFIX}/openapi.json")[1])["servers"] == [{"url": PREFIX}]
    answer, error = ask(proxy.port, "GET", f"{PREFIX}/nothing")
    assert (answer.status, json.loads(error)["error"]["code"]) == (404, "not_found")


def test_a_stream_comes_as_it_is_written_and_a_client_that_leaves_ends_it(proxy: Proxied, service: Server) -> None:
    for path, body in (("/v1/completions", {"max_tokens": 10_000_000}), ("/generate", {"length": 10_000_000})):
        connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=30)
        connection.request("POST", PREFIX + path, json.dumps({**body, "stream": True}), JSON)
        answer = connection.getresponse()
        assert answer.read(5) == b"data:"
        deadline = time.monotonic() + 30
        while service.health()["rows"] != 1:  # the rest is not written yet
            assert time.monotonic() < deadline
        answer.close()
        connection.close()
        deadline = time.monotonic() + 30
        while service.health()["rows"]:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def upload(port: int, size: int) -> tuple[int, Any]:
    """The status and the JSON for a file of `size` bytes."""
    form = b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nfine-tune\r\n--b\r\n'
    form += (
        b'Content-Disposition: form-data; name="file"; filename="tale.txt"\r\n\r\n' + b"the loom weaves\n" * (size // 16) + b"\r\n--b--\r\n"
    )
    answer, data = ask(port, "POST", f"{PREFIX}/v1/files", form, headers={"Content-Type": "multipart/form-data; boundary=b"})
    return answer.status, json.loads(data)


def test_bodies_are_limited_by_the_service_alone(proxy: Proxied) -> None:
    status, file = upload(proxy.port, 3_000_000)
    assert (status, file["bytes"]) == (200, 3_000_000)
    assert ask(proxy.port, "DELETE", f"{PREFIX}/v1/files/{file['id']}")[0].status == 200
    body = json.dumps({"prompt": "a" * 2_000_000})
    answer, data = ask(proxy.port, "POST", f"{PREFIX}/v1/completions", body, headers=JSON)
    assert (answer.status, json.loads(data)["error"]["code"]) == (413, "request_entity_too_large")


def test_a_proxy_may_leave_the_prefix_on_the_path(launch: Callable[..., Server]) -> None:
    service = launch(root_path=PREFIX)
    assert f"Charloom is at {service.url}{PREFIX}\n" in service.greeting
    assert f"curl {service.url}{PREFIX}/generate " in service.greeting
    assert upload(service.port, 3_000_000)[0] == 200  # more than other routes take


FORGED = {"X-Forwarded-Prefix": "/elsewhere", "X-Forwarded-Proto": "https", "SCRIPT_NAME": "/docs"}


def test_no_client_of_a_proxy_chooses_the_prefix_or_the_scheme(proxy: Proxied) -> None:
    page = ask(proxy.port, "GET", f"{PREFIX}/docs", source="127.0.0.2", headers=FORGED)[1].decode()
    assert f'base_url="{proxy.url}/v1"' in page
    assert "elsewhere" not in page


def test_nor_does_a_client_of_the_service(service: Server) -> None:
    page = ask(service.port, "GET", "/docs", source="127.0.0.2", headers=FORGED)[1].decode()
    assert f'base_url="{service.url}/v1"' in page
    assert "elsewhere" not in page
    for address in ("127.0.0.1", "127.0.0.2"):  # some servers trust this machine with SCRIPT_NAME
        page = ask(service.port, "GET", "/docs", source=address, headers={"SCRIPT_NAME": "/docs"})[1].decode()
        assert f'base_url="{service.url}/v1"' in page
        assert ask(service.port, "GET", "/health", source=address, headers={"SCRIPT_NAME": "/elsewhere"})[0].status == 200
