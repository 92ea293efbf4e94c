"""A check finds what is damaged, names it, and changes nothing; bytes that hold nothing are no damage."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlite_utils import Database
from sqlite_utils.utils import sqlite3

from service.store import Metric, Run, Sample, Store, integrity
from service.store.integrity import check
from service.store.sqlite_errors import IOERR
from service.system.errors import DatabaseTooNew, DatabaseUnusable


@pytest.fixture
def filled(store: Store, make_run: Callable[..., Run], tale: str) -> Store:
    """A store with rows in all tables."""
    store.corpora.add("tale", [tale], "here")
    run = make_run()
    for step in (10, 20):
        data = os.urandom(9000)
        store.checkpoints.save(run, Metric(step=step, loss=1.5), b"model" + data, b"state" + data, [Sample(step=step, text="é")])
    store.events.add(run, "something happened")
    store.keys.add("ab" * 32)
    store.runs.release(run, "succeeded")
    return store


def found(path: Path) -> dict[str, str]:
    return {finding.what: finding.why for finding in check(path).findings}


def test_a_sound_one_in_use(filled: Store, path: Path) -> None:
    before = path.read_bytes()
    report = check(path)
    assert (report.sound, report.corpora, report.runs, report.checkpoints) == (True, 1, 1, 2)
    assert path.read_bytes() == before
    filled.corpora.add("other", ["another text"], "there")  # it holds no lock
    assert check(path).sound


AT_20, AT_10 = (f"sha256 = (SELECT model_sha256 FROM checkpoints WHERE step = {step})" for step in (20, 10))
STATE = AT_20.replace("model_sha256", "state_sha256")
FLIP = "UPDATE {0} SET {1} = CAST(substr({1}, 1, 9) || x'00' || substr({1}, 11) AS BLOB) WHERE {2}"


@pytest.mark.parametrize(
    ("sql", "what", "why"),
    [
        (FLIP.format("blobs", "data", AT_20), "model of checkpoint first@20", "its bytes changed"),
        (FLIP.format("blobs", "data", STATE), "training state of checkpoint first@20", "its bytes changed"),
        (f"DELETE FROM blobs WHERE {AT_10}", "model of checkpoint first@10", "its bytes are gone"),
        ("UPDATE text_chunks SET zlib = x'00'", "text of corpus tale", "its chunks cannot be read"),
        ("DELETE FROM text_chunks", "text of corpus tale", "it has no chunks"),
        ("UPDATE text_chunks SET chunk = 1", "text of corpus tale", "it has no chunks"),
        ("UPDATE metrics SET loss = 1.5000001 WHERE step = 20", "metric at step 20 of run first", "its checksum does not fit"),
        ("UPDATE samples SET text = 'è' WHERE step = 10", "sample at step 10 of run first", "its checksum does not fit"),
        ("UPDATE keys SET crc = crc + 1", "key key", "its checksum does not fit"),
        ("UPDATE corpora SET name = 'tall'", "corpus tall", "its checksum does not fit"),
        ("DELETE FROM texts", "corpus tale", "its text is gone"),
        ("DELETE FROM runs", "2 rows of table checkpoints", "their run is gone"),
        ("DROP INDEX runs_corpus", "the schema", "it is not as this release makes it: runs_corpus"),
        ("UPDATE _sqlite_migrations SET name = 'create_rvns' WHERE name = 'create_runs'", "the list of migrations", "a name in it changed"),
    ],
)  # fmt: skip
def test_each_kind_by_name(filled: Store, path: Path, sql: str, what: str, why: str) -> None:
    filled.close()
    with Database(path) as other:
        other.execute("PRAGMA foreign_keys = OFF")
        other.execute(sql)
    assert why in found(path)[what]


def test_an_index_that_lacks_a_row(filled: Store, path: Path) -> None:
    filled.close()
    with Database(path) as other:
        other.execute("PRAGMA writable_schema = ON")
        other.execute(
            "UPDATE sqlite_schema SET sql = 'CREATE INDEX samples_run_step ON samples (step, run)' WHERE name = 'samples_run_step'"
        )
    assert "missing from index samples_run_step" in found(path)["index samples_run_step"]


def test_a_file_that_sqlite_cannot_read(filled: Store, path: Path) -> None:
    filled.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    filled.close()
    data = bytearray(path.read_bytes())
    for at, value, what in ((3, 0, "the header of the file"), (110, 255, "the file")):
        damaged = bytearray(data)
        damaged[at] = value
        path.write_bytes(damaged)
        assert what in found(path)


def test_what_is_no_database_of_ours_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnusable, match="there is no such file"):
        check(tmp_path / "nothing.db")
    (tmp_path / "letter.db").write_text("dear aunt, " * 99)
    with pytest.raises(DatabaseUnusable, match="it is not an SQLite database"):
        check(tmp_path / "letter.db")
    with Database(tmp_path / "other.db") as other:
        other.execute("CREATE TABLE letters (id INTEGER)")
    with pytest.raises(DatabaseUnusable, match="it is no database of Charloom"):
        check(tmp_path / "other.db")
    Store(tmp_path / "newer.db").close()
    with Database(tmp_path / "newer.db") as other:
        other.table("_sqlite_migrations").insert({"migration_set": "charloom", "name": "create_dreams", "applied_at": "2099"})
    with pytest.raises(DatabaseTooNew):
        check(tmp_path / "newer.db")


class FailingDisk(Database):
    """Fails to read for some statements."""

    failing: Callable[[str], bool]
    statements: list[str]

    def execute(self, sql: str, parameters: Any = None) -> Any:
        type(self).statements.append(sql)
        if type(self).failing(sql):
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = IOERR | 1 << 8  # SQLITE_IOERR_READ
            raise error
        return super().execute(sql, parameters)


@pytest.fixture
def disk(filled: Store, monkeypatch: pytest.MonkeyPatch) -> type[FailingDisk]:
    monkeypatch.setattr(integrity, "Database", FailingDisk)
    FailingDisk.statements = []
    return FailingDisk


@pytest.mark.parametrize(
    "reading", ["SELECT size, data FROM blobs", "PRAGMA integrity_check", "SELECT zlib", "SELECT id, name", "SELECT run, step FROM metrics"]
)
def test_a_read_that_fails_once_is_no_damage(disk: type[FailingDisk], path: Path, reading: str) -> None:
    tried: list[str] = []
    disk.failing = staticmethod(lambda sql: sql.startswith(reading) and not tried.append(sql) and tried.count(sql) == 1)
    report = check(path)
    assert tried
    assert (report.sound, report.failed_once) == (True, len(set(tried)))


def test_a_read_that_fails_again_is_damage(disk: type[FailingDisk], path: Path) -> None:
    disk.failing = staticmethod(lambda sql: sql.startswith("SELECT size, data FROM blobs"))
    report = check(path)
    assert "its bytes cannot be read: disk I/O error" in {finding.why for finding in report.findings}
    assert (len(report.findings), report.failed_once) == (3, 0)


def test_the_work_grows_with_the_rows_and_not_with_their_square(disk: type[FailingDisk], path: Path, filled: Store) -> None:
    """Statements are counted, and rows that are named."""
    disk.failing = staticmethod(lambda sql: False)
    work = []
    for runs in (0, 50, 50):
        for _ in range(runs):
            with filled.immediate(durable=False):
                run = filled.runs.create(filled.runs.free_name("more"), corpus="tale", model_config={}, training_config={})
                filled.events.add(run, "something happened")
        disk.statements.clear()
        lines = 0

        def count(frame: Any, event: str, value: Any) -> None:
            nonlocal lines
            lines += event == "call"

        sys.setprofile(count)
        assert check(path).sound
        sys.setprofile(None)
        work.append((len(disk.statements), lines))
    (a, b, c) = work
    assert c[0] - b[0] == b[0] - a[0]
    assert abs((c[1] - b[1]) - (b[1] - a[1])) < 0.02 * (b[1] - a[1])
