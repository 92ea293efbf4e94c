"""A repair keeps all that can be read, takes from good copies what cannot, and keeps the damaged file."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlite_utils import Database

from service.store import Run, Store
from service.store.integrity import check
from service.store.repair import Repaired, repair
from service.system.errors import BackupDamaged, DatabaseInUse, DatabaseUnusable


@pytest.fixture
def filled(store: Store, add_model: Callable[..., Run], tale: str, path: Path) -> Path:
    """A database with two corpora, two models and what belongs to them; a backup of it, `backup.db`, and what was stored later."""
    store.corpora.add("tale", [tale], "here")
    for seed, name in enumerate(("first", "second")):
        run = add_model(name, seed=seed)
        for number in range(300):
            store.events.add(run, f"something happened {number}")
    store.db.execute("UPDATE runs SET corpus = 1")
    store.backup(path.with_name("backup.db"))
    add_model("later", seed=7)
    store.corpora.add("later", ["later " + tale], "here")
    store.close()
    return path


def damage(path: Path, *statements: str) -> None:
    with Database(path) as other:
        other.execute("PRAGMA foreign_keys = OFF")
        for sql in statements:
            other.execute(sql)


def rows(path: Path, sql: str) -> list[tuple[object, ...]]:
    with Database(path) as db:
        return db.execute(sql).fetchall()


def repaired(path: Path, *, copy: bool = False) -> Repaired:
    """The repair, after which the database opens and SQLite finds it sound; the damaged file is as it was."""
    before = path.read_bytes()
    found = repair(path, [path.with_name("backup.db")] if copy else [])
    assert found.kept is not None
    assert found.kept.read_bytes() == before
    assert rows(path, "PRAGMA integrity_check") == [("ok",)]
    assert rows(path, "PRAGMA foreign_key_check") == []
    assert check(path).findings == found.after.findings
    with Store(path) as store:
        assert {run.name for run in store.runs.list()} >= {"second", "later"}
    return found


def test_a_sound_one_is_left_alone(filled: Path) -> None:
    before = filled.stat()
    found = repair(filled)
    assert (found.kept, found.done, found.before.sound) == (None, (), True)
    assert (filled.stat().st_ino, filled.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_indexes_and_schema_are_made_anew(filled: Path) -> None:
    sql = "UPDATE sqlite_schema SET sql = 'CREATE INDEX samples_run_step ON samples (step, run)' WHERE name = 'samples_run_step'"
    damage(filled, "DROP INDEX runs_corpus", "PRAGMA writable_schema = ON", sql)
    assert repaired(filled).after.sound


FLIP = """UPDATE blobs SET data = CAST(substr(data, 1, 99) || x'00' || substr(data, 101) AS BLOB)
    WHERE sha256 = (SELECT model_sha256 FROM checkpoints WHERE run = 1)"""


def test_bytes_that_changed_stay_without_a_copy_and_are_mended_with_one(filled: Path) -> None:
    damage(filled, FLIP, "UPDATE text_chunks SET zlib = x'00' WHERE text = 1")
    found = repaired(filled)
    assert [finding.what for finding in found.after.findings] == ["text of corpus tale", "model of checkpoint first@100"]
    found = repaired(filled, copy=True)
    assert found.after.sound
    assert found.done == ("the text of corpus tale is taken from a copy", "the model of checkpoint first@100 is taken from a copy")


def test_a_row_that_changed_is_mended_from_the_copy_that_has_it(filled: Path) -> None:
    damage(filled, "UPDATE events SET message = 'x' WHERE id = 5", "UPDATE corpora SET name = 'tall' WHERE id = 1",
           "UPDATE keys SET crc = 0", "UPDATE corpora SET crc = 1 WHERE name = 'later'")  # fmt: skip
    found = repaired(filled, copy=True)
    assert [finding.what for finding in found.after.findings] == ["corpus later"]  # it is newer than the copy
    assert rows(filled, "SELECT message FROM events WHERE id = 5") == [("something happened 4",)]
    assert rows(filled, "SELECT name FROM corpora ORDER BY id") == [("tale",), ("later",)]


def leaf(path: Path, table: str) -> int:
    """The offset of a page with rows of a table that has several."""
    data = path.read_bytes()
    root = int(str(rows(path, f"SELECT rootpage FROM sqlite_schema WHERE name = '{table}'")[0][0]))
    at = (root - 1) * 4096
    assert data[at] == 5
    cell = int.from_bytes(data[at + 12 + 4 : at + 12 + 6], "big")
    return (int.from_bytes(data[at + cell : at + cell + 4], "big") - 1) * 4096


@pytest.mark.parametrize("copy", [False, True])
def test_a_page_of_rows_that_cannot_be_read(filled: Path, copy: bool) -> None:
    damage(filled, "PRAGMA wal_checkpoint(TRUNCATE)")
    data = bytearray(filled.read_bytes())
    at = leaf(filled, "events")
    data[at : at + 4096] = bytes(4096)
    filled.write_bytes(data)
    assert not check(filled).sound
    found = repaired(filled, copy=copy)
    assert found.after.sound
    kept = int(str(rows(filled, "SELECT count(*) FROM events")[0][0]))
    assert kept == 600 if copy else 500 < kept < 600


def test_what_lost_its_row_gets_another(filled: Path) -> None:
    damage(filled, "DELETE FROM runs WHERE name = 'first'", "DELETE FROM corpora WHERE name = 'tale'", "DELETE FROM texts WHERE id = 2")
    found = repaired(filled)
    assert found.after.sound
    assert "run number 1 lost its row; its checkpoints are now those of run recovered-1" in found.done
    with Store(filled) as store:
        assert {corpus.name for corpus in store.corpora.list()} == {"recovered-1", "later"}
        assert "".join(store.corpora.pieces("later")).startswith("later ")
        assert store.checkpoints.load(store.runs.get("recovered-1"))[0].step == 100
        assert store.runs.get("recovered-1").model_config["cell"] == store.runs.get("second").model_config["cell"]


def test_what_refers_to_nothing_is_left_out_or_told(filled: Path) -> None:
    damage(filled, "DELETE FROM blobs WHERE sha256 IN (SELECT model_sha256 FROM checkpoints WHERE run = 1)",
           "DELETE FROM blobs WHERE sha256 IN (SELECT state_sha256 FROM checkpoints WHERE run = 2)")  # fmt: skip
    found = repaired(filled)
    assert found.after.sound
    assert set(found.done) >= {"checkpoint first@100 is left out: its model is gone"}
    with pytest.raises(BackupDamaged):
        repair(filled, [found.kept or filled])


def test_a_header_and_a_file_of_which_nothing_can_be_read(filled: Path) -> None:
    damage(filled, "PRAGMA wal_checkpoint(TRUNCATE)")
    good = filled.read_bytes()
    filled.write_bytes(b"\0" * 28 + good[28:])
    assert repaired(filled).after.sound
    filled.write_bytes(good[:100] + os.urandom(4096) + good[4196:])
    with pytest.raises(DatabaseUnusable, match="nothing of it can be read; put a backup there: charloom restore BACKUP --db "):
        repair(filled)
    assert repair(filled, [filled.with_name("backup.db")]).after.sound
    assert rows(filled, "SELECT name FROM runs ORDER BY id") == [("first",), ("second",)]


def test_not_while_it_is_in_use(filled: Path) -> None:
    with Store(filled) as store:
        store.runs.list()
        with pytest.raises(DatabaseInUse):
            repair(filled)
