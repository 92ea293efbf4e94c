"""Reports how much of a source was read, what was skipped and why."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from corpora.naming import printable
from model.errors import BinaryText, UndecodableText

_SHOWN = 3  # names of each kind that are kept; all are counted


@dataclass
class Skipped:
    """Files that were skipped for one reason: how many, and the first few names."""

    count: int = 0
    names: list[str] = field(default_factory=list)

    def add(self, name: str) -> None:
        """Counts one more."""
        self.count += 1
        if len(self.names) < _SHOWN:
            self.names.append(printable(name))

    def sentence(self, one: str, many: str) -> str:
        """``3 files were …: a, b, c`` in the right number."""
        names = ", ".join(self.names) + (f" and {self.count - len(self.names):,} more" if self.count > len(self.names) else "")
        return f"{one}: {names}" if self.count == 1 else f"{self.count:,} {many}: {names}"


@dataclass
class ReadReport:
    """What one reading read and skipped; complete after its last piece.

    `files` counts the files in the text, `bytes_read` its bytes before decoding, `characters` its code points after.
    """

    files: int = 0
    bytes_read: int = 0
    characters: int = 0
    binary: Skipped = field(default_factory=Skipped)
    undecodable: Skipped = field(default_factory=Skipped)
    unreadable: Skipped = field(default_factory=Skipped)
    encrypted: Skipped = field(default_factory=Skipped)
    links: Skipped = field(default_factory=Skipped)

    @property
    def skipped(self) -> int:
        """The number of selected files that could not be read as text."""
        return self.binary.count + self.undecodable.count + self.unreadable.count + self.encrypted.count

    def skip(self, name: str, why: BinaryText | UndecodableText) -> None:
        """Counts a file that is not text."""
        (self.binary if isinstance(why, BinaryText) else self.undecodable).add(name)

    @property
    def warnings(self) -> list[str]:
        """One sentence for each reason why something was skipped."""
        return list(self._sentences())

    def _sentences(self) -> Iterator[str]:
        for what, one, many in (
            (self.binary, "one binary file was skipped", "binary files were skipped"),
            (self.undecodable, "one file was skipped that could not be decoded", "files were skipped that could not be decoded"),
            (self.unreadable, "one file or folder could not be read", "files or folders could not be read"),
            (self.encrypted, "one encrypted file was skipped", "encrypted files were skipped"),
            (self.links, "one link or device was not followed", "links or devices were not followed"),
        ):
            if what.count:
                yield what.sentence(one, many)
