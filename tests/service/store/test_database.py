"""Opening, threads, transactions between processes, and what is said when the file cannot be used."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import tempfile
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlite_utils import Database
from sqlite_utils.utils import sqlite3

from service.store import Store, database
from service.store.database import sqlite_facts
from service.system.errors import CorpusNotFound, DatabaseBusy, DatabaseUnusable, DiskFull

ROOT = Path(__file__).resolve().parents[3]


def pragma(store: Store, name: str) -> int | str:
    value: int | str = store.db.execute(f"PRAGMA {name}").fetchone()[0]
    return value


# ── how a file is opened ──────────────────────────────────────────────────────────────────────────────────────────────


def test_settings_of_a_connection(store: Store) -> None:
    assert store.sqlite_version == sqlite3.sqlite_version
    assert sqlite_facts() == {"version": sqlite3.sqlite_version, "module": sqlite3.__name__}
    assert pragma(store, "foreign_keys") == 1
    assert pragma(store, "auto_vacuum") == 2
    assert pragma(store, "busy_timeout") == 10_000
    assert pragma(store, "journal_mode") == store.journal_mode
    assert pragma(store, "synchronous") == 2
    assert pragma(store, "secure_delete") == 2


def test_without_a_safe_wal_the_journal_is_truncated_and_synced(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "WAL_IS_SAFE", False)
    with Store(path) as store:
        assert store.journal_mode == pragma(store, "journal_mode") == "truncate"
        assert pragma(store, "synchronous") == 2
        with store.immediate(durable=False):
            assert pragma(store, "synchronous") == 2
        store.corpora.add("tale", ["text"], "here")


def test_wal_only_since_the_release_that_mended_it() -> None:
    assert (sqlite3.sqlite_version_info >= (3, 51, 3)) == database.WAL_IS_SAFE


def test_what_is_stored_is_durable_unless_it_need_not_be(store: Store) -> None:
    with store.immediate():
        assert pragma(store, "synchronous") == 2
    with store.immediate(durable=False):
        assert pragma(store, "synchronous") == (1 if store.journal_mode == "wal" else 2)
        with store.immediate():  # the outer one decides
            assert pragma(store, "synchronous") == (1 if store.journal_mode == "wal" else 2)
    with pytest.raises(KeyError), store.immediate(durable=False):
        raise KeyError
    assert pragma(store, "synchronous") == 2


def test_what_is_stored_is_there_after_opening_again(path: Path) -> None:
    with Store(path) as store:
        store.corpora.add("tale", ["text"], "here")
    with Store(path, create=False) as store:
        assert "".join(store.corpora.pieces("tale")) == "text"


def test_a_name_that_looks_like_a_uri_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with Store("file:x?mode=memory"):
        assert (tmp_path / "file:x?mode=memory").is_file()


def test_a_relative_path_outlives_chdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with Store("charloom.db") as store:
        monkeypatch.chdir("/")
        thread = threading.Thread(target=lambda: store.corpora.add("tale", ["text"], "here"))
        thread.start()
        thread.join()
        assert [corpus.name for corpus in store.corpora.list()] == ["tale"]


def test_processes_that_open_a_new_file_at_once_all_succeed(path: Path, together: Callable[..., None]) -> None:
    script = """
        import sys
        from service.store import Store
        # now
        for i in range(12):
            with Store(f"{sys.argv[1]}-{i}") as store:
                store.runs.create(f"run-{sys.argv[2]}", corpus=None, model_config={}, training_config={})
        """
    together(script, path, 3)
    for i in range(12):
        with Store(f"{path}-{i}") as store:
            assert len(store.runs.list()) == 3
            assert pragma(store, "auto_vacuum") == 2


def test_the_journal_mode_is_tried_again_where_sqlite_does_not_wait(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which happens when two processes switch a new file to WAL in the same instant: too rare to wait for."""
    execute = Database.execute
    refusals = iter(range(3))

    def refuse_at_first(db: Database, sql: str, *values: Any) -> Any:
        if "journal_mode =" in sql and next(refusals, None) is not None:
            error = sqlite3.OperationalError("database is locked")
            error.sqlite_errorcode = 5
            raise error
        return execute(db, sql, *values)

    monkeypatch.setattr(Database, "execute", refuse_at_first)
    with Store(store.path.with_name("new.db")) as other:
        assert other.journal_mode == store.journal_mode
    assert next(refusals, None) is None


# ── threads and processes ─────────────────────────────────────────────────────────────────────────────────────────────


def test_each_thread_has_a_connection_that_ends_with_it(store: Store) -> None:
    seen: list[Database] = []
    thread = threading.Thread(target=lambda: seen.append(store.db))
    thread.start()
    thread.join()
    assert store.db is store.db
    assert seen[0] is not store.db
    with pytest.raises(sqlite3.ProgrammingError):
        seen[0].execute("SELECT 1")


def test_after_closing_a_sentence(path: Path) -> None:
    store = Store(path)
    store.close()
    store.close()
    with pytest.raises(DatabaseUnusable, match="was closed"):
        store.corpora.list()


def test_closing_while_other_threads_work_ends_their_work_with_a_sentence(path: Path, start: Callable[..., subprocess.Popen[str]]) -> None:
    script = """
        import random, sys, threading, time
        from service.system.errors import DatabaseUnusable
        from service.store import Store

        def work():
            try:
                while True:
                    store.runs.list()
            except DatabaseUnusable as error:
                ended.append(str(error))

        for _ in range(12):
            store, ended = Store(sys.argv[1]), []
            threads = [threading.Thread(target=work) for _ in range(12)]
            for thread in threads:
                thread.start()
            time.sleep(random.random() * 0.02)
            store.close()
            for thread in threads:
                thread.join()
            assert len(ended) == 12 and all("was closed" in text for text in ended), ended
        print("sound")
    """
    process = start(script, path)  # a process of its own: what was wrong here once ended in a segmentation fault
    assert (process.communicate()[0].strip(), process.returncode) == ("sound", 0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_does_not_use_its_parents_connection(path: Path, start: Callable[..., subprocess.Popen[str]]) -> None:
    script = """
        import os, sys
        from service.store import Store
        store = Store(sys.argv[1])
        before = store.db
        child = os.fork()
        if not child:
            fine = store.db is not before and store.corpora.add("child", ["text"], "x").name == "child"
            store.close()
            os._exit(0 if fine else 1)
        assert os.waitpid(child, 0)[1] == 0
        store.corpora.add("parent", ["text"], "x")
        print([corpus.name for corpus in store.corpora.list()])
        """
    output, errors = start(script, path).communicate(timeout=60)
    assert output.strip() == "['child', 'parent']", errors


def test_four_processes_that_read_and_then_write_lose_nothing(path: Path, together: Callable[..., None]) -> None:
    with Store(path) as store:
        store.db.execute("CREATE TABLE counter (n INTEGER)")
        store.db.execute("INSERT INTO counter VALUES (0)")
        script = """
            import sys
            from service.store import Store
            store = Store(sys.argv[1])
            # now
            for _ in range(150):
                with store.immediate() as db:
                    n = db.execute("SELECT n FROM counter").fetchone()[0]
                    db.execute("UPDATE counter SET n = ?", (n + 1,))
            """
        together(script, path, 4)
        assert store.db.execute("SELECT n FROM counter").fetchone()[0] == 600


# ── transactions ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_all_or_nothing(store: Store) -> None:
    def both() -> None:
        with store.immediate():
            store.runs.create("first", corpus=None, model_config={}, training_config={})
            store.runs.create("second", corpus="missing", model_config={}, training_config={})

    with pytest.raises(CorpusNotFound):
        both()
    assert store.runs.list() == ()


def test_an_inner_transaction_can_fail_alone(store: Store) -> None:
    with store.immediate():
        store.runs.create("first", corpus=None, model_config={}, training_config={})
        with pytest.raises(CorpusNotFound):
            store.runs.create("second", corpus="missing", model_config={}, training_config={})
    assert [run.name for run in store.runs.list()] == ["first"]


def test_freed_pages_go_back_to_the_file_system(store: Store, path: Path) -> None:
    store.corpora.add("noise", [os.urandom(2_000_000).hex()], "urandom")
    store.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    full = path.stat().st_size
    store.corpora.remove("noise")
    store.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert pragma(store, "freelist_count") == 0
    assert path.stat().st_size < full / 10


# ── what is said ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_locked_for_too_long(path: Path) -> None:
    with Store(path) as holder, Store(path, busy_timeout=0.05) as store, holder.immediate():
        with pytest.raises(DatabaseBusy, match=r"locked by another program for 0\.05 seconds; nothing was written"):
            store.runs.create("first", corpus=None, model_config={}, training_config={})
        assert store.runs.list() == ()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"this is a letter to my aunt, and in no way a database " * 100, "not an SQLite database"),
        (
            b"SQLite format 3\0" + b"\x10\x00\x02\x02\x00\x40\x20\x20" + bytes(range(256)) * 40,
            "damaged|not an SQLite database|unsupported file format",
        ),
    ],
)
def test_not_a_database(path: Path, content: bytes, message: str) -> None:
    path.write_bytes(content)
    with pytest.raises(DatabaseUnusable, match=message):
        Store(path)
    assert path.read_bytes() == content


def test_a_database_of_another_program(path: Path) -> None:
    with Database(path) as db:
        db.table("recipes").insert({"name": "soup"})
    before = path.read_bytes()
    with pytest.raises(DatabaseUnusable, match=r"another program.*recipes"):
        Store(path)
    assert path.read_bytes() == before


def test_a_missing_folder_a_folder_and_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnusable, match="nowhere does not exist"):
        Store(tmp_path / "nowhere" / "charloom.db")
    with pytest.raises(DatabaseUnusable, match="is a folder"):
        Store(tmp_path)
    with pytest.raises(DatabaseUnusable, match="no such file"):
        Store(tmp_path / "missing.db", create=False)
    assert list(tmp_path.iterdir()) == []


def test_an_empty_file_is_a_new_database(path: Path) -> None:
    path.touch()
    with Store(path) as store:
        assert store.corpora.list() == ()


def test_a_full_disk(store: Store) -> None:
    store.db.execute(f"PRAGMA max_page_count = {int(pragma(store, 'page_count')) + 20}")
    with pytest.raises(DiskFull, match=r"^the disk of .*charloom.db is full; make room"):
        store.corpora.add("noise", [os.urandom(500_000).hex()], "urandom")
    assert store.corpora.list() == ()
    assert store.db.execute("SELECT count(*) FROM texts").fetchone()[0] == 0
    assert store.corpora.add("tale", ["short"], "here").characters == 5


def test_a_connection_that_may_not_write(store: Store) -> None:
    store.db.execute("PRAGMA query_only = ON")
    with pytest.raises(DatabaseUnusable, match="read-only"):
        store.runs.create("first", corpus=None, model_config={}, training_config={})


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_a_file_and_folder_without_write_permission() -> None:
    script = """
        import os, sys
        from pathlib import Path
        from service.system.errors import DatabaseUnusable
        from service.store import Store
        path = Path(sys.argv[1]) / "charloom.db"
        Store(path).close()
        path.chmod(0o444)
        path.parent.chmod(0o555)
        if os.geteuid() == 0:
            os.seteuid(65534)
        try:
            with Store(path) as store:
                assert store.runs.list() == ()
                store.runs.create("first", corpus=None, model_config={}, training_config={})
        except DatabaseUnusable as error:
            print(error)
        """
    with tempfile.TemporaryDirectory() as folder:
        answer = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(script), folder],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        os.chmod(folder, 0o755)
    assert "read-only" in answer.stdout or "readable and writable" in answer.stdout, answer.stderr


def test_damage_is_told(path: Path) -> None:
    with Store(path) as store:
        store.corpora.add("noise", [os.urandom(200_000).hex()], "urandom")
        store.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    data = bytearray(path.read_bytes())
    data[4096:] = bytes(len(data) - 4096)
    path.write_bytes(data)
    with pytest.raises(DatabaseUnusable, match=r"it is damaged; charloom check --db \S+ says"), Store(path) as store:
        store.corpora.list()


def test_only_the_store_knows_sql() -> None:
    for path in (ROOT / "service").rglob("*.py"):
        if ROOT / "service" / "store" in path.parents:
            continue
        tree = ast.parse(path.read_text())
        modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        modules |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        assert not {module for module in modules if module and module.split(".")[0] in ("sqlite3", "pysqlite3", "sqlite_utils")}, path
