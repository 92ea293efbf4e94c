"""Who passes: every kind of caller at every kind of route, with and without keys."""

from __future__ import annotations

import io
import re
import select
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask, g
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.test import create_environ, run_wsgi_app

from service.store import api_keys
from service.store.api_keys import SCOPES, hashed
from service.web import auth
from service.web.app import create_app
from service.web.auth import GUESSES, is_loopback
from service.web.http_server import SPARE_THREADS
from service.web.service_config import ServiceConfig
from tests.served import Server

KEY, OTHER = "0123456789abcdef", "fedcba9876543210"
BEARER = {"Authorization": f"Bearer {KEY}"}

Service = Callable[..., FlaskClient]


@pytest.fixture
def service(path: Path, request: pytest.FixtureRequest) -> Service:
    """A client of a service with such settings; GET and POST /whoami answer with the caller's name."""

    def made(**settings: object) -> FlaskClient:
        app: Flask = create_app(ServiceConfig(db=path, **settings))  # type: ignore[arg-type]
        request.addfinalizer(app.extensions["charloom"].close)
        app.add_url_rule("/whoami", "whoami", lambda: str(g.caller), methods=["GET", "POST", "DELETE"])
        app.add_url_rule("/<int:number>", "number", lambda number: f"{number}")
        return app.test_client()

    return made


# ── on this machine, without keys ─────────────────────────────────────────────────────────────────────────────────────

HERE = ["localhost", "LocalHost:8000", "localhost.:80", "127.0.0.1", "127.0.0.1:8000", "127.255.1.2:1", "[::1]", "[::1]:8000"]
ELSEWHERE = [
    "",
    "example.org",
    "example.org:8000",
    "localhost.example.org",
    "127.0.0.1.example.org",
    "example.org#localhost",
    "localhost, example.org",
    "localhost:8000:9",
    "localhost:x",
    "128.0.0.1",
    "0.0.0.0",
    "10.0.0.1:8000",
    "127.1",
    "2130706433",
    "0x7f.0.0.1",
    "::1",
    "[::2]",
    "[localhost]",
    "[127.0.0.1]",
    "user@localhost",
    " localhost",
    "localhost\t",
]


@pytest.mark.parametrize("host", HERE)
def test_names_of_this_machine(service: Service, host: str) -> None:
    assert is_loopback(host)
    assert service().get("/whoami", headers={"Host": host}).get_data(as_text=True) == "address:127.0.0.1"


@pytest.mark.parametrize("host", ELSEWHERE)
def test_other_names_are_refused_even_for_what_needs_no_key(service: Service, host: str) -> None:
    assert not is_loopback(host)
    client = service()
    for path in ("/", "/health", "/static/page.js", "/v1/models", "/nothing"):
        answer = client.get(path, environ_overrides={"HTTP_HOST": host})
        assert answer.status_code == 403
        error = answer.get_json()["error"]
        assert (error["code"], error["type"]) == ("foreign_host", "permission_error")
        assert "answers to localhost and 127.0.0.1 only" in error["message"]


def test_a_request_without_a_host_is_refused(service: Service) -> None:
    client = service()
    environ = create_environ("/health")
    del environ["HTTP_HOST"]
    assert run_wsgi_app(client.application, environ)[1] == "403 FORBIDDEN"


@given(st.text(max_size=30))
def test_no_host_breaks_it(host: str) -> None:
    is_loopback(host)


@given(st.ip_addresses())
def test_an_address_is_of_this_machine_exactly_if_it_is_loopback(address: object) -> None:
    text = f"[{address}]" if ":" in str(address) else str(address)
    assert is_loopback(text) == (str(address) == "::1" or (":" not in str(address) and str(address).startswith("127.")))


@pytest.mark.parametrize("origin", [None, "http://localhost", "HTTP://LOCALHOST"])
def test_our_own_page_may_change_things(service: Service, origin: str | None) -> None:
    headers = {} if origin is None else {"Origin": origin}
    for method in ("GET", "POST", "DELETE"):
        assert service().open("/whoami", method=method, headers=headers).status_code == 200


@pytest.mark.parametrize(
    "origin", ["http://example.org", "null", "", "http://localhost:3000", "http://127.0.0.1", "localhost", "http://localhost.example.org"]
)
def test_pages_of_others_may_not(service: Service, origin: str) -> None:
    client = service()
    for method in ("POST", "DELETE"):
        answer = client.open("/whoami", method=method, headers={"Origin": origin})
        assert answer.status_code == 403
        assert answer.get_json()["error"]["code"] == "foreign_origin"
    assert client.get("/whoami", headers={"Origin": origin}).status_code == 200  # which the browser keeps from the page
    assert "Access-Control-Allow-Origin" not in client.get("/whoami", headers={"Origin": origin}).headers


def test_ports_belong_to_an_origin(service: Service) -> None:
    client = service()
    for origin, status in (("http://localhost:8000", 200), ("http://localhost:8001", 403), ("http://localhost", 403)):
        assert client.post("/whoami", headers={"Host": "localhost:8000", "Origin": origin}).status_code == status


def test_what_clients_send_by_habit_is_not_looked_at(service: Service) -> None:
    for value in ("Bearer sk-none", "Basic eDp5", "nonsense"):
        assert service().get("/whoami", headers={"Authorization": value}).status_code == 200


# ── with keys ─────────────────────────────────────────────────────────────────────────────────────────────────────────

KEYED = [{"loopback": False, "keys": (hashed(KEY),)}, {"loopback": True, "keys": (hashed(KEY),)}, {"loopback": False}]
OPEN = ["/", "/health", "/ready", "/static/page.js", "/static/icon.svg"]


@pytest.mark.parametrize("settings", KEYED)
def test_what_needs_no_key(service: Service, settings: dict[str, object]) -> None:
    client = service(**settings)
    for path in OPEN:
        for method in ("GET", "HEAD"):
            with client.open(path, method=method, headers={"Host": "example.org"}) as answer:
                assert answer.status_code == 200


@pytest.mark.parametrize("settings", KEYED)
def test_everything_else_does(service: Service, settings: dict[str, object]) -> None:
    client = service(**settings)
    rules = [rule for rule in client.application.url_map.iter_rules() if rule.endpoint not in auth.OPEN]
    asked = {
        (method, rule.rule.replace("<int:number>", "1").replace("<", "").replace(">", ""))
        for rule in rules
        for method in rule.methods or set()
    }
    asked |= {("GET", "/nothing"), ("POST", "/health"), ("POST", "/ready"), ("DELETE", "/"), ("GET", "/static")}
    asked |= {("GET", "/health/x"), ("GET", "/v1/health")}
    assert len(asked) > 10
    for method, path in asked:
        answer = client.open(path, method=method)
        assert answer.status_code == 401, (method, path)
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="Charloom"'
        if method != "HEAD":
            error = answer.get_json()["error"]
            assert (error["code"], error["type"]) == ("invalid_api_key", "authentication_error")


@pytest.mark.parametrize(
    "header",
    [
        f"Bearer {OTHER}",
        f"Bearer {KEY}x",
        f"Bearer {KEY[:-1]}",
        f"Bearer {hashed(KEY)}",
        f"Bearer  {KEY} {KEY}",
        f"Basic {KEY}",
        KEY,
        "Bearer",
        "Bearer ",
        "",
        "Bearer \xff",
    ],
)
def test_wrong_keys(service: Service, header: str) -> None:
    answer = service(loopback=False, keys=(hashed(KEY),)).get("/whoami", headers={"Authorization": header})
    assert answer.status_code == 401
    assert KEY not in answer.get_data(as_text=True)


def test_a_key_opens_whatever_host_and_origin_are(service: Service) -> None:
    client = service(loopback=False, keys=(hashed(KEY),))
    headers = BEARER | {"Host": "example.org", "Origin": "http://example.org"}
    for method in ("GET", "POST", "DELETE"):
        assert client.open("/whoami", method=method, headers=headers).get_data(as_text=True) == f"key:given-{hashed(KEY)[:8]}"
    assert client.get("/whoami", headers={"Authorization": f"bearer {KEY}"}).status_code == 200


BROWSER = {  # Chromium's
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8,"
    "application/signed-exchange;v=b3;q=0.7"
}


def test_a_browser_on_its_way_to_a_page_gets_one_that_asks_for_the_key(service: Service) -> None:
    client = service(loopback=False, keys=(hashed(KEY),))
    for path in ("/docs", "/v1/models", "/nothing"):
        answer = client.get(path, headers=BROWSER)
        assert (answer.status_code, answer.mimetype) == (401, "text/html")
        assert "WWW-Authenticate" in answer.headers
        page = answer.get_data(as_text=True)
        assert 'type="password"' in page
        assert "/static/key-page.js" in page
        assert not re.search(r"<script(?![^>]*src=)|<style|\son\w+=|\sstyle=|https?://", page)
        for headers in ({}, {"Accept": "*/*"}, {"Accept": "application/json"}):
            assert client.get(path, headers=headers).mimetype == "application/json"
    assert client.post("/generate", headers=BROWSER).mimetype == "application/json"
    assert client.get("/whoami", headers=BROWSER | BEARER).status_code == 200


def test_keys_come_and_go_while_it_serves(service: Service) -> None:
    client = service()
    store = client.application.extensions["charloom"].store
    assert client.get("/whoami").get_data(as_text=True) == "address:127.0.0.1"
    store.keys.add(hashed(KEY), "laptop")
    assert client.get("/whoami").status_code == 401
    assert client.get("/whoami", headers=BEARER).get_data(as_text=True) == "key:laptop"
    store.keys.revoke("laptop")
    # Who revokes the last key, perhaps since others have it, does not want to let everybody in.
    assert client.get("/whoami", headers=BEARER).status_code == 401
    assert client.get("/whoami").status_code == 401
    assert service().get("/whoami").get_data(as_text=True) == "address:127.0.0.1"  # started anew


def test_on_a_network_nobody_passes_without_any_key(service: Service) -> None:
    client = service(loopback=False)
    client.application.extensions["charloom"].store.keys.add(hashed(KEY), "laptop")
    assert client.get("/whoami", headers=BEARER).status_code == 200
    client.application.extensions["charloom"].store.keys.revoke("laptop")
    assert client.get("/whoami", headers=BEARER).status_code == 401
    assert client.get("/whoami").status_code == 401


# ── scopes and lifetimes ──────────────────────────────────────────────────────────────────────────────────────────────

NEED_TRAIN = {"files.upload", "model_content.upload", "fine_tuning.create", "fine_tuning.cancel", "fine_tuning.pause", "fine_tuning.resume"}
NEED_ADMIN = {"files.delete", "files.change", "models.delete", "models.rename", "models.pin", "models.unpin"}


@pytest.mark.parametrize("scope", SCOPES)
def test_each_route_has_a_scope(service: Service, scope: str) -> None:
    """Of all routes that change something, those named above need more than `write`; a new one must be put where it belongs."""
    client = service(loopback=False)
    store = client.application.extensions["charloom"].store
    store.keys.add(hashed(KEY), "laptop", scope=scope)
    refused = set()
    for rule in client.application.url_map.iter_rules():
        if rule.endpoint in ("whoami", "number"):
            continue
        for method in (rule.methods or set()) - {"OPTIONS"}:
            answer = client.open(re.sub("<[^>]*>", "none", rule.rule), method=method, headers=BEARER)
            assert answer.status_code != 401
            if answer.status_code != 403:
                continue
            refused.add(rule.endpoint)
            error = answer.get_json()["error"]
            needed = "train" if rule.endpoint in NEED_TRAIN else "admin"
            assert (error["code"], error["type"]) == ("scope_too_narrow", "permission_error")
            assert error["message"].startswith(f"the key laptop has the scope {scope}, and this needs the scope {needed};")
            assert f"charloom key new --scope {needed}" in error["message"]
    assert refused == {"write": NEED_TRAIN | NEED_ADMIN, "train": NEED_ADMIN, "admin": set()}[scope]


def test_an_unknown_address_is_not_found_by_any_key(service: Service) -> None:
    client = service(loopback=False)
    client.application.extensions["charloom"].store.keys.add(hashed(KEY), scope="write")
    for method in ("GET", "POST", "DELETE"):
        assert client.open("/v1/chat/completions", method=method, headers=BEARER).status_code == 404
    assert client.post("/whoami", headers=BEARER).status_code == 403, "a route that is not known to need less needs admin"


def test_a_key_expires_at_once(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    client = service(loopback=False)
    key = client.application.extensions["charloom"].store.keys.add(hashed(KEY), "laptop", seconds=3600.0)
    assert client.get("/whoami", headers=BEARER).get_data(as_text=True) == "key:laptop"
    monkeypatch.setattr(api_keys, "now", lambda: key.expires_at)
    answer = client.get("/whoami", headers=BEARER)
    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, 'Bearer realm="Charloom"')
    error = answer.get_json()["error"]
    assert (error["code"], error["type"]) == ("expired_api_key", "authentication_error")
    assert error["message"].startswith(f"the key laptop expired at {key.expires_at[:10]} ")
    assert client.get("/whoami").status_code == 401


# ── guessing ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def guess(client: FlaskClient, key: str, address: str = "192.0.2.7") -> tuple[int, float, str | None]:
    """(status, seconds for which the server holds the answer back, Retry-After)"""
    environ = create_environ("/whoami", headers={"Authorization": f"Bearer {key}"}, environ_base={"REMOTE_ADDR": address})
    answers: list[tuple[str, dict[str, str]]] = []
    client.application(environ, lambda status, headers, _=None: answers.append((status, dict(headers))))  # type: ignore[arg-type, return-value]
    [(status, headers)] = answers
    return int(status[:3]), environ.get("charloom.delay", 0), headers.get("Retry-After")


def test_guessing_is_slowed_and_logged_and_valid_keys_are_not(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    client = service(loopback=False, keys=(hashed(KEY),))
    with caplog.at_level("WARNING", logger="charloom"):
        assert [guess(client, f"wrong-{number}") for number in range(10)] == [(401, 0, None)] * 10
        assert not caplog.records
        delays = [guess(client, f"wrong-{number}")[1] for number in range(100)]
        assert delays == sorted(delays)
        assert (delays[0], delays[-1]) == (1, 10)
        assert guess(client, "wrong")[::2] == (401, "10")
    [record] = caplog.records
    assert "more than 10 wrong keys in a row came from 192.0.2.7" in record.getMessage()
    assert "wrong-" not in record.getMessage()
    assert guess(client, KEY) == (200, 0, None), "behind the same address"
    assert guess(client, "wrong", "192.0.2.8") == (401, 0, None)
    assert client.get("/whoami", environ_base={"REMOTE_ADDR": "192.0.2.7"}).headers.get("Retry-After") is None, "none was sent"


def test_a_network_of_addresses_is_one_guesser(service: Service) -> None:
    client = service(loopback=False, keys=(hashed(KEY),))
    for number in range(10):
        assert guess(client, "wrong", f"2001:db8::{number:x}")[1] == 0
    assert guess(client, "wrong", "2001:db8::ffff:1")[1] == 1
    assert guess(client, "wrong", "2001:db8:0:1::1")[1] == 0


def test_answers_to_guesses_are_held_back_and_hold_no_thread(launch: Callable[..., Server]) -> None:
    server = launch(max_rows=1, max_waiting=0, max_followers=0, keys=[hashed(KEY)])
    wrong = [
        server.connect(f"GET /v1/models HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {OTHER}\r\n\r\n".encode())
        for _ in range(SPARE_THREADS + 40)
    ]
    try:
        deadline = time.monotonic() + 30
        while len(answered := select.select(wrong, [], [], 0)[0]) < GUESSES:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert all(connection.recv(12) == b"HTTP/1.1 401" for connection in answered)
        assert server.ask("GET", "/v1/models", key=KEY)[0] == 200
        assert len(select.select(wrong, [], [], 0)[0]) < len(wrong) - SPARE_THREADS - 1, "more than there are threads"
        last = wrong[-1]
        assert last.recv(12) == b"HTTP/1.1 401"
    finally:
        for connection in wrong:
            connection.close()


class Untouched(io.BytesIO):
    """A body that must not be read."""

    def read(self, size: int | None = -1) -> bytes:
        raise AssertionError("the body was read")


@pytest.mark.parametrize(
    ("settings", "headers", "status"),
    [({"loopback": False}, {}, 401), ({}, {"Host": "example.org"}, 403), ({}, {"Origin": "http://example.org"}, 403)],
)
def test_nothing_is_read_of_whom_is_refused(service: Service, settings: dict[str, object], headers: dict[str, str], status: int) -> None:
    for path in ("/generate", "/whoami"):
        answer = service(**settings).post(
            path, headers=headers, input_stream=Untouched(), content_length=10**9, content_type="application/json"
        )
        assert answer.status_code == status
