"""Runs as a process of its own that reads documents: ``python -m corpora.documents.reader_process FILE MEMORY``.

Its limits on memory and processor time stop what was made to harm, and what breaks a reader breaks nothing else. It reads the open
file of the number FILE again and again: for each line of JSON on standard input one document. It answers with frames: a letter, four
bytes for the length, and text in UTF-8 (`T`), the counts of a document that is complete (`D`), or an error (`E`), both in JSON.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import math
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Any, BinaryIO

from corpora.records import BLANK_LINES
from model.errors import DocumentError, NoTextInside, UnreadableDocument, UnsuitableFile

RECORD = "\x1e"  # stands between records until it is known whether any of them has several lines
FRAME = 64 * 1024  # characters of text that are sent at once
STACK = 2**18  # bytes for the thread that waits: the system's 8 MB count as memory
NICENESS = 10  # beside a process at 0 about a tenth of a core, so that answers come as quickly as ever

Parts = Iterator[str]


def _office(file: BinaryIO, asked: dict[str, Any]) -> Parts:
    from corpora import file_types
    from corpora.documents import office, tables
    from corpora.documents.packages import Package

    main = Package(file, "an Office document").main_part()
    file.seek(0)
    if main.startswith("ppt/"):
        raise UnsuitableFile("", file_types.POWERPOINT.what, file_types.POWERPOINT.step)
    if main.startswith("xl/"):
        asked["type"] = "EXCEL"
        return tables.read_xlsx(file, asked["column"])
    if asked["column"] is not None:
        raise UnsuitableFile("", file_types.WORD.what, file_types.NO_TABLE)
    asked["type"] = "WORD"
    return office.read_docx(file)


def _transcript(file: BinaryIO, asked: dict[str, Any]) -> Parts:
    from corpora.documents import transcripts

    read = {"subtitles": transcripts.read_subtitles, "whatsapp": transcripts.read_whatsapp, "chat": transcripts.read_chat}
    return read[asked["reader"]](file)


def _table(file: BinaryIO, asked: dict[str, Any]) -> Parts:
    from corpora.documents import tables

    return tables.read_csv(file, asked["column"]) if asked["reader"] == "csv" else tables.read_json_lines(file, asked["field"])


def _text_of(module: str, reader: str) -> Callable[[BinaryIO, dict[str, Any]], Parts]:
    """Returns a reader that needs nothing but the file. Its module is imported when it is called: most processes need one of them."""

    def read(file: BinaryIO, asked: dict[str, Any]) -> Parts:
        found: Parts = getattr(importlib.import_module(f"corpora.documents.{module}"), reader)(file)
        return found

    return read


# Each reader, and what stands between the parts that it yields.
READERS: dict[str, tuple[Callable[[BinaryIO, dict[str, Any]], Parts], str]] = {
    "office": (_office, "\n"),
    "odt": (_text_of("office", "read_odt"), "\n"),
    "epub": (_text_of("markup", "read_epub"), "\n"),
    "html": (_text_of("markup", "read_html"), "\n"),
    "rtf": (_text_of("rtf", "read_rtf"), "\n"),
    "pdf": (_text_of("pdf", "read_pdf"), "\n"),
    "notebook": (_text_of("notebooks", "read_notebook"), "\n\n"),
    "subtitles": (_transcript, RECORD),
    "whatsapp": (_transcript, RECORD),
    "chat": (_transcript, RECORD),
    "csv": (_table, RECORD),
    "json_lines": (_table, RECORD),
}


class _Output:
    """Sends the parts of one document, and counts them."""

    def __init__(self, stream: BinaryIO, separator: str) -> None:
        self.stream, self.separator = stream, separator
        self.parts = self.empty = 0
        self.multiline = self.blank = self.begun = False
        self._waiting: list[str] = []
        self._size = 0

    def add(self, part: str) -> None:
        """Sends a part; of records, an empty one is left out and counted."""
        part = part.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "").replace(RECORD, "")
        if self.separator == RECORD:
            part = part.strip("\n")
            self.multiline = self.multiline or "\n" in part
            self.blank = self.blank or BLANK_LINES.search(part) is not None
        if part.strip():
            self.parts += 1
        elif self.separator == RECORD:
            self.empty += 1
            return
        self._waiting += [self.separator, part] if self.begun else [part]
        self.begun = True
        self._size += len(part) + 1
        if self._size >= FRAME:
            self.flush()

    def end(self) -> None:
        """Sends the rest, with a line end."""
        self._waiting.append("\n")
        self.flush()

    def flush(self) -> None:
        """Sends what waits."""
        send(self.stream, b"T", "".join(self._waiting).encode("utf-8", "replace"))
        self._waiting, self._size = [], 0


def send(stream: BinaryIO, letter: bytes, content: bytes) -> None:
    """Sends a frame."""
    stream.write(letter + len(content).to_bytes(4, "big") + content)
    stream.flush()


def read_one(file: BinaryIO, asked: dict[str, Any], stream: BinaryIO) -> None:
    """Sends what one document says, or an error."""
    read, separator = READERS[asked["reader"]]
    output = _Output(stream, separator)
    try:
        parts = read(file, asked)
        if asked.get("type") == "EXCEL":
            output.separator = RECORD
        for part in parts:
            output.add(part)
        if not output.parts:
            raise NoTextInside("", asked["what"])
        output.end()
        counts = {"type": asked.get("type"), "parts": output.parts, "empty": output.empty}
        counts |= {"multiline": output.multiline, "blank": output.blank}
        send(stream, b"D", json.dumps(counts).encode())
    except DocumentError as error:
        send(stream, b"E", json.dumps([type(error).__name__, *error.facts]).encode())
    except (MemoryError, OSError):
        raise
    except Exception as error:  # a reader meets anything in a damaged file
        why = f"it is damaged or incomplete ({str(error)[:200] or type(error).__name__})"
        send(stream, b"E", json.dumps([UnreadableDocument.__name__, asked["what"], why]).encode())


def limit(memory: int) -> None:
    """Limits what this process may take."""
    with contextlib.suppress(ImportError, OSError, ValueError):  # Windows has no such limits, macOS not all
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # it writes nothing
        resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    with contextlib.suppress(OSError, AttributeError):
        os.nice(NICENESS)


def allow(seconds: float, memory: int) -> None:
    """Gives this process that much more processor time, after which the system ends it, and that much memory in all."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_CPU)
        resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(time.process_time() + seconds), most))
        _, most = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (memory, most))


def receive(lines: SimpleQueue[bytes]) -> None:
    """Passes on the lines of standard input; at its end, which comes with that of the parent, it ends this process at once."""
    with open(sys.stdin.fileno(), "rb", buffering=0, closefd=False) as stream:  # Python cannot end while a thread holds a buffer
        while line := stream.readline():
            lines.put(line)
    os._exit(1)


def main() -> None:
    """Reads documents until standard input ends."""
    limit(int(sys.argv[2]))
    sys.modules["numpy"] = None  # type: ignore[assignment]  # openpyxl would load it for nothing, with tens of megabytes
    lines: SimpleQueue[bytes] = SimpleQueue()
    threading.stack_size(STACK)
    threading.Thread(target=receive, args=(lines,), daemon=True).start()
    with open(int(sys.argv[1]), "rb") as file:
        while True:
            asked = json.loads(lines.get())
            allow(asked["seconds"], asked["memory"])
            file.seek(0)
            try:
                read_one(file, asked, sys.stdout.buffer)
            except MemoryError:
                os._exit(MEMORY_TAKEN)


MEMORY_TAKEN = 77  # the exit status that tells it; none of Python's own

if __name__ == "__main__":
    main()
