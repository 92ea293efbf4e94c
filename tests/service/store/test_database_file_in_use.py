"""A database file that is moved, deleted or replaced while it is in use: nothing is stored in vain, and what lies there now is whole."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlite_utils import Database

from service.store import Store
from service.system.errors import DatabaseReplaced, ForeignLog


def sound(path: Path) -> set[str]:
    """The names of the corpora of a database, which SQLite finds sound."""
    with Database(path) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return {name for (name,) in db.execute("SELECT name FROM corpora")}


def add(store: Store, *names: str) -> None:
    for name in names:
        store.corpora.add(name, [os.urandom(50_000).hex()], "urandom")


@pytest.fixture
def backup(store: Store, tmp_path: Path) -> Path:
    add(store, "old")
    store.backup(tmp_path / "backup.db")
    add(store, *(f"later-{number}" for number in range(3)))
    return tmp_path / "backup.db"


def test_another_file_in_its_place(store: Store, path: Path, backup: Path) -> None:
    kept = path.with_name("kept.db")
    kept.hardlink_to(path)
    backup.replace(path)
    with pytest.raises(
        DatabaseReplaced, match="another file took its place while it was in use, so nothing more is read from it or stored"
    ):
        add(store, "lost")
    with pytest.raises(DatabaseReplaced):
        store.corpora.list()
    with Store(path) as new:
        add(new, "new")
    store.close()
    assert sound(path) == {"old", "new"}
    assert sound(kept) == {"old", "later-0", "later-1", "later-2"}  # with what only the log had


def test_a_backup_copied_over_it(store: Store, path: Path, backup: Path) -> None:
    shutil.copyfile(backup, path)
    with pytest.raises(DatabaseReplaced, match="it was overwritten while it was in use"):
        add(store, "lost")
    store.close()  # which would write the log into the file
    assert path.read_bytes() == backup.read_bytes()
    with Store(path) as new:
        add(new, "new")
    assert sound(path) == {"old", "new"}


def test_an_older_copy_of_the_same_file(store: Store, path: Path) -> None:
    add(store, "old")
    store.close()
    shutil.copyfile(path, path.with_name("copy"))
    with Store(path) as used:
        add(used, *(f"later-{number}" for number in range(3)))
        used.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        add(used, "in-the-log")
        shutil.copyfile(path.with_name("copy"), path)
        with pytest.raises(DatabaseReplaced, match="overwritten"):
            add(used, "lost")
    assert sound(path) == {"old"}


@pytest.mark.parametrize("moved", [False, True])
def test_moved_or_deleted(store: Store, path: Path, moved: bool) -> None:
    add(store, "tale")
    if moved:
        path.rename(path.with_name("moved.db"))
    else:
        path.unlink()
    with pytest.raises(DatabaseReplaced, match="it was moved or deleted"):
        store.corpora.list()
    with pytest.raises(DatabaseReplaced), ThreadPoolExecutor() as threads:  # without a connection of its own so far
        threads.submit(store.corpora.list).result()
    assert not path.exists()  # no new file was made in its place
    if moved:
        assert sound(path.with_name("moved.db")) == {"tale"}


def test_between_the_last_statement_and_the_commit(store: Store, path: Path, backup: Path) -> None:
    def exchange_within() -> None:
        with store.immediate() as db:
            db.execute("UPDATE corpora SET origin = 'changed'")
            backup.replace(path)

    with pytest.raises(DatabaseReplaced):
        exchange_within()


def test_a_log_of_another_file(store: Store, path: Path, tmp_path: Path) -> None:
    """A crash leaves the log, and a backup is moved into the place of the file."""
    add(store, "old")
    store.backup(tmp_path / "backup.db")
    log = Path(f"{path}-wal").read_bytes()
    store.close()
    (tmp_path / "backup.db").replace(path)
    Path(f"{path}-wal").write_bytes(log)
    with pytest.raises(ForeignLog, match="belongs to another file that was there before"):
        Store(path)


CHECKPOINTS = """
    import os, sys
    from service.store import Store
    store = Store(sys.argv[1])
    # now
    for number in range(16):
        store.corpora.add(f"tale-{sys.argv[2]}-{number}", [os.urandom(60_000).hex()], "urandom")
        if number % 3 == 0:
            store.db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        if number % 2:
            store.corpora.remove(f"tale-{sys.argv[2]}-{number}")
    """


def test_processes_that_write_at_once_take_no_alarm(path: Path, together: Callable[..., None]) -> None:
    """The change counter, which each of them reads while the others write it, never seems to go back."""
    Store(path).close()
    together(CHECKPOINTS, path, 2)
    assert len(sound(path)) == 16


def test_descriptors_are_closed_with_the_last_store(path: Path) -> None:
    def open_files() -> int:
        return len(os.listdir("/proc/self/fd"))

    before = open_files()
    first, second = Store(path), Store(path)
    first.corpora.list()
    first.close()
    del first
    other = subprocess.run(["sqlite3", str(path), "SELECT 1"], check=False, capture_output=True) if shutil.which("sqlite3") else None
    assert other is None or other.returncode == 0
    second.corpora.list()
    second.close()
    del second
    assert open_files() == before
