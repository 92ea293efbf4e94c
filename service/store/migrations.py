"""Defines the schema of the database: an append-only list of small functions, applied in order to a new or older file.

A function that was released is never changed; what must change is a new function at the end. Tables are STRICT.
Blobs stand apart from the rest, so that listing runs and checkpoints never reads them.
"""

from __future__ import annotations

import json
import secrets

from sqlite_utils import Database, Migrations

release = Migrations("charloom")


@release()
def create_corpora(db: Database) -> None:
    """Texts by content; corpora are names for them. `state` is `ready`, or `arriving`/`leaving` while its chunks come and go."""
    db.execute(
        """
        CREATE TABLE texts (
            id INTEGER PRIMARY KEY,
            state TEXT NOT NULL CHECK (state IN ('arriving', 'ready', 'leaving')),
            sha256 TEXT UNIQUE,
            characters INTEGER,
            bytes INTEGER,
            lines INTEGER,
            alphabet_size INTEGER,
            alphabet TEXT,
            owner TEXT,
            heartbeat_at TEXT,
            CHECK ((state = 'ready') = (sha256 IS NOT NULL))
        ) STRICT
        """
    )
    db.execute(
        """
        CREATE TABLE text_chunks (
            text INTEGER NOT NULL REFERENCES texts(id) ON DELETE CASCADE,
            chunk INTEGER NOT NULL,
            zlib BLOB NOT NULL,
            PRIMARY KEY (text, chunk)
        ) STRICT
        """
    )
    db.execute(
        """
        CREATE TABLE corpora (
            id INTEGER PRIMARY KEY,
            name TEXT NOT NULL UNIQUE,
            text INTEGER NOT NULL REFERENCES texts(id),
            origin TEXT NOT NULL,
            created_at TEXT NOT NULL
        ) STRICT
        """
    )
    db.execute("CREATE INDEX corpora_text ON corpora (text)")


@release()
def create_runs(db: Database) -> None:
    """Runs with what was measured and sampled on the way. Times are ISO 8601 UTC, `seconds` is time spent training."""
    db.execute(
        """
        CREATE TABLE runs (
            id INTEGER PRIMARY KEY,
            name TEXT NOT NULL UNIQUE,
            corpus INTEGER REFERENCES corpora(id),
            state TEXT NOT NULL CHECK (state IN ('queued', 'running', 'paused', 'succeeded', 'failed', 'cancelled')),
            message TEXT,
            model_config TEXT NOT NULL,
            training_config TEXT NOT NULL,
            environment TEXT NOT NULL,
            step INTEGER NOT NULL DEFAULT 0,
            epoch REAL NOT NULL DEFAULT 0,
            best_validation_loss REAL,
            best_bits_per_char REAL,
            seconds REAL NOT NULL DEFAULT 0,
            created_at TEXT NOT NULL,
            started_at TEXT,
            ended_at TEXT,
            owner TEXT,
            heartbeat_at TEXT
        ) STRICT
        """
    )
    db.execute("CREATE INDEX runs_corpus ON runs (corpus)")
    db.execute(
        """
        CREATE TABLE metrics (
            run INTEGER NOT NULL REFERENCES runs(id) ON DELETE CASCADE,
            step INTEGER NOT NULL,
            epoch REAL NOT NULL,
            loss REAL,
            validation_loss REAL,
            bits_per_char REAL,
            learning_rate REAL,
            grad_norm REAL,
            characters_per_second REAL,
            seconds REAL NOT NULL,
            created_at TEXT NOT NULL,
            PRIMARY KEY (run, step)
        ) STRICT, WITHOUT ROWID
        """
    )
    db.execute(
        """
        CREATE TABLE samples (
            id INTEGER PRIMARY KEY,
            run INTEGER NOT NULL REFERENCES runs(id) ON DELETE CASCADE,
            step INTEGER NOT NULL,
            prompt TEXT NOT NULL,
            text TEXT NOT NULL,
            temperature REAL NOT NULL,
            seed INTEGER,
            created_at TEXT NOT NULL
        ) STRICT
        """
    )
    db.execute("CREATE INDEX samples_run_step ON samples (run, step)")


@release()
def create_checkpoints(db: Database) -> None:
    """What a run kept at a step. The bytes lie in `blobs` under their sha256; `state_sha256` only where training can go on."""
    db.execute(
        """
        CREATE TABLE blobs (
            sha256 TEXT NOT NULL PRIMARY KEY,
            size INTEGER NOT NULL,
            data BLOB NOT NULL
        ) STRICT
        """
    )
    db.execute(
        """
        CREATE TABLE checkpoints (
            run INTEGER NOT NULL REFERENCES runs(id) ON DELETE CASCADE,
            step INTEGER NOT NULL,
            epoch REAL NOT NULL,
            loss REAL,
            validation_loss REAL,
            bits_per_char REAL,
            pinned INTEGER NOT NULL DEFAULT 0 CHECK (pinned IN (0, 1)),
            model_sha256 TEXT NOT NULL REFERENCES blobs(sha256),
            state_sha256 TEXT REFERENCES blobs(sha256),
            created_at TEXT NOT NULL,
            PRIMARY KEY (run, step)
        ) STRICT, WITHOUT ROWID
        """
    )
    db.execute("CREATE INDEX checkpoints_model_sha256 ON checkpoints (model_sha256)")
    db.execute("CREATE INDEX checkpoints_state_sha256 ON checkpoints (state_sha256)")


@release()
def create_queue(db: Database) -> None:
    """Runs that wait for a worker, what is asked of those that are trained, what they go on from, and what happened to them.

    `wanted` is the state that a running run should take; `queued` is 1 for a run that workers may take (again); it is the
    `attempt`-th try to get beyond `attempt_step`; `parent` is RUN@STEP.
    """
    db.execute("ALTER TABLE runs ADD COLUMN wanted TEXT CHECK (wanted IN ('paused', 'cancelled'))")
    db.execute("ALTER TABLE runs ADD COLUMN queued INTEGER NOT NULL DEFAULT 0 CHECK (queued IN (0, 1))")
    db.execute("ALTER TABLE runs ADD COLUMN attempt INTEGER NOT NULL DEFAULT 1")
    db.execute("ALTER TABLE runs ADD COLUMN attempt_step INTEGER")
    db.execute("ALTER TABLE runs ADD COLUMN parent TEXT")
    db.execute("ALTER TABLE runs ADD COLUMN validation_corpus INTEGER REFERENCES corpora(id)")
    db.execute("CREATE INDEX runs_validation_corpus ON runs (validation_corpus)")
    db.execute("CREATE INDEX runs_queue ON runs (state) WHERE queued = 1")
    db.execute(
        """
        CREATE TABLE events (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            run INTEGER NOT NULL REFERENCES runs(id) ON DELETE CASCADE,
            created_at TEXT NOT NULL,
            level TEXT NOT NULL CHECK (level IN ('info', 'warn', 'error')),
            type TEXT NOT NULL CHECK (type IN ('message', 'metrics')),
            message TEXT NOT NULL,
            data TEXT
        ) STRICT
        """
    )
    db.execute("CREATE INDEX events_run ON events (run, id)")


@release()
def create_keys(db: Database) -> None:
    """Who may call: the hash of each key, never the key."""
    db.execute(
        """
        CREATE TABLE keys (
            id INTEGER PRIMARY KEY,
            name TEXT NOT NULL UNIQUE,
            sha256 TEXT NOT NULL UNIQUE,
            created_at TEXT NOT NULL,
            used_at TEXT
        ) STRICT
        """
    )


@release()
def keep_rates(db: Database) -> None:
    """Runs from before input weights and output weights had learning rates of their own go on with one rate for all."""
    kept = "coalesce(json_extract(training_config, '$.{0}'), 1.0)"
    settings = ", ".join(f"'$.{name}', {kept.format(name)}" for name in ("input_rate", "output_rate"))
    db.execute(f"UPDATE runs SET training_config = json_set(training_config, {settings})")


@release()
def count_composed_characters(db: Database) -> None:
    """How often each character occurs in the NFC form of a text, as JSON with the version of Unicode.

    NULL if `alphabet` tells it, and for texts of earlier releases, which are counted when a run first needs it.
    """
    db.execute("ALTER TABLE texts ADD COLUMN nfc TEXT")


@release()
def separate_requests(db: Database) -> None:
    """Move what stood in `environment` beside what a run's bits depend on: what was asked for, and what its trainer noted.

    `request` holds the settings that the user chose (`given`) and who asked how. `extended_from` is the step, epoch and second at
    which the run's present length began; `epoch_symbols` is the number of symbols in an epoch.
    """
    db.execute("ALTER TABLE runs ADD COLUMN request TEXT NOT NULL DEFAULT '{}'")
    db.execute("ALTER TABLE runs ADD COLUMN extended_from TEXT")
    db.execute("ALTER TABLE runs ADD COLUMN epoch_symbols INTEGER")
    for run, stored in db.execute("SELECT id, environment FROM runs").fetchall():
        environment = json.loads(stored)
        request = environment.pop("order", {})
        request |= {key: environment.pop(key) for key in ("max_steps", "first_model", "fine_tuning") if key in environment}
        extended_from = environment.pop("extended_at", None)
        values = {
            "request": json.dumps(request, ensure_ascii=False),
            "extended_from": json.dumps(extended_from) if extended_from else None,
            "epoch_symbols": environment.pop("epoch", {}).get("symbols"),
            "environment": json.dumps(environment, ensure_ascii=False),
            "run": run,
        }
        db.execute(
            """UPDATE runs SET request = :request, extended_from = :extended_from, epoch_symbols = :epoch_symbols,
            environment = :environment WHERE id = :run""",
            values,
        )


@release()
def scope_keys(db: Database) -> None:
    """What a key may do, and until when. Keys of earlier releases may do everything, and never expire."""
    db.execute("ALTER TABLE keys ADD COLUMN scope TEXT NOT NULL DEFAULT 'admin' CHECK (scope IN ('write', 'train', 'admin'))")
    db.execute("ALTER TABLE keys ADD COLUMN expires_at TEXT")


@release()
def number_the_file(db: Database) -> None:
    """A random number in the file's header, by which it is told from others (`service.store.file_identity`)."""
    db.execute(f"PRAGMA user_version = {new_number()}")


@release()
def add_row_checksums(db: Database) -> None:
    """A CRC-32 of each row beside blobs and chunks, which have their sha256; `service.store.row_checksums` writes it."""
    for table in ("texts", "corpora", "runs", "metrics", "samples", "checkpoints", "events", "keys"):
        db.execute(f"ALTER TABLE {table} ADD COLUMN crc INTEGER")


@release()
def name_callers(db: Database) -> None:
    """Who ordered a run over HTTP: ``key:NAME``, or ``address:...`` without keys; callers take turns."""
    db.execute("ALTER TABLE runs ADD COLUMN caller TEXT")


@release()
def keep_positions(db: Database) -> None:
    """Where a corpus or run stood that was deleted within the last day, so that clients that delete while they list can go on.

    `position` is the id that it had, which another one may have by now.
    """
    db.execute(
        """
        CREATE TABLE removed (
            list TEXT NOT NULL CHECK (list IN ('corpora', 'runs')),
            name TEXT NOT NULL,
            position INTEGER NOT NULL,
            removed_at TEXT NOT NULL,
            PRIMARY KEY (list, name)
        ) STRICT, WITHOUT ROWID
        """
    )
    for table in ("corpora", "runs"):
        db.execute(
            f"""
            CREATE TRIGGER {table}_removed AFTER DELETE ON {table} BEGIN
                DELETE FROM removed WHERE removed_at < strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-1 day');
                INSERT INTO removed (list, name, position, removed_at)
                    VALUES ('{table}', old.name, old.id, strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
                    ON CONFLICT DO UPDATE SET position = excluded.position, removed_at = excluded.removed_at;
            END
            """
        )


@release()
def keep_record_formats(db: Database) -> None:
    """How a corpus is cut into records, with what was counted of them, as JSON (`corpora.records`); NULL for prose."""
    db.execute("ALTER TABLE corpora ADD COLUMN records TEXT")


def new_number() -> int:
    """Returns a random number for a file's header, never 0."""
    return secrets.randbelow(2**31 - 1) + 1


def _names() -> frozenset[str]:
    with Database(memory=True, execute_plugins=False) as empty:
        return frozenset(migration.name for migration in release.pending(empty))


KNOWN = _names()  # every migration of this release
