"""Who a client is behind proxies: no header of a peer that is not trusted changes it, nor what a client wrote before it."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.test import create_environ, run_wsgi_app

from service.store.api_keys import hashed
from service.web import auth
from service.web.app import create_app
from service.web.auth import TrustedProxies, address_in
from service.web.service_config import ServiceConfig

NETWORKS = tuple(map(ipaddress.ip_network, ("10.0.0.0/8", "127.0.0.1/32", "fd00::/8")))


def seen(peer: str, forwarded: str | None) -> str:
    """The address that the application sees."""
    found: list[str] = []

    def app(environ: dict[str, str], start_response: object) -> list[bytes]:
        found.append(environ["REMOTE_ADDR"])
        return []

    header = {} if forwarded is None else {"HTTP_X_FORWARDED_FOR": forwarded}
    list(TrustedProxies(app, NETWORKS)({"REMOTE_ADDR": peer, **header}, lambda *_: lambda _: None))  # type: ignore[arg-type, return-value]
    return found[0]


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("10.1.2.3", "192.0.2.7", "192.0.2.7"),
        ("10.1.2.3", None, "10.1.2.3"),
        ("10.1.2.3", "", "10.1.2.3"),
        ("192.0.2.7", "198.51.100.1", "192.0.2.7"),  # no proxy of ours
        ("10.1.2.3", "198.51.100.1, 192.0.2.7", "192.0.2.7"),  # the client wrote the first one
        ("10.1.2.3", "127.0.0.1, 192.0.2.7", "192.0.2.7"),
        ("10.1.2.3", "192.0.2.7, 10.9.9.9", "192.0.2.7"),  # two proxies
        ("10.1.2.3", "198.51.100.1, 192.0.2.7,10.9.9.9,  127.0.0.1", "192.0.2.7"),
        ("10.1.2.3", "10.4.4.4, 10.9.9.9", "10.4.4.4"),  # a client within the network of the proxies
        ("127.0.0.1", "192.0.2.7:50123", "192.0.2.7"),
        ("127.0.0.1", "[2001:db8::7]:50123", "2001:db8::7"),
        ("fd00::1", "2001:DB8:0::7", "2001:db8::7"),
        ("::ffff:10.1.2.3", "::ffff:192.0.2.7", "192.0.2.7"),
        ("10.1.2.3", "unknown", "10.1.2.3"),
        ("10.1.2.3", "192.0.2.7, unknown, 10.9.9.9", "10.9.9.9"),  # behind it anything may stand
        ("10.1.2.3", "192.0.2.7,", "10.1.2.3"),
        ("", "192.0.2.7", ""),
    ],
)
def test_the_first_address_from_the_end_that_is_no_proxys(peer: str, forwarded: str | None, client: str) -> None:
    assert seen(peer, forwarded) == client


@given(st.text(max_size=60), st.ip_addresses(v=4).filter(lambda address: address not in NETWORKS[0] and address not in NETWORKS[1]))
def test_a_client_cannot_choose_its_address(lies: str, address: ipaddress.IPv4Address) -> None:
    assert seen("10.1.2.3", f"{lies}, {address}") == str(address)
    assert seen(str(address), lies) == str(address)


@given(st.ip_addresses())
def test_addresses_are_read_as_they_are_written(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    expected = getattr(address, "ipv4_mapped", None) or address
    for text in (f"{address}", f" {address} ", f"[{address}]", f"[{address}]:80", *([f"{address}:80"] if address.version == 4 else [])):
        assert address_in(text) == expected


def test_who_comes_through_a_trusted_proxy_needs_a_key_and_has_limits_of_its_own(path: Path) -> None:
    app = create_app(ServiceConfig(db=path, trusted_proxies=("127.0.0.1",)))
    service = app.extensions["charloom"]
    app.add_url_rule("/whoami", "whoami", auth.caller)

    def asked(forwarded: str | None, **headers: str) -> tuple[str, str]:
        sent = headers if forwarded is None else {**headers, "X-Forwarded-For": forwarded}
        body, status, _ = run_wsgi_app(app, create_environ("/whoami", headers=sent, environ_base={"REMOTE_ADDR": "127.0.0.1"}))
        return status[:3], b"".join(body).decode()

    try:
        assert asked(None) == ("200", "address:127.0.0.1")
        assert asked("127.0.0.1") == ("200", "address:127.0.0.1")
        assert asked("192.0.2.7")[0] == "401"  # the service listens at this machine alone, but this client is elsewhere
        assert asked("127.0.0.1, 192.0.2.7")[0] == "401"
        service.store.keys.add(hashed("0123456789abcdef"), "laptop")
        assert asked("192.0.2.7", Authorization="Bearer 0123456789abcdef") == ("200", "key:laptop")
    finally:
        service.close()
