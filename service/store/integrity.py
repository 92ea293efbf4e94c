"""Checks a whole database: the file, every text, model and row, and what refers to what. Changes nothing.

A changed bit is found by SQLite's own check of its pages and indexes (`PRAGMA integrity_check`), by the sha256 of a text or model,
by the checksum of a row, or since the header or the schema is not as every release writes it.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlite_utils import Database
from sqlite_utils.utils import sqlite3  # type: ignore[attr-defined]

from model.errors import listed
from service.store import row_checksums, salvage
from service.store.corpora import FACTS, why_damaged
from service.store.database import CANTOPEN, CORRUPT, NOTADB, READONLY, WHY, code, decoded, sentence
from service.store.file_identity import HEADER, FileIdentity
from service.store.migrations import KNOWN, release
from service.store.salvage import UNREADABLE, Row
from service.system.errors import DatabaseTooNew, DatabaseUnusable
from service.system.formatting import counted

MESSAGES = 1000  # of SQLite's check
FROM_COPY = "charloom check --repair --from BACKUP, or charloom restore BACKUP"
REBUILD = "charloom check --repair"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One damaged thing: what it is, by name, what is wrong with it, what is lost by it, and what mends it."""

    what: str
    why: str
    lost: str
    mend: str
    table: str | None = None  # if it is a row or a page of a table


@dataclass(frozen=True, kw_only=True)
class IntegrityReport:
    """What was checked, as counts, and what was found."""

    database: str
    corpora: int
    runs: int
    checkpoints: int
    findings: tuple[Finding, ...]

    @property
    def sound(self) -> bool:
        """Whether nothing is damaged."""
        return not self.findings

    @property
    def only_from_copies(self) -> list[str]:
        """What only a good copy can mend."""
        return [each.what for each in self.findings if FROM_COPY in each.mend]


def check(path: Path) -> IntegrityReport:
    """Checks the database at `path`, also while others use it. Raises `DatabaseUnusable` for a file that is no database of Charloom."""
    header = list(_header(path))
    try:
        with opened(path) as db:
            db.execute("BEGIN")  # all is read as it is at one moment
            refuse_foreign(path, db)
            contents = Contents(db)
            findings = [*header, *_pages(db), *_schema(db), *contents.findings()]
            return IntegrityReport(
                database=str(path),
                **{table: contents.count(table) for table in ("corpora", "runs", "checkpoints")},
                findings=tuple(findings),
            )
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        if isinstance(error, UnicodeDecodeError) or header or code(error) in (CORRUPT, NOTADB) or "malformed" in str(error):
            lost = "all that is stored, until it is mended"
            found = Finding(what="the file", why=f"SQLite cannot read it: {error}", lost=lost, mend=FROM_COPY)
            return IntegrityReport(database=str(path), corpora=0, runs=0, checkpoints=0, findings=(*header, found))
        raise sentence(path, error, 0) from error


# ── opening ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Database]:
    """Opens a database to read it only, with its log; on a medium that cannot be written at all, without one."""
    place = f"file:{quote(str(path.absolute()))}?mode=ro"
    conn = sqlite3.connect(place, uri=True, isolation_level=None)
    try:
        conn.execute("SELECT 1 FROM sqlite_schema").fetchall()
    except sqlite3.OperationalError as error:
        if code(error) not in (CANTOPEN, READONLY):
            conn.close()
            raise
        conn.close()
        conn = sqlite3.connect(f"{place}&immutable=1", uri=True, isolation_level=None)
    except UNREADABLE:
        conn.close()
        raise
    with contextlib.closing(conn):
        conn.text_factory = decoded
        yield Database(conn, execute_plugins=False)


def refuse_foreign(path: Path, db: Database) -> None:
    """Raises `DatabaseUnusable` for a database of another program, and `DatabaseTooNew` for one of a newer release."""
    names = applied(db)
    if not {"_sqlite_migrations", "texts", "runs", "blobs"} & set(db.table_names()) or not set(names) & KNOWN:
        raise DatabaseUnusable(str(path), "it is no database of Charloom; name another file with --db")
    unknown = [name for name in names if name not in KNOWN]
    if unknown and set(names) > KNOWN:
        raise DatabaseTooNew(str(path), unknown)


def applied(db: Database) -> list[str]:
    """Returns the names of the migrations that a database has."""
    with contextlib.suppress(*UNREADABLE):
        return [name for (name,) in db.execute("SELECT name FROM _sqlite_migrations ORDER BY id")]
    return list(KNOWN)  # it is damaged


# ── the file ──────────────────────────────────────────────────────────────────────────────────────────────────────────

# The parts of the header that are the same in every database of ours (https://sqlite.org/fileformat.html, 1.3).
CONSTANTS = {
    "its first 16 bytes": (0, b"SQLite format 3\0"),
    "the reserved space": (20, b"\0"),
    "the payload fractions": (21, b"\x40\x20\x20"),
    "the schema format": (44, b"\0\0\0\4"),
    "the cache size": (48, b"\0\0\0\0"),
    "the text encoding": (56, b"\0\0\0\1"),
    "the vacuum mode": (64, b"\0\0\0\1"),
    "the application": (68, b"\0\0\0\0"),
    "the space for later": (72, bytes(20)),
}


def _header(path: Path) -> Iterator[Finding]:
    if not path.is_file():
        raise DatabaseUnusable(str(path), "there is no such file")
    try:
        header = FileIdentity(path).header()
    except OSError as error:
        raise DatabaseUnusable(str(path), error.strerror or str(error)) from None
    if len(header) < HEADER:
        return  # a new file, or none: SQLite says
    wrong = [name for name, (at, value) in CONSTANTS.items() if header[at : at + len(value)] != value]
    if len(wrong) > len(CONSTANTS) // 2:
        raise DatabaseUnusable(str(path), WHY[NOTADB])
    if header[24:28] != header[92:96]:
        wrong.append("the change counter")
    if header[18:20] not in (b"\1\1", b"\2\2"):
        wrong.append("the journal mode")
    if wrong:
        yield Finding(what="the header of the file", why=f"it has other values: {listed(wrong)}", lost="nothing", mend=REBUILD)


def _pages(db: Database) -> Iterator[Finding]:
    """Yields what SQLite finds in its pages, one finding for each table, index or other part."""
    try:
        messages = [message for (message,) in db.execute(f"PRAGMA integrity_check({MESSAGES})")]
    except UNREADABLE as error:
        messages = [str(error)]
    grouped: dict[tuple[str, str | None], list[str]] = {}
    for message in messages:
        if message != "ok":
            grouped.setdefault(_place(db, message), []).append(" ".join(message.split()))
    for (what, table), found in grouped.items():
        rebuilt = table is None and what != "the file"
        lost = "nothing: it is made from the table again" if rebuilt else "the rows that are not found any more, if any"
        yield Finding(what=what, why=listed(found, 3), lost=lost, mend=REBUILD if rebuilt else FROM_COPY, table=table)


def _place(db: Database, message: str) -> tuple[str, str | None]:
    """Returns which part of the file a message of SQLite is about, and the table if its rows are."""
    parts = {
        name: (kind, table, root) for kind, name, table, root in db.execute("SELECT type, name, tbl_name, rootpage FROM sqlite_schema")
    }
    if tree := re.match(r"(?:\*\*\* in database main \*\*\*\s+)?Tree (\d+)", message):
        named = [name for name, (_, _, root) in parts.items() if root == int(tree[1])]
    else:
        named = [name for name in parts if re.search(rf"\b{re.escape(name)}\b", message)]
    if not named:
        return ("the free pages", None) if re.search("(?i)freelist|never used", message) else ("the file", None)
    name = max(named, key=len)
    kind, table, _ = parts[name]
    if kind == "index":
        return (f"index {name}", None) if "wrong #" not in message else (f"table {table}", table)
    return f"table {name}", name


def _schema(db: Database) -> Iterator[Finding]:
    """Yields a finding if tables or indexes are not as the migrations make them."""
    if set(applied(db)) != KNOWN:
        if [name for name in applied(db) if name not in KNOWN]:
            yield Finding(what="the list of migrations", why="a name in it changed", lost="nothing", mend=REBUILD)
        return  # an older release's, which is brought up to date when it is opened
    with Database(memory=True, execute_plugins=False) as fresh:
        release.apply(fresh)
        wrong = sorted(_definitions(db) ^ _definitions(fresh))
    if wrong:
        names = listed(sorted({name for _, name, _ in wrong}))
        yield Finding(what="the schema", why=f"it is not as this release makes it: {names}", lost="nothing", mend=REBUILD)


def _definitions(db: Database) -> set[tuple[str, str, str]]:
    rows = db.execute("SELECT type, name, coalesce(sql, '') FROM sqlite_schema WHERE name NOT LIKE '%sqlite_%'")
    return {(kind, name, re.sub(r"[\s\"]+", "", sql)) for kind, name, sql in rows}


# ── what is stored ────────────────────────────────────────────────────────────────────────────────────────────────────


class Contents:
    """All rows of a database that can be read, without the bytes of texts and models."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self.columns = row_checksums.tables(db)
        self.tables: dict[str, dict[tuple[Any, ...], Row | None]] = {}
        for table in ("texts", "corpora", "runs", "checkpoints", "metrics", "samples", "events", "keys"):
            if table in db.table_names():
                self.tables[table] = dict(salvage.rows(db, table))

    def count(self, table: str) -> int:
        """Returns how many rows of a table can be read."""
        return sum(row is not None for row in self.tables.get(table, {}).values())

    def rows(self, table: str) -> Iterator[Row]:
        """Yields the rows of a table that can be read."""
        yield from filter(None, self.tables.get(table, {}).values())

    def is_sound(self, table: str, row: Mapping[str, Any]) -> bool:
        """Returns whether the checksum of a row fits. A row of an older release has none."""
        columns = self.columns.get(table)
        return columns is None or row[row_checksums.COLUMN] == row_checksums.crc(*(row[column] for column in columns))

    def chunk(self, text: int, number: int) -> str | None:
        """Returns one chunk of a text, or None behind its end. Raises if it is damaged."""
        row = self.db.execute("SELECT zlib FROM text_chunks WHERE text = ? AND chunk = ?", (text, number)).fetchone()
        return zlib.decompress(row[0]).decode() if row else None

    def why_text_damaged(self, row: Mapping[str, Any]) -> str | None:
        """Reads a text whole; returns what is wrong with it, or None."""
        try:
            return why_damaged(lambda number: self.chunk(row["id"], number), {name: row[name] for name in FACTS})
        except (zlib.error, *UNREADABLE) as error:
            return f"its chunks cannot be read: {error}"

    def why_blob_damaged(self, sha256: str) -> str | None:
        """Reads the bytes of a model or training state; returns what is wrong with them, or None."""
        try:
            row = self.db.execute("SELECT size, data FROM blobs WHERE sha256 = ?", (sha256,)).fetchone()
        except UNREADABLE as error:
            return f"its bytes cannot be read: {error}"
        if row is None:
            return "its bytes are gone"
        return (
            None if hashlib.sha256(row[1]).hexdigest() == sha256 and len(row[1]) == row[0] else "its bytes changed after they were stored"
        )

    def findings(self) -> Iterator[Finding]:
        """Yields what is damaged, by name."""
        yield from self._rows()
        yield from self._texts()
        yield from self._checkpoints()
        yield from self._references()

    def name(self, table: str, row: Mapping[str, Any]) -> str:
        """Returns what a row is called."""
        if table == "texts":
            return f"text of corpus {listed(self.corpora_of(row['id'])) or 'without a name'}"
        if table in ("corpora", "runs", "keys"):
            return f"{ {'corpora': 'corpus', 'runs': 'run', 'keys': 'key'}[table] } {row['name']}"
        run = next((each["name"] for each in self.rows("runs") if each["id"] == row["run"]), f"number {row['run']}")
        if table == "checkpoints":
            return f"checkpoint {run}@{row['step']}"
        at = f" at step {row['step']}" if "step" in row else f" of {row['created_at']}"
        return f"{ {'metrics': 'metric', 'samples': 'sample', 'events': 'event'}[table] }{at} of run {run}"

    def corpora_of(self, text: int) -> list[str]:
        """Returns the names of the corpora that have a text."""
        return [corpus["name"] for corpus in self.rows("corpora") if corpus["text"] == text]

    def _rows(self) -> Iterator[Finding]:
        for table, found in self.tables.items():
            if unreadable := sum(row is None for row in found.values()):
                what = f"up to {counted(unreadable, 'row')} of table {table}"
                yield Finding(what=what, why="their pages cannot be read", lost="these rows", mend=FROM_COPY, table=table)
            for row in self.rows(table):
                name = self.name(table, row)
                if not self.is_sound(table, row):
                    why = "a value in its row changed, since its checksum does not fit"
                    yield Finding(what=name, why=why, lost="the value that changed", mend=FROM_COPY, table=table)
                elif wrong := [column for column in row if column.endswith("_at") and not _is_moment(row[column])]:
                    yield Finding(what=name, why=f"{listed(wrong)} is no time", lost="that time", mend=FROM_COPY, table=table)

    def _texts(self) -> Iterator[Finding]:
        for row in self.rows("texts"):
            if row["state"] == "ready" and (why := self.why_text_damaged(row)):
                mend = f"add the same text again, or {FROM_COPY}"
                yield Finding(what=self.name("texts", row), why=why, lost="what cannot be read of it", mend=mend, table="texts")

    def _checkpoints(self) -> Iterator[Finding]:
        checked: dict[str, str | None] = {}
        for row in self.rows("checkpoints"):
            name = self.name("checkpoints", row)
            for part, sha256 in (("model", row["model_sha256"]), ("training state", row["state_sha256"])):
                if sha256 is not None and sha256 not in checked:
                    checked[sha256] = self.why_blob_damaged(sha256)
                if sha256 is not None and (why := checked[sha256]):
                    model = part == "model"
                    lost = "this checkpoint, unless it was exported" if model else "that its training can go on; the model can write"
                    mend = f"import the exported model again, or {FROM_COPY}" if model else FROM_COPY
                    yield Finding(what=f"{part} of {name}", why=why, lost=lost, mend=mend, table="blobs")
        with contextlib.suppress(*UNREADABLE):  # told already
            for (sha256,) in salvage.keys(self.db, "blobs", "sha256"):
                if sha256 not in checked and (why := self.why_blob_damaged(sha256)):
                    what = f"bytes {str(sha256)[:12]}…, which no checkpoint needs"
                    yield Finding(what=what, why=why, lost="nothing", mend=REBUILD, table="blobs")

    def _references(self) -> Iterator[Finding]:
        runs = {row["id"] for row in self.rows("runs")}
        texts = {row["id"] for row in self.rows("texts") if row["state"] == "ready"}
        corpora = {row["id"] for row in self.rows("corpora")}
        for row in self.rows("corpora"):
            if row["text"] not in texts:
                why, mend = "its text is gone", f"add the text again under another name, or {FROM_COPY}"
                yield Finding(what=f"corpus {row['name']}", why=why, lost="this corpus", mend=mend, table="corpora")
        for row in self.rows("runs"):
            if not {row["corpus"], row.get("validation_corpus")} - {None} <= corpora:
                why, lost = "its corpus is gone", "that its training can go on; the model can write"
                yield Finding(what=f"run {row['name']}", why=why, lost=lost, mend=FROM_COPY, table="runs")
        for table in ("checkpoints", "metrics", "samples", "events"):
            orphans = [row for row in self.rows(table) if row["run"] not in runs]
            if orphans:
                what = f"{counted(len(orphans), 'row')} of table {table}"
                yield Finding(what=what, why="their run is gone", lost="what they belong to", mend=FROM_COPY, table=table)


def _is_moment(value: object) -> bool:
    if value is None:
        return True
    try:
        return datetime.fromisoformat(str(value)).tzinfo is not None
    except ValueError:
        return False
