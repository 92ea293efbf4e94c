"""Tells whether a library is whole and made from the present sources, by hashes stored beside it.

A process that loads a damaged library dies of a signal, and one that loads the library of other sources computes other numbers. This
module imports only the standard library, because it also runs before the dependencies are installed.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

FOLDER = Path(__file__).resolve().parent


def made_from(folder: Path = FOLDER) -> list[Path]:
    """Returns all files that a library is made from: C, headers, and the way they are compiled."""
    return sorted([*folder.glob("*.c"), *folder.glob("*.h"), FOLDER / "build.py"])


def record_of(library: Path) -> Path:
    """Returns the file beside a library that has its hashes."""
    return library.with_suffix(".sha256")


def record(library: Path, folder: Path = FOLDER) -> str:
    """Returns the hashes of a library and of its sources, as they are stored."""
    hashes = hashlib.sha256()
    for source in made_from(folder):
        hashes.update(hashlib.sha256(source.read_bytes()).digest())
    return f"{hashlib.sha256(library.read_bytes()).hexdigest()}  {library.name}\n{hashes.hexdigest()}  sources\n"


def flaw(library: Path, folder: Path = FOLDER) -> str | None:
    """Returns why a library cannot be used, such as ``was not built``; None if it can be."""
    try:
        stored, present = record_of(library).read_text(encoding="ascii", errors="replace"), record(library, folder)
    except OSError:
        return "was not built"
    if stored == present:
        return None
    return "was built from other sources" if stored.partition("\n")[0] == present.partition("\n")[0] else "is damaged"
