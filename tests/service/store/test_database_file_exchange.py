"""A backup takes the place of the database only if it is sound and nothing uses that; a kill leaves nothing; what was there is kept."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlite_utils import Database

from service.store import Metric, Run, Store
from service.store.backup import restore
from service.store.integrity import check
from service.system.errors import BackupDamaged, DatabaseInUse


@pytest.fixture
def backup(store: Store, tmp_path: Path) -> Path:
    """A backup, after which something was stored, also in the log."""
    store.corpora.add("old", ["an old text"], "here")
    assert store.backup(tmp_path / "backup.db").sound
    store.corpora.add("new", ["a new text"], "here")
    store.close()
    return tmp_path / "backup.db"


def names(path: Path) -> list[str]:
    with Store(path, create=False) as store:
        return [corpus.name for corpus in store.corpora.list()]


def test_the_file_that_was_there_is_kept_whole(backup: Path, path: Path) -> None:
    os.chmod(path, 0o640)
    kept = restore(backup, path)
    assert kept is not None
    assert kept.name.startswith("charloom.db.replaced-20")
    assert (names(path), names(kept)) == (["old"], ["new", "old"])
    assert path.stat().st_mode & 0o777 == 0o640
    others = {file.name for file in path.parent.iterdir() if not file.name.startswith(kept.name)}
    assert others - {"charloom.db.reserve"} == {"charloom.db", "backup.db"}
    again = restore(backup, path)
    assert again not in (kept, None)


def test_where_there_is_none(backup: Path, path: Path) -> None:
    path.unlink()
    assert restore(backup, path) is None
    assert names(path) == ["old"]


def test_a_damaged_backup_changes_nothing(backup: Path, path: Path) -> None:
    with Database(backup) as other:
        other.execute("UPDATE text_chunks SET zlib = x'00'")
    with pytest.raises(BackupDamaged, match=r"it is damaged itself \(text of corpus old\); take another backup, or mend this one first"):
        restore(backup, path)
    assert names(path) == ["new", "old"]


USE = """
    import sys
    from service.store import Store
    store = Store(sys.argv[1])
    print(len(store.corpora.list()), flush=True)
    sys.stdin.read()
    """


def test_not_while_a_process_has_it_open(backup: Path, path: Path, start: Callable[..., subprocess.Popen[str]]) -> None:
    user = start(USE, path)
    assert user.stdout is not None
    assert user.stdout.readline() == "2\n"
    with pytest.raises(DatabaseInUse, match="is in use by another process, a service or a training run; end that first"):
        restore(backup, path)
    user.communicate("")
    restore(backup, path)
    with Store(path) as store:  # nor while this one has
        store.corpora.list()
        with pytest.raises(DatabaseInUse):
            restore(backup, path)


def test_a_log_that_a_crash_left_is_part_of_what_is_kept(backup: Path, path: Path, start: Callable[..., subprocess.Popen[str]]) -> None:
    user = start(USE.replace("print(", "store.corpora.add('last', ['the last text'], 'here'); print("), path)
    assert user.stdout is not None
    assert user.stdout.readline() == "3\n"
    user.kill()
    user.wait()
    assert Path(f"{path}-wal").stat().st_size
    kept = restore(backup, path)
    assert kept is not None
    assert names(kept) == ["last", "new", "old"]
    assert names(path) == ["old"]


BACKUP = """
    import sys
    from service.store import Store
    with Store(sys.argv[1]) as store:
        print("ready", flush=True)
        store.backup(sys.argv[2])
        print("done", flush=True)
    """


@pytest.mark.parametrize("delay", [0.002, 0.02, 0.06])
def test_a_kill_leaves_nothing(store: Store, path: Path, tmp_path: Path, start: Callable[..., subprocess.Popen[str]], delay: float) -> None:
    store.corpora.add("noise", [os.urandom(6_000_000).hex()], "urandom")
    before = {file.name for file in tmp_path.iterdir()}
    process = start(BACKUP, path, tmp_path / "backup.db")
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    deadline = time.monotonic() + delay
    while time.monotonic() < deadline:
        pass
    process.send_signal(signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + 20
    while {file.name for file in tmp_path.iterdir()} - before - {"backup.db"} and time.monotonic() < deadline:
        time.sleep(0.01)
    left = {file.name for file in tmp_path.iterdir()} - before
    assert left <= {"backup.db"}
    if left:
        assert check(tmp_path / "backup.db").sound


def test_a_backup_of_a_damaged_database_is_kept_and_says_so(store: Store, tmp_path: Path, make_run: Callable[..., Run]) -> None:
    store.checkpoints.save(make_run(), Metric(step=5), b"model" * 99, None)
    with Database(store.path) as other:
        other.execute("UPDATE blobs SET data = zeroblob(size)")
    found = store.backup(tmp_path / "backup.db")
    assert [finding.what for finding in found.findings] == ["model of checkpoint first@5"]
    assert (tmp_path / "backup.db").exists()
    with Database(tmp_path / "backup.db") as copy:
        assert copy.execute("SELECT state, owner FROM runs").fetchone() == ("paused", None)
