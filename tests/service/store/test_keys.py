"""Keys in the store: only hashes, names that are free, and a note of their use that waits for nobody."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.errors import InvalidName, KeyNotFound, NameTaken
from service.store import Store


def test_what_is_stored_can_be_listed_and_revoked(store: Store) -> None:
    made = [store.keys.add("11" * 32, "laptop"), store.keys.add("22" * 32), store.keys.add("33" * 32)]
    assert [key.name for key in made] == ["laptop", "key", "key-2"]
    assert store.keys.list() == tuple(made)
    assert store.keys.hashes() == {"laptop": "11" * 32, "key": "22" * 32, "key-2": "33" * 32}
    store.keys.revoke("key")
    assert list(store.keys.hashes()) == ["laptop", "key-2"]


def test_names(store: Store) -> None:
    store.keys.add("11" * 32, "laptop")
    with pytest.raises(NameTaken, match="a key named 'laptop' exists already"):
        store.keys.add("22" * 32, "laptop")
    with pytest.raises(InvalidName, match="the key name 'a b' cannot be used"):
        store.keys.add("22" * 32, "a b")
    with pytest.raises(KeyNotFound, match=r"there is no key 'phone'; stored are: laptop"):
        store.keys.revoke("phone")
    store.keys.revoke("laptop")
    with pytest.raises(KeyNotFound, match="none is stored, make one with: charloom key new"):
        store.keys.revoke("laptop")


def test_its_use_is_noted(store: Store) -> None:
    store.keys.add("11" * 32, "laptop")
    assert store.keys.list()[0].used_at is None
    store.keys.used("laptop")
    used = store.keys.list()[0].used_at
    assert used is not None
    assert used >= store.keys.list()[0].created_at


def test_nobody_waits_for_that_note(path: Path) -> None:
    with Store(path, busy_timeout=3600.0) as store, Store(path) as other:
        store.keys.add("11" * 32, "laptop")
        with other.immediate():
            store.keys.used("laptop")  # would wait for an hour
        assert store.keys.list()[0].used_at is None
        assert store.db.execute("PRAGMA busy_timeout").fetchone()[0] == 3_600_000
