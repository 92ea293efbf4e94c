"""Corpora: names for stored texts. Two names of the same text share its chunks."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from model.errors import CorpusInUse, CorpusNotFound, DatabaseUnusable, NameTaken
from service.store import names
from service.store.connection import Connections
from service.store.texts import CHUNK, Texts
from service.store.times import now

# The alphabet can be thousands of entries long, so it is read only when asked for.
COLUMNS = """
    SELECT corpora.id, name, origin, created_at, text AS text_id, sha256, characters, bytes, lines, alphabet_size
    FROM corpora JOIN texts ON texts.id = corpora.text
"""


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """A stored text and its name. `sha256` and `bytes` are of its UTF-8; `alphabet_size` counts different code points."""

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


class Corpora:
    """The table `corpora`, and the texts behind it."""

    def __init__(self, connections: Connections) -> None:
        self._file = connections
        self._texts = Texts(connections)

    def add(self, name: str, pieces: Iterable[str], origin: str, *, exact: bool = True) -> Corpus:
        """Store a text (decoded, with LF line ends) under ``name``; it is read piece by piece and never held as a whole.

        ``origin`` says in words where it came from. With ``exact=False`` the name is only a wish, made free as by `free_name`.
        Nobody sees the corpus before its last piece is stored; what fails half-way leaves nothing.
        Raises `InvalidName`, `NameTaken`, `EmptyText`, `UndecodableText`, `StoreError`, and whatever ``pieces`` raises.
        """
        if exact:
            names.checked("corpus", name)
            self._refuse_taken(name)
        arrived = self._texts.receive(pieces, origin)
        text = None
        try:
            with self._file.immediate() as db:
                if exact:
                    self._refuse_taken(name)
                else:
                    name = self.free_name(name)
                text = self._texts.publish(arrived)
                db.execute("INSERT INTO corpora (name, text, origin, created_at) VALUES (?, ?, ?, ?)", (name, text, origin, now()))
                corpus = self.get(name)
        finally:
            if text != arrived.id:
                self._texts.discard(arrived.id)
        return corpus

    def _refuse_taken(self, name: str) -> None:
        if self._has(name):
            raise NameTaken("corpus", name)

    def _has(self, name: str) -> bool:
        return self._file.row("SELECT 1 FROM corpora WHERE name = ?", name) is not None

    def free_name(self, base: str) -> str:
        """The first of base, base-2, base-3, ... that is allowed and not taken; any string will do as base."""
        return names.free("corpus", base, self._has)

    def get(self, name: str) -> Corpus:
        """Raises `CorpusNotFound`."""
        row = self._file.row(f"{COLUMNS} WHERE name = ?", name)
        if row is None:
            raise CorpusNotFound(name, [corpus.name for corpus in self.list()])
        return Corpus(**row)

    def find(self, name: str) -> Corpus | None:
        """The corpus of that name, or None: for arguments that may also be a path."""
        row = self._file.row(f"{COLUMNS} WHERE name = ?", name)
        return Corpus(**row) if row else None

    def list(self) -> tuple[Corpus, ...]:
        """All corpora by name."""
        return tuple(Corpus(**row) for row in self._file.rows(f"{COLUMNS} ORDER BY name"))

    def remove(self, name: str) -> None:
        """Forget a corpus, and its text where no other name has it. Raises `CorpusNotFound`, and `CorpusInUse` while runs need it."""
        with self._file.immediate() as db:
            corpus = self.get(name)
            runs = self._file.rows("SELECT name FROM runs WHERE corpus = ?1 OR validation_corpus = ?1 ORDER BY name", corpus.id)
            if runs:
                raise CorpusInUse(name, [run["name"] for run in runs])
            db.execute("DELETE FROM corpora WHERE id = ?", (corpus.id,))
            shared = self._file.row("SELECT 1 FROM corpora WHERE text = ?", corpus.text_id)
            if shared is None:
                self._texts.hide(corpus.text_id)
        if shared is None:
            self._texts.discard(corpus.text_id)

    def pieces(self, name: str) -> Iterator[str]:
        """The text, about 1 MiB at a time; no lock is held between two pieces.

        Raises `CorpusNotFound` at once, and `DatabaseUnusable` where a piece is missing or damaged.
        """
        return self._pieces(self.get(name))

    def _pieces(self, corpus: Corpus) -> Iterator[str]:
        for number in range(-(-corpus.characters // CHUNK)):
            chunk = self._texts.chunk(corpus.text_id, number)
            if chunk is None:
                raise DatabaseUnusable(str(self._file.path), f"chunk {number} of corpus {corpus.name} is gone; was it just removed?")
            yield chunk

    def first_lines(self, name: str, count: int = 5, width: int = 200) -> tuple[str, ...]:
        """Up to ``count`` lines from the start, each of at most ``width`` characters (a longer one ends with an ellipsis)."""
        text = self._texts.chunk(self.get(name).text_id, 0) or ""
        lines = text.removesuffix("\n").split("\n", count)[:count]
        return tuple(line if len(line) <= width else line[: width - 1] + "…" for line in lines)

    def alphabet(self, name: str) -> dict[str, int]:
        """How often each character occurs, in code point order."""
        row = self._file.row("SELECT alphabet FROM texts WHERE id = ?", self.get(name).text_id)
        found: dict[str, int] = json.loads(row["alphabet"]) if row else {}
        return found

    def sweep(self) -> None:
        """Free what processes that were killed while adding or removing left behind."""
        self._texts.sweep()
