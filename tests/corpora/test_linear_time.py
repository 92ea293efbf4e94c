"""Every reader and detector takes a time that grows with the text alone, whatever the text: in the service others wait meanwhile."""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from corpora.decoding import decoded
from corpora.documents.markup import read_html
from corpora.documents.rtf import CELL, read_rtf
from corpora.documents.tables import read_csv, read_json_lines
from corpora.documents.transcripts import read_subtitles, read_whatsapp
from corpora.encodings import proposals
from corpora.file_types import declared_encoding, recognise
from corpora.naming import order, suggested_name
from corpora.record_detection import detected
from corpora.records import SEPARATORS, RecordCounter, RecordFormat, chosen
from model.errors import CharloomError

RUNS = (
    " ",
    "\t",
    "\n",
    "\r\n",
    '"',
    "'",
    "1",
    "a",
    "{",
    "[",
    "<",
    "\\",
    "\ufeff",
    "\0",
    "%",
    "-",
    "é",
    ".gz",
    "\u0301\u0316",
    "\n ",
    "\n\t\n",
    "a:",
    "{\\",
)
MIXED = (" 1", "1 ", " %", "\\'", '"\n', "%\n", "1.")  # a run of each of two or three characters stands behind a run of the others
SHORT, TIMES = 2_000, 4  # characters of a text, and of one that is so many times as long
AT_ONCE = 0.3  # seconds of processor time that tell nothing


def texts(size: int) -> Iterable[str]:
    """Texts of about `size` characters that are made of long runs."""
    for run in RUNS:
        yield run * (size // len(run))
        yield run * (size // len(run)) + "x"
    for run in MIXED:
        yield "".join(character * (size // len(run)) for character in run) + "x"


def consume(results: Iterable[Any]) -> None:
    for _ in results:
        pass


def detect(text: str) -> None:
    detected(text)
    detected("".join(f"a{row},{text}\n" for row in range(11)))  # a cell
    detected("name,number\n" + "".join(f"{row}{text[:20]},{row}\n" for row in range(20)) + f"last,{text}\n")


def cut(text: str) -> None:
    for name in (*SEPARATORS, "aa", "%", r"\n ", " "):
        form = chosen(name)
        assert isinstance(form, RecordFormat)
        counter = RecordCounter(form.fitted(text))
        for records in form.fitted(text).cut(text[start : start + 2000] for start in range(0, len(text), 2000)):
            counter.add(records)
        counter.facts()


def decode(text: str) -> None:
    for errors in ("replace", "skip"):
        consume(decoded(io.BytesIO(text.encode()), "a", errors=errors))


def recognise_all(text: str) -> None:
    for beginning in ("", "{", "[", '{"cells":', "<meta", "<meta charset", "<meta charset=", "<?xml", "<!--", "WEBVTT", "1:", "[1.1.20, "):
        data = f"{beginning}{text}".encode()
        recognise(data, "a.html")
        declared_encoding(data)


READERS: dict[str, Callable[[str], None]] = {
    "detected": detect,
    "cut": cut,
    "decoded": decode,
    "recognise": recognise_all,
    "proposals": lambda text: consume(proposals(f"é{text}".encode("latin-1", "replace"))),
    "naming": lambda text: consume((suggested_name(text), order(text))),
    "rtf": lambda text: consume(read_rtf(io.BytesIO(rf"{{\rtf1 a\par{text}}}".encode("latin-1", "replace")))),
    "cells of rtf": lambda text: consume(CELL.sub("", rf"\par{text * 10}")),
    "html": lambda text: consume(read_html(io.BytesIO(f"<p>a{text}".encode()))),
    "subtitles": lambda text: consume(read_subtitles(io.BytesIO(f"1\n0:0:01,000 --> 0:0:02,000\n{text}\n".encode()))),
    "whatsapp": lambda text: consume(read_whatsapp(io.BytesIO(f"1.1.20, 10:00 - A: <{text}".encode()))),
    "csv": lambda text: consume(read_csv(io.BytesIO(f"a,b\nc,d\n{text}".encode()), "a")),
    "json_lines": lambda text: consume(read_json_lines(io.BytesIO(f'{{"a": "{text!r}"}}\n'.encode()), "a")),
}


def seconds(read: Callable[[str], None], text: str) -> float:
    begun = time.process_time()
    with contextlib.suppress(CharloomError):
        read(text)
    return time.process_time() - begun


@pytest.mark.parametrize("reader", READERS)
def test_the_time_grows_with_the_length_alone(reader: str) -> None:
    read = READERS[reader]
    for short, long in zip(texts(SHORT), texts(TIMES * SHORT), strict=True):
        assert seconds(read, long) <= 2 * TIMES * seconds(read, short) + AT_ONCE, repr(short[:10] + short[-2:])
