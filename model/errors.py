"""Defines the root of all errors of Charloom, and words those of the mathematics and of texts.

::

    CharloomError
    ├── InvalidSetting            a setting is of the wrong type or out of its range
    │   ├── UnknownSetting        no setting has that name
    │   ├── WrongEscape           a backslash and what follows it mean no character
    │   └── MissingSetting        one that has no default was not given
    ├── TextError                 a text cannot be used as a corpus
    │   ├── EmptyText
    │   ├── TextTooShort
    │   ├── BinaryText
    │   │   └── ZeroCharacters    some in what is text otherwise
    │   ├── UndecodableText
    │   ├── UnknownEncoding
    │   ├── NothingToRead         a folder or archive without a text file that fits
    │   ├── DocumentError         a file is no plain text
    │   │   ├── UnsuitableFile    it is of a type that holds no text, or must be unpacked or converted first
    │   │   ├── UnreadableDocument    damaged, or made to harm
    │   │   ├── LockedFile
    │   │   ├── NoTextInside      pictures alone
    │   │   ├── ChooseColumn
    │   │   └── NoSuchColumn
    │   ├── TooManyCharacters     different ones
    │   ├── RecordTooLong
    │   ├── TooFewRecords         different ones
    │   └── TextTooLarge
    ├── SourceError               the source of a text cannot be read
    │   ├── SourceNotFound
    │   ├── UnreadableSource
    │   ├── UnsafeArchive         a bomb, or a path that escapes
    │   ├── DownloadFailed
    │   └── ChecksumMismatch
    ├── TrainingDiverged          a loss or gradient stopped being a number
    ├── WrongGradient             the backward pass disagrees with finite differences
    ├── KernelsUnusable           CHARLOOM_KERNELS names what cannot be used here
    └── CheckpointError
        ├── DamagedCheckpoint
        └── UnsupportedCheckpoint a format of a newer release, or of another program

Those of the service are in `service.system.errors`. A message names the thing, its value, the limit and the next step. It is worded
here, once; callers give the facts. This module imports nothing of Charloom, so that everything may import it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence


class Word(str):
    """A value inside a message that shows no quotes: a word of JSON, or a description."""

    __repr__ = str.__str__


def shown(value: object, limit: int = 60) -> str:
    """Returns ``repr(value)``, shortened to about ``limit`` characters, for use inside a message."""
    try:
        text = repr(value)
    except ValueError:  # Python writes out no whole number of more than 4,300 digits
        text = "a number of thousands of digits"
    return text if len(text) <= limit else text[: limit - 1] + "…"


def listed(names: Iterable[str], limit: int = 5) -> str:
    """Joins names for use inside a message: ``a, b and 3 more``."""
    names = list(names)
    if len(names) > limit:
        return f"{', '.join(names[:limit])} and {len(names) - limit} more"
    return ", ".join(names)


def either(names: Iterable[str]) -> str:
    """Joins names for use inside a message: ``a, b or c``."""
    *most, last = names
    return f"{', '.join(most)} or {last}" if most else last


def shown_proposal(proposal: tuple[str, str]) -> str:
    """Returns an encoding with a sample of what it would read, for use inside a message."""
    encoding, sample = proposal
    return f'{encoding} ("{"".join(c if c.isprintable() else " " for c in sample)}")' if sample else encoding


class CharloomError(Exception):
    """The root of all refusals and failures. ``str()`` of it is a sentence for the user."""

    param: str | None = None  # the setting at fault, if there is one


class InvalidSetting(CharloomError, ValueError):
    def __init__(self, name: str, value: object, must: str, hint: str = "") -> None:
        super().__init__(f"{name} is {shown(value)}; it must be {must}" + (f" ({hint})" if hint else ""))
        self.param = name


class UnknownSetting(InvalidSetting):
    def __init__(self, name: str, known: Iterable[str]) -> None:
        CharloomError.__init__(self, f"{name} is not a known setting; known are: {', '.join(sorted(known))}")
        self.param = name


class WrongEscape(InvalidSetting):
    def __init__(self, text: str, escape: str) -> None:
        CharloomError.__init__(self, rf"{text} has {escape}, which is no character; write \\ for a backslash")
        self.param = None


class MissingSetting(InvalidSetting):
    def __init__(self, name: str, meaning: str) -> None:
        CharloomError.__init__(self, f"{name} is missing; it must be given: {meaning}")
        self.param = name


# ── texts ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


class TextError(CharloomError, ValueError):
    proposals: Sequence[tuple[str, str]] = ()  # encodings that may be right, and a sample of what each would read


class EmptyText(TextError):
    def __init__(self, origin: str) -> None:
        super().__init__(f"{origin} holds no text; give some text instead")


class TextTooShort(TextError):
    def __init__(self, origin: str, length: int, least: int) -> None:
        has = "1 character" if length == 1 else f"{length:,} characters"
        super().__init__(f"{origin} has {has}; at least {least:,} are needed to learn from (and to keep some for validation)")


class RecordTooLong(TextError):
    def __init__(self, words: str, limit: int) -> None:
        super().__init__(
            f"if the text is cut into {words}, a record has more than {limit:,} characters, the limit; choose other --records, or none"
        )
        self.param = "records"


class TooFewRecords(TextError):
    def __init__(self, origin: str, different: int, words: str) -> None:
        super().__init__(
            f"{origin} has {different} different record{'' if different == 1 else 's'} if it is cut into {words}; at least 2 are"
            " needed, one to learn from and one for validation: choose other --records, or none"
        )
        self.param = "records"


class TooManyCharacters(TextError):
    def __init__(self, origin: str, limit: int) -> None:
        super().__init__(f"{origin} has more than {limit:,} different characters, the limit, so it is hardly a text; check its encoding")


PAST = "--errors replace reads U+FFFD in such places, --errors skip nothing"


class BinaryText(TextError):
    def __init__(self, origin: str, offset: int) -> None:
        super().__init__(
            f"{origin} is binary: a zero byte stands at offset {offset:,}; give a text file"
            " (if it is one with a stray zero byte, --errors skip leaves that out)"
        )


class ZeroCharacters(BinaryText):
    def __init__(self, origin: str, offset: int, count: int, lines: Sequence[int], *, more: bool) -> None:
        """`lines` are the first ones that have some; `more`: there may be more behind what was read."""
        what = "1 NUL character" if count == 1 else f"{count:,} NUL characters"
        where = (
            f"in line{'' if len(lines) == 1 else 's'} {', '.join(f'{line:,}' for line in lines)}{' and more' if count > len(lines) else ''}"
        )
        beginning = " in its beginning alone" if more else ""
        TextError.__init__(self, f"{origin} has {what} (U+0000){beginning}, the first at offset {offset:,}, {where}; {PAST}")


class UndecodableText(TextError):
    def __init__(
        self,
        origin: str,
        offset: int,
        encoding: str,
        byte: int | None = None,
        line: int | None = None,
        proposals: Sequence[tuple[str, str]] = (),
        *,
        damaged: bool = False,
        share: float = 0,
    ) -> None:
        """`proposals`: encodings that fit, and what each would read. `damaged`: the encoding is right. `share`: of what is bad."""
        what = f"byte 0x{byte:02x}" if byte is not None else "what stands"
        place = f"at offset {offset:,}" if line is None else f"in line {line:,} (offset {offset:,})"
        why = f"{what} {place} cannot be decoded" + (f", nor can {share:.0%} of what follows" if share else "")
        if damaged:
            message = f"{origin} is {encoding}, but not throughout: {why}; {PAST}"
        elif proposals:
            known = f"; it may be {either(map(shown_proposal, proposals))}"
            first = " takes the first" if len(proposals) > 1 else " takes that"
            message = f"{origin} is not {encoding}: {why}{known}: name the right one with --encoding (auto{first})"
        else:
            message = f"{origin} is not {encoding}: {why}; name the right one with --encoding"
        super().__init__(message if damaged or share else f"{message}; if only single bytes are bad, {PAST}")
        self.proposals = list(proposals)


class UnknownEncoding(TextError):
    def __init__(self, encoding: str) -> None:
        super().__init__(f"encoding is {shown(encoding)}; it must be auto, or one that Python knows, for example cp949, cp1252, utf-16-le")
        self.param = "encoding"


class NothingToRead(TextError):
    def __init__(
        self, origin: str, glob: str, skipped: Iterable[str] = (), step: str | None = None, proposals: Sequence[tuple[str, str]] = ()
    ) -> None:
        """`skipped`: sentences about what was; `step`: None if nothing was, "" if they say it; `proposals`: encodings that fit."""
        if step is None:
            step = "choose others with --glob" if glob else "give a text, or a folder or archive with some"
        matching = f" that matches {shown(glob)}" if glob else ""
        why = "; ".join(filter(None, [*skipped, step]))
        super().__init__(f"{origin} has no text file{matching}{': ' if skipped else '; '}{why}")
        self.proposals = list(proposals)


class TextTooLarge(TextError):
    def __init__(self, origin: str, limit: int) -> None:
        super().__init__(f"{origin} is larger than {limit:,} bytes, the limit; raise it with --max-size or give a part of it")


class DocumentError(TextError):
    """A file that is no plain text. `facts` are the arguments of its class behind the origin, which another process does not know."""

    def __init__(self, message: str, *facts: object) -> None:
        super().__init__(message)
        self.facts = facts


class UnsuitableFile(DocumentError):
    def __init__(self, origin: str, what: str, step: str) -> None:
        super().__init__(f"{origin} is {what}; {step}", what, step)
        self.what, self.step = what, step


class UnreadableDocument(DocumentError):
    def __init__(self, origin: str, what: str, why: str) -> None:
        super().__init__(f"{origin} is {what} that cannot be read: {why}; save its text as .txt, and give that", what, why)


class LockedFile(DocumentError):
    def __init__(self, origin: str, what: str) -> None:
        super().__init__(f"{origin} is {what} that is locked with a password; open it with its password, and save it without one", what)


class NoTextInside(DocumentError):
    def __init__(self, origin: str, what: str, pages: int = 0) -> None:
        of_pages = f" of {pages:,} page{'' if pages == 1 else 's'}" if pages else ""
        super().__init__(
            f"{origin} is {what}{of_pages} without text"
            + (", as a scanner makes them; recognise the text first (OCR), for example with ocrmypdf" if pages else "; give one with text"),
            what,
            pages,
        )


class ChooseColumn(DocumentError):
    def __init__(self, origin: str, what: str, columns: Iterable[str]) -> None:
        self.columns = list(columns)
        super().__init__(
            f"{origin} is {what} with the columns {listed(map(shown, self.columns), 10)}; choose one with --column NAME", what, self.columns
        )
        self.param = "column"


class NoSuchColumn(DocumentError):
    def __init__(self, origin: str, column: str, columns: Iterable[str], kind: str = "column") -> None:
        self.columns = list(columns)
        has = f"it has {listed(map(shown, self.columns), 10)}; choose one of those with --{kind}" if self.columns else f"it has no {kind}s"
        super().__init__(f"{origin} has no {kind} {shown(column)}; {has}", column, self.columns, kind)
        self.param = kind


class SourceError(CharloomError, OSError):
    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class SourceNotFound(SourceError):
    def __init__(self, source: str, builtin: Iterable[str] = (), stored: Iterable[str] = (), alike: Iterable[str] = ()) -> None:
        stored, self.alike = list(stored), list(alike)
        super().__init__(
            f"{shown(source, 200)} is no stored corpus{f' (stored are: {listed(stored)})' if stored else ''},"
            f" no built-in one ({', '.join(builtin)}) and no file or folder; "
            + (f"did you mean {' or '.join(self.alike)}?" if self.alike else "check the path or name")
        )


class UnreadableSource(SourceError):
    def __init__(self, source: str, why: str) -> None:
        super().__init__(f"{source} cannot be read: {why}")


class UnsafeArchive(SourceError):
    def __init__(self, source: str, why: str) -> None:
        super().__init__(f"{source} was refused: {why}; unpack it yourself if you trust it, and give the folder")


class DownloadFailed(SourceError):
    def __init__(self, url: str, why: str) -> None:
        super().__init__(f"{url} could not be fetched: {why}; nothing was kept, try again or give a file")


class ChecksumMismatch(SourceError):
    def __init__(self, source: str, expected: str, found: str) -> None:
        super().__init__(f"{source} has sha256 {found}, but {expected} was expected; nothing was kept, it is not the text that was meant")


class TrainingDiverged(CharloomError, ArithmeticError):
    def __init__(self, step: int, what: str, value: float) -> None:
        super().__init__(
            f"the {what} of step {step:,} is {value}, not a finite number, and training stopped;"
            " what was stored before is kept: try a lower learning_rate, and a clip_norm of 1 or less"
        )


class WrongGradient(CharloomError, ArithmeticError):
    def __init__(self, errors: Mapping[str, float], tolerance: float) -> None:
        found = listed(f"{name} by {error:.1e}" for name, error in errors.items())
        super().__init__(
            f"the gradients disagree with finite differences: {found}, relative to their length; at most {tolerance:.0e} is rounding:"
            " check the backward pass of what is named"
        )
        self.errors = dict(errors)  # name of the tensor -> relative error


# ── checkpoints and the database ──────────────────────────────────────────────────────────────────────────────────────


class KernelsUnusable(CharloomError, ValueError):
    def __init__(self, wanted: str, why: str, usable: Iterable[str]) -> None:
        super().__init__(f"CHARLOOM_KERNELS is {shown(wanted)}, {why}; usable here: {', '.join(usable)}; or leave it out")


class CheckpointError(CharloomError, ValueError):
    pass


class DamagedCheckpoint(CheckpointError):
    def __init__(self, origin: str, why: str) -> None:
        super().__init__(f"{origin} is not a sound checkpoint: {why}")


class UnsupportedCheckpoint(CheckpointError):
    def __init__(self, origin: str, why: str) -> None:
        super().__init__(f"{origin} cannot be used here: {why}")
