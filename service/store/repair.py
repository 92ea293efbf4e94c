"""Repairs a damaged database: makes a new file of all that can be read of it, and of good copies what cannot.

The damaged file is never changed, and is kept. A row, text or model that is sound in it is taken from it. Else it is taken from a copy if
that has the same: the same sha256, or the same checksum. What is missing in a damaged table is taken from a copy, too, in the state
that it had there. What is only readable is kept as it is, and a check still names it.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlite_utils import Database
from sqlite_utils.utils import sqlite3  # type: ignore[attr-defined]

from model.checkpoint import Checkpoint
from model.errors import CheckpointError
from model.functions import CODE_POINTS
from service.store import row_checksums
from service.store.backup import refuse_damaged
from service.store.corpora import TextCounter
from service.store.database import Connections, now
from service.store.database_file import alone, put, scratch
from service.store.integrity import CONSTANTS, IntegrityReport, applied, check, opened, why_text_damaged
from service.store.migrations import KNOWN, new_number, release
from service.store.row_checksums import ANEW, COLUMN
from service.store.salvage import UNREADABLE, Contents, Row
from service.system.errors import DatabaseUnusable, StoreError, proposed

ORDER = ("texts", "corpora", "runs", "checkpoints", "metrics", "samples", "events", "keys")  # what others refer to comes first
KEYS = {"checkpoints": ("run", "step"), "metrics": ("run", "step")}  # of the others it is the id
PAGE = 4096  # bytes; SQLite's default, which every file of ours has


@dataclass(frozen=True, kw_only=True)
class Repaired:
    """What a repair found, what it did, what is still damaged, and where the damaged file is kept."""

    before: IntegrityReport
    done: tuple[str, ...] = ()
    after: IntegrityReport
    kept: Path | None = None


def repair(path: Path, copies: Sequence[Path] = ()) -> Repaired:
    """Puts a repaired file in the place of a damaged database. Does nothing if that is sound.

    ``copies`` are backups, the newest first. Raises `BackupDamaged` if one is not sound, `DatabaseInUse` while a process has the
    database open, and `DatabaseUnusable` if nothing can be read and there is no copy.
    """
    path = path.resolve()
    if not path.is_file():
        raise DatabaseUnusable(str(path), "there is no such file")
    for copy in copies:
        refuse_damaged(check(copy))
    with alone(path), contextlib.ExitStack() as stack:
        raw = stack.enter_context(scratch(path.with_name(f"{path.name}.damaged")))
        for ending in ("", "-wal", "-journal"):
            if Path(f"{path}{ending}").exists():
                shutil.copyfile(f"{path}{ending}", f"{raw}{ending}")
        before = check(raw, path)
        if before.sound:
            return Repaired(before=before, after=before)
        sources = [stack.enter_context(_copy(copy, path, number)) for number, copy in enumerate(copies)]
        new = stack.enter_context(scratch(path))
        with _damaged(raw) as damaged:
            if damaged is None and not sources:
                raise DatabaseUnusable(str(path), f"nothing of it can be read; put a backup there: {proposed('restore BACKUP', path)}")
            new.touch(mode=0o600)
            done = _Rebuilding(new, damaged, sources, before).carry_out()
        after = check(new, path)
        return Repaired(before=before, done=tuple(done), after=after, kept=put(new, path, "damaged"))


# ── sources ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@contextlib.contextmanager
def _damaged(raw: Path) -> Iterator[Contents | None]:
    """Opens a copy of the damaged file as well as can be; None if nothing of it can be read."""
    with raw.open("rb+") as file:
        header = bytearray(file.read(100))
        for at, value in (
            *CONSTANTS.values(),
            (16, PAGE.to_bytes(2, "big")),
            (28, bytes(12)),
        ):  # 28: sizes that SQLite then finds out itself
            header[at : at + len(value)] = value
        header[18:20] = b"\2\2" if Path(f"{raw}-wal").exists() else b"\1\1"
        file.seek(0)
        file.write(header)
    try:
        with opened(raw) as db:
            older = set(applied(db)) < KNOWN
        if older:
            Connections(raw).close()
    except (*UNREADABLE, StoreError):
        yield None
        return
    with opened(raw) as db:
        yield Contents(db)


@contextlib.contextmanager
def _copy(copy: Path, path: Path, number: int) -> Iterator[Contents]:
    """Opens a good copy; one of an older release is brought up to date beside the database first."""
    with contextlib.ExitStack() as stack:
        db = stack.enter_context(opened(copy))
        if set(applied(db)) != KNOWN:
            newer = stack.enter_context(scratch(path.with_name(f"{path.name}.copy-{number}")))
            db.execute("VACUUM INTO ?", (str(newer),))
            Connections(newer).close()
            db = stack.enter_context(opened(newer))
        yield Contents(db)


# ── rebuilding ────────────────────────────────────────────────────────────────────────────────────────────────────────


class _Rebuilding:
    """Fills a new file, table by table. `done` says what came from elsewhere than the damaged file, or was left out."""

    def __init__(self, new: Path, damaged: Contents | None, copies: Sequence[Contents], before: IntegrityReport) -> None:
        self._new, self._damaged, self._copies = new, damaged, copies
        self._sources = ([damaged] if damaged else []) + list(copies)
        # The tables of which rows may be missing that nothing else tells of
        everything = damaged is None or any(finding.what == "the file" for finding in before.findings)
        self._doubtful = set(ORDER) if everything else {finding.table for finding in before.findings if finding.what.startswith("table ")}
        self._rows: dict[str, dict[tuple[Any, ...], Row]] = {}
        self._done: list[str] = []

    def carry_out(self) -> list[str]:
        """Writes the file; returns what was done."""
        for table in ORDER:
            self._rows[table] = self._chosen(table)
        self._rows["texts"] = {key: row for key, row in self._rows["texts"].items() if row["state"] == "ready"}
        self._stand_ins()
        with contextlib.closing(sqlite3.connect(str(self._new), isolation_level=None)) as conn:
            db = Database(conn, execute_plugins=False)
            db.execute("PRAGMA auto_vacuum = INCREMENTAL")
            release.apply(db)
            db.execute("BEGIN")
            self._write_texts(db)
            for row in self._rows["corpora"].values():
                if (row["text"],) in self._rows["texts"]:
                    self._insert(db, "corpora", row)
                else:
                    self._done.append(f"corpus {row['name']} is left out: its text is gone")
            self._write_runs(db)
            self._write_checkpoints(db)
            for table in ("metrics", "samples", "events", "keys"):
                for row in self._rows[table].values():
                    if "run" not in row or (row["run"],) in self._rows["runs"]:
                        self._insert(db, table, row)
            row_checksums.seal(db, only_anew=True)
            db.execute(f"PRAGMA user_version = {new_number()}")
            db.execute("COMMIT")
        return self._done

    def _chosen(self, table: str) -> dict[tuple[Any, ...], Row]:
        """Returns the rows of a table: the sound ones, those that a copy has unchanged, and if rows are missing what copies have."""
        others = [row for copy in reversed(self._copies) for row in copy.rows(table)]
        by_checksum, by_key = {row[COLUMN]: row for row in others}, {_key(table, row): row for row in others}
        found: dict[tuple[Any, ...], Row] = {}
        unsound: list[Row] = []
        missing = table in self._doubtful
        mended = 0
        for row in self._damaged.tables.get(table, {}).values() if self._damaged else ():
            if row is None:
                missing = True
            elif self._damaged and self._damaged.is_sound(table, row):
                found[_key(table, row)] = row
            else:
                unsound.append(row)
        for row in unsound:
            key = _key(table, row)
            same = by_checksum.get(row[COLUMN])
            if same is None and key in by_key and {**by_key[key], COLUMN: None} == {**row, COLUMN: None}:
                same = by_key[key]
            missing = missing or same is None
            mended += same is not None
            found.setdefault(key if same is None else _key(table, same), row if same is None else same)
        returned = {key: row for key, row in by_key.items() if key not in found} if missing else {}
        if mended:
            self._done.append(f"{mended:,} of table {table} mended from a copy, as stored")
        if returned:
            self._done.append(f"{len(returned):,} of table {table} were missing, and are as they were when the copy was made")
        return found | returned

    def _stand_ins(self) -> None:
        """Makes rows for what is left of a run or corpus that lost its own."""
        runs, texts = self._rows["runs"], self._rows["texts"]
        lost = {row["run"] for row in self._rows["checkpoints"].values()} - {row["id"] for row in runs.values()}
        for run in sorted(run for run in lost if isinstance(run, int)):
            steps = [row for row in self._rows["checkpoints"].values() if row["run"] == run]
            name = f"recovered-{run}"
            runs[run,] = {
                "id": run,
                "name": name,
                "state": "failed",
                "message": "its row was damaged; what could be read of it is kept",
                "model_config": self._model_config(steps),
                "training_config": "{}",
                "environment": "{}",
                "step": max(row["step"] for row in steps if isinstance(row["step"], int)),
                "created_at": min(str(row["created_at"]) for row in steps),
                COLUMN: ANEW,
            }
            self._done.append(f"run number {run} lost its row; its checkpoints are now those of run {name}")
        named = {row["text"] for row in self._rows["corpora"].values()}
        for (text,) in [key for key in texts if key[0] not in named]:
            row = {"name": f"recovered-{text}", "text": text, "origin": "recovered", "created_at": now(), COLUMN: ANEW}
            self._rows["corpora"][f"text {text}",] = row
            self._done.append(f"text number {text} lost its name, and is now corpus recovered-{text}")
        for row in list(self._rows["corpora"].values()):
            if (row["text"],) not in texts and self._damaged and (facts := self._counted(row["text"])):
                texts[row["text"],] = {"id": row["text"], "state": "ready", **facts, COLUMN: ANEW}
                self._done.append(f"the text of corpus {row['name']} lost its row, which was counted again")

    def _model_config(self, checkpoints: Sequence[Row]) -> str:
        for row in checkpoints:
            for source in self._sources:
                with contextlib.suppress(CheckpointError, *UNREADABLE):
                    if (data := source.blob(row["model_sha256"])) is not None:
                        return json.dumps(Checkpoint.from_bytes(data, "it").model.config.to_dict())
        return "{}"

    def _counted(self, text: int) -> dict[str, Any] | None:
        counter, number = TextCounter("", CODE_POINTS), 0
        with contextlib.suppress(zlib.error, *UNREADABLE):
            while self._damaged and (chunk := self._damaged.chunk(text, number)):
                counter.add(chunk)
                number += 1
            return counter.facts() if number else None
        return None

    # ── writing ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _write_texts(self, db: Database) -> None:
        twins_of = [{each["sha256"]: each["id"] for each in copy.rows("texts")} for copy in self._copies]
        for row in self._rows["texts"].values():
            source, text = self._damaged, row["id"]
            if source is None or why_text_damaged(source, row):
                for copy, twins in zip(self._copies, twins_of, strict=True):
                    if row["sha256"] in twins:
                        source, text = copy, twins[row["sha256"]]
                        self._done.append(f"the text of corpus {', '.join(copy.corpora_of[text])} is taken from a copy")
                        break
            if self._insert(db, "texts", row) and source is not None:
                for number in sorted(source.chunks_of[text]):
                    with contextlib.suppress(*UNREADABLE):
                        chunk = source.packed_chunk(text, number)
                        db.execute("INSERT INTO text_chunks (text, chunk, zlib) VALUES (?, ?, ?)", (row["id"], number, chunk))

    def _write_runs(self, db: Database) -> None:
        corpora = {id for (id,) in db.execute("SELECT id FROM corpora")}
        for key, row in list(self._rows["runs"].items()):
            for column in ("corpus", "validation_corpus"):
                if row.get(column) is not None and row[column] not in corpora:
                    self._done.append(f"run {row['name']} has no {column.replace('_', ' ')} any more, so it cannot be trained further")
                    row = self._changed("runs", row, column)
            if not self._insert(db, "runs", row):
                del self._rows["runs"][key]

    def _write_checkpoints(self, db: Database) -> None:
        written: dict[str, bool] = {}
        names = {row["id"]: row["name"] for row in self._rows["runs"].values()}
        for row in self._rows["checkpoints"].values():
            if row["run"] not in names:
                continue
            name = f"checkpoint {names[row['run']]}@{row['step']}"
            for part, sha256 in (("model", row["model_sha256"]), ("training state", row["state_sha256"])):
                if sha256 is not None and sha256 not in written:
                    written[sha256] = self._write_blob(db, sha256, f"{part} of {name}")
            if not written[row["model_sha256"]]:
                self._done.append(f"{name} is left out: its model is gone")
                continue
            if row["state_sha256"] is not None and not written[row["state_sha256"]]:
                self._done.append(f"{name} has no training state any more")
                row = self._changed("checkpoints", row, "state_sha256")
            self._insert(db, "checkpoints", row)

    def _write_blob(self, db: Database, sha256: str, what: str) -> bool:
        """Writes the sound bytes, or those that can be read; returns whether there are any."""
        insert = "INSERT INTO blobs (sha256, size, data) VALUES (?, ?, ?)"
        for source in self._sources:
            if source.why_blob_damaged(sha256) is None and (data := source.blob(sha256)) is not None:
                db.execute(insert, (sha256, len(data), data))
                if source is not self._damaged:
                    self._done.append(f"the {what} is taken from a copy")
                return True
        with contextlib.suppress(*UNREADABLE):
            if self._damaged and (data := self._damaged.blob(sha256)) is not None:
                db.execute(insert, (sha256, len(data), data))
                return True
        return False

    def _changed(self, table: str, row: Row, column: str) -> Row:
        """Returns a row without what it refers to; its checksum fits again if it did."""
        sound = any(source.is_sound(table, row) for source in self._sources)
        return {**row, column: None, COLUMN: ANEW if sound or row[COLUMN] == ANEW else row[COLUMN]}

    def _insert(self, db: Database, table: str, row: Row) -> bool:
        """Writes a row; if what is wrong in it cannot be stored, says so."""
        stored = {column.name for column in db.table(table).columns}
        row = {column: value for column, value in row.items() if column in stored}
        try:
            db.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})", tuple(row.values()))
        except sqlite3.Error as error:
            self._done.append(f"row {', '.join(map(str, _key(table, row)))} of table {table} is left out: {error}")
            return False
        return True


def _key(table: str, row: Row) -> tuple[Any, ...]:
    return tuple(row.get(column) for column in KEYS.get(table, ("id",)))
