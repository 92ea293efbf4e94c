"""Corpora on a terminal: while they are read, in a list, and one by one."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from service.characters import safe
from service.store import Corpus
from service.terminal.text import clipped, table, terminal_width
from service.units import counted, size

COMMON = 40  # characters of an alphabet that are shown


@contextmanager
def reading_line(what: str, echo: Callable[[str], None]) -> Iterator[tuple[Callable[[int], None], Callable[[int, int | None], None]]]:
    """A line that counts what has been read, where standard error is a terminal, to which `echo` writes; it is gone in the end.

    Gives two functions: to be told of characters, and of bytes of a download, maybe of how many.
    """
    shown = sys.stderr.isatty()

    def draw(text: str) -> None:
        if shown:
            echo(f"\r{clipped(safe(text), terminal_width() - 1)}\x1b[K")

    def downloaded(count: int, total: int | None) -> None:
        draw(f"fetching {what}: {size(count)}" + (f" of {size(total)}" if total else ""))

    try:
        yield lambda characters: draw(f"reading {what}: {characters:,} characters"), downloaded
    finally:
        draw("")


def corpus_line(corpus: Corpus) -> str:
    """What the reader saw, in a line."""
    return (
        f"corpus {corpus.name}: {counted(corpus.characters, 'character')}, {counted(corpus.alphabet_size, 'different one')},"
        f" {counted(corpus.lines, 'line')}, from {corpus.origin}"
    )


def corpora_table(corpora: Sequence[Corpus], width: int) -> str:
    """One line a corpus, cut to `width`."""
    rows = [
        [each.name, size(each.bytes), f"{each.characters:,}", f"{each.alphabet_size:,}", each.created_at[:10], each.origin]
        for each in corpora
    ]
    return table(["name", "size", "characters", "alphabet", "added", "origin"], rows, width)


def corpus_report(corpus: Corpus, alphabet: Mapping[str, int], first_lines: Sequence[str]) -> str:
    """All about a corpus; `alphabet` counts its characters."""
    common = sorted(alphabet, key=lambda c: -alphabet[c])[:COMMON]
    facts = {
        "name": corpus.name,
        "origin": corpus.origin,
        "added": corpus.created_at,
        "size": f"{counted(corpus.characters, 'character')}, {counted(corpus.bytes, 'byte')} of UTF-8, {counted(corpus.lines, 'line')}",
        "sha256": corpus.sha256,
        "alphabet": f"{corpus.alphabet_size:,} characters; the most frequent: {' '.join(repr(c)[1:-1] for c in common)}",
    }
    return "\n".join([*(f"{label:<12}{text}" for label, text in facts.items()), "first lines", *(f"    {line}" for line in first_lines)])
