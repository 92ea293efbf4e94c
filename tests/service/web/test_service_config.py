"""The settings of a service: one table, with ranges, from which options and variables are made."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.errors import InvalidSetting
from model.settings import settings_of
from service.web.service_config import ServiceConfig


def test_limits_are_checked() -> None:
    for field, setting in settings_of(ServiceConfig):
        if setting.at_least is not None:
            with pytest.raises(InvalidSetting, match=f"^{field.name} is "):
                ServiceConfig(db=Path("x"), **{field.name: int(setting.at_least) - 1})
        if setting.choices:
            with pytest.raises(InvalidSetting, match="must be one of"):
                ServiceConfig(db=Path("x"), **{field.name: "verbose"})
    with pytest.raises(InvalidSetting):
        ServiceConfig(db=Path("x"), max_rows="7")  # type: ignore[arg-type]


def test_every_setting_has_a_meaning_and_most_are_limits_or_about_the_log() -> None:
    names = {field.name for field, setting in settings_of(ServiceConfig) if setting.meaning}
    assert {"db", "loopback", "keys"}.isdisjoint(names)
    assert {name for name in names if not name.startswith(("max_", "min_", "log_", "caller_"))} == {
        "allow_origin",
        "model_memory",
        "root_path",
        "trusted_proxies",
        "upload_memory",
        "workers",
    }


def test_trusted_proxies_are_addresses_and_networks() -> None:
    found = ServiceConfig(db=Path("x"), trusted_proxies=("10.0.0.0/8, 127.0.0.1", "fd00::/8\t::1,"))
    assert found.trusted_proxies == ("10.0.0.0/8", "127.0.0.1", "fd00::/8", "::1")
    assert [str(network) for network in found.networks] == ["10.0.0.0/8", "127.0.0.1/32", "fd00::/8", "::1/128"]
    for wrong in ("proxy.example.org", "10.0.0.0/33", "*", "10.0.0.0/8;127.0.0.1"):
        with pytest.raises(InvalidSetting, match=r"^trusted_proxies is .*must be a list of addresses or networks"):
            ServiceConfig(db=Path("x"), trusted_proxies=("127.0.0.1", wrong))


def test_keys_are_not_shown() -> None:
    assert "abcdef" not in repr(ServiceConfig(db=Path("x"), keys=("abcdef",)))


@pytest.mark.parametrize(
    ("given", "kept"),
    [("", ""), ("/", ""), ("/charloom", "/charloom"), ("/a/b.c/~d_e-f/", "/a/b.c/~d_e-f"), ("/...", "/...")],
)
def test_a_root_path_is_kept_without_its_last_slash(given: str, kept: str) -> None:
    assert ServiceConfig(db=Path("x"), root_path=given).root_path == kept


# The second would make each link lead to another host, others would end an attribute or a header, or be changed by browsers.
@pytest.mark.parametrize(
    "given", ["charloom", "//example.org", "/a//b", "/a/../b", "/.", "/a\n", "/a\r\nX: y", '/a"b', "/a b", "/a?b", "/a#b", "/%2e", "/é"]
)
def test_no_other_root_path_is_taken(given: str) -> None:
    with pytest.raises(InvalidSetting, match=r"^root_path is .*begins with /.*such as /charloom"):
        ServiceConfig(db=Path("x"), root_path=given)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("*", "*"),
        ("https://Example.org/", "https://example.org"),
        ("https://example.org:443", "https://example.org"),
        ("http://example.org:443", "http://example.org:443"),
        ("http://localhost:80", "http://localhost"),
        ("http://[::1]:3000", "http://[::1]:3000"),
        ("chrome-extension://abcdef", "chrome-extension://abcdef"),
    ],
)
def test_origins_are_kept_as_browsers_send_them(given: str, kept: str) -> None:
    assert ServiceConfig(db=Path("x"), allow_origin=(given,)).allow_origin == (kept,)
    assert ServiceConfig(db=Path("x"), allow_origin=(f"{given}, https://b", "https://c")).allow_origin == (kept, "https://b", "https://c")


@pytest.mark.parametrize("given", ["null", "example.org", "https://", "https://a/b", "https://*.example.org", "file:///x"])
def test_no_other_origin_is_taken(given: str) -> None:
    with pytest.raises(InvalidSetting, match=r"^allow_origin is .*a scheme and a host"):
        ServiceConfig(db=Path("x"), allow_origin=(given,))
