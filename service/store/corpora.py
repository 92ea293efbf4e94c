"""Stores texts in compressed chunks, counts their characters on arrival, and gives them names: corpora.

A text of 1 GB in one transaction would hold the write lock for many seconds, so each chunk has its own, under a row in state
`arriving` that no reader sees. What a killed process leaves behind is freed at the next start (`sweep`). Two corpora of the same text
share its chunks.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
import unicodedata
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.errors import EmptyText, TooManyCharacters, UndecodableText, listed
from model.functions import CODE_POINTS
from model.quick_check import CompositionCounts, normalized
from model.vocabulary import SymbolCounts
from service.store import names
from service.store.database import Connections, age, now
from service.system import processes
from service.system.array_cache import Cache
from service.system.errors import (
    CorpusInUse,
    CorpusNotFound,
    DamagedText,
    DatabaseBusy,
    DatabaseDamaged,
    DatabaseUnusable,
    NameTaken,
    StoreError,
)

# ── texts ────────────────────────────────────────────────────────────────────────────────────────────────────────────

CHUNK = 2**20  # characters
LEVEL = 2  # zlib's default, 6, takes 4 times as long for 14 % less room, and 3 takes 1.6 times for 4 % (measured on tinyshakespeare)
MOST_CHARACTERS = 2**16  # different ones of a text; the largest dictionaries of Chinese have 55,000
CHUNKS_A_STEP = 32  # chunks freed in one transaction
FACTS = ("sha256", "characters", "bytes", "lines", "alphabet_size", "alphabet")  # the columns of `texts` that every reading gives again


@dataclass(frozen=True, kw_only=True)
class Arrived:
    """A text whose chunks are all stored, but which is not published yet."""

    id: int
    facts: dict[str, Any]


class TextCounter:
    """Counts a text that arrives chunk by chunk: its size, its characters as they are, and those of its NFC form."""

    def __init__(self, origin: str, most: int | None = None) -> None:
        """`most`: different characters that it may have; by default `MOST_CHARACTERS`."""
        self.origin, self.most = origin, MOST_CHARACTERS if most is None else most
        self.characters = self.bytes = self.newlines = 0
        self.last = ""
        self.sha256 = hashlib.sha256()
        self.counts = np.zeros(CODE_POINTS, np.int64)
        self.composition = CompositionCounts()

    def add(self, chunk: str) -> bytes:
        """Counts ``chunk``; returns its UTF-8.

        Raises `TooManyCharacters`, and `UndecodableText` for half a surrogate pair, which UTF-8 cannot encode.
        """
        try:
            data = chunk.encode()
        except UnicodeEncodeError as error:
            raise UndecodableText(self.origin, self.characters + error.start, "Unicode") from error
        self.characters += len(chunk)
        self.bytes += len(data)
        self.newlines += chunk.count("\n")
        self.last = chunk[-1]
        self.sha256.update(data)
        counts = np.bincount(np.frombuffer(chunk.encode("utf-32-le"), "<u4"))  # ten times as fast as a Counter
        self.counts[: len(counts)] += counts
        if np.count_nonzero(self.counts) > self.most:  # each takes time and hundreds of bytes from here on
            raise TooManyCharacters(self.origin, self.most)
        self.composition.add(chunk, np.flatnonzero(counts))
        return data

    def facts(self) -> dict[str, Any]:
        """Returns the columns of `texts` that describe the whole."""
        alphabet, changes = _by_character(self.counts), self.composition.finish()
        composed = _by_character(self.counts + changes) if changes is not None and self.composition.complete else None
        return {
            "sha256": self.sha256.hexdigest(),
            "characters": self.characters,
            "bytes": self.bytes,
            "lines": self.newlines + (self.last != "\n"),
            "alphabet_size": len(alphabet),
            "alphabet": json.dumps(alphabet, ensure_ascii=False),
            "nfc": composed and _packed(composed),
        }


def _by_character(counts: NDArray[np.int64]) -> dict[str, int]:
    codes = np.flatnonzero(counts)
    return dict(zip(map(chr, codes.tolist()), counts[codes].tolist(), strict=True))


def _packed(composed: Mapping[str, int]) -> str:
    """Returns the column `nfc`. Another version of Unicode may compose what this one does not know."""
    return json.dumps({"unicode": unicodedata.unidata_version, "characters": composed}, ensure_ascii=False)


def cut(pieces: Iterable[str], size: int) -> Iterator[str]:
    """The same text in pieces of ``size`` characters; only the last may be shorter."""
    held: list[str] = []
    length = 0
    for piece in pieces:
        held.append(piece)
        length += len(piece)
        if length >= size:
            text = "".join(held)
            end = length - length % size
            for start in range(0, end, size):
                yield text[start : start + size]
            held = [text[end:]]
            length -= end
    if length:
        yield "".join(held)


class TextChunks:
    """The tables `texts` and `text_chunks`."""

    def __init__(self, connections: Connections) -> None:
        self._file = connections

    def receive(self, pieces: Iterable[str], origin: str) -> Arrived:
        """Writes a text of any length with about three chunks in memory. What fails half-way leaves nothing.

        Raises `EmptyText`, `UndecodableText`, and what ``pieces`` raises.
        """
        counter = TextCounter(origin)
        with self._file.immediate(durable=False) as db:
            row = db.execute("INSERT INTO texts (state, owner, heartbeat_at) VALUES ('arriving', ?, ?)", (processes.identity(), now()))
            text = int(row.lastrowid or 0)
        try:
            for number, chunk in enumerate(cut(self._watched(pieces, text), CHUNK)):
                self._write(text, number, zlib.compress(counter.add(chunk), LEVEL))
            if not counter.characters:
                raise EmptyText(origin)
        except BaseException:
            self.discard(text)
            raise
        return Arrived(id=text, facts=counter.facts())

    def _watched(self, pieces: Iterable[str], text: int) -> Iterator[str]:
        """Passes pieces on, and writes the heartbeat: of a slow client a chunk can take longer than `processes.LEASE`."""
        last = time.monotonic()
        for piece in pieces:
            yield piece
            if time.monotonic() - last > processes.HEARTBEAT:
                last = time.monotonic()
                with contextlib.suppress(DatabaseBusy):  # the next one follows soon
                    self._file.execute("UPDATE texts SET heartbeat_at = ? WHERE id = ?", now(), text, durable=False)

    def _write(self, text: int, number: int, data: bytes) -> None:
        self._file.check_room(len(data))
        with self._file.immediate(durable=False) as db:
            if not db.execute("UPDATE texts SET heartbeat_at = ? WHERE id = ? AND state = 'arriving'", (now(), text)).rowcount:
                raise DatabaseUnusable(
                    str(self._file.path), "the text that was being added was taken for a leftover and removed; add it again"
                )
            db.execute("INSERT INTO text_chunks (text, chunk, zlib) VALUES (?, ?, ?)", (text, number, data))

    def damaged_twin(self, arrived: Arrived) -> int | None:
        """Returns the older text of the same content if that is damaged. Reads it whole."""
        twin = self._file.row("SELECT id FROM texts WHERE sha256 = ?", arrived.facts["sha256"])
        return int(twin["id"]) if twin is not None and self.why_damaged(twin["id"]) else None

    def publish(self, arrived: Arrived, damaged: int | None) -> int:
        """Publishes a text inside the caller's transaction; returns the id of its content, which an older text may have already.

        The corpora of the text ``damaged`` get this one instead, and that is hidden.
        """
        if damaged is not None:
            self._file.execute("UPDATE corpora SET text = ? WHERE text = ?", arrived.id, damaged)
            self.hide(damaged)
            self._file.damage.is_sound(("text", damaged))
        twin = self._file.row("SELECT id FROM texts WHERE sha256 = ?", arrived.facts["sha256"])
        if twin is not None:
            return int(twin["id"])
        columns = ", ".join(f"{name} = :{name}" for name in arrived.facts)
        self._file.db.execute(
            f"UPDATE texts SET state = 'ready', owner = NULL, heartbeat_at = NULL, {columns} WHERE id = :id",
            {**arrived.facts, "id": arrived.id},
        )
        return arrived.id

    def hide(self, text: int) -> None:
        """Hides a text inside the caller's transaction, as the first half of removing it."""
        self._file.execute(
            "UPDATE texts SET state = 'leaving', sha256 = NULL, owner = ?, heartbeat_at = ? WHERE id = ?", processes.identity(), now(), text
        )

    def discard(self, text: int) -> None:
        """Frees a text that is not published, in small steps. If the file cannot be written now, a later start frees it."""
        with contextlib.suppress(StoreError):
            while True:
                with self._file.immediate(durable=False, frees=True) as db:
                    sql = "DELETE FROM text_chunks WHERE rowid IN (SELECT rowid FROM text_chunks WHERE text = ? LIMIT ?)"
                    if not db.execute(sql, (text, CHUNKS_A_STEP)).rowcount:
                        db.execute("DELETE FROM texts WHERE id = ? AND state != 'ready'", (text,))
                        break
        self._file.given_back()

    def sweep(self) -> None:
        """Frees what dead processes left behind."""
        for row in self._file.rows("SELECT id, owner, heartbeat_at FROM texts WHERE state != 'ready'"):
            if not processes.is_alive(row["owner"], row["heartbeat_at"]):
                self.discard(row["id"])

    def chunk(self, text: int, number: int) -> str | None:
        """Returns one chunk of a text, or None behind its end. Raises `DamagedText`."""
        row = self._file.row("SELECT zlib FROM text_chunks WHERE text = ? AND chunk = ?", text, number)
        try:
            return zlib.decompress(row["zlib"]).decode() if row else None
        except (zlib.error, UnicodeDecodeError) as error:
            corpora = listed(each["name"] for each in self._file.rows("SELECT name FROM corpora WHERE text = ?", text))
            self._file.damage.note(f"text of corpus {corpora}", f"chunk {number} cannot be read: {error}", key=("text", text))
            raise DamagedText(str(self._file.path), corpora, f"chunk {number} cannot be read ({error})") from error

    def why_damaged(self, text: int) -> str | None:
        """Reads a text whole; returns what of it or of the numbers about it is not as it was stored, or None."""
        stored = self._file.row(f"SELECT {', '.join(FACTS)} FROM texts WHERE id = ?", text) or {}
        try:
            return why_damaged(partial(self.chunk, text), stored)
        except (DamagedText, DatabaseDamaged) as error:
            return str(error)


def why_damaged(chunk: Callable[[int], str | None], stored: Mapping[str, Any]) -> str | None:
    """Returns which columns of a row of `texts` do not fit its chunks, or None. Raises what ``chunk`` raises."""
    counter = TextCounter("", CODE_POINTS)  # what is stored was let in
    number = 0
    while piece := chunk(number):
        counter.add(piece)
        number += 1
    if not number:
        return "it has no chunks"
    found = counter.facts()
    wrong = [name for name in FACTS if stored.get(name) != found[name]]
    return f"{listed(wrong)} does not fit its chunks" if wrong else None


# ── corpora ──────────────────────────────────────────────────────────────────────────────────────────────────────────

# The alphabet can be thousands of entries long, so it is read only when asked for.
COLUMNS = """
    SELECT corpora.id, name, origin, created_at, text AS text_id, sha256, characters, bytes, lines, alphabet_size, records
    FROM corpora JOIN texts ON texts.id = corpora.text
"""


WAY = ("kind", "separator", "header", "unique")  # of cutting a text into records; the other keys are what was counted


def _way(records: Mapping[str, Any] | None) -> tuple[Any, ...] | None:
    return None if records is None else tuple(records.get(name) for name in WAY)


def _as_json(records: Mapping[str, Any] | None) -> str | None:
    return None if records is None else json.dumps(records, ensure_ascii=False)


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """A stored text and its name. `sha256` and `bytes` are of its UTF-8; `alphabet_size` counts different code points.

    `records` says how it is cut into records (`kind`, `separator`, `header`, `unique`), and what was counted of them; None for prose.
    """

    id: int
    name: str
    origin: str
    sha256: str
    characters: int
    bytes: int
    lines: int
    alphabet_size: int
    created_at: str
    text_id: int  # corpora with the same content have the same
    records: dict[str, Any] | None = None


class Corpora:
    """The table `corpora`, the texts behind it, and what is cached of them."""

    def __init__(self, connections: Connections, cache: Cache) -> None:
        self._file, self._cache = connections, cache
        self._texts = TextChunks(connections)

    def add(
        self,
        name: str,
        pieces: Iterable[str],
        origin: str,
        *,
        exact: bool = True,
        anew: bool = True,
        records: Callable[[], dict[str, Any] | None] = lambda: None,
    ) -> Corpus:
        """Stores a text (decoded, with LF line ends) under ``name``; it is read piece by piece and never held as a whole.

        It replaces the same text if that is stored already and damaged. ``origin`` says in words where it came from. With
        ``exact=False`` the name is only a wish, made free as by `free_name`; with ``anew=False`` too, a text that is stored already gets
        no second name instead, and its corpus is returned, if it is cut into records in the same way. `records` is called when all
        pieces have arrived, and returns `Corpus.records`. The corpus appears when its last piece is stored; what fails half-way leaves
        nothing.
        Raises `InvalidName`, `NameTaken`, `EmptyText`, `UndecodableText`, `StoreError`, and what ``pieces`` raises.
        """
        if exact:
            name = names.checked("corpus", name)
            self._refuse_taken(name)
        self._texts.sweep()  # a leftover from another machine is known as such only some time after the start
        arrived = self._texts.receive(pieces, origin)
        text = damaged = None
        stored = False
        try:
            damaged = self._texts.damaged_twin(arrived)
            cut = records()
            with self._file.immediate() as db:
                wished = name
                if exact:
                    self._refuse_taken(name)
                else:
                    name = self.free_name(name)
                text = self._texts.publish(arrived, damaged)
                twin = None if name == wished or anew else self._twin(text, cut)
                if twin is None:
                    db.execute(
                        "INSERT INTO corpora (name, text, origin, created_at, records) VALUES (?, ?, ?, ?, ?)",
                        (name, text, origin, now(), _as_json(cut)),
                    )
                corpus = twin or self.get(name)
            stored = True
        finally:
            if not stored or text != arrived.id:
                self._texts.discard(arrived.id)
            elif damaged is not None:
                self._texts.discard(damaged)
        return corpus

    def _twin(self, text: int, records: dict[str, Any] | None) -> Corpus | None:
        """Returns a corpus of a text that is cut into records in the same way."""
        rows = self._file.rows(f"{COLUMNS} WHERE text = ? ORDER BY name", text)
        return next((corpus for corpus in map(self._sound, rows) if _way(corpus.records) == _way(records)), None)

    def cut_anew(self, id_: int, records: dict[str, Any] | None) -> Corpus:
        """Changes how a corpus is cut into records, and what was counted of them; runs keep how they cut it. Raises `CorpusNotFound`."""
        with self._file.immediate() as db:
            db.execute("UPDATE corpora SET records = ? WHERE id = ?", (_as_json(records), id_))
            return self.get(id_)

    def _refuse_taken(self, name: str) -> None:
        if self._has(name):
            raise NameTaken("corpus", name)

    def _has(self, name: str) -> bool:
        return self._file.row("SELECT 1 FROM corpora WHERE name = ?", names.stored(name)) is not None

    def free_name(self, base: str) -> str:
        """Returns the first of base, base-2, base-3, ... that is allowed and not taken; ``base`` may be any string."""
        return names.free("corpus", base, self._has)

    def get(self, name: str | int) -> Corpus:
        """Returns the corpus that has a name now, or an id, which stays when it is renamed. Raises `CorpusNotFound`."""
        if isinstance(name, int):
            row = self._file.row(f"{COLUMNS} WHERE corpora.id = ?", name)
        else:
            row = self._file.row(f"{COLUMNS} WHERE name = ?", names.stored(name))
        if row is None:
            raise CorpusNotFound(str(name), [corpus.name for corpus in self.list()], self._file.path)
        return self._sound(row)

    def find(self, name: str) -> Corpus | None:
        """Returns the corpus of that name, or None: for arguments that may also be a path."""
        row = self._file.row(f"{COLUMNS} WHERE name = ?", names.stored(name))
        return self._sound(row) if row else None

    def list(self) -> tuple[Corpus, ...]:
        """Returns all corpora that can be read, by name."""
        found: list[Corpus] = []
        for row in self._file.all_rows("corpora", COLUMNS):
            with contextlib.suppress(DatabaseDamaged):
                found.append(self._sound(row))
        return tuple(sorted(found, key=lambda corpus: corpus.name))

    def _found(self, corpus: str | Corpus) -> Corpus:
        return corpus if isinstance(corpus, Corpus) else self.get(corpus)

    def _sound(self, row: dict[str, Any]) -> Corpus:
        """Returns the corpus of a row. Raises `DatabaseDamaged` if it holds what cannot be."""
        thing = f"corpus {row['name']}"
        try:
            age(row["created_at"])
            if row["characters"] is None:
                raise ValueError("it has no length")
            records = json.loads(row["records"]) if row["records"] is not None else None
            if not (records is None or (isinstance(records, dict) and isinstance(records.get("separator"), str))):
                raise ValueError("it does not say how its records are cut")
        except (TypeError, ValueError) as error:
            self._file.damage.note(thing, f"its row cannot be read: {error}")
            raise DatabaseDamaged(str(self._file.path), f"the row of {thing}") from error
        self._file.damage.is_sound(thing)
        return Corpus(**{**row, "records": records})

    def rename(self, name: str, new: str) -> Corpus:
        """Gives a corpus another name; the runs that were trained on it go along.

        Raises `CorpusNotFound`, `InvalidName` and `NameTaken`.
        """
        new = names.checked("corpus", new)
        with self._file.immediate() as db:
            corpus = self.get(name)
            if new != corpus.name:
                self._refuse_taken(new)
                db.execute("UPDATE corpora SET name = ? WHERE id = ?", (new, corpus.id))
            return self.get(new)

    def remove(self, name: str) -> None:
        """Removes a corpus; if no other has its text, that too, with all that is cached of it.

        Raises `CorpusNotFound`, and `CorpusInUse` while runs need it.
        """
        with self._file.immediate(frees=True) as db:
            corpus = self.get(name)
            runs = self._file.rows("SELECT name FROM runs WHERE corpus = ?1 OR validation_corpus = ?1 ORDER BY name", corpus.id)
            if runs:
                raise CorpusInUse(name, [run["name"] for run in runs])
            db.execute("DELETE FROM corpora WHERE id = ?", (corpus.id,))
            shared = self._file.row("SELECT 1 FROM corpora WHERE text = ?", corpus.text_id)
            if shared is None:
                self._texts.hide(corpus.text_id)
        if shared is None:
            self._tidy_cache()
            self._texts.discard(corpus.text_id)

    def pieces(self, corpus: str | Corpus) -> Iterator[str]:
        """Returns the text, chunk by chunk (`CHUNK` characters); no lock is held between two chunks.

        A corpus may be renamed while it is read. Raises `CorpusNotFound` for a name at once, and `DatabaseUnusable` at a chunk that is
        missing or damaged.
        """
        return self._pieces(self._found(corpus))

    def _pieces(self, corpus: Corpus) -> Iterator[str]:
        for number in range(-(-corpus.characters // CHUNK)):
            chunk = self._texts.chunk(corpus.text_id, number)
            if chunk is None:
                raise DatabaseUnusable(str(self._file.path), f"chunk {number} of corpus {corpus.name} is gone; was it just removed?")
            yield chunk

    def first_lines(self, corpus: str | Corpus, count: int = 5, width: int = 200) -> tuple[str, ...]:
        """Returns up to ``count`` lines from the start, each of at most ``width`` characters (a longer one ends with an ellipsis)."""
        text = self._texts.chunk(self._found(corpus).text_id, 0) or ""
        lines = text.removesuffix("\n").split("\n", count)[:count]
        return tuple(line if len(line) <= width else line[: width - 1] + "…" for line in lines)

    def alphabet(self, corpus: str | Corpus) -> dict[str, int]:
        """Returns how often each character occurs, in code point order."""
        row = self._file.row("SELECT alphabet FROM texts WHERE id = ?", self._found(corpus).text_id)
        found: dict[str, int] = json.loads(row["alphabet"]) if row else {}
        return found

    def counts(self, corpus: str | Corpus, level: str, normalization: str, tick: Callable[[], None] | None = None) -> SymbolCounts:
        """Returns how often each symbol occurs in the text in a normal form. Nearly always this reads no text.

        Only a text that composition changes, stored by an earlier release or with another version of Unicode, is read, once. `tick`
        is then called now and then; what it raises ends the reading. Raises `CorpusNotFound`, `DatabaseUnusable`.
        """
        corpus = self._found(corpus)
        alphabet = self.alphabet(corpus)
        counts = SymbolCounts.from_characters(level, normalization, alphabet)
        if counts is None:
            counts = SymbolCounts.of_normal(level, normalization, self._composed(corpus, alphabet, tick))
        return counts

    def _composed(self, corpus: Corpus, alphabet: Mapping[str, int], tick: Callable[[], None] | None) -> Mapping[str, int]:
        """Returns how often each character occurs in the NFC form of a text."""
        row = self._file.row("SELECT nfc FROM texts WHERE id = ?", corpus.text_id)
        stored = json.loads(row["nfc"]) if row and row["nfc"] else {}
        if stored.get("unicode") == unicodedata.unidata_version:
            found: dict[str, int] = stored["characters"]
            return found
        counts = SymbolCounts("char", "nfc")
        for piece in normalized(self.pieces(corpus), "nfc", alphabet):
            if tick:
                tick()
            counts.add([piece], normal=True)
        composed = _by_character(counts.counts)
        with contextlib.suppress(StoreError):  # it can be counted again
            self._file.execute("UPDATE texts SET nfc = ? WHERE id = ?", _packed(composed), corpus.text_id, durable=False)
        return composed

    def sweep(self) -> None:
        """Frees what processes left behind that were killed while adding or removing, and what is cached of texts that are gone."""
        self._texts.sweep()
        self._tidy_cache()

    def _tidy_cache(self) -> None:
        self._cache.tidy(row["sha256"] for row in self._file.rows("SELECT sha256 FROM texts WHERE sha256 IS NOT NULL"))
