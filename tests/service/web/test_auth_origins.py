"""Pages of other origins: what a browser is told of a service with and without keys."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from service.store import Run
from service.store.api_keys import hashed
from service.web.app import HEADERS, create_app
from service.web.auth import EXPOSED
from service.web.service_config import ServiceConfig

KEY = "0123456789abcdef"
BEARER = {"Authorization": f"Bearer {KEY}"}
APP, OTHER = "https://app.example.org:8443", "https://example.org"
# As openai-node in a browser
WANTED = "authorization,content-type,x-stainless-arch,x-stainless-lang,x-stainless-os,x-stainless-retry-count,x-stainless-timeout"

Service = Callable[..., FlaskClient]


@pytest.fixture
def service(path: Path) -> Iterator[Service]:
    """A client of a service with such settings."""
    made = []

    def client(**settings: object) -> FlaskClient:
        app = create_app(ServiceConfig(db=path, **settings))  # type: ignore[arg-type]
        made.append(app)
        return app.test_client()

    yield client
    for app in made:
        app.extensions["charloom"].close()


KEYED = {"keys": (hashed(KEY),)}
KINDS = [{}, KEYED, {"loopback": False, **KEYED}]


def asks(client: FlaskClient, origin: str, path: str = "/v1/completions", method: str = "POST", wanted: str | None = WANTED):  # type: ignore[no-untyped-def]
    """The answer to a preflight."""
    headers = {"Origin": origin, "Access-Control-Request-Method": method}
    return client.options(path, headers=headers | ({"Access-Control-Request-Headers": wanted} if wanted else {}))


@pytest.mark.parametrize("settings", KINDS)
def test_a_page_that_is_named_may_ask_without_a_key_and_send_what_clients_send(service: Service, settings: dict[str, object]) -> None:
    client = service(allow_origin=(OTHER, APP), **settings)
    for method, path in (("POST", "/v1/completions"), ("PATCH", "/v1/completions/x"), ("DELETE", "/v1/files/tale"), ("GET", "/nothing")):
        answer = asks(client, APP, path, method)
        assert (answer.status_code, answer.data) == (204, b"")
        assert answer.headers["Access-Control-Allow-Origin"] == APP
        assert answer.headers["Access-Control-Allow-Headers"] == WANTED
        assert method in answer.headers["Access-Control-Allow-Methods"].split(", ")
        assert "Origin" in answer.headers["Vary"]
        assert "Access-Control-Allow-Credentials" not in answer.headers
    assert "Access-Control-Allow-Headers" not in asks(client, APP, wanted=None).headers


@pytest.mark.parametrize("settings", KINDS)
def test_its_answers_can_be_read_with_their_headers_errors_included(
    service: Service, settings: dict[str, object], add_model: Callable[..., Run]
) -> None:
    add_model()
    client = service(allow_origin=(APP,), **settings)
    requests: list[tuple[str, str, object, int]] = [
        ("GET", "/v1/models", None, 200),
        ("GET", "/nothing", None, 404),
        ("POST", "/v1/completions", {"max_tokens": 3, "prompt": "a"}, 200),
        ("POST", "/v1/completions", {"max_tokens": 3, "stream": True}, 200),
        ("POST", "/v1/completions", {"max_tokens": -1}, 400),
        ("DELETE", "/v1/models/nothing", None, 404),
    ]
    for method, path, body, status in requests:
        with client.open(path, method=method, json=body, headers=BEARER | {"Origin": APP}) as answer:
            assert answer.status_code == status
            assert answer.headers["Access-Control-Allow-Origin"] == APP
            assert "Access-Control-Allow-Credentials" not in answer.headers
            exposed = {name.lower() for name in answer.headers["Access-Control-Expose-Headers"].split(", ")}
            shown = {"cache-control", "content-language", "content-length", "content-type", "expires", "last-modified", "pragma"}
            for_browsers = {name.lower() for name in HEADERS} | {"vary", "connection", "x-accel-buffering", "date", "server"}
            told = {name.lower() for name in answer.headers.keys() if not name.startswith("Access-Control-")}  # noqa: SIM118
            assert told <= exposed | shown | for_browsers
            assert {"x-request-id", "retry-after"} <= exposed
    if settings:
        refused = client.get("/v1/models", headers={"Origin": APP})  # the page sees why
        assert (refused.status_code, refused.headers["Access-Control-Allow-Origin"]) == (401, APP)
    assert len({name.lower() for name in EXPOSED}) == len(EXPOSED)


@pytest.mark.parametrize("settings", KINDS)
@pytest.mark.parametrize(
    "origin", [OTHER, "null", "https://app.example.org", "http://app.example.org:8443", "https://xapp.example.org:8443", ""]
)
@pytest.mark.parametrize("allowed", [(), (APP,)])
def test_every_other_page_is_refused_and_told_the_option(
    service: Service, settings: dict[str, object], origin: str, allowed: tuple[str, ...]
) -> None:
    client = service(allow_origin=allowed, **settings)
    answer = asks(client, origin)
    assert answer.status_code == 403
    assert answer.get_json()["error"]["code"] == "foreign_origin"
    assert "charloom serve --allow-origin https://" in answer.get_json()["error"]["message"]
    for method in ("GET", "POST"):
        answer = client.open("/v1/files", method=method, headers=BEARER | {"Origin": origin})
        assert "Access-Control-Allow-Origin" not in answer.headers
        if method == "POST" and not settings:
            assert answer.get_json()["error"]["code"] == "foreign_origin"


def test_without_keys_a_named_page_may_change_things_but_only_on_this_machine(service: Service) -> None:
    client = service(allow_origin=(APP,))
    assert client.delete("/v1/files/tale", headers={"Origin": APP}).status_code == 404
    assert client.delete("/v1/files/tale", headers={"Origin": APP.upper()}).status_code == 404
    answer = client.delete("/v1/files/tale", headers={"Origin": APP, "Host": "example.org"})
    assert (answer.status_code, answer.get_json()["error"]["code"]) == (403, "foreign_host")


def test_all_pages_can_be_let_in_only_if_keys_protect_the_service(service: Service) -> None:
    closed = service(allow_origin=("*",), **KEYED)
    for origin in (OTHER, "null"):
        assert asks(closed, origin).headers["Access-Control-Allow-Origin"] == "*"
        assert closed.get("/v1/models", headers=BEARER | {"Origin": origin}).headers["Access-Control-Allow-Origin"] == "*"
        assert closed.get("/v1/models", headers={"Origin": origin}).status_code == 401
    assert "Access-Control-Allow-Origin" not in closed.get("/v1/models", headers=BEARER).headers
    opened = service(allow_origin=("*", APP))
    assert asks(opened, OTHER).status_code == 403
    assert asks(opened, APP).headers["Access-Control-Allow-Origin"] == APP
    assert opened.delete("/v1/files/tale", headers={"Origin": OTHER}).status_code == 403
    assert "Access-Control-Allow-Origin" not in opened.get("/v1/models", headers={"Origin": OTHER}).headers


def test_a_plain_options_request_is_no_question_of_a_browser(service: Service) -> None:
    client = service(allow_origin=(APP,), **KEYED)
    assert client.options("/v1/models").status_code == 401
    assert client.options("/v1/models", headers={"Origin": APP}).status_code == 401
    assert client.options("/v1/models", headers={"Access-Control-Request-Method": "GET"}).status_code == 401
