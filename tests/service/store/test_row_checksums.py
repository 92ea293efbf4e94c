"""Each row that the store writes has its checksum; one that another program changed has not, also after a migration."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlite_utils import Database, Migrations

from service.store import Metric, Run, Sample, Store
from service.store.row_checksums import crc, tables, wrong


def test_a_published_example() -> None:
    assert crc("123456789") == zlib.crc32(b"s9,123456789")
    assert crc(None, -5, 0.5, "é") == zlib.crc32(b"ni-5,f" + struct.pack(">d", 0.5) + b"s2,\xc3\xa9")
    assert len({crc("a", "b"), crc("ab", ""), crc("", "ab"), crc("ab"), crc(None, "ab")}) == 5


@pytest.fixture
def filled(store: Store, make_run: Callable[..., Run], tale: str) -> Store:
    """A store with rows in all tables, written by every kind of statement: inserted, updated and replaced."""
    store.corpora.add("tale", [tale], "here")
    run = make_run()
    for step in (10, 20, 20):
        store.checkpoints.save(run, Metric(step=step, loss=1.5, validation_loss=2.0), b"model", b"state", [Sample(step=step, text="é")])
    store.checkpoints.pin(run, 10)
    store.events.add(run, "something happened")
    store.keys.add("ab" * 32)
    store.keys.used("key")
    store.runs.release(run, "succeeded")
    return store


def test_all_that_the_store_writes_is_right(filled: Store) -> None:
    found = wrong(filled.db)
    assert set(found) == {"texts", "corpora", "runs", "metrics", "samples", "checkpoints", "events", "keys"}
    assert not any(found.values())
    for table, columns in tables(filled.db).items():
        rows = filled.db.execute(f"SELECT crc, {', '.join(columns)} FROM {table}").fetchall()
        assert rows
        assert [row[0] for row in rows] == [crc(*row[1:]) for row in rows], table


def test_a_row_that_another_program_changed(filled: Store, path: Path) -> None:
    with Database(path) as other:
        other.execute("UPDATE metrics SET loss = 1.5000001 WHERE step = 20")
    assert wrong(filled.db)["metrics"] == [(1, 20)]


def test_a_migration_seals_the_rows_that_were_right(filled: Store, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Database(path) as other:
        other.execute("UPDATE corpora SET origin = 'there'")
    filled.close()
    later = Migrations("later")
    later(name="note")(lambda db: db.execute("ALTER TABLE keys ADD COLUMN note TEXT DEFAULT 'all'"))
    monkeypatch.setattr("service.store.database.release", later)
    monkeypatch.setattr("service.store.database.KNOWN", {"note"})
    monkeypatch.setattr("service.store.database.Connections._refuse_foreign", lambda self, db: None)
    with Store(path) as store:
        assert {table: keys for table, keys in wrong(store.db).items() if keys} == {"corpora": [(1,)]}
        store.keys.add("cd" * 32, "second")
        assert wrong(store.db)["keys"] == []
