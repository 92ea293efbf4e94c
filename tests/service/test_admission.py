"""Whether keys are asked for at an address, and what the owner is told."""

from __future__ import annotations

import http.client
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from service.admission import Access, admitted, announcement
from service.config import ServiceConfig
from service.keys import FIRST, Keyring, hashed
from service.store import Run, Store

Server = Any  # of conftest.py

LOCAL = ["127.0.0.1", "127.0.0.2", "::1"]
OPEN = ["0.0.0.0", "::", "192.0.2.7", "fe80::1%eth0"]


@pytest.mark.parametrize("address", LOCAL)
def test_this_machine_alone_needs_no_key(path: Path, address: str) -> None:
    config, access = admitted(ServiceConfig(db=path, max_rows=7), address)
    assert config == ServiceConfig(db=path, max_rows=7, loopback=True)
    assert access == Access(asks=False)
    with Store(path) as store:
        assert store.keys.list() == ()


@pytest.mark.parametrize("address", OPEN)
def test_where_others_can_reach_it_a_key_is_made_once(path: Path, address: str) -> None:
    config, access = admitted(ServiceConfig(db=path), address)
    assert not config.loopback
    assert access.asks
    assert access.key
    with Store(path) as store:
        assert Keyring(store.keys, config.keys).holder(access.key) == FIRST
        again = admitted(ServiceConfig(db=path), address)
        assert again == (config, Access(asks=True))
        assert len(store.keys.list()) == 1


@pytest.mark.parametrize("address", [LOCAL[0], OPEN[0]])
def test_none_is_made_where_some_are_set(path: Path, address: str) -> None:
    given = ServiceConfig(db=path, keys=(hashed("0123456789abcdef"),))
    config, access = admitted(given, address)
    assert config.keys == given.keys
    assert access == Access(asks=True)
    with Store(path) as store:
        assert store.keys.list() == ()
        store.keys.add(hashed("another"), "laptop")
    assert admitted(ServiceConfig(db=path), address)[1] == Access(asks=True)


def test_a_service_that_others_can_reach(launch: Callable[..., Server], add_model: Callable[..., Run]) -> None:
    add_model()
    server = launch(host="0.0.0.0")
    found = re.search(r"^Charloom is at (http://127\.0\.0\.1:\d+)/#key=(cl-[\w-]{43})$", server.greeting, re.MULTILINE)
    assert found
    assert f"curl {found[1]}/generate -H 'Authorization: Bearer {found[2]}'" in server.greeting

    def status(path: str, **headers: str) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        connection.request("GET", path, headers={"Host": "loom.example.org", **headers})
        answer = connection.getresponse()
        answer.read()
        connection.close()
        return answer.status

    assert [status(path) for path in ("/", "/health", "/static/page.js", "/v1/models", "/metrics")] == [200, 200, 200, 401, 401]
    assert [status(path, Authorization=f"Bearer {found[2]}") for path in ("/v1/models", "/metrics")] == [200, 200]
    assert server.stop() == (0, "")
    again = launch(host="0.0.0.0")
    assert "#key=" not in again.greeting
    assert "it asks for a key" in again.greeting
    server = again
    assert status("/v1/models", Authorization=f"Bearer {found[2]}") == 200
    assert again.stop() == (0, "")


def said(capsys: pytest.CaptureFixture[str], access: Access, db: str = "charloom.db") -> list[str]:
    announcement("http://127.0.0.1:8000", access, Path(db))
    return [line for line in capsys.readouterr().out.splitlines() if line]


def test_what_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    curl = '  curl http://127.0.0.1:8000/generate -H \'Content-Type: application/json\' -d \'{"prompt": "def ", "length": 300}\''
    assert said(capsys, Access(asks=False)) == ["Charloom is at http://127.0.0.1:8000", curl]
    assert said(capsys, Access(asks=True, key="cl-x")) == [
        "Charloom is at http://127.0.0.1:8000/#key=cl-x",
        "  (this key is shown once; for another: charloom key new)",
        curl.replace(" -H 'C", " -H 'Authorization: Bearer cl-x' -H 'C"),
    ]
    assert said(capsys, Access(asks=True), "a b.db") == [
        "Charloom is at http://127.0.0.1:8000",
        "  (it asks for a key: one that was set, or made with charloom key new --db 'a b.db')",
        curl.replace(" -H 'C", " -H 'Authorization: Bearer KEY' -H 'C"),
    ]
