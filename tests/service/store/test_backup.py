"""A backup is one file that opens by itself, whole, and never takes another file's place."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlite_utils import Database

from service.store import Metric, Run, Store
from service.system.errors import DatabaseUnusable, FileTaken

WRITE_FOREVER = """
    import sys
    from service.store import Metric, Store
    store = Store(sys.argv[1])
    run = store.runs.claim(store.runs.create("busy", corpus=None, model_config={}, training_config={}).name)
    step = 0
    while True:
        step += 1
        data = step.to_bytes(8, "big") * 10_000
        store.checkpoints.save(run, Metric(step=step), b"model" + data, b"state" + data)
        print(step, flush=True)
    """


def test_a_backup_holds_everything(store: Store, make_run: Callable[..., Run], tmp_path: Path) -> None:
    store.corpora.add("tale", ["It was the best"], "here")
    run = make_run()
    store.checkpoints.save(run, Metric(step=5, validation_loss=2.0), b"model", b"state")
    store.backup(tmp_path / "copy.db")
    assert {file.name for file in tmp_path.iterdir()} - {f"charloom.db{end}" for end in ("", "-wal", "-shm", "-journal", ".reserve")} == {
        "copy.db"
    }
    with Store(tmp_path / "copy.db", create=False) as copy:
        assert "".join(copy.corpora.pieces("tale")) == "It was the best"
        assert copy.checkpoints.load_state(copy.runs.get("first"))[1:] == (b"model", b"state")
        copied = copy.runs.get("first")
        assert (copied.state, copied.owner) == ("paused", None)
        assert copied.message == "it was being trained when this copy was made"
        assert copy.db.execute("PRAGMA auto_vacuum").fetchone()[0] == 2
    assert store.runs.get("first").state == "running"


def test_while_another_process_writes(store: Store, path: Path, tmp_path: Path, start: Callable[..., subprocess.Popen[str]]) -> None:
    process = start(WRITE_FOREVER, path)
    assert process.stdout is not None
    for number in range(3):
        before = int(process.stdout.readline())
        store.backup(tmp_path / f"copy-{number}.db")
        assert process.poll() is None
        with Database(tmp_path / f"copy-{number}.db") as db:
            assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        with Store(tmp_path / f"copy-{number}.db") as copy:
            checkpoint, model, _ = copy.checkpoints.load_state(copy.runs.get("busy"))
            assert checkpoint.step >= before
            assert model == b"model" + checkpoint.step.to_bytes(8, "big") * 10_000


def test_half_a_text_is_not_part_of_it(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.store.corpora.CHUNK", 4)

    def pieces() -> Iterator[str]:
        yield "text" * 2
        store.backup(tmp_path / "copy.db")
        yield "more"

    store.corpora.add("tale", pieces(), "here")
    with Store(tmp_path / "copy.db") as copy:
        assert copy.corpora.list() == ()
        assert copy.db.execute("SELECT count(*) FROM text_chunks").fetchone()[0] == 0


def test_an_existing_file_is_never_overwritten(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "letter.txt"
    target.write_text("dear aunt")
    with pytest.raises(FileTaken, match=r"letter\.txt exists already and is not overwritten"):
        store.backup(target)
    monkeypatch.setattr(Path, "exists", lambda self: False)  # it appears while the copy is being written
    with pytest.raises(FileTaken):
        store.backup(target)
    assert target.read_text() == "dear aunt"
    assert not list(tmp_path.glob("*.part"))


def test_a_file_system_without_hard_links(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError("no hard links here")

    monkeypatch.setattr("os.link", refuse)
    store.backup(tmp_path / "copy.db")
    with Store(tmp_path / "copy.db", create=False) as copy:
        assert copy.runs.list() == ()


def test_a_folder_that_does_not_exist(store: Store, tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnusable, match=r"copy\.db cannot be used.*nowhere does not exist"):
        store.backup(tmp_path / "nowhere" / "copy.db")
