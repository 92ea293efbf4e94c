"""The exact schema; the oldest file still upgrades; a file of a newer release stays as it is."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest
from sqlite_utils import Database

from service.store import Store
from service.store.migrations import KNOWN, release
from service.system.errors import DatabaseTooNew

# The tables of the first release: never to be changed, since there are files of it.
FIRST = {
    "_sqlite_migrations": "id INTEGER PRIMARY KEY, migration_set TEXT, name TEXT, applied_at TEXT",
    "blobs": "sha256 TEXT NOT NULL PRIMARY KEY, size INTEGER NOT NULL, data BLOB NOT NULL",
    "checkpoints": (
        "run INTEGER NOT NULL REFERENCES runs(id) ON DELETE CASCADE, step INTEGER NOT NULL, epoch REAL NOT NULL, loss REAL,"
        " validation_loss REAL, bits_per_char REAL, pinned INTEGER NOT NULL DEFAULT 0 CHECK (pinned IN (0, 1)),"
        " model_sha256 TEXT NOT NULL REFERENCES blobs(sha256), state_sha256 TEXT REFERENCES blobs(sha256),"
        " created_at TEXT NOT NULL, PRIMARY KEY (run, step)"
    ),
    "corpora": (
        "id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, text INTEGER NOT NULL REFERENCES texts(id), origin TEXT NOT NULL,"
        " created_at TEXT NOT NULL"
    ),
    "metrics": (
        "run INTEGER NOT NULL REFERENCES runs(id) ON DELETE CASCADE, step INTEGER NOT NULL, epoch REAL NOT NULL, loss REAL,"
        " validation_loss REAL, bits_per_char REAL, learning_rate REAL, grad_norm REAL, characters_per_second REAL,"
        " seconds REAL NOT NULL, created_at TEXT NOT NULL, PRIMARY KEY (run, step)"
    ),
    "runs": (
        "id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, corpus INTEGER REFERENCES corpora(id),"
        " state TEXT NOT NULL CHECK (state IN ('queued', 'running', 'paused', 'succeeded', 'failed', 'cancelled')),"
        " message TEXT, model_config TEXT NOT NULL, training_config TEXT NOT NULL, environment TEXT NOT NULL,"
        " step INTEGER NOT NULL DEFAULT 0, epoch REAL NOT NULL DEFAULT 0, best_validation_loss REAL, best_bits_per_char REAL,"
        " seconds REAL NOT NULL DEFAULT 0, created_at TEXT NOT NULL, started_at TEXT, ended_at TEXT, owner TEXT, heartbeat_at TEXT"
    ),
    "samples": (
        "id INTEGER PRIMARY KEY, run INTEGER NOT NULL REFERENCES runs(id) ON DELETE CASCADE, step INTEGER NOT NULL,"
        " prompt TEXT NOT NULL, text TEXT NOT NULL, temperature REAL NOT NULL, seed INTEGER, created_at TEXT NOT NULL"
    ),
    "text_chunks": (
        "text INTEGER NOT NULL REFERENCES texts(id) ON DELETE CASCADE, chunk INTEGER NOT NULL, zlib BLOB NOT NULL,"
        " PRIMARY KEY (text, chunk)"
    ),
    "texts": (
        "id INTEGER PRIMARY KEY, state TEXT NOT NULL CHECK (state IN ('arriving', 'ready', 'leaving')), sha256 TEXT UNIQUE,"
        " characters INTEGER, bytes INTEGER, lines INTEGER, alphabet_size INTEGER, alphabet TEXT, owner TEXT, heartbeat_at TEXT,"
        " CHECK ((state = 'ready') = (sha256 IS NOT NULL))"
    ),
}
FIRST_INDEXES = {
    "checkpoints_model_sha256": "checkpoints (model_sha256)",
    "checkpoints_state_sha256": "checkpoints (state_sha256)",
    "corpora_text": "corpora (text)",
    "idx__sqlite_migrations_migration_set_name": "_sqlite_migrations (migration_set, name)",
    "runs_corpus": "runs (corpus)",
    "samples_run_step": "samples (run, step)",
}
FIRST_MIGRATIONS = ["create_corpora", "create_runs", "create_checkpoints"]

SCHEMA = FIRST | {
    "events": (
        "id INTEGER PRIMARY KEY AUTOINCREMENT, run INTEGER NOT NULL REFERENCES runs(id) ON DELETE CASCADE, created_at TEXT NOT NULL,"
        " level TEXT NOT NULL CHECK (level IN ('info', 'warn', 'error')), type TEXT NOT NULL CHECK (type IN ('message', 'metrics')),"
        " message TEXT NOT NULL, data TEXT"
    ),
    "keys": (
        "id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, sha256 TEXT NOT NULL UNIQUE, created_at TEXT NOT NULL, used_at TEXT,"
        " scope TEXT NOT NULL DEFAULT 'admin' CHECK (scope IN ('write', 'train', 'admin')), expires_at TEXT"
    ),
    "removed": (
        "list TEXT NOT NULL CHECK (list IN ('corpora', 'runs')), name TEXT NOT NULL, position INTEGER NOT NULL, removed_at TEXT NOT NULL,"
        " PRIMARY KEY (list, name)"
    ),
    "runs": FIRST["runs"]
    + (
        ", wanted TEXT CHECK (wanted IN ('paused', 'cancelled')), queued INTEGER NOT NULL DEFAULT 0 CHECK (queued IN (0, 1)),"
        " attempt INTEGER NOT NULL DEFAULT 1, attempt_step INTEGER, parent TEXT, validation_corpus INTEGER REFERENCES corpora(id),"
        " request TEXT NOT NULL DEFAULT '{}', extended_from TEXT, epoch_symbols INTEGER"
    ),
    "sqlite_sequence": "name,seq",
    "texts": FIRST["texts"].replace(", CHECK", ", nfc TEXT, CHECK"),
}
CONSTRAINTS = {"texts": ", CHECK ((state", "checkpoints": ", PRIMARY KEY", "metrics": ", PRIMARY KEY"}  # of the table, after its columns
for table in ("texts", "corpora", "runs", "metrics", "samples", "checkpoints", "events", "keys"):
    before, constraint, rest = SCHEMA[table].partition(CONSTRAINTS.get(table, "\0"))
    SCHEMA[table] = f"{before}, crc INTEGER{constraint}{rest}"
SCHEMA["runs"] += ", caller TEXT"
SCHEMA["corpora"] += ", records TEXT"
INDEXES = {*FIRST_INDEXES, "events_run", "runs_queue", "runs_validation_corpus"}
TRIGGERS = {"corpora_removed", "runs_removed"}
WITHOUT_ROWID = {"checkpoints", "metrics", "removed"}


def columns(sql: str) -> str:
    """What stands in the outer parentheses of a CREATE TABLE, on one line and without quotes."""
    inner = sql[sql.index("(") + 1 : sql.rindex(")")]
    return re.sub(r"\s+", " ", inner).replace(" ,", ",").replace('"', "").strip()


def test_the_exact_schema(store: Store) -> None:
    tables = store.db.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'").fetchall()
    assert {name: columns(sql) for name, sql in tables} == SCHEMA
    indexes = store.db.execute("SELECT name FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL").fetchall()
    assert {name for (name,) in indexes} == INDEXES
    triggers = store.db.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall()
    assert {name for (name,) in triggers} == TRIGGERS


def first_release(path: Path) -> None:
    """A file as the first release left it, with a corpus and two runs, one of them unfinished."""
    with Database(path) as db:
        db.execute("PRAGMA auto_vacuum = INCREMENTAL")
        db.execute("PRAGMA journal_mode = wal")
        for name, inner in FIRST.items():
            kind = "" if name.startswith("_") else " STRICT, WITHOUT ROWID" if name in WITHOUT_ROWID else " STRICT"
            db.execute(f"CREATE TABLE {name} ({inner}){kind}")
        for name, on in FIRST_INDEXES.items():
            db.execute(f"CREATE {'UNIQUE ' if name.startswith('idx') else ''}INDEX {name} ON {on}")
        for migration in FIRST_MIGRATIONS:
            row = {"migration_set": "charloom", "name": migration, "applied_at": "2026-07-04"}
            db.table("_sqlite_migrations").insert(row)
        db.table("texts").insert({"id": 1, "state": "ready", "sha256": "0" * 64, "characters": 5, "alphabet": '{"a": 5}'})
        db.table("corpora").insert({"id": 1, "name": "tale", "text": 1, "origin": "x", "created_at": "2026-07-04T00:00:00.000Z"})
        for state in ("succeeded", "queued"):  # a run was `queued` for the moment between its making and its claim
            row = {"name": state, "corpus": 1, "state": state, "model_config": '{"cell": "gru"}', "training_config": "{}"}
            db.table("runs").insert({**row, "environment": '{"threads": 1}', "created_at": "2026-07-04T00:00:00.000Z"})
        db.table("blobs").insert({"sha256": hashlib.sha256(b"model").hexdigest(), "size": 5, "data": b"model"})
        kept = {"run": 1, "step": 100, "epoch": 1.0, "validation_loss": 2.0, "created_at": "2026-07-04T00:00:00.000Z"}
        db.table("checkpoints").insert({**kept, "model_sha256": hashlib.sha256(b"model").hexdigest()})


def test_a_file_of_the_first_release_is_brought_up_to_date(path: Path) -> None:
    first_release(path)
    with Store(path) as store:
        test_the_exact_schema(store)
        run = store.runs.get("succeeded")
        assert (run.corpus, run.model_config, run.environment, run.checkpoints) == ("tale", {"cell": "gru"}, {"threads": 1}, 1)
        assert (run.wanted, run.queued, run.attempt, run.attempt_step, run.parent, run.validation_corpus) == (
            None,
            False,
            1,
            None,
            None,
            None,
        )
        assert run.training_config == {"input_rate": 1.0, "output_rate": 1.0}, "what all weights learned at"
        assert store.checkpoints.load(run)[1] == b"model"
        assert store.events.list(run) == ()
        assert store.queue.claim_next() is None  # what nobody queued is no worker's
        assert store.runs.claim("queued").state == "running"


def test_runs_that_have_rates_of_their_own_keep_them(path: Path) -> None:
    """A file that an older release wrote to after this one would be refused, but migrations are safe in any case."""
    first_release(path)
    with Database(path) as db:
        db.execute("""UPDATE runs SET training_config = '{"steps": 3, "output_rate": 5, "seed": 9007199254740993}'""")
    with Store(path) as store:
        for name in ("succeeded", "queued"):
            config = store.runs.get(name).training_config
            assert config == {"steps": 3, "output_rate": 5, "seed": 9007199254740993, "input_rate": 1.0}


def test_what_was_asked_for_leaves_the_environment(path: Path) -> None:
    """Releases before this one kept requests and notes of the trainer among the facts that bits depend on."""
    order = {"given": {"steps": 8, "seed": 9007199254740993, "min_count": None}, "learning_rate_multiplier": 0.5}
    asked = {"max_steps": 10, "first_model": True, "fine_tuning": {"suffix": "é", "metadata": None}}
    machine = {"threads": 1, "processes": 2, "kernels": "x"}
    began = {"steps": 3, "epochs": 1.5, "budget": 2.0}
    first_release(path)
    with Database(path) as db:
        stored = {**asked, "order": order, **machine, "epoch": {"symbols": 90}, "extended_at": began}
        db.table("runs").update(1, {"environment": json.dumps(stored)})
    with Store(path) as store:
        run = store.runs.get("succeeded")
        assert run.environment == machine
        assert run.request == {**order, **asked}
        assert (run.extended_from, run.epoch_symbols) == (began, 90)
        other = store.runs.get("queued")
        assert (other.environment, other.request, other.extended_from, other.epoch_symbols) == ({"threads": 1}, {}, None, None)


def test_tables_are_strict_and_without_rowid_as_meant(store: Store) -> None:
    for _, name, kind, _, without_rowid, strict in store.db.execute("PRAGMA main.table_list").fetchall():
        if kind == "table" and not name.startswith(("sqlite_", "_sqlite_")):
            assert strict, name
            assert bool(without_rowid) == (name in WITHOUT_ROWID), name


def test_names_of_migrations_never_change(store: Store) -> None:
    """Append only: a name that is missing here was released, and files that have it would be refused."""
    later = ["create_queue", "create_keys", "keep_rates", "count_composed_characters", "separate_requests", "scope_keys"]
    later += ["number_the_file", "add_row_checksums", "name_callers", "keep_positions", "keep_record_formats"]
    assert [migration.name for migration in release.applied(store.db)] == [*FIRST_MIGRATIONS, *later]
    assert len(KNOWN) == 14


def test_a_file_of_a_newer_release_is_refused_and_left_alone(path: Path) -> None:
    Store(path).close()
    with Database(path) as db:
        db.table("_sqlite_migrations").insert({"migration_set": "charloom", "name": "create_dreams", "applied_at": "2099"})
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(DatabaseTooNew, match=r"newer release.*create_dreams.*nothing was changed"):
        Store(path)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == before
