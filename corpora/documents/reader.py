"""Has documents read by a process of its own, and keeps what they say until it is complete."""

from __future__ import annotations

import codecs
import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from corpora import file_types
from corpora.decoding import BLOCK, Readable, read_exactly
from corpora.documents.reader_process import MEMORY_TAKEN, RECORD
from corpora.file_types import FileType
from model.errors import DocumentError, UnreadableDocument, UnsuitableFile

PROJECT = Path(__file__).resolve().parents[2]  # what the process imports from
IN_MEMORY = 2**20  # bytes of a document's text that are kept in memory; more go to a temporary file
# Variables that Python and the system's libraries read, beside those that begin with PYTHON. The process reads what strangers made: it is
# given nothing else, and so no key.
VARIABLES = frozenset(("LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"))

Answers = Callable[[float | None], bool]  # waits at most that many seconds; whether the process has answered, or ended


def wait_for(answers: Answers) -> None:
    """Waits until the process answers."""
    answers(None)


@dataclass(frozen=True)
class Bounds:
    """What reading documents may take. A PDF of 260 pages with 400 kB of text took 2.2 s and 37 MB (measured with pypdf 7.1)."""

    memory: int = 112 * 2**20  # bytes, of the process that reads, at most
    memory_from: int = 40 * 2**20  # bytes for the smallest document: Python itself and openpyxl take less than 30 MiB ...
    memory_ratio: int = 100  # ... and for each of its bytes, which may be packed
    seconds: float = 10.0  # of processor time, for each document ...
    seconds_per_megabyte: float = 5.0  # ... and for each of its megabytes
    size: int = 2**32  # bytes of a document, and of its text
    ratio: int = 100  # of a document's text to its bytes, from `ratio_from` bytes of text on: more is a bomb
    ratio_from: int = 2**28

    def memory_for(self, size: int) -> int:
        """Returns the bytes of memory that a document of that size may take."""
        return min(self.memory, self.memory_from + self.memory_ratio * size)


@dataclass
class DocumentText:
    """What a document says: its `parts` (paragraphs, pages, messages), and how many `empty` ones were left out."""

    type: FileType
    parts: int
    empty: int
    multiline: bool  # whether any of its records has several lines, so that an empty line must part them
    blank: bool  # ... and any of those an empty line itself, so that they cannot be told apart
    file: IO[bytes]

    @property
    def records(self) -> str:
        """The kind of its records (`corpora.records.SEPARATORS`); empty if it is prose, or they cannot be told apart."""
        if not self.type.records or self.blank:
            return ""
        return "blocks" if self.multiline else "lines"

    def read(self, size: int, /) -> bytes:
        """Returns the next bytes of the text in UTF-8."""
        return self.file.read(size)

    def pieces(self) -> Iterator[str]:
        """Yields the text, and closes its file."""
        decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        separator = "\n\n" if self.multiline else "\n"
        with self.file:
            self.file.seek(0)
            while data := self.file.read(BLOCK):
                if text := decode(data).replace(RECORD, separator):
                    yield text


class _Pipe:
    """What the process answers, as a stream that waits in the way of its user."""

    def __init__(self, process: subprocess.Popen[bytes], wait: Callable[[Answers], None]) -> None:
        assert process.stdout
        self._file, self._wait, self._poll = process.stdout, wait, select.poll()
        self._poll.register(self._file, select.POLLIN)

    def _answers(self, seconds: float | None) -> bool:
        return bool(self._poll.poll(None if seconds is None else 1000 * seconds))

    def read(self, size: int, /) -> bytes:
        """Returns the next bytes, at most `size`; none once the process has ended."""
        if not self._answers(0):
            self._wait(self._answers)
        return self._file.read(size)


class DocumentReader:
    """Reads documents one after the other, all in one process, which starts with the first of them. Not thread-safe."""

    def __init__(
        self,
        bounds: Bounds = Bounds(),
        column: str | None = None,
        field: str | None = None,
        scratch: str | None = None,
        take: Callable[[int], None] = lambda size: None,
        room: Callable[[int], object] | None = None,
        wait: Callable[[Answers], None] = wait_for,
    ) -> None:
        """Of tables only a `column` is read, of JSON objects a `field`.

        `scratch` is the folder for temporary files, `take(bytes)` is called before memory is used, and `room(bytes)` before a file grows.
        `wait(answers)` is called if the process has not answered yet: it calls `answers` until that is true, and may raise.
        """
        self.bounds, self._column, self._field = bounds, column, field
        self._scratch, self._take, self._room, self._wait = scratch, take, room, wait
        self._memory = 0  # bytes that were taken for the process
        self._file: IO[bytes] | None = None  # the bytes of the document
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> DocumentReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()
        if self._file:
            self._file.close()
            self._file = None

    def type_of(self, head: bytes, name: str) -> FileType | None:
        """Returns the type of a file that begins with `head`, None if it is plain text. Raises `UnsuitableFile` if it cannot be read."""
        kind = file_types.recognise(head, name)
        if kind is None or kind.decoded:
            if self._column is not None:
                return file_types.CSV
            return file_types.JSON_LINES if self._field is not None else kind
        if not kind.reader:
            raise UnsuitableFile(name, kind.what, kind.step)
        if self._field is not None or (self._column is not None and kind is not file_types.OFFICE):
            raise UnsuitableFile(name, kind.what, file_types.NO_TABLE)
        return kind

    def read(self, stream: Readable, kind: FileType, name: str) -> DocumentText:
        """Returns what the document in `stream` says.

        Raises the kinds of `DocumentError`, and what `stream` raises.
        """
        size = self._copy(stream, kind, name)
        if (more := self.bounds.memory_for(size) - self._memory) > 0:
            self._take(more)
            self._memory += more
        seconds = self.bounds.seconds + self.bounds.seconds_per_megabyte * size / 1e6
        process = self._started()
        asked: dict[str, Any] = {"reader": kind.reader, "what": kind.what, "column": self._column, "field": self._field}
        asked |= {"seconds": seconds, "memory": self._memory}
        text: IO[bytes] = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY, dir=self._scratch)  # noqa: SIM115
        with contextlib.ExitStack() as on_failure:
            on_failure.callback(text.close)
            on_failure.callback(self._end)
            try:
                assert process.stdin
                process.stdin.write(json.dumps(asked).encode() + b"\n")
                process.stdin.flush()
            except OSError:
                raise self._failure(process, kind, name, seconds) from None
            answer = self._answer(process, text, kind, name, seconds, size)
            on_failure.pop_all()
        counted = getattr(file_types, answer["type"]) if answer["type"] else kind
        return DocumentText(counted, answer["parts"], answer["empty"], answer["multiline"], answer["blank"], text)

    def _copy(self, stream: Readable, kind: FileType, name: str) -> int:
        """Copies the document to the file that the process reads; returns its size."""
        if self._file is None:
            self._file = tempfile.TemporaryFile(dir=self._scratch)  # noqa: SIM115
        self._file.seek(0)
        self._file.truncate()
        size = 0
        while data := stream.read(BLOCK):
            size += len(data)
            if size > self.bounds.size:
                raise UnreadableDocument(name, kind.what, f"it is larger than {self.bounds.size:,} bytes, the limit")
            self._grow(len(data))
            self._file.write(data)
        self._file.flush()
        return size

    def _grow(self, size: int) -> None:
        if self._room:
            self._room(size)

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process and self._process.poll() is not None:
            self._end()
        if self._process is None:
            assert self._file
            environment = {name: value for name, value in os.environ.items() if name.startswith("PYTHON") or name in VARIABLES}
            environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(PROJECT), os.environ.get("PYTHONPATH")]))
            number = self._file.fileno()
            self._process = subprocess.Popen(
                [sys.executable, "-B", "-W", "ignore", "-m", "corpora.documents.reader_process", str(number), str(self.bounds.memory)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                bufsize=0,  # a buffer could hold an answer that `selectors` does not see
                stderr=subprocess.DEVNULL,
                env=environment,
                pass_fds=(number,),
                process_group=0,  # Ctrl-C reaches the parent alone, which ends this one
            )
        return self._process

    def _answer(
        self, process: subprocess.Popen[bytes], text: IO[bytes], kind: FileType, name: str, seconds: float, packed: int
    ) -> dict[str, Any]:
        """Keeps the text that comes; returns the counts at its end."""
        pipe, size = _Pipe(process, self._wait), 0
        while len(head := read_exactly(pipe, 5)) == 5:
            content = read_exactly(pipe, int.from_bytes(head[1:], "big"))
            if head[:1] == b"T":
                size += len(content)
                if size > self.bounds.size or (size > self.bounds.ratio_from and size > self.bounds.ratio * packed):
                    raise UnreadableDocument(name, kind.what, f"it expands to more than {size:,} bytes, as a bomb does")
                self._grow(len(content))
                text.write(content)
            elif head[:1] == b"D":
                counts: dict[str, Any] = json.loads(content)
                return counts
            else:
                error, *facts = json.loads(content)
                raise next(each for each in DocumentError.__subclasses__() if each.__name__ == error)(name, *facts)
        raise self._failure(process, kind, name, seconds)

    def _failure(self, process: subprocess.Popen[bytes], kind: FileType, name: str, seconds: float) -> UnreadableDocument:
        status = process.wait()
        if status == MEMORY_TAKEN:
            why = f"that takes more than {self._memory:,} bytes of memory, the limit"
        elif hasattr(signal, "SIGXCPU") and status == -signal.SIGXCPU:
            why = f"that takes more than {seconds:.0f} seconds of processor time, the limit"
        else:
            why = f"the process that read it ended with status {status}; it is damaged, or takes more memory than it may"
        return UnreadableDocument(name, kind.what, why)

    def _end(self) -> None:
        """Ends the process, if it runs."""
        if self._process:
            process, self._process = self._process, None
            process.kill()
            for stream in (process.stdin, process.stdout):
                if stream:
                    with contextlib.suppress(OSError):
                        stream.close()
            process.wait()
