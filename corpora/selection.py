"""Selects the files of a folder or archive that are read, by patterns."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from model.errors import InvalidSetting


@dataclass(frozen=True)
class Selection:
    """Decides which paths below the folder, written with ``/``, are read.

    A pattern without ``/`` is compared with the file's name (``*.txt``), one with ``/`` with the whole path; ``**`` stands for
    any number of folders (``src/**/*.c``). Any of `globs` suffices; none means every file. Hidden files and folders (``.git``)
    are left out, and those that match `without`.
    """

    globs: tuple[str, ...] = ()
    without: tuple[str, ...] = ()

    def enters(self, folder_name: str) -> bool:
        """Whether files in a folder of this name may be read."""
        return not folder_name.startswith(".") and not any(fnmatchcase(folder_name, pattern) for pattern in self.without)

    def takes(self, path: str) -> bool:
        """Whether the file at this path is read."""
        parts = tuple(part for part in path.split("/") if part not in ("", "."))
        return bool(parts) and all(map(self.enters, parts)) and (not self.globs or any(_matches(parts, glob) for glob in self.globs))

    def __str__(self) -> str:
        return ", ".join(self.globs) or "**/*"


def selection(globs: str | Sequence[str], without: Sequence[str] = ()) -> Selection:
    """Returns a `Selection` of one pattern or several. Raises `InvalidSetting` for a pattern that can match nothing."""
    patterns = (globs,) if isinstance(globs, str) else tuple(globs)
    for pattern in patterns:
        if not pattern or pattern.startswith("/") or ".." in pattern.split("/"):
            raise InvalidSetting("glob", pattern, "a pattern of paths below the folder", "for example *.txt or src/**/*.c")
    return Selection(patterns, tuple(without))


def _matches(parts: tuple[str, ...], pattern: str) -> bool:
    wanted = _parts(pattern)
    return fnmatchcase(parts[-1], wanted[0]) if "/" not in pattern else _path_matches(parts, wanted)


@functools.cache
def _parts(pattern: str) -> tuple[str, ...]:
    parts: list[str] = []
    for part in pattern.split("/"):
        if part not in ("", ".") and not (part == "**" and parts[-1:] == ["**"]):
            parts.append(part)
    return tuple(parts) if parts and not pattern.endswith("/") else (*parts, "**")


def _path_matches(parts: tuple[str, ...], wanted: tuple[str, ...]) -> bool:
    """Whether a pattern matches. Keeps the set of possible numbers of matched parts: linear in the number of ``**``."""
    reached = {0}
    for part in wanted:
        if part == "**":
            reached = set(range(min(reached), len(parts) + 1))
        else:
            reached = {i + 1 for i in reached if i < len(parts) and fnmatchcase(parts[i], part)}
        if not reached:
            return False
    return len(parts) in reached
