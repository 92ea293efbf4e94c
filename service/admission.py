"""Whether a service that is about to start asks for keys, and what its owner is told: on standard output, once."""

from __future__ import annotations

import ipaddress
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, TypeVar

from service import keys
from service.config import ServiceConfig

Config = TypeVar("Config", bound=ServiceConfig)


class Access(NamedTuple):
    """Whether a key is asked for, and the one that was made for this start, which is known now and never again."""

    asks: bool
    key: str | None = None


def admitted(config: Config, address: str) -> tuple[Config, Access]:
    """The configuration of a service at an IP address: where others can reach it and no key is set, one is made.

    Opens the store. Raises `StoreError`.
    """
    from service.store import Store  # needs numpy

    config = replace(config, loopback=ipaddress.ip_address(address).is_loopback)
    with Store(config.db) as store:
        if config.keys or store.keys.list():
            return config, Access(asks=True)
        if config.loopback:
            return config, Access(asks=False)
        key, unstored = keys.first(store.keys)
    return replace(config, keys=unstored), Access(asks=True, key=key)


def announcement(url: str, access: Access, db: Path) -> None:
    """Say where the service is, and how to try it."""
    option = "" if str(db) == "charloom.db" else f" --db {shlex.quote(str(db))}"
    if access.key:
        where = [f"{url}/#key={access.key}", f"  (this key is shown once; for another: charloom key new{option})"]
    elif access.asks:
        where = [url, f"  (it asks for a key: one that was set, or made with charloom key new{option})"]
    else:
        where = [url]
    header = f" -H 'Authorization: Bearer {access.key or 'KEY'}'" if access.asks else ""
    body = '{"prompt": "def ", "length": 300}'
    lines = [
        "",
        f"Charloom is at {where[0]}",
        *where[1:],
        "",
        f"  curl {url}/generate{header} -H 'Content-Type: application/json' -d '{body}'",
    ]
    sys.stdout.write("\n".join([*lines, "", ""]))
    sys.stdout.flush()
