"""Checks a whole database: the file, every text, model and row, and what refers to what. Changes nothing.

A changed bit is found by SQLite's own check of its pages and indexes (`PRAGMA integrity_check`), by the sha256 of a text or model,
by the checksum of a row, or since the header or the schema is not as every release writes it.
"""

from __future__ import annotations

import contextlib
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from sqlite_utils import Database
from sqlite_utils.utils import sqlite3  # type: ignore[attr-defined]

from model.errors import listed
from service.store.corpora import FACTS, why_damaged
from service.store.database import decoded
from service.store.database_file import HEADER, FileIdentity
from service.store.migrations import KNOWN, release
from service.store.salvage import UNREADABLE, Contents, Reader
from service.store.sqlite_errors import CANTOPEN, CORRUPT, NOTADB, READONLY, WHY, code, sentence
from service.system.errors import DatabaseTooNew, DatabaseUnusable, proposed
from service.system.formatting import counted

MESSAGES = 1000  # of SQLite's check


class Remedies(NamedTuple):
    """The commands that mend a database: by itself, and if a good copy is needed."""

    rebuild: str
    from_copy: str

    @classmethod
    def of(cls, path: Path) -> Remedies:
        """Returns those for the database at `path`."""
        from_copy = f"{proposed('check --repair --from BACKUP', path)}, or {proposed('restore BACKUP', path)}"
        return cls(proposed("check --repair", path), from_copy)


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
    """What was checked, as counts, and what was found. `failed_once` counts what the disk could read only the second time."""

    database: str
    corpora: int
    runs: int
    checkpoints: int
    findings: tuple[Finding, ...]
    failed_once: int = 0

    @property
    def sound(self) -> bool:
        """Whether nothing is damaged."""
        return not self.findings

    @property
    def only_from_copies(self) -> list[str]:
        """What only a good copy can mend."""
        return [each.what for each in self.findings if "--from BACKUP" in each.mend]


def check(path: Path, original: Path | None = None) -> IntegrityReport:
    """Checks the database at `path`, also while others use it. Raises `DatabaseUnusable` for a file that is no database of Charloom.

    If it is a copy that was made to repair the ``original``, that is what the report is about.
    """
    about = original or path
    remedies = Remedies.of(about)
    header = list(_header(path, remedies))
    try:
        with opened(path) as db:
            db.execute("BEGIN")  # all is read as it is at one moment
            refuse_foreign(path, db)
            contents = Contents(db)
            findings = [*header, *_pages(contents, remedies), *_schema(db, remedies), *_Stored(contents, remedies).findings()]
            return IntegrityReport(
                database=str(about),
                **{table: contents.count(table) for table in ("corpora", "runs", "checkpoints")},
                findings=tuple(findings),
                failed_once=contents.failed_once,
            )
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        if isinstance(error, UnicodeDecodeError) or header or code(error) in (CORRUPT, NOTADB) or "malformed" in str(error):
            lost = "all that is stored, until it is mended"
            found = Finding(what="the file", why=f"SQLite cannot read it: {error}", lost=lost, mend=remedies.from_copy)
            return IntegrityReport(database=str(about), corpora=0, runs=0, checkpoints=0, findings=(*header, found))
        raise sentence(path, error, 0) from error


# ── opening ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Database]:
    """Opens a database to read it only, with its log; on a medium that cannot be written at all, without one."""
    uri = f"file:{quote(str(path.absolute()))}?mode=ro"
    conn = sqlite3.connect(uri, uri=True, isolation_level=None)
    try:
        conn.execute("SELECT 1 FROM sqlite_schema").fetchall()
    except sqlite3.OperationalError as error:
        if code(error) not in (CANTOPEN, READONLY):
            conn.close()
            raise
        conn.close()
        conn = sqlite3.connect(f"{uri}&immutable=1", uri=True, isolation_level=None)
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


def _header(path: Path, remedies: Remedies) -> Iterator[Finding]:
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
        yield Finding(what="the header of the file", why=f"it has other values: {listed(wrong)}", lost="nothing", mend=remedies.rebuild)


def _pages(contents: Reader, remedies: Remedies) -> Iterator[Finding]:
    """Yields what SQLite finds in its pages, one finding for each table, index or other part."""
    try:
        messages = [message for (message,) in contents.fetch(f"PRAGMA integrity_check({MESSAGES})")]
    except UNREADABLE as error:
        messages = [str(error)]
    grouped: dict[tuple[str, str | None], list[str]] = {}
    for message in messages:
        if message != "ok":
            grouped.setdefault(_part_of(contents.db, message), []).append(" ".join(message.split()))
    for (what, table), found in grouped.items():
        rebuilt = table is None and what != "the file"
        lost = "nothing: it is made from the table again" if rebuilt else "the rows that are not found any more, if any"
        yield Finding(what=what, why=listed(found, 3), lost=lost, mend=remedies.rebuild if rebuilt else remedies.from_copy, table=table)


def _part_of(db: Database, message: str) -> tuple[str, str | None]:
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


def _schema(db: Database, remedies: Remedies) -> Iterator[Finding]:
    """Yields a finding if tables or indexes are not as the migrations make them."""
    if set(applied(db)) != KNOWN:
        if [name for name in applied(db) if name not in KNOWN]:
            yield Finding(what="the list of migrations", why="a name in it changed", lost="nothing", mend=remedies.rebuild)
        return  # an older release's, which is brought up to date when it is opened
    with Database(memory=True, execute_plugins=False) as fresh:
        release.apply(fresh)
        wrong = sorted(_definitions(db) ^ _definitions(fresh))
    if wrong:
        names = listed(sorted({name for _, name, _ in wrong}))
        yield Finding(what="the schema", why=f"it is not as this release makes it: {names}", lost="nothing", mend=remedies.rebuild)


def _definitions(db: Database) -> set[tuple[str, str, str]]:
    rows = db.execute("SELECT type, name, coalesce(sql, '') FROM sqlite_schema WHERE name NOT LIKE '%sqlite_%'")
    return {(kind, name, re.sub(r"[\s\"]+", "", sql)) for kind, name, sql in rows}


# ── what is stored ────────────────────────────────────────────────────────────────────────────────────────────────────


class _Stored:
    """Finds what is damaged in rows, texts and models, and which references lead nowhere."""

    def __init__(self, contents: Contents, remedies: Remedies) -> None:
        self._contents, self._remedies = contents, remedies

    def findings(self) -> Iterator[Finding]:
        """Yields what is damaged, by name."""
        yield from self._rows()
        yield from self._texts()
        yield from self._checkpoints()
        yield from self._references()

    def _rows(self) -> Iterator[Finding]:
        for table, found in self._contents.tables.items():
            if unreadable := sum(row is None for row in found.values()):
                what = f"up to {counted(unreadable, 'row')} of table {table}"
                yield Finding(what=what, why="their pages cannot be read", lost="these rows", mend=self._remedies.from_copy, table=table)
            for row in self._contents.rows(table):
                if not self._contents.is_sound(table, row):
                    why = "a value in its row changed, since its checksum does not fit"
                    yield Finding(
                        what=self._contents.name(table, row),
                        why=why,
                        lost="the value that changed",
                        mend=self._remedies.from_copy,
                        table=table,
                    )
                elif wrong := [column for column in row if column.endswith("_at") and not _is_moment(row[column])]:
                    what = self._contents.name(table, row)
                    yield Finding(
                        what=what, why=f"{listed(wrong)} is no time", lost="that time", mend=self._remedies.from_copy, table=table
                    )

    def _texts(self) -> Iterator[Finding]:
        for row in self._contents.rows("texts"):
            if row["state"] == "ready" and (why := why_text_damaged(self._contents, row)):
                mend = f"add the same text again, or {self._remedies.from_copy}"
                yield Finding(what=self._contents.name("texts", row), why=why, lost="what cannot be read of it", mend=mend, table="texts")

    def _checkpoints(self) -> Iterator[Finding]:
        checked: dict[str, str | None] = {}
        for row in self._contents.rows("checkpoints"):
            for part, sha256 in (("model", row["model_sha256"]), ("training state", row["state_sha256"])):
                if sha256 is not None and sha256 not in checked:
                    checked[sha256] = self._contents.why_blob_damaged(sha256)
                if sha256 is not None and (why := checked[sha256]):
                    model = part == "model"
                    lost = "this checkpoint, unless it was exported" if model else "that its training can go on; the model can write"
                    mend = f"import the exported model again, or {self._remedies.from_copy}" if model else self._remedies.from_copy
                    yield Finding(what=f"{part} of {self._contents.name('checkpoints', row)}", why=why, lost=lost, mend=mend, table="blobs")
        with contextlib.suppress(*UNREADABLE):  # told already
            for (sha256,) in self._contents.keys("blobs", "sha256"):
                if sha256 not in checked and (why := self._contents.why_blob_damaged(sha256)):
                    what = f"bytes {str(sha256)[:12]}…, which no checkpoint needs"
                    yield Finding(what=what, why=why, lost="nothing", mend=self._remedies.rebuild, table="blobs")

    def _references(self) -> Iterator[Finding]:
        runs = {row["id"] for row in self._contents.rows("runs")}
        texts = {row["id"] for row in self._contents.rows("texts") if row["state"] == "ready"}
        corpora = {row["id"] for row in self._contents.rows("corpora")}
        for row in self._contents.rows("corpora"):
            if row["text"] not in texts:
                why, mend = "its text is gone", f"add the text again under another name, or {self._remedies.from_copy}"
                yield Finding(what=f"corpus {row['name']}", why=why, lost="this corpus", mend=mend, table="corpora")
        for row in self._contents.rows("runs"):
            if not {row["corpus"], row.get("validation_corpus")} - {None} <= corpora:
                why, lost = "its corpus is gone", "that its training can go on; the model can write"
                yield Finding(what=f"run {row['name']}", why=why, lost=lost, mend=self._remedies.from_copy, table="runs")
        for table in ("checkpoints", "metrics", "samples", "events"):
            orphans = [row for row in self._contents.rows(table) if row["run"] not in runs]
            if orphans:
                what = f"{counted(len(orphans), 'row')} of table {table}"
                yield Finding(what=what, why="their run is gone", lost="what they belong to", mend=self._remedies.from_copy, table=table)


def why_text_damaged(contents: Contents, row: Mapping[str, Any]) -> str | None:
    """Reads a text whole; returns what is wrong with it, or None."""
    try:
        return why_damaged(lambda number: contents.chunk(row["id"], number), {name: row[name] for name in FACTS})
    except (zlib.error, *UNREADABLE) as error:
        return f"its chunks cannot be read: {error}"


def _is_moment(value: object) -> bool:
    if value is None:
        return True
    try:
        return datetime.fromisoformat(str(value)).tzinfo is not None
    except ValueError:
        return False
