"""A service below a path: every link leads there, whether or not the proxy takes the prefix off."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import pytest
from flask.testing import FlaskClient
from werkzeug.test import create_environ, run_wsgi_app

from model.errors import InvalidSetting
from service.store.api_keys import hashed
from service.web.app import create_app
from service.web.service_config import OWN_PATHS, ServiceConfig

PREFIX = "/ai/charloom"
BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.fixture
def launched(path: Path) -> Iterator[Callable[..., FlaskClient]]:
    """A client of a service with such settings."""
    made = []

    def start(**settings: object) -> FlaskClient:
        made.append(create_app(ServiceConfig(db=path, **settings)))  # type: ignore[arg-type]
        return made[-1].test_client()

    yield start
    for app in made:
        app.extensions["charloom"].close()


@pytest.fixture
def client(launched: Callable[..., FlaskClient]) -> FlaskClient:
    return launched(root_path=PREFIX + "/")


@pytest.mark.parametrize("before", ["", PREFIX])
def test_it_answers_with_the_prefix_and_without(client: FlaskClient, before: str) -> None:
    for path in ("/", "/docs", "/health", "/v1/models", "/openapi.json", "/static/page.js"):
        with client.get(before + path) as answer:
            assert answer.status_code == 200
    assert client.get(before + "/nothing").status_code == 404
    assert f"the page at {PREFIX}/ and {PREFIX}/docs show" in client.get(before + "/nothing").get_json()["error"]["message"]
    assert f"it is at {PREFIX}/v1/models" in client.get(before + "/models").get_json()["error"]["message"]


def test_only_whole_parts_of_a_path_are_the_prefix(client: FlaskClient) -> None:
    assert client.get(PREFIX).status_code == 200
    for path in (f"{PREFIX}x/health", f"{PREFIX}{PREFIX}/health", "/ai/health", f"{PREFIX.upper()}/health"):
        assert client.get(path).status_code == 404


def links(page: str, base: str) -> set[str]:
    """The paths on this host that a page leads to or loads."""
    found = {urlsplit(urljoin(base, link)) for link in re.findall(r'(?:src|href)="([^"#]+)"', page)}
    assert {link.netloc for link in found} == {"localhost"}
    return {link.path for link in found}


@pytest.mark.parametrize("before", ["", PREFIX])
def test_every_link_of_a_page_leads_below_the_prefix_and_works(client: FlaskClient, before: str) -> None:
    for path in ("/", "/docs"):
        found = links(client.get(before + path).get_data(as_text=True), f"http://localhost{PREFIX}{path}")
        assert f"{PREFIX}/health" in found
        for link in found:
            assert link.startswith(PREFIX + "/")
            with client.get(link) as answer:
                assert answer.status_code == 200
    assert f'base_url="http://localhost{PREFIX}/v1"' in client.get(before + "/docs").get_data(as_text=True)


def test_the_page_that_asks_for_a_key_finds_its_files(launched: Callable[..., FlaskClient]) -> None:
    answer = launched(root_path=PREFIX, keys=(hashed("0123456789abcdef"),)).get(f"{PREFIX}/docs", headers=BROWSER)
    assert answer.status_code == 401
    found = links(answer.get_data(as_text=True), f"http://localhost{PREFIX}/docs")
    assert found
    assert all(link.startswith(f"{PREFIX}/static/") for link in found)


def test_openapi_names_the_prefix_as_its_server(launched: Callable[..., FlaskClient]) -> None:
    assert launched(root_path=PREFIX).get("/openapi.json").get_json()["servers"] == [{"url": PREFIX}]
    assert launched().get("/openapi.json").get_json()["servers"] == [{"url": "/"}]


def test_no_client_chooses_the_prefix(launched: Callable[..., FlaskClient]) -> None:
    """Servers may make SCRIPT_NAME of a header; then the rest is in PATH_INFO."""
    for prefix in ("", PREFIX):
        application = launched(root_path=prefix).application
        environ = create_environ("/models")
        environ["SCRIPT_NAME"] = "/v1"
        assert run_wsgi_app(application, environ)[1] == "200 OK"
        environ = create_environ("/")
        environ["SCRIPT_NAME"] = "//example.org"
        body, status, _ = run_wsgi_app(application, environ)
        assert b"example.org" not in b"".join(body) or status.startswith("404")
        for name in ("X-Forwarded-Prefix", "Script-Name", "X-Script-Name"):
            page = application.test_client().get("/", headers={name: "/elsewhere"}).get_data(as_text=True)
            assert f'src="{prefix}/static/page.js"' in page


def test_a_prefix_that_could_be_a_route_is_refused(launched: Callable[..., FlaskClient]) -> None:
    routes = {rule.rule for rule in launched().application.url_map.iter_rules()} - {"/"}
    assert {route.split("/")[1] for route in routes} <= OWN_PATHS
    for root_path in (*(route for route in routes if "<" not in route), "/v1", "/v1/charloom", "/static/"):
        with pytest.raises(InvalidSetting, match=r"^root_path is .*another path than the service's own"):
            launched(root_path=root_path)
    assert launched(root_path="/v1x").get("/v1/models").status_code == 200


PROXY, CLIENT = {"REMOTE_ADDR": "10.1.2.3"}, {"REMOTE_ADDR": "192.0.2.7"}


def test_a_trusted_proxy_names_the_prefix_and_the_scheme(launched: Callable[..., FlaskClient]) -> None:
    for root_path in ("", PREFIX):
        client = launched(root_path=root_path, trusted_proxies=("10.0.0.0/8",), loopback=False, keys=(hashed("0123456789abcdef"),))
        told = {"X-Forwarded-Prefix": "/other/", "X-Forwarded-Proto": "https", "Authorization": "Bearer 0123456789abcdef"}
        for path in ("/docs", "/other/docs"):
            page = client.get(path, headers=told, environ_base=PROXY).get_data(as_text=True)
            assert 'src="/other/static/lib/first-paint.js"' in page
            assert 'base_url="https://localhost/other/v1"' in page
        assert client.get("/openapi.json", headers=told, environ_base=PROXY).get_json()["servers"] == [{"url": "/other"}]
        page = client.get("/docs", headers=told, environ_base=CLIENT).get_data(as_text=True)
        assert f'src="{root_path}/static/lib/first-paint.js"' in page
        assert f'base_url="http://localhost{root_path}/v1"' in page


@pytest.mark.parametrize("prefix", ["//example.org", "https://example.org", '/"><script>', "/a/../b", "/v1", "/static/x", "", "/", "a"])
def test_what_is_no_prefix_is_ignored_even_of_a_trusted_proxy(launched: Callable[..., FlaskClient], prefix: str) -> None:
    client = launched(root_path=PREFIX, trusted_proxies=("127.0.0.1",))
    page = client.get("/", headers={"X-Forwarded-Prefix": prefix, "X-Forwarded-Proto": "javascript"}).get_data(as_text=True)
    assert f'src="{PREFIX}/static/page.js"' in page
    assert "example.org" not in page


def test_of_several_proxies_the_nearest_counts(launched: Callable[..., FlaskClient]) -> None:
    client = launched(trusted_proxies=("127.0.0.1",))
    headers = {"X-Forwarded-Prefix": "/lie, /truth", "X-Forwarded-Proto": "http,https"}
    assert 'base_url="https://localhost/truth/v1"' in client.get("/docs", headers=headers).get_data(as_text=True)
