"""Decodes bytes to text: finds the encoding, decodes block by block, makes every line end LF, and reports the exact place of an error.

The encoding is UTF-8 unless a byte order mark says UTF-16 or UTF-32, the caller names one, or `auto` finds the likeliest. The result can
always be written as UTF-8 again: zero characters and lone surrogates are refused, or replaced if the caller asks for it. A byte order
mark inside the text is dropped. `DecodingNotes` has what was guessed, replaced and dropped.
"""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Protocol

from corpora.encodings import Guesses, Proposal
from model.errors import BinaryText, InvalidSetting, UndecodableText, UnknownEncoding, ZeroCharacters

BLOCK = 256 * 1024  # bytes that are read and decoded at once: a quarter of a piece, so that four make one
AHEAD = 3 * BLOCK  # bytes that are read behind the first one that is not UTF-8, to find the encoding
AUTO = "auto"
ERRORS = ("strict", "replace", "skip")

_MARKS = (  # UTF-32 first: its little-endian mark begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_WIDE = ("utf-16", "utf-32")
_NOT_FOR_FILES = {"idna", "punycode", "undefined", "unicode-escape", "raw-unicode-escape"}
_ISO_2022 = (b"\x1b$@", b"\x1b$B", b"\x1b$(", b"\x1b$)")  # begin East Asian characters written in ASCII
_MARK = "\ufeff"
_UNDECODABLE = "\udfff"  # stands for bytes that cannot be decoded until they are counted: no decoder returns it
_BAD = re.compile("[\0\ud800-\udfff]")
_WAITING, _MOST_WAITING = 16, 2**20  # bytes of an unended row of UTF-7's that wait to be decoded: few, and more than a text has
_LINES = 3  # of the lines with something wrong, the first ones are named
# Of a block. With more zero bytes, or bad places, it is not a text, or not in this encoding: a small picture has more.
_FEW_ZEROS, _ZEROS_IN = 3, 1000
_MOST_CONTROLS = 0.25  # of a block of UTF-8 with stray zero characters: UTF-16 of any script has more zero or control bytes
_CONTROLS = bytes({*range(32), 127} - {*b"\n\r"})
_FEW_BAD, _BAD_IN = 10, 10

codecs.register_error("charloom-undecodable", lambda error: (_UNDECODABLE, error.end if isinstance(error, UnicodeDecodeError) else 0))


class Readable(Protocol):
    """A stream of bytes: only `read` is used."""

    def read(self, size: int, /) -> bytes:
        """Returns at most `size` bytes; none only at the end."""
        ...


@dataclass
class Occurrences:
    """Occurrences in a text, counted; the first few lines are kept."""

    count: int = 0
    lines: list[int] = field(default_factory=list)  # counted from 1

    def add(self, text: str, found: re.Pattern[str], before: int) -> None:
        """Counts what is found in a piece of text that follows `before` line ends."""
        line, place = before + 1, 0
        for match in found.finditer(text):
            self.count += 1
            if len(self.lines) < _LINES:
                line += text.count("\n", place, match.start())
                place = match.start()
                if line not in self.lines:
                    self.lines.append(line)


@dataclass
class DecodingNotes:
    """What decoding one text had to guess, replace or drop."""

    guess: Proposal | None = None  # the encoding that was taken for the likeliest
    left_out: bool = False  # whether bad places were left out, and not replaced
    bad: Occurrences = field(default_factory=Occurrences)  # that could not be decoded, or are zero characters
    marks: Occurrences = field(default_factory=Occurrences)  # byte order marks inside the text
    instead: list[Proposal] = field(default_factory=list)  # encodings that may fit better than the one with bad places


def check_encoding(encoding: str | None, errors: str = "strict") -> None:
    """Raises `UnknownEncoding` unless `encoding` is None, `auto` or a text encoding that Python knows, and `InvalidSetting`."""
    if encoding not in (None, AUTO):
        _codec_name(str(encoding))
    if errors not in ERRORS:
        raise InvalidSetting("errors", errors, "strict, replace or skip")


def decoded(
    stream: Readable,
    origin: str,
    encoding: str | None = None,
    errors: str = "strict",
    notes: DecodingNotes | None = None,
    guesses: Guesses | None = None,
) -> Generator[str, None, None]:
    """Yields the text of a stream with LF line ends and without byte order marks, about one `BLOCK` at a time, no empty piece.

    `origin` names the stream in errors. `errors` says what becomes of bytes that cannot be decoded: `replace` reads U+FFFD in their
    places, `skip` nothing. `notes` is filled, and `guesses` is shared with the other files of a folder. Raises `UnknownEncoding`, and
    `BinaryText` or `UndecodableText` with line and offset in the original bytes. A zero byte is reported before an undecodable one of the
    same block, since it tells the user more.
    """
    reading = _Reading(stream, origin, encoding, errors, notes or DecodingNotes(), guesses or Guesses())
    while not reading.ended:
        if text := reading.next_text():
            yield text


def read_exactly(stream: Readable, size: int) -> bytes:
    """Returns the next `size` bytes, fewer only at the end of the stream: a pipe may give them in any portions."""
    parts: list[bytes] = []
    missing = size
    while missing and (part := stream.read(missing)):
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)


class _Reading:
    """One text while it is decoded."""

    def __init__(self, stream: Readable, origin: str, encoding: str | None, errors: str, notes: DecodingNotes, guesses: Guesses) -> None:
        self.stream, self.origin, self.errors, self.notes, self.guesses = stream, origin, errors, notes, guesses
        notes.left_out = errors == "skip"
        self.data = read_exactly(stream, BLOCK)
        self.ahead = b""  # was read behind `data`
        self.guessing = encoding == AUTO
        self.named = encoding not in (None, AUTO)
        self.marked = not self.named and _mark_of(self.data) is not None
        self.line_ends = io.IncrementalNewlineDecoder(None, translate=True)
        self.offset, self.lines = 0, 0  # bytes before `data`, and line ends in what was returned
        self.foreign = self.started = self.ended = False  # foreign: whether something that is not ASCII was decoded
        self._use(_codec_of(self.data, encoding if self.named else None))

    def next_text(self) -> str:
        """Returns the text of the next block; possibly none of it."""
        self.ended = not self.data
        text = self._block()
        if text and not self.started:
            text = text.removeprefix(_MARK)
            self.started = True
        text = self._cleaned(self.line_ends.decode(text, self.ended))
        self.foreign = self.foreign or not text.isascii()
        self.lines += text.count("\n")
        self.offset += len(self.data)
        if not self.ended:
            self.data, self.ahead = self.ahead[:BLOCK] or read_exactly(self.stream, BLOCK), self.ahead[BLOCK:]
        return text

    def _use(self, codec: str) -> None:
        self.codec, self.wide = codec, codec.startswith(_WIDE)
        self.decoder = codecs.getincrementaldecoder(codec)()

    # ── decoding ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _block(self) -> str:
        """Decodes `data`. Raises `BinaryText` and `UndecodableText`, unless another encoding is found, or bad places are replaced."""
        before = self.decoder.getstate()
        if len(before[0]) > _MOST_WAITING:
            raise UndecodableText(self.origin, self.offset - len(before[0]), self.codec, line=1 + self.lines)
        if not self.wide and (zero := self.data.find(0)) >= 0 and not self._few_zeros():
            if self._has_stray_zeros(before[0]):
                if self.errors == "strict":
                    raise self._zeros(self.offset + zero, (before[0] + self.data).decode("utf-8", "replace"))
            elif not self.offset and (wide := [each for each in self._proposals(b"", 0) if each.encoding.startswith(_WIDE)]):
                return self._other(b"", wide, zero, 0, self.data[:zero])
            else:
                raise BinaryText(self.origin, self.offset + zero)
        if self._shifts() and (found := self._proposals(b"")) and found[0].encoding.startswith("iso2022"):
            place = self.data.index(b"\x1b")
            return self._other(b"", found, place, 0x1B, self.data[:place])
        try:
            text = self.decoder.decode(self.data, self.ended)
        except UnicodeDecodeError as error:
            # The decoder may have kept bytes of the block before: the object's end is the block's end, its start may not be.
            place = len(self.data) - (len(error.object) - error.start)
            return self._undecodable(before, place, error.object[error.start], error.object[: error.start])
        except UnicodeError:  # an escape sequence of ISO 2022 that never ends
            return self._undecodable(before, -len(before[0]), None, b"")
        unclean = "\0" in text or not (self.wide or self.codec.startswith("utf-8") or _is_clean(text))
        if unclean and self.errors == "strict":
            self.decoder.setstate(before)
            raise self._refusal(before[0], text)
        return text

    def _few_zeros(self) -> bool:
        """Whether zero bytes are so few that the caller, who wants to get past bad places, may mean them."""
        return self.errors != "strict" and self.data.count(0) <= max(_FEW_ZEROS, len(self.data) // _ZEROS_IN)

    def _has_stray_zeros(self, pending: bytes) -> bool:
        """Whether the block is UTF-8 with zero characters here and there, and not UTF-16 or binary."""
        controls = len(self.data) - len(self.data.translate(None, _CONTROLS))
        if self.codec != "utf-8" or controls > _MOST_CONTROLS * len(self.data):
            return False
        try:
            codecs.getincrementaldecoder("utf-8")().decode(pending + self.data.replace(b"\0", b""), self.ended)
        except UnicodeDecodeError:
            return False
        return True

    def _zeros(self, offset: int, text: str) -> ZeroCharacters:
        """Returns the refusal of the zero characters of a block, which reads as `text`; the first stands at `offset`."""
        found = Occurrences()
        found.add(self.line_ends.decode(text), re.compile("\0"), self.lines)
        return ZeroCharacters(self.origin, offset, found.count, found.lines, more=len(self.data) == BLOCK)

    def _shifts(self) -> bool:
        """Whether the block may be of ISO 2022, which writes other characters in ASCII."""
        return not (self.named or self.foreign) and self.data.isascii() and any(shift in self.data for shift in _ISO_2022)

    def _proposals(self, pending: bytes, ahead: int = AHEAD) -> list[Proposal]:
        """Returns encodings, other than the one that was tried, that fit what follows; up to `ahead` bytes more are read for that."""
        if not self.ahead and not self.ended:
            self.ahead = read_exactly(self.stream, ahead)
        return self.guesses.proposals(pending + self.data + self.ahead, self.codec, whole=len(self.ahead) < ahead)

    def _undecodable(self, before: tuple[bytes, int], place: int, byte: int | None, good: bytes) -> str:
        """Decodes the block with the encoding that is likelier, or without what is bad; else raises `UndecodableText`.

        `before` is the state of the decoder, `good` are the bytes that could be decoded with it.
        """
        pending = before[0]
        damaged = self.marked or (self.codec == "utf-8" and (self.foreign or _is_damaged_utf8(pending + self.data)))
        found = [] if damaged or (self.notes.bad.count and not self.guessing) else self._proposals(pending)
        if self.guessing and self.notes.guess is None and found:
            return self._other(pending, found, place, byte, good)
        if self.errors == "strict":
            raise UndecodableText(self.origin, self.offset + place, self.codec, byte, self._line(good), found, damaged=damaged)
        decoder = codecs.getincrementaldecoder(self.codec)("charloom-undecodable")
        decoder.setstate(before)
        try:
            text = decoder.decode(self.data, self.ended)
        except UnicodeError:
            raise UndecodableText(self.origin, self.offset + place, self.codec, byte, self._line(good), found) from None
        self.decoder.setstate(decoder.getstate())
        if (bad := text.count(_UNDECODABLE)) > max(_FEW_BAD, len(text) // _BAD_IN):
            found = found or self._proposals(pending)
            raise UndecodableText(self.origin, self.offset + place, self.codec, byte, self._line(good), found, share=bad / len(text))
        self.notes.instead = self.notes.instead or found
        return text

    def _other(self, pending: bytes, found: list[Proposal], place: int, byte: int | None, good: bytes) -> str:
        """Goes on with the likeliest encoding if the caller said `auto`; else raises `UndecodableText`."""
        if not self.guessing:
            raise UndecodableText(self.origin, self.offset + place, self.codec, byte, self._line(good), found)
        self.notes.guess, self.named = found[0], True
        self.data, self.offset = pending + self.data, self.offset - len(pending)
        self._use(found[0].encoding)
        return self._block()

    def _line(self, good: bytes) -> int:
        """Returns the number of the line, counted from 1, that follows these bytes of the block."""
        text = codecs.getincrementaldecoder(self.codec)("ignore").decode(good)
        return 1 + self.lines + self.line_ends.decode(text, True).count("\n")

    def _refusal(self, pending: bytes, whole: str) -> BinaryText | UndecodableText:
        """Decodes byte by byte to find the start of the forbidden character in `whole`; `pending` are bytes of the block before."""
        start = -len(pending)
        i = -1
        while i + 1 < len(self.data):
            step = 1 + len(self.decoder.getstate()[0]) // _WAITING  # UTF-7 reads what waits again each time
            text = self.decoder.decode(self.data[i + 1 : i + 1 + step])
            i = min(i + step, len(self.data) - 1)
            if "\0" in text:
                few = whole.count("\0") <= _MOST_CONTROLS * len(whole)
                return self._zeros(self.offset + start, whole) if few else BinaryText(self.origin, self.offset + start)
            if not _is_clean(text):
                break
            if text:
                start = i + 1
        return UndecodableText(self.origin, self.offset + start, self.codec, line=self._line(pending + self.data[: max(0, start)]))

    def _cleaned(self, text: str) -> str:
        """Replaces what could not be decoded and drops byte order marks, and notes both."""
        if self.errors != "strict" and _BAD.search(text):
            self.notes.bad.add(text, _BAD, self.lines)
            text = _BAD.sub("\ufffd" if self.errors == "replace" else "", text)
        if _MARK in text:
            self.notes.marks.add(text, re.compile(_MARK), self.lines)
            text = text.replace(_MARK, "")
        return text


def _codec_name(encoding: str) -> str:
    try:
        name = codecs.lookup(encoding).name
        io.TextIOWrapper(io.BytesIO(), encoding=name).close()  # refuses codecs that do not make text, such as base64
    except (LookupError, ValueError):
        raise UnknownEncoding(encoding) from None
    if name in _NOT_FOR_FILES:
        raise UnknownEncoding(encoding)
    return name


def _mark_of(head: bytes) -> str | None:
    """Returns the wide encoding whose byte order mark stands at the beginning."""
    return next((codec for mark, codec in _MARKS if head.startswith(mark)), None)


def _codec_of(head: bytes, encoding: str | None) -> str:
    marked = _mark_of(head)
    if encoding is None:
        return marked or "utf-8"
    name = _codec_name(encoding)
    if name in _WIDE:  # the mark decides; without one little-endian, as nearly all machines write it
        return marked if marked and marked.startswith(name) else f"{name}-le"
    return "utf-8" if name == "utf-8-sig" else name


def _is_damaged_utf8(data: bytes) -> bool:
    """Whether bytes that are not UTF-8 have more characters of it, outside of ASCII, than bad places."""
    text = data.decode("utf-8", "charloom-undecodable")
    bad = text.count(_UNDECODABLE)
    return len(re.sub(r"[\x00-\x7f]+", "", text)) - bad > bad


def _is_clean(text: str) -> bool:
    try:
        text.encode()  # fails for a lone surrogate, which UTF-7 lets through
    except UnicodeEncodeError:
        return False
    return True
