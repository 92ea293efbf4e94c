"""Selects the files of a folder or archive that are read, by patterns."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from corpora.globs import Globs
from model.errors import InvalidSetting, Word

MOST_GLOBS, LONGEST_GLOB = 16, 200  # patterns, and characters of each


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
        return bool(parts) and all(map(self.enters, parts)) and (not self.globs or self._matcher.match("/".join(parts)))

    @functools.cached_property
    def _matcher(self) -> Globs:
        return Globs(self.globs)

    def __str__(self) -> str:
        return ", ".join(self.globs) or "**/*"


def selection(globs: str | Sequence[str], without: Sequence[str] = ()) -> Selection:
    """Returns a `Selection` of one pattern or several. Raises `InvalidSetting` for a pattern that can match nothing, or for too many."""
    patterns = (globs,) if isinstance(globs, str) else tuple(globs)
    if len(patterns) > MOST_GLOBS:
        raise InvalidSetting("glob", Word(f"given {len(patterns):,} times"), f"given at most {MOST_GLOBS} times", "**/* takes all files")
    for pattern in patterns:
        if len(pattern) > LONGEST_GLOB:
            raise InvalidSetting("glob", pattern, f"at most {LONGEST_GLOB} characters")
        if not pattern or pattern.startswith("/") or ".." in pattern.split("/"):
            raise InvalidSetting("glob", pattern, "a pattern of paths below the folder", "for example *.txt or src/**/*.c")
    return Selection(patterns, tuple(without))
