"""The exact schema; a file of a newer release stays as it is."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest
from sqlite_utils import Database

from model.errors import DatabaseTooNew
from service.store import Store
from service.store.migrations import KNOWN, release

SCHEMA = {
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
INDEXES = {
    "checkpoints_model_sha256",
    "checkpoints_state_sha256",
    "corpora_text",
    "idx__sqlite_migrations_migration_set_name",
    "runs_corpus",
    "samples_run_step",
}
WITHOUT_ROWID = {"checkpoints", "metrics"}


def columns(sql: str) -> str:
    """What stands in the outer parentheses of a CREATE TABLE, on one line and without quotes."""
    inner = sql[sql.index("(") + 1 : sql.rindex(")")]
    return re.sub(r"\s+", " ", inner).replace(" ,", ",").replace('"', "").strip()


def test_the_exact_schema(store: Store) -> None:
    tables = store.db.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'").fetchall()
    assert {name: columns(sql) for name, sql in tables} == SCHEMA
    indexes = store.db.execute("SELECT name FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL").fetchall()
    assert {name for (name,) in indexes} == INDEXES


def test_tables_are_strict_and_without_rowid_as_meant(store: Store) -> None:
    for _, name, kind, _, without_rowid, strict in store.db.execute("PRAGMA main.table_list").fetchall():
        if kind == "table" and not name.startswith(("sqlite_", "_sqlite_")):
            assert strict, name
            assert bool(without_rowid) == (name in WITHOUT_ROWID), name


def test_names_of_migrations_never_change(store: Store) -> None:
    """Append only: a name that is missing here was released, and files that have it would be refused."""
    assert [migration.name for migration in release.applied(store.db)] == ["create_corpora", "create_runs", "create_checkpoints"]
    assert len(KNOWN) == 3


def test_a_file_of_a_newer_release_is_refused_and_left_alone(path: Path) -> None:
    Store(path).close()
    with Database(path) as db:
        db.table("_sqlite_migrations").insert({"migration_set": "charloom", "name": "create_dreams", "applied_at": "2099"})
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(DatabaseTooNew, match=r"newer release.*create_dreams.*nothing was changed"):
        Store(path)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == before
