"""Writes large corpora for the memory benchmark: real lines, shuffled and repeated."""

from __future__ import annotations

import random
from pathlib import Path

from corpora import open_source

ENOUGH = 20_000_000  # characters of lines to shuffle
WIDE_EVERY = 10  # one line in that many is written in other letters, where the alphabet is to be large
WIDE_FIRST, WIDE_LETTERS = 0xAC00, 1000  # Hangul syllables: a symbol more than fits into a byte of ids


def lines_of(source: str) -> list[str]:
    """The lines of a text (a path or the name of a built-in corpus) with their ends, up to `ENOUGH` characters."""
    pieces, total = [], 0
    for piece in open_source(source).pieces():
        pieces.append(piece)
        total += len(piece)
        if total >= ENOUGH:
            break
    return [line + "\n" for line in "".join(pieces).split("\n")]


def write_corpus(path: Path, lines: list[str], size: int, *, wide: bool = False) -> None:
    """A file of about `size` bytes of UTF-8: all lines in a new order, again and again.

    A `wide` one has a thousand letters more, so that ids need two bytes although most characters are of the plain alphabet.
    """
    rng = random.Random(0)
    if wide:
        lines = [_in_other_letters(line, index) if index % WIDE_EVERY == 0 else line for index, line in enumerate(lines)]
    else:
        lines = list(lines)
    with path.open("wb") as file:
        while (missing := size - file.tell()) > 0:
            rng.shuffle(lines)
            data = "".join(lines).encode()
            if len(data) > missing:
                file.write(data[: data.rfind(b"\n", 0, missing) + 1])
                return
            file.write(data)


def _in_other_letters(line: str, shift: int) -> str:
    return "".join(c if c == "\n" else chr(WIDE_FIRST + (ord(c) + shift) % WIDE_LETTERS) for c in line)
