"""Keys: strong where they are made, refused where they could be guessed, and compared all alike.

Keys in the store: only hashes, names that are free, and a note of their use that waits for nobody.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from datetime import datetime
from pathlib import Path

import pytest

from model.errors import InvalidSetting, UnreadableSource
from service.store import Store, api_keys
from service.store.api_keys import SCOPES, ApiKey, Keyring, given, hashed
from service.system.errors import InvalidName, KeyNotFound, NameTaken, StoreError, WeakKey

# ── keys ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_is_stored_can_be_listed_and_revoked(store: Store) -> None:
    made = [store.keys.add("11" * 32, "laptop"), store.keys.add("22" * 32), store.keys.add("33" * 32)]
    assert [key.name for key in made] == ["laptop", "key", "key-2"]
    assert store.keys.list() == tuple(made)
    assert store.keys.by_hash() == dict(zip(("11" * 32, "22" * 32, "33" * 32), made, strict=True))
    store.keys.revoke("key")
    assert [key.name for key in store.keys.list()] == ["laptop", "key-2"]


def test_a_key_may_do_all_and_never_expires_unless_it_is_told(store: Store) -> None:
    assert (store.keys.add("11" * 32).scope, store.keys.add("22" * 32).expires_at) == ("admin", None)
    allowed = [[scope for scope in SCOPES if ApiKey(name="a", created_at="", scope=each).allows(scope)] for each in SCOPES]
    assert allowed == [["write"], ["write", "train"], ["write", "train", "admin"]]


def test_a_lifetime_ends_at_its_second(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    made = store.keys.add("11" * 32, scope="write", seconds=90.0)
    moments = [datetime.fromisoformat(moment or "") for moment in (made.created_at, made.expires_at)]
    assert abs((moments[1] - moments[0]).total_seconds() - 90) < 1
    assert not made.expired
    monkeypatch.setattr(api_keys, "now", lambda: made.expires_at)
    assert made.expired
    assert store.keys.list() == (made,), "it can still be listed and revoked"
    for wrong in (0.0, -1.0, 1e12, float("nan"), float("inf")):
        with pytest.raises(InvalidSetting, match=r"^expires is .* must be more than 0 and at most 36,500d"):
            store.keys.add("22" * 32, seconds=wrong)


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


# ── keys ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

ONE, TWO, THREE = "0123456789abcdef", "another-key-of-mine", "x" * 100


def test_a_key_that_is_made_is_32_random_bytes_that_need_no_quoting() -> None:
    made = {api_keys.new() for _ in range(1000)}
    assert len(made) == 1000
    for key in made:
        assert re.fullmatch(r"cl-[A-Za-z0-9_-]{43}", key)
        assert len(base64.urlsafe_b64decode(key[3:] + "=")) == 32


def test_a_hash_is_sha256() -> None:
    assert hashed(ONE) == hashlib.sha256(ONE.encode()).hexdigest()


@pytest.mark.parametrize("separator", [",", "\n", ", ", "\r\n", ",,\n"])
def test_keys_of_the_environment(separator: str) -> None:
    assert given(separator.join([ONE, TWO, ONE])) == (hashed(ONE), hashed(TWO))
    assert given(None) == given("") == given(" , ") == ()


def test_keys_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# of the team\n{ONE}\n\n  {TWO}  \n  # {THREE}\n")
    assert given(None, file) == (hashed(ONE), hashed(TWO))
    assert given(THREE, file) == (hashed(THREE), hashed(ONE), hashed(TWO))


@pytest.mark.parametrize("bad", ["short", "x" * 15, "x" * 20 + "é", "ключ" * 10, "0123456789abcdef\x7f"])
def test_a_weak_key_is_refused_and_not_repeated(bad: str, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(f"{ONE}\n{bad}\n")
    with pytest.raises(WeakKey, match="has at least 16 printable ASCII characters") as refused:
        given(f"{ONE},{bad}")
    assert "CHARLOOM_API_KEYS" in str(refused.value)
    assert bad not in str(refused.value)
    with pytest.raises(WeakKey, match="keys cannot be used"):
        given(None, tmp_path / "keys")


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UnreadableSource, match="No such file"):
        given(None, tmp_path / "none")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UnreadableSource, match="not a text file"):
        given(None, tmp_path / "binary")


def name_of(ring: Keyring, key: str) -> str | None:
    found = ring.find(key)
    return found.name if found else None


def test_who_holds_a_key(store: Store) -> None:
    ring = Keyring(store.keys)
    assert not ring.has_any()
    store.keys.add(hashed(ONE), "laptop")
    assert ring.has_any()
    assert name_of(ring, ONE) == "laptop"
    assert ring.find(TWO) is None
    assert ring.find("") is None
    assert ring.find("\udc80") is None
    assert ring.find(hashed(ONE)) is None  # who has read the database can do nothing with it
    store.keys.revoke("laptop")
    assert ring.find(ONE) is None
    assert not ring.has_any()


def test_keys_from_outside_are_valid_beside_the_stored_ones(store: Store) -> None:
    ring = Keyring(store.keys, given(f"{ONE},{TWO}"))
    assert ring.has_any()
    store.keys.add(hashed(THREE), "laptop")
    assert ring.find(ONE) == ApiKey(name=f"given-{hashed(ONE)[:8]}", created_at=ring.find(ONE).created_at)  # type: ignore[union-attr]
    assert {name_of(ring, ONE), name_of(ring, TWO), name_of(ring, THREE)} == {
        f"given-{hashed(ONE)[:8]}",
        f"given-{hashed(TWO)[:8]}",
        "laptop",
    }


def test_every_key_is_compared_in_constant_time_wherever_the_right_one_stands(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, key in enumerate([ONE, TWO, THREE]):
        store.keys.add(hashed(key), f"k{number}")
    compared: list[bytes] = []
    true = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", lambda a, b: compared.append(b) or true(a, b))
    ring = Keyring(store.keys)
    for key in (ONE, TWO, THREE, "none of them at all"):
        compared.clear()
        ring.find(key)
        assert compared == [hashed(ONE).encode(), hashed(TWO).encode(), hashed(THREE).encode()]


def test_its_use_is_noted_once_a_minute(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.keys.add(hashed(ONE), "laptop")
    noted: list[str] = []
    monkeypatch.setattr(store.keys, "used", noted.append)
    ring = Keyring(store.keys)
    for _ in range(5):
        ring.find(ONE)
        ring.find(TWO)
    assert noted == ["laptop"]
    monkeypatch.setattr(api_keys, "NOTED", 0.0)
    ring.find(ONE)
    assert noted == ["laptop"] * 2


def test_the_first_key_is_stored_as_a_hash_only(store: Store) -> None:
    key, unstored = api_keys.first(store.keys)
    assert unstored == ()
    assert list(store.keys.by_hash()) == [hashed(key)]
    kept = b"".join(file.read_bytes() for file in store.path.parent.iterdir())
    assert hashed(key).encode() in kept
    assert key.encode() not in kept


def test_a_database_that_cannot_be_written_keeps_nobody_out(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise StoreError("it is read-only")

    monkeypatch.setattr(store.keys, "add", refuse)
    key, unstored = api_keys.first(store.keys)
    assert Keyring(store.keys, unstored).find(key)
