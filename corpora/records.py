"""Cuts a text into records, and counts them: lines, blocks between blank lines, rows of a table, JSON lines, files, epigrams.

A text is prose or it is made of records. Which of the two is decided when it arrives (`corpora.record_detection`, or the user); it is
stored as it is, and cut each time it is read.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from corpora.escapes import escaped, unescaped
from model.errors import InvalidSetting, RecordTooLong, WrongEscape

AUTO, NONE = "auto", "none"
FILE_SEPARATOR = "\x1e"  # the record separator of ASCII: files of a folder are joined by it
SEPARATORS = {"lines": "\n", "blocks": "\n\n", "csv": "\n", "tsv": "\n", "jsonl": "\n", "files": FILE_SEPARATOR, "fortune": "\n%\n"}
CHOICES = (AUTO, NONE, *SEPARATORS)
BLANK_LINES = re.compile(r"\n(?:[ \t]*\n)+")
BLANK_ENDS = re.compile(r"\A(?:[ \t]*\n)+|(?:\n[ \t]*)+\Z")  # of a block
MISTYPED = 0.65  # similarity (difflib) from which on a word is a mistyped kind: 0.67 for cvs, 0.71 for jsonlines
LONGEST = 2**20  # characters of a record; a longer one is a whole text
SLICE, SOME = 2**16, 2**14  # characters that are cut, and records that are counted, before other threads may run
ROW_LINES = 100  # of a table's row; a quotation mark that is open for longer is no quotation mark
DELIMITERS = {"csv": ",;|", "tsv": "\t"}  # of cells, by kind of records
# A cell that begins with a quotation mark: up to the mark that closes it, which is the group, or else to the end of the line
QUOTED = {
    kind: re.compile(rf'(?<![^{delimiters}])"[^"]*+(?:""[^"]*+)*+("?)')
    for kind, delimiters in (("csv", "".join(DELIMITERS.values())), ("tsv", DELIMITERS["tsv"]))
}


@dataclass(frozen=True, kw_only=True)
class RecordFormat:
    """How a text is cut into records, and which are used.

    `separator` stands between two records in what a model reads and writes. The first row is left out if it is a `header`, and of equal
    records all but the first if they are to be `unique`.
    """

    kind: str  # of `SEPARATORS`, or "separator" for one that the user names
    separator: str
    header: bool = False
    unique: bool = False

    @classmethod
    def of_kind(cls, kind: str, *, header: bool = False) -> RecordFormat:
        """Returns the format of a kind that has a separator of its own."""
        return cls(kind=kind, separator=SEPARATORS[kind], header=header)

    def to_dict(self) -> dict[str, Any]:
        """Returns it ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> RecordFormat:
        """Reverses `to_dict`; other keys are left alone."""
        return cls(**{name: values[name] for name in ("kind", "separator", "header", "unique") if name in values})

    def cut(self, pieces: Iterable[str]) -> Iterator[list[str]]:
        """Yields the records of a text in pieces, those of each piece together. Raises `RecordTooLong`."""
        cutter = RecordCutter(self)
        for piece in pieces:
            if records := cutter.push(piece):
                yield records
        if records := cutter.finish():
            yield records

    @property
    def line(self) -> str:
        """The line that parts two records, without its ends; empty if the separator is no line of its own."""
        inner = self.separator[1:-1]
        return inner if self.separator == f"\n{inner}\n" and inner.strip() and "\n" not in inner else ""

    def fitted(self, head: str) -> RecordFormat:
        """Returns the format for the text that begins with `head`: a separator that stands only in lines of its own is such a line."""
        if self.kind != "separator" or "\n" in self.separator:
            return self
        on_lines = len(re.findall(rf"^{re.escape(self.separator)}[ \t]*$", head, re.MULTILINE))
        return replace(self, separator=f"\n{self.separator}\n") if on_lines == head.count(self.separator) > 0 else self

    @property
    def words(self) -> str:
        """The kind in words, for a message."""
        names = {
            "lines": "lines",
            "blocks": "blocks between blank lines",
            "csv": "rows of CSV",
            "tsv": "rows of TSV",
            "jsonl": "JSON lines",
            "files": "files",
            "fortune": "texts between lines of %",
        }
        return names.get(self.kind, f"texts between '{escaped(self.separator)}'")


class RecordCutter:
    """Cuts a text that arrives in pieces. Records without a visible character are left out, as is the header."""

    def __init__(self, form: RecordFormat) -> None:
        self._form, self._rest, self._header = form, "", form.header
        self._quoted = QUOTED.get(form.kind)
        self._line = form.line
        self._last_line = re.compile(rf"(?:\A|\n){re.escape(form.line)}[ \t]*\Z")
        self._split: Callable[[str], list[str]]
        if form.kind == "blocks":
            self._split = BLANK_LINES.split
        elif self._line:
            self._split = re.compile(rf"^{re.escape(self._line)}[ \t]*\n", re.MULTILINE).split
        else:
            self._split = lambda text: text.split(form.separator)

    def push(self, piece: str) -> list[str]:
        """Returns the records that end in a piece. Raises `RecordTooLong`."""
        records: list[str] = []
        place = 0
        while place < len(piece):
            size = max(SLICE, len(self._rest))  # what is left of a long record is not searched many times
            records += self._push(piece[place : place + size])
            place += size
        return records

    def _push(self, piece: str) -> list[str]:
        text = self._rest + piece
        parts: list[str] = self._split(text)
        if self._quoted and '"' in text:
            parts = _rows(parts, self._quoted)
        self._rest = parts.pop()
        if len(self._rest) > LONGEST + len(self._form.separator):  # of which it may hold the beginning
            raise RecordTooLong(self._form.words, LONGEST)
        return self._used(parts)

    def finish(self) -> list[str]:
        """Returns what is left at the end of the text. Raises `RecordTooLong`."""
        if not self._quoted:
            return self._used([self._rest])
        *rows, begun = _rows([*self._rest.split("\n"), ""], self._quoted)
        return self._used([*rows, *begun.split("\n")])

    def _used(self, parts: list[str]) -> list[str]:
        if self._form.separator == "\n":
            records = list(filter(str.strip, parts))  # in less time than a loop
        else:
            if self._line:  # a last line of it may have no end
                parts = [self._last_line.sub("", part) for part in parts]
            parts = [part for part in parts if part and not part.isspace()]
            records = [BLANK_ENDS.sub("", part) if self._form.kind == "blocks" else part.strip("\n") for part in parts]
        if max(map(len, records), default=0) > LONGEST:
            raise RecordTooLong(self._form.words, LONGEST)
        if self._header and records:
            self._header = False
            del records[0]
        return records


def _rows(lines: list[str], quoted: re.Pattern[str]) -> list[str]:
    """Returns the rows of lines: one with a quoted cell that is not closed goes on in the next line, up to `ROW_LINES`.

    As in the csv module, a quotation mark opens a cell only at its beginning: ``10",Monitor`` is a whole row.
    """
    rows: list[str] = []
    begun: list[str] = []
    inside = False
    for line in lines[:-1]:
        if not begun and '"' not in line:
            rows.append(line)
            continue
        begun.append(line)
        inside = "" in quoted.findall(f'"{line}' if inside else line)
        if not inside or len(begun) == ROW_LINES:
            rows += begun if inside else ["\n".join(begun)]
            begun, inside = [], False
    return [*rows, "\n".join([*begun, lines[-1]])]


def chosen(text: str) -> RecordFormat | str | None:
    """Returns the format that the user names: `auto` itself, None for `none`, a kind, or else a separator, with C escapes."""
    if text == AUTO:
        return AUTO
    if text == NONE:
        return None
    if text in SEPARATORS:
        return RecordFormat.of_kind(text)
    must = f"one of {', '.join(CHOICES)}, or a separator of 1 to 100 characters"
    if text.isascii() and text.isalpha() and (alike := difflib.get_close_matches(text.lower(), CHOICES, 1, MISTYPED)):
        itself = f"\\x{ord(text[0]):02x}{text[1:]}"
        raise InvalidSetting("records", text, must, f"did you mean {alike[0]}? if it is the separator itself, write {itself}")
    try:
        separator = unescaped(text)
    except WrongEscape as error:
        error.param = "records"
        raise
    separator = separator.replace("\r\n", "\n").replace("\r", "\n")  # as in all texts
    if not 1 <= len(separator) <= 100 or re.search("[\ud800-\udfff]", separator):
        raise InvalidSetting("records", text, must)
    return RecordFormat(kind="separator", separator=separator)


# ── counting ─────────────────────────────────────────────────────────────────────────────────────────────────────────

EXACTLY = 2**18  # different records that are counted one by one; of more, a known share of them is
EXAMPLES = 3
EXAMPLE = 200  # characters


class RecordCounter:
    """Counts records that arrive in lists. Memory does not grow with their number.

    Of many different ones, only those are kept whose hash ends in zeros, as many as fit (adaptive sampling, Flajolet 1990).
    """

    def __init__(self, form: RecordFormat) -> None:
        self.form, self.count = form, 0
        self._lengths: Counter[int] = Counter()
        self._hashes: set[int] = set()
        self._zeros = 0
        self._examples: list[str] = []

    def add(self, records: list[str]) -> None:
        """Counts some records."""
        if not self.count:
            self._examples = [records[len(records) * index // EXAMPLES] for index in range(min(EXAMPLES, len(records)))]
        for start in range(0, len(records), SOME):
            self._add(records[start : start + SOME])

    def _add(self, records: list[str]) -> None:
        self.count += len(records)
        self._lengths.update(map(len, records))
        if not self._zeros:
            self._hashes.update(map(hash, records))
        else:
            mask = (1 << self._zeros) - 1
            self._hashes.update(each for each in map(hash, records) if not each & mask)
        while len(self._hashes) > EXACTLY:
            self._zeros += 1
            mask = (1 << self._zeros) - 1
            self._hashes = {each for each in self._hashes if not each & mask}

    def facts(self) -> dict[str, Any]:
        """Returns the format and what was counted, ready for JSON: `different` is an estimate if `estimated`."""
        return {
            **self.form.to_dict(),
            "count": self.count,
            "different": min(self.count, len(self._hashes) << self._zeros),
            "estimated": self._zeros > 0,
            "median": self._median(),
            "longest": max(self._lengths, default=0),
            "examples": [each if len(each) <= EXAMPLE else each[: EXAMPLE - 1] + "…" for each in self._examples],
        }

    def _median(self) -> int:
        """Returns the length of the record in the middle, in characters; of two, the shorter one's."""
        before = 0
        for length in sorted(self._lengths):
            before += self._lengths[length]
            if 2 * before >= self.count:
                return length
        return 0
