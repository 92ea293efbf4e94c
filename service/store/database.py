"""Opens the SQLite file with one connection per thread, and runs transactions.

SQLite comes as `sqlite_utils.utils.sqlite3` only, since two copies of it in one process break each other's locks.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import weakref
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlite_utils import Database
from sqlite_utils.utils import sqlite3  # type: ignore[attr-defined]

from model.errors import listed
from service.store import row_checksums
from service.store.database_file import FileIdentity
from service.store.migrations import KNOWN, release
from service.store.salvage import Reader
from service.store.sqlite_errors import BUSY, CANTOPEN, READONLY, DamageLog, code, translated
from service.system import disk
from service.system.disk import Room
from service.system.errors import (
    DatabaseBusy,
    DatabaseDamaged,
    DatabaseReplaced,
    DatabaseTooNew,
    DatabaseUnusable,
    DiskFull,
    ForeignLog,
    StoreError,
    proposed,
)

# ── times ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def now() -> str:
    """Returns the time as it is stored, ``2026-07-04T12:00:00.000Z``: ISO 8601 in UTC, so that text order is time order."""
    return stored_time(datetime.now(UTC))


def stored_time(moment: datetime) -> str:
    """Returns a time in UTC as it is stored."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def age(moment: str | None) -> float:
    """Returns the seconds since ``moment``; infinite for None."""
    if moment is None:
        return float("inf")
    return (datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds()


# ── connections ───────────────────────────────────────────────────────────────────────────────────────────────────────

BUSY_TIMEOUT = 10.0  # seconds
# How SQLite is told to open a file that cannot be written: with the log beside it, or if there is none, as one that nothing will change
WITH_LOG, NOTHING_CHANGES = "?mode=ro", "?immutable=1"
PATIENCE = 2.0  # seconds that asking whether it can be written may take: half of what a probe usually waits
CLOSING = 5.0  # seconds that closing waits for another thread's statement or transaction
LARGEST_LOG = 64 * 2**20  # bytes that the write-ahead log keeps on disk when it starts anew
AUTOCHECKPOINT = 1000  # pages of the log after which a commit writes them into the file: SQLite's default
PAGE_CACHE = 512  # KiB of pages that a connection keeps; SQLite's default, 2,000, would take 300 MB in as many threads as serve
PAGES_A_STEP = 1000  # pages given back in one transaction (4 MB): others wait for about 10 ms
# A bug in earlier releases can corrupt a WAL database that two connections write and checkpoint at the same time
# (https://sqlite.org/wal.html, "The WAL-Reset Bug").
WAL_IS_SAFE = sqlite3.sqlite_version_info >= (3, 51, 3)

_making = threading.Lock()  # held while a new file is made
_inherited: list[Database] = []  # connections of a parent process: never closed here, that would take the parent's log away


def sqlite_facts() -> dict[str, str]:
    """Returns the SQLite in use: its `version`, and the Python `module` that brings it."""
    return {"version": sqlite3.sqlite_version, "module": sqlite3.__name__}


def decoded(data: bytes) -> str:
    """Decodes a text of the file. One that is damaged must not take down the list in which it stands."""
    return str(data, "utf-8", "replace")


class _Handle:
    """A connection that is closed when its thread ends, or before; but never while it is used.

    If one thread closes a connection that another one uses, Python's SQLite frees it and the process crashes. So both using and
    closing hold `lock`.
    """

    def __init__(self, db: Database, identity: FileIdentity) -> None:
        self.db = db
        self._identity = identity  # held until the connection is closed
        self.lock = threading.RLock()
        self.closed = False
        self._process = os.getpid()

    @property
    def inherited(self) -> bool:
        """Whether it was opened by a parent process, before a fork."""
        return self._process != os.getpid()

    def close(self, patience: float = -1) -> None:
        """Closes it once. If it is still used after `patience` seconds (-1: no limit), it stays open until its thread ends."""
        if self.inherited:
            _inherited.append(self.db)
        elif self.lock.acquire(timeout=patience):
            try:
                if not self.closed:
                    self.closed = True
                    self.db.close()
            finally:
                self.lock.release()

    __del__ = close


class Connections:
    """One SQLite file, used from any thread; each gets a connection of its own when it first asks.

    Raises `DatabaseUnusable`, `DatabaseTooNew` or `DatabaseBusy`; SQLite's own errors never leave `immediate`, `rows` and `execute`.
    """

    def __init__(self, path: str | Path, *, create: bool = True, busy_timeout: float = BUSY_TIMEOUT, min_disk: int = 0) -> None:
        """`min_disk` are the bytes that what is stored leaves on the disk."""
        self.path = Path(path)
        self.room = Room(self.path.absolute(), min_disk)
        self.sqlite_version: str = sqlite3.sqlite_version
        self.busy_timeout = busy_timeout
        self.damage = DamageLog(self.path)
        self._file = str(self.path.absolute())  # stays right after chdir, and SQLite never takes it for a URI
        self._local = threading.local()
        self._handles: weakref.WeakSet[_Handle] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._closed = False
        self._gone: str | None = None  # what happened to the file, once this was noticed
        self._log_is_settled = False
        if not create and not self.path.exists():
            raise DatabaseUnusable(
                str(path),
                f"there is no such file yet; train a model first, for example with: {proposed('train python', path)}; or name another file"
                " with --db",
            )
        if create:
            self._make_private()
        try:
            self.journal_mode = self._open_first()
        except DiskFull:
            if not self.room.give_up_reserve():
                raise
            self.journal_mode = self._open_first()

    @contextlib.contextmanager
    def translated(self) -> Iterator[None]:
        """Turns SQLite's errors inside into a `StoreError` about this file."""
        try:
            with translated(self.path, self.busy_timeout):
                yield
        except DatabaseDamaged as error:
            self.damage.note("a part of the file", str(error.__cause__ or error))
            raise

    # ── opening ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _make_private(self) -> None:
        """Makes the file if there is none, readable by its owner only; SQLite gives the files beside it the same rights."""
        with _making, contextlib.suppress(OSError):  # SQLite says what is wrong
            # Closing it would end the locks that other threads of this process have on it; but then it exists already.
            os.close(os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))

    def _open_first(self) -> str:
        """Opens the file and brings it to this release's schema; returns its journal mode.

        In a folder where nothing can be written, SQLite needs to be told so.
        """
        self._how = ""
        with self.translated():
            try:
                return self._opened_first()
            except sqlite3.OperationalError as error:
                if code(error) != CANTOPEN or not Path(self._file).is_file() or os.access(Path(self._file).parent, os.W_OK):
                    raise
            self._how = WITH_LOG if self._has_log() else NOTHING_CHANGES
            return self._opened_first()

    def _has_log(self) -> bool:
        with contextlib.suppress(OSError):
            return os.stat(f"{self._file}-wal").st_size > 0
        return False

    def _opened_first(self) -> str:
        db = self._connect()
        try:
            mode = self._prepare(db)
            self._identity = self._identified(db, mode)
            self._triggers = row_checksums.triggers(db)
            return mode
        finally:
            db.close()

    def _connect(self) -> Database:
        conn = sqlite3.connect(
            f"file:{quote(self._file)}{self._how}", uri=True, timeout=self.busy_timeout, isolation_level=None, check_same_thread=False
        )
        conn.text_factory = decoded
        db = Database(conn, execute_plugins=False)
        db.execute("PRAGMA foreign_keys = ON")
        db.execute("PRAGMA synchronous = FULL")  # whatever this SQLite was compiled with: what was answered survives a power cut
        db.execute("PRAGMA secure_delete = FAST")  # what is deleted from a page is overwritten; whole pages are given back: `reclaim`
        return db

    def _prepare(self, db: Database) -> str:
        """Brings the file to this release's schema; returns its journal mode."""
        self._refuse_foreign(db)
        if not db.table_names():
            db.execute("PRAGMA auto_vacuum = INCREMENTAL")  # counts only before the first table, and a read-only file refuses it
        mode = self._set_journal_mode(db)
        if release.pending(db):
            db.execute("BEGIN IMMEDIATE")
            try:
                self._refuse_foreign(db)  # another process may just have migrated it
                known_wrong = row_checksums.wrong(db)
                release.apply(db)
                row_checksums.seal(db, known_wrong)
            except BaseException:
                db.rollback()
                raise
            db.commit()
        return mode

    def _refuse_foreign(self, db: Database) -> None:
        tables = db.table_names()  # first, since another process may make them, with all migrations, at this moment
        applied = [migration.name for migration in release.applied(db)]
        if unknown := [name for name in applied if name not in KNOWN]:
            raise DatabaseTooNew(str(self.path), unknown)
        if tables and not applied:
            raise DatabaseUnusable(
                str(self.path), f"it belongs to another program (it has the tables {listed(tables)}); name another file with --db"
            )

    def _identified(self, db: Database, mode: str) -> FileIdentity:
        number = int(db.execute("PRAGMA user_version").fetchone()[0])
        try:
            identity = FileIdentity(Path(self._file))
        except OSError:
            raise DatabaseReplaced(str(self.path), "it was moved or deleted") from None
        if not identity.settle(number, growing=mode == "wal", fixed=self._how == NOTHING_CHANGES):
            raise ForeignLog(str(self.path))
        return identity

    def _refuse_if_gone(self, db: Database | None = None) -> None:
        """Raises `DatabaseReplaced` if the file is not the same any more, from then on each time.

        Its log lies beside the file, under its name. A process that opens the file that is there now would take the log for a part of it.
        So the log is written into the file to which it belongs, or emptied if that was overwritten.
        """
        self._gone = self._gone or self._identity.why_gone()
        if self._gone is None:
            return
        if db is not None and not self._log_is_settled and not db.conn.in_transaction:
            self._log_is_settled = True
            with contextlib.suppress(sqlite3.Error, OSError):
                if self._identity.overwritten:
                    os.truncate(f"{self._file}-wal", 0)
                elif self.journal_mode == "wal":
                    db.execute("PRAGMA busy_timeout = 0")
                    db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        raise DatabaseReplaced(str(self.path), self._gone)

    def _set_journal_mode(self, db: Database) -> str:
        wanted = "wal" if WAL_IS_SAFE else "truncate"
        deadline = time.monotonic() + self.busy_timeout
        while True:
            mode = str(db.execute("PRAGMA journal_mode").fetchone()[0])
            if mode == wanted:
                return mode
            try:
                return str(db.execute(f"PRAGMA journal_mode = {wanted}").fetchone()[0])
            except sqlite3.OperationalError as error:
                if code(error) == READONLY:
                    return mode
                # SQLite does not always wait by itself here: of 4000 openings of new files by eight processes, two failed.
                if code(error) != BUSY or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)

    @property
    def db(self) -> Database:
        """This thread's connection. `held` gives it too, and keeps it from being closed meanwhile."""
        return self._handle().db

    @contextlib.contextmanager
    def held(self) -> Iterator[Database]:
        """Gives this thread's connection, which stays open inside."""
        handle = self._handle()
        with handle.lock:
            if handle.closed:
                raise DatabaseUnusable(str(self.path), "it was closed")
            self._refuse_if_gone(handle.db)
            yield handle.db

    @contextlib.contextmanager
    def using(self) -> Iterator[Database]:
        """As `held`, and turns SQLite's errors into a `StoreError` about this file."""
        with self.translated(), self.held() as db:
            yield db

    def _handle(self) -> _Handle:
        handle: _Handle | None = getattr(self._local, "handle", None)
        if self._closed:
            raise DatabaseUnusable(str(self.path), "it was closed")
        if handle is not None and not handle.inherited:
            return handle
        self._refuse_if_gone()  # or SQLite would open what is there now, or make a new file
        with self.translated():
            handle = _Handle(self._connect(), self._identity)
            self._set_journal_mode(handle.db)
            row_checksums.install(handle.db, self._triggers)
            handle.db.execute(f"PRAGMA journal_size_limit = {LARGEST_LOG}")
            handle.db.execute(f"PRAGMA cache_size = -{PAGE_CACHE}")
        self._local.handle = handle
        with self._lock:
            self._handles.add(handle)
        return handle

    def close(self) -> None:
        """Closes the connections of all threads, each once its statement or transaction has ended; new ones are refused."""
        self._closed = True
        with self._lock:
            handles = list(self._handles)
        for handle in handles:
            handle.close(CLOSING)

    # ── reading and writing ───────────────────────────────────────────────────────────────────────────────────────────

    @contextlib.contextmanager
    def immediate(self, *, durable: bool = True, frees: bool = False) -> Iterator[Database]:
        """Opens a transaction that has the write lock from its start, so that what is read in it holds until it is written.

        Inside another one it joins that one as a savepoint. Once it has ended it survives a power cut, at the price of one fsync,
        unless it need not be ``durable``: what can be lost because it is made again, or follows from what is kept (an outer
        transaction decides for its inner ones). A durable one makes all earlier ones durable. With ``frees``, for what must be
        possible on a full disk, the reserve is given up if that is needed.
        Raises `DatabaseBusy` when another process keeps the lock for `busy_timeout` seconds.
        """
        with self.using() as db:
            if db.conn.in_transaction:
                with db.atomic():
                    yield db
                return
            if frees and self.room.give_up_reserve():
                db.execute("PRAGMA wal_autocheckpoint = 0")  # it would take that room for what may be deleted next: see `shorten_log`
            with contextlib.nullcontext() if durable else self._unsynced(db):
                db.execute("BEGIN IMMEDIATE")
                try:
                    yield db
                    db.execute("COMMIT")
                    self._refuse_if_gone(db)  # what was committed to a file that has gone is not stored
                except BaseException:
                    with contextlib.suppress(sqlite3.Error):  # the first error is the one to tell
                        db.rollback()
                    raise

    @contextlib.contextmanager
    def _unsynced(self, db: Database) -> Iterator[None]:
        """Lets writes inside wait for no disk. Only in WAL mode, where it is safe: https://sqlite.org/pragma.html#pragma_synchronous."""
        if self.journal_mode != "wal" or db.conn.in_transaction:  # it cannot change inside a transaction
            yield
            return
        db.execute("PRAGMA synchronous = NORMAL")
        try:
            yield
        finally:
            db.execute("PRAGMA synchronous = FULL")

    def rows(self, sql: str, *values: Any, **named: Any) -> list[dict[str, Any]]:
        """Returns all rows of a query as dicts, with values for ``?`` or ``:name``; gives the read lock back at once."""
        with self.using() as db:
            cursor = db.execute(sql, named or values)
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def row(self, sql: str, *values: Any) -> dict[str, Any] | None:
        """Returns the first row of a query, or None."""
        found = self.rows(sql, *values)
        return found[0] if found else None

    def all_rows(self, table: str, select: str) -> list[dict[str, Any]]:
        """As `rows`, of a query that lists a table with an `id`, in no order: a damaged page costs only the rows that it has."""
        try:
            return self.rows(select)
        except DatabaseDamaged:
            found: list[dict[str, Any]] = []
            with self.using() as db:
                keys = Reader(db).keys(table)
            for key in keys:
                with contextlib.suppress(DatabaseDamaged):
                    found += self.rows(f"{select} WHERE {table}.id = ?", *key)
            if not found:  # an empty list would say that there is nothing
                raise
            return found

    def execute(self, sql: str, *values: Any, durable: bool = True) -> int:
        """Runs one statement that writes, ``durable`` as in `immediate`; returns how many rows it changed."""
        with self.using() as db, contextlib.nullcontext() if durable else self._unsynced(db):
            changed = int(db.execute(sql, values).rowcount)
            if not db.conn.in_transaction:
                self._refuse_if_gone(db)
            return changed

    @contextlib.contextmanager
    def without_waiting(self) -> Iterator[Database]:
        """As `using`, but raises `DatabaseBusy` at once if another process holds the lock; what is written is not durable."""
        with self.using() as db, self._unsynced(db):
            db.execute("PRAGMA busy_timeout = 0")
            try:
                yield db
            finally:
                db.execute(f"PRAGMA busy_timeout = {int(self.busy_timeout * 1000)}")

    def check_writable(self) -> None:
        """Raises the `StoreError` that a write would raise now; waits at most `PATIENCE` seconds for other processes. Changes nothing."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                with self.without_waiting() as db:
                    db.execute("BEGIN IMMEDIATE")
                    try:
                        db.execute("DELETE FROM runs WHERE 0")  # on a read-only file BEGIN IMMEDIATE succeeds
                    finally:
                        db.rollback()
                return
            except DatabaseBusy:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    def shorten_log(self) -> None:
        """Writes the write-ahead log into the file and gives its room back, unless others read or write.

        On a full disk the file cannot grow by what is in the log alone; then it waits until enough of that is deleted.
        """
        with contextlib.suppress(StoreError), self.without_waiting() as db:
            if self._growth(db) <= self.room.free:
                db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
                db.execute(f"PRAGMA wal_autocheckpoint = {AUTOCHECKPOINT}")

    def _growth(self, db: Database) -> int:
        """Returns the bytes by which the file is to grow: its pages that are in the log alone."""
        pages, page_size = (db.execute(f"PRAGMA {of}").fetchone()[0] for of in ("page_count", "page_size"))
        return int(max(0, pages * page_size - self._identity.size))

    def check_room(self, size: int) -> None:
        """Raises `NoRoomLeft` if ``size`` bytes cannot be stored: they go into the log, and from there into pages of the file.

        Free pages are used again. Pages that are in the log alone will need room in the file, too.
        """
        with self.using() as db:
            free, page_size = (db.execute(f"PRAGMA {of}").fetchone()[0] for of in ("freelist_count", "page_size"))
            growth = self._growth(db)
        self.room.check(size + max(0, size - free * page_size) + growth)

    def given_back(self) -> None:
        """Gives all freed pages back, also those in the log, after something was deleted; the reserve is made again if it can be."""
        self.reclaim()
        self.shorten_log()
        self.room.keep_reserve()

    def reclaim(self, keep: int = 0) -> None:
        """Gives freed pages back to the file system, in short transactions, except ``keep`` bytes that the next write will need.

        If another process holds the lock, the pages stay for the next call. On a nearly full disk the steps are small and the log is
        emptied after each, since it must not grow for want of room.
        """
        with contextlib.suppress(StoreError), self.using() as db, self._unsynced(db):
            page_size = db.execute("PRAGMA page_size").fetchone()[0]
            free = db.execute("PRAGMA freelist_count").fetchone()[0]
            while (surplus := free - keep // page_size) > 0:
                tight = self.room.free < disk.PLENTY * disk.RESERVE and not db.conn.in_transaction
                db.execute(f"PRAGMA incremental_vacuum({min(surplus, PAGES_A_STEP // 20 if tight else PAGES_A_STEP)})").fetchall()
                if tight:
                    self.shorten_log()
                before, free = free, db.execute("PRAGMA freelist_count").fetchone()[0]
                if free >= before:
                    return
