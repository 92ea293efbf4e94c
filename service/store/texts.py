"""Texts by their content: written in compressed chunks as they arrive, published at once, freed in small steps.

A text of 1 GB in one transaction would hold the write lock for many seconds, so each chunk has its own, under a row in state
`arriving` that nobody sees. What a killed process leaves behind goes at the next start (`sweep`).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from model.errors import DatabaseUnusable, EmptyText, StoreError, UndecodableText
from model.functions import CODE_POINTS
from service import owner
from service.store.connection import Connections
from service.store.times import age, now

CHUNK = 2**20  # characters
LEVEL = 2  # zlib's default, 6, takes 4 times as long for 14 % less room, and 3 takes 1.6 times for 4 % (measured on tinyshakespeare)
CHUNKS_A_STEP = 32  # chunks freed in one transaction


@dataclass(frozen=True, kw_only=True)
class Arrived:
    """A text whose chunks are all there, but which nobody sees yet."""

    id: int
    facts: dict[str, Any]


class Tally:
    """What is known about a text that passes chunk by chunk."""

    def __init__(self, origin: str) -> None:
        self.origin = origin
        self.characters = self.bytes = self.newlines = 0
        self.last = ""
        self.sha256 = hashlib.sha256()
        self.counts = np.zeros(CODE_POINTS, np.int64)

    def add(self, chunk: str) -> bytes:
        """Count ``chunk``; its UTF-8. Raises `UndecodableText` for half a surrogate pair, which UTF-8 cannot say."""
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
        return data

    def facts(self) -> dict[str, Any]:
        """The columns of `texts` that describe the whole."""
        codes = np.flatnonzero(self.counts)
        alphabet = dict(zip(map(chr, codes.tolist()), self.counts[codes].tolist(), strict=True))
        return {
            "sha256": self.sha256.hexdigest(),
            "characters": self.characters,
            "bytes": self.bytes,
            "lines": self.newlines + (self.last != "\n"),
            "alphabet_size": len(alphabet),
            "alphabet": json.dumps(alphabet, ensure_ascii=False),
        }


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


class Texts:
    """The tables `texts` and `text_chunks`; names for texts are the corpora's business."""

    def __init__(self, connections: Connections) -> None:
        self._file = connections

    def receive(self, pieces: Iterable[str], origin: str) -> Arrived:
        """Write a text of any length with about three chunks in memory. What fails half-way leaves nothing.

        Raises `EmptyText`, `UndecodableText`, and whatever ``pieces`` raises.
        """
        tally = Tally(origin)
        with self._file.immediate() as db:
            row = db.execute("INSERT INTO texts (state, owner, heartbeat_at) VALUES ('arriving', ?, ?)", (owner.identity(), now()))
            text = int(row.lastrowid or 0)
        try:
            for number, chunk in enumerate(cut(pieces, CHUNK)):
                self._write(text, number, zlib.compress(tally.add(chunk), LEVEL))
            if not tally.characters:
                raise EmptyText(origin)
        except BaseException:
            self.discard(text)
            raise
        return Arrived(id=text, facts=tally.facts())

    def _write(self, text: int, number: int, data: bytes) -> None:
        with self._file.immediate() as db:
            if not db.execute("UPDATE texts SET heartbeat_at = ? WHERE id = ? AND state = 'arriving'", (now(), text)).rowcount:
                raise DatabaseUnusable(
                    str(self._file.path), "the text that was being added was taken for a leftover and removed; add it again"
                )
            db.execute("INSERT INTO text_chunks (text, chunk, zlib) VALUES (?, ?, ?)", (text, number, data))

    def publish(self, arrived: Arrived) -> int:
        """Make a text visible, inside the caller's transaction; the id under which its content stands, maybe that of an older twin."""
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
        """Take a text out of sight, inside the caller's transaction, as the first half of removing it."""
        self._file.execute(
            "UPDATE texts SET state = 'leaving', sha256 = NULL, owner = ?, heartbeat_at = ? WHERE id = ?", owner.identity(), now(), text
        )

    def discard(self, text: int) -> None:
        """Free a text that is not visible, in small steps. Where the file cannot be written now, it goes at a later start."""
        with contextlib.suppress(StoreError):
            while self._file.execute(
                "DELETE FROM text_chunks WHERE rowid IN (SELECT rowid FROM text_chunks WHERE text = ? LIMIT ?)", text, CHUNKS_A_STEP
            ):
                pass
            self._file.execute("DELETE FROM texts WHERE id = ? AND state != 'ready'", text)
            self._file.reclaim()
            self._file.shorten_log()  # what could not be stored may have filled the disk

    def sweep(self) -> None:
        """Free what processes that live no more left behind."""
        for row in self._file.rows("SELECT id, owner, heartbeat_at FROM texts WHERE state != 'ready'"):
            if not owner.is_alive(row["owner"], age(row["heartbeat_at"])):
                self.discard(row["id"])

    def chunk(self, text: int, number: int) -> str | None:
        """One chunk of a text, or None behind its end. Raises `DatabaseUnusable` where it is damaged."""
        row = self._file.row("SELECT zlib FROM text_chunks WHERE text = ? AND chunk = ?", text, number)
        try:
            return zlib.decompress(row["zlib"]).decode() if row else None
        except (zlib.error, UnicodeDecodeError) as error:
            raise DatabaseUnusable(
                str(self._file.path), f"chunk {number} of text {text} in it is damaged ({error}); remove that corpus and add it again"
            ) from error
