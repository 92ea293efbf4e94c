"""Reports how much of a source was read, how it was decoded, what was skipped or replaced, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from corpora.decoding import DecodingNotes, Occurrences
from corpora.encodings import Guesses, Proposal
from corpora.file_types import FileType
from corpora.naming import printable
from model.errors import BinaryText, LockedFile, TextError, UndecodableText, UnsuitableFile, ZeroCharacters, either, shown_proposal

_SHOWN = 3  # names of each kind that are kept; all are counted


@dataclass
class Named:
    """Things of one kind that are told: how many, and the first few names."""

    count: int = 0
    names: list[str] = field(default_factory=list)

    def add(self, name: str) -> None:
        """Counts one more."""
        self.count += 1
        if len(self.names) < _SHOWN:
            self.names.append(printable(name))

    def add_places(self, places: Occurrences, file: str | None) -> None:
        """Counts places in a text, by their lines; `file` names it if there are several."""
        lines = [f"line {line:,}" if file is None else f"{file} line {line:,}" for line in places.lines]
        self.names += lines[: _SHOWN - len(self.names)]
        self.count += places.count

    def sentence(self, one: str, many: str) -> str:
        """``3 files were …: a, b, c`` in the right number."""
        names = ", ".join(self.names) + (f" and {self.count - len(self.names):,} more" if self.count > len(self.names) else "")
        return f"{one}: {names}" if self.count == 1 else f"{self.count:,} {many}: {names}"


@dataclass
class Converted:
    """Documents of one type that became text: how many, the name of the first, and their parts (paragraphs, pages, messages)."""

    name: str
    count: int = 0
    parts: int = 0
    empty: int = 0

    def sentence(self, kind: FileType) -> str:
        """``names.docx: 120 paragraphs of a Word document``."""
        parts = f"{self.parts:,} {kind.part}{'' if self.parts == 1 else 's'}"
        empty = f" ({self.empty:,} without text {'was' if self.empty == 1 else 'were'} left out)" if self.empty else ""
        if self.count == 1:
            return f"{self.name}: {parts} of {kind.what}{empty}"
        return f"{self.count:,} {kind.many}, {self.name} the first: {parts}{empty}"


@dataclass
class ReadReport:
    """What one reading read, skipped and replaced; complete after its last piece.

    `files` counts the files in the text, `bytes_read` its bytes before decoding, `characters` its code points after.
    """

    files: int = 0
    bytes_read: int = 0
    characters: int = 0
    binary: Named = field(default_factory=Named)
    zeros: Named = field(default_factory=Named)  # that are text with zero characters
    undecodable: Named = field(default_factory=Named)
    unreadable: Named = field(default_factory=Named)
    encrypted: Named = field(default_factory=Named)
    links: Named = field(default_factory=Named)
    replaced: Named = field(default_factory=Named)  # places that cannot be decoded, read as U+FFFD
    left_out: Named = field(default_factory=Named)  # or left out
    marks: Named = field(default_factory=Named)  # byte order marks inside the text
    instead: list[Proposal] = field(default_factory=list)  # encodings that may fit a text with such places better
    guesses: Guesses = field(default_factory=Guesses)
    guessed: Counter[str] = field(default_factory=Counter)  # encoding -> files that were read in it, since it was the likeliest
    separators: int = 0  # U+001E inside files that it was to part
    unused_globs: str = ""  # patterns that had nothing to select from
    unsuitable: dict[tuple[str, str], Named] = field(default_factory=dict)  # by what it is, and the next step
    documents: Named = field(default_factory=Named)  # that could not be read; the errors instead of names
    converted: dict[FileType, Converted] = field(default_factory=dict)
    kinds: set[str] = field(default_factory=set)  # of the records that documents became; "" of prose, and of what is no document

    @property
    def skipped(self) -> int:
        """The number of selected files that could not be read as text."""
        kinds = (self.binary, self.zeros, self.undecodable, self.unreadable, self.encrypted, self.documents, *self.unsuitable.values())
        return sum(each.count for each in kinds)

    @property
    def proposals(self) -> list[Proposal]:
        """The encodings that skipped files seem to be in, the most frequent first."""
        found = self.guesses.found - self.guessed
        return [Proposal(name, self.guesses.samples[name]) for name, _ in found.most_common(_SHOWN)]

    @property
    def records(self) -> str | None:
        """The kind of records that all files are known to be made of, None if that must be detected."""
        kind = next(iter(self.kinds), "") if len(self.kinds) == 1 else ""
        return kind or None if kind == "lines" or self.files == 1 else None  # files of blocks are parted by one line end

    def skip(self, name: str, why: TextError) -> None:
        """Counts a file that is not text."""
        match why:
            case ZeroCharacters():
                self.zeros.add(name)
            case BinaryText():
                self.binary.add(name)
            case UndecodableText():
                self.undecodable.add(name)
            case LockedFile():
                self.encrypted.add(name)
            case UnsuitableFile():
                self.unsuitable.setdefault((why.what, why.step), Named()).add(name)
            case _:
                self.documents.add(str(why))

    def convert(self, name: str, kind: FileType, parts: int, empty: int) -> None:
        """Counts a document that became text."""
        found = self.converted.setdefault(kind, Converted(printable(name)))
        found.count += 1
        found.parts += parts
        found.empty += empty

    @property
    def step(self) -> str | None:
        """What to do if nothing could be read: "" if the warnings say it, None if nothing was skipped."""
        if not self.skipped:
            return None
        if self.unsuitable or self.documents.count or self.zeros.count:
            return ""
        if self.skipped == self.encrypted.count:
            return "unpack it with its password (7z x FILE), and give the folder"
        if self.skipped == self.undecodable.count:
            return "" if self.proposals else "name their encoding with --encoding"
        return "give text files or documents"

    def add_notes(self, notes: DecodingNotes, file: str | None = None) -> None:
        """Adds what decoding one file had to decide; `file` names it if there are several."""
        if notes.guess:
            self.guessed[notes.guess.encoding] += 1
        (self.left_out if notes.left_out else self.replaced).add_places(notes.bad, file)
        self.marks.add_places(notes.marks, file)
        self.instead = self.instead or notes.instead

    @property
    def warnings(self) -> list[str]:
        """One sentence for each kind of thing that was guessed, skipped, replaced or left out."""
        return list(self._sentences())

    def _sentences(self) -> Iterator[str]:
        if self.guessed:
            yield self._guess()
        seem = ""
        if self.proposals:
            seem = f"; {'it seems' if self.undecodable.count == 1 else 'they seem'} to be {either(map(shown_proposal, self.proposals))}"
            seem += " (choose with --encoding)"
        rather = f"; it may rather be {either(map(shown_proposal, self.instead))} (choose with --encoding)" if self.instead else ""
        for what, one, many, more in (
            (self.binary, "one binary file was skipped", "binary files were skipped", ""),
            (
                self.zeros,
                "one file was skipped that has NUL characters",
                "files were skipped that have NUL characters",
                "; --errors skip leaves those out",
            ),
            (self.undecodable, "one file was skipped that could not be decoded", "files were skipped that could not be decoded", seem),
            (self.unreadable, "one file or folder could not be read", "files or folders could not be read", ""),
            (self.encrypted, "one encrypted file was skipped", "encrypted files were skipped", ""),
            (self.links, "one link or device was not followed", "links or devices were not followed", ""),
            (
                self.replaced,
                "one place that cannot be decoded was read as U+FFFD",
                "places that cannot be decoded were read as U+FFFD",
                rather,
            ),
            (self.left_out, "one place that cannot be decoded was left out", "places that cannot be decoded were left out", rather),
            (
                self.marks,
                "one byte order mark (U+FEFF) inside the text was left out",
                "byte order marks (U+FEFF) inside the text were left out",
                "",
            ),
        ):
            if what.count:
                yield what.sentence(one, many) + more
        for (what_it_is, step), files in self.unsuitable.items():
            one, many = f"one file was skipped, {what_it_is}", f"files were skipped, each of them {what_it_is}"
            yield f"{files.sentence(one, many)}; {step}"
        if self.documents.count:
            yield self.documents.sentence("one document could not be read", "documents could not be read")
        for kind, documents in self.converted.items():
            yield documents.sentence(kind)
        if self.separators:
            yield f"{self.separators:,} times the character U+001E was dropped, which parts the files from each other"
        if self.unused_globs:
            yield f"glob {self.unused_globs} was ignored: this is one file, and glob selects files of a folder or archive"

    def _guess(self) -> str:
        names = [
            f"{shown_proposal((name, self.guesses.samples.get(name, '')))}"
            + (f" in {count:,} file{'' if count == 1 else 's'}" if self.files > 1 else "")
            for name, count in self.guessed.most_common()
        ]
        return f"it was read in the likeliest encoding, {', '.join(names)}; if that is wrong, name the right one with --encoding"
