"""Decodes bytes to text: finds the encoding, decodes block by block, makes every line end LF, and reports the exact place of an error.

The encoding is UTF-8 unless a byte order mark says UTF-16 or UTF-32, or the caller names one. The result can always be written as
UTF-8 again: zero characters and lone surrogates are refused.
"""

from __future__ import annotations

import codecs
import io
from collections.abc import Generator
from typing import Protocol

from model.errors import BinaryText, UndecodableText, UnknownEncoding

BLOCK = 256 * 1024  # bytes that are read and decoded at once: a quarter of a piece, so that four make one

_MARKS = (  # UTF-32 first: its little-endian mark begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_NOT_FOR_FILES = {"idna", "punycode", "undefined", "unicode-escape", "raw-unicode-escape"}


class Readable(Protocol):
    """A stream of bytes: only `read` is used."""

    def read(self, size: int, /) -> bytes:
        """Returns at most `size` bytes; none only at the end."""
        ...


def check_encoding(encoding: str | None) -> None:
    """Raises `UnknownEncoding` unless `encoding` is None or a text encoding that Python knows."""
    if encoding is not None:
        _codec_name(encoding)


def decoded(stream: Readable, origin: str, encoding: str | None = None) -> Generator[str, None, None]:
    """Yields the text of a stream with LF line ends and without a byte order mark, about one `BLOCK` at a time, no empty piece.

    `origin` names the stream in errors. Raises `UnknownEncoding`, and `BinaryText` or `UndecodableText` with the offset in the
    original bytes. A zero byte is reported before an undecodable one of the same block, since it tells the user more.
    """
    data = read_exactly(stream, BLOCK)
    codec = _codec_of(data, encoding)
    decoder = codecs.getincrementaldecoder(codec)()
    line_ends = io.IncrementalNewlineDecoder(None, translate=True)
    started = final = False
    offset = 0
    while not final:
        final = not data
        text = _decoded_block(decoder, data, final, offset, origin, codec)
        if text and not started:
            text = text.removeprefix("\ufeff")
            started = True
        text = line_ends.decode(text, final)
        if text:
            yield text
        offset += len(data)
        data = b"" if final else read_exactly(stream, BLOCK)


def read_exactly(stream: Readable, size: int) -> bytes:
    """Returns the next `size` bytes, fewer only at the end of the stream: a pipe may give them in any portions."""
    parts: list[bytes] = []
    missing = size
    while missing and (part := stream.read(missing)):
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)


def _codec_name(encoding: str) -> str:
    try:
        name = codecs.lookup(encoding).name
        io.TextIOWrapper(io.BytesIO(), encoding=name).close()  # refuses codecs that do not make text, such as base64
    except (LookupError, ValueError):
        raise UnknownEncoding(encoding) from None
    if name in _NOT_FOR_FILES:
        raise UnknownEncoding(encoding)
    return name


def _codec_of(head: bytes, encoding: str | None) -> str:
    marked = next((codec for mark, codec in _MARKS if head.startswith(mark)), None)
    if encoding is None:
        return marked or "utf-8"
    name = _codec_name(encoding)
    if name in ("utf-16", "utf-32"):  # the mark decides; without one little-endian, as nearly all machines write it
        return marked if marked and marked.startswith(name) else f"{name}-le"
    return "utf-8" if name == "utf-8-sig" else name


def _decoded_block(decoder: codecs.IncrementalDecoder, data: bytes, final: bool, offset: int, origin: str, codec: str) -> str:
    unicode_codec = codec.startswith(("utf-8", "utf-16", "utf-32"))
    if not codec.startswith(("utf-16", "utf-32")) and (zero := data.find(0)) >= 0:
        raise BinaryText(origin, offset + zero)
    before = decoder.getstate()
    try:
        text = decoder.decode(data, final)
    except UnicodeDecodeError as error:
        # The decoder may have kept bytes of the block before: the object's end is the block's end, its start may not be.
        position = offset + len(data) - (len(error.object) - error.start)
        raise UndecodableText(origin, position, codec, error.object[error.start]) from None
    except UnicodeError:  # an escape sequence of ISO 2022 that never ends
        raise UndecodableText(origin, offset - len(before[0]), codec) from None
    if "\0" in text or not (unicode_codec or _is_clean(text)):
        decoder.setstate(before)
        raise _refusal(decoder, data, offset - len(before[0]), offset, origin, codec)
    return text


def _is_clean(text: str) -> bool:
    try:
        text.encode()  # fails for a lone surrogate, which UTF-7 lets through
    except UnicodeEncodeError:
        return False
    return True


def _refusal(
    decoder: codecs.IncrementalDecoder, data: bytes, start: int, offset: int, origin: str, codec: str
) -> BinaryText | UndecodableText:
    """Decodes byte by byte to find the start of the forbidden character; `start` is that of the pending character."""
    for i in range(len(data)):
        text = decoder.decode(data[i : i + 1])
        if "\0" in text:
            return BinaryText(origin, start)
        if not _is_clean(text):
            break
        if text:
            start = offset + i + 1
    return UndecodableText(origin, start, codec)
