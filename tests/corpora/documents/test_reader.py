"""The process that reads documents: what it may take, what ends it, and that nothing but our errors leaves it."""

from __future__ import annotations

import functools
import gzip
import io
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpora import open_source, open_stream
from corpora.documents import reader
from corpora.documents.reader import Bounds, DocumentReader
from corpora.documents.reader_process import READERS, read_one
from corpora.file_types import EPUB, HTML, NOTEBOOK, OFFICE, OPEN_DOCUMENT, PDF, RTF, SUBTITLES, FileType
from model.errors import CharloomError, DocumentError, TextTooLarge, UnreadableDocument

from .conftest import LINES, lines_of
from .test_office import docx, paragraph

Pack = Callable[..., bytes]
Written = Callable[[str], Path]


@pytest.fixture
def documents() -> Iterator[DocumentReader]:
    with DocumentReader() as opened:
        yield opened


def test_one_process_reads_all_and_ends_with_the_reader() -> None:
    with DocumentReader() as documents:
        for text in ("one", "two", "three"):
            found = documents.read(docx(paragraph(text)), OFFICE, "a.docx")
            assert "".join(found.pieces()) == f"{text}\n"
            process = documents._process
            assert process
            assert process.poll() is None
        assert documents._process is process
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)


def test_no_process_for_plain_text(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(reader.subprocess, "Popen", None)
    (tmp_path / "a.txt").write_text("text")
    assert "".join(open_source(str(tmp_path / "a.txt")).pieces()) == "text"


def test_a_long_text_comes_whole(documents: DocumentReader) -> None:
    lines = [f"{number} 한국어 😀" for number in range(40_000)]  # more than one frame, and more than is kept in memory
    text = documents.read(io.BytesIO("<br>".join(lines).encode()), HTML, "a.html")
    assert "".join(text.pieces()) == "\n".join(lines) + "\n"


# ── what was made to harm ──


def test_a_bomb_of_one_long_word_ends_at_the_limit_of_memory() -> None:
    bomb = docx("<w:p><w:r><w:t>" + "a" * 20_000_000 + "</w:t></w:r></w:p>")
    with DocumentReader(Bounds(memory=30_000_000)) as documents:
        with pytest.raises(
            UnreadableDocument, match=r"^names\.docx is an Office document that cannot be read: that takes more than 30,000,000 "
        ):
            documents.read(bomb, OFFICE, "names.docx")
        assert "".join(documents.read(docx(paragraph("next")), OFFICE, "b.docx").pieces()) == "next\n"  # another process reads on


def test_a_bomb_of_many_words_ends_at_the_limit_of_text() -> None:
    bomb = docx(paragraph("a" * 1000) * 3000)
    with (
        DocumentReader(Bounds(ratio_from=10**6)) as documents,
        pytest.raises(UnreadableDocument, match=r"expands to more than .* a bomb does"),
    ):
        documents.read(bomb, OFFICE, "a.docx")


def test_a_long_one_ends_at_the_limit_of_time() -> None:
    page = io.BytesIO(b"<div>" * 3_000_000)
    with (
        DocumentReader(Bounds(seconds=0, seconds_per_megabyte=0)) as documents,
        pytest.raises(UnreadableDocument, match="of processor time"),
    ):
        documents.read(page, HTML, "a.html")


def test_a_process_that_is_killed_is_told(documents: DocumentReader) -> None:
    documents.read(docx(paragraph("one")), OFFICE, "a.docx").file.close()
    assert documents._process
    documents._process.send_signal(signal.SIGSTOP)
    os.kill(documents._process.pid, signal.SIGKILL)
    documents._process.wait()
    assert "".join(documents.read(docx(paragraph("two")), OFFICE, "b.docx").pieces()) == "two\n"


class Left(Exception):
    """The client has left."""


def test_a_reading_ends_at_once_if_its_user_waits_no_longer() -> None:
    running: list[subprocess.Popen[bytes] | None] = []

    def wait(answers: reader.Answers) -> None:
        running.append(documents._process)
        raise Left

    with DocumentReader(wait=wait) as documents:
        with pytest.raises(Left):
            documents.read(io.BytesIO(b"<div>" * 4_000_000), HTML, "a.html")
        [process] = running
        assert process
        assert process.returncode == -signal.SIGKILL


PARENT = """
import io, sys, time
from corpora.documents.reader import DocumentReader
from corpora.file_types import HTML

def wait(answers):
    print(documents._process.pid, flush=True)
    time.sleep(1000)

with DocumentReader(wait=wait) as documents:
    documents.read(io.BytesIO(b"<div>" * 8_000_000), HTML, "a.html")  # which takes its limit of seconds, 210
"""


def test_a_process_ends_with_its_parent_and_is_given_no_keys() -> None:
    environment = {**os.environ, "CHARLOOM_API_KEYS": "ann:a-secret", "PYTHONPATH": str(reader.PROJECT)}
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, env=environment) as parent:
        assert parent.stdout
        number = int(parent.stdout.readline())
        if sys.platform == "linux":
            assert b"a-secret" in Path(f"/proc/{parent.pid}/environ").read_bytes()
            assert b"CHARLOOM" not in Path(f"/proc/{number}/environ").read_bytes()
        parent.kill()
    deadline = time.monotonic() + 20
    while _runs(number):
        assert time.monotonic() < deadline, "it still reads"
        time.sleep(0.02)


def _runs(number: int) -> bool:
    """Whether a process runs; one that ended may wait for the system's first process to ask for its status."""
    try:
        os.kill(number, 0)
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


def test_memory_is_taken_once_in_proportion_and_before_it_is_used(written: Written) -> None:
    taken: list[int] = []
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        for number in range(3):
            file.writestr(f"{number}.docx", written("docx").read_bytes())
    archive.seek(0)
    source = open_stream(archive, "a.zip", take=taken.append)
    assert lines_of("".join(source.pieces())) == LINES * 3
    reading = Bounds().memory_for(len(written("docx").read_bytes()))
    assert taken.count(reading) == 1
    assert Bounds.memory_from < reading < Bounds.memory == Bounds().memory_for(10**6)

    def refuse(size: int) -> None:
        if size == reading:
            raise TextTooLarge("memory", size)

    with pytest.raises(TextTooLarge, match="memory"):
        list(open_stream(io.BytesIO(written("docx").read_bytes()), "a.docx", take=refuse).pieces())


def test_a_document_larger_than_the_limit(tmp_path: Path, written: Written) -> None:
    with pytest.raises(TextTooLarge):
        list(open_source(str(written("docx")), max_size=1000).pieces())


def test_the_disk_is_asked_before_a_file_grows(written: Written) -> None:
    asked: list[int] = []
    list(open_source(str(written("docx")), room=asked.append).pieces())
    assert sum(asked) >= written("docx").stat().st_size


# ── everywhere ──

NOTES = [
    "one file was skipped, a JPEG picture: e.jpg; it holds no characters; recognise them first (OCR), for example with tesseract",
    "a.docx: 9 paragraphs of a Word document",
    "b.html: 10 paragraphs of an HTML page",
]


@pytest.fixture
def mixed(written: Written) -> Mapping[str, bytes]:
    """Files of several kinds."""
    return {
        "a.docx": written("docx").read_bytes(),
        "b.html": written("html").read_bytes(),
        "c.txt": b"plain\n",
        "d.docx": written("docx").read_bytes()[:3000],
        "e.jpg": b"\xff\xd8\xff\xe0\0",
    }


@pytest.mark.parametrize("kind", ["folder", "zip", "tar", "tar.gz"])
def test_files_of_several_kinds(kind: str, mixed: Mapping[str, bytes], tmp_path: Path, zip_of: Pack, tar_of: Pack) -> None:
    path = tmp_path / "mixed"
    if kind == "folder":
        path.mkdir()
        for name, content in mixed.items():
            (path / name).write_bytes(content)
    else:
        data = zip_of(mixed) if kind == "zip" else tar_of(mixed)
        path.write_bytes(gzip.compress(data) if kind == "tar.gz" else data)
    source = open_source(str(path))
    assert lines_of("".join(source.pieces())) == [*LINES, *LINES, "plain"]
    damaged = "one document could not be read: d.docx is an Office document that cannot be read: it is damaged or incomplete;"
    assert source.report.warnings[1].startswith(damaged)
    assert [*source.report.warnings[:1], *source.report.warnings[2:]] == NOTES
    assert source.report.files == 3


def test_packed_and_from_a_url(written: Written, serve: Callable[..., str], answer: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "tale.docx.gz").write_bytes(gzip.compress(written("docx").read_bytes()))
    assert lines_of("".join(open_source(str(tmp_path / "tale.docx.gz")).pieces())) == LINES
    url = serve({"/tale": answer(written("odt").read_bytes())})
    assert lines_of("".join(open_source(f"{url}/tale").pieces())) == LINES


def test_many_documents_are_told_as_one_fact(tmp_path: Path, written: Written) -> None:
    for number in range(3):
        (tmp_path / f"{number}.rtf").write_bytes(written("rtf").read_bytes())
    source = open_source(str(tmp_path))
    list(source.pieces())
    assert source.report.warnings == ["3 RTF documents, 0.rtf the first: 30 lines"]


# ── damage ──

KINDS: Mapping[str, FileType] = {"docx": OFFICE, "odt": OPEN_DOCUMENT, "epub": EPUB, "html": HTML, "rtf": RTF, "ipynb": NOTEBOOK}


@functools.cache
def _frames(kind: FileType, data: bytes) -> list[bytes]:
    """The letters of the frames that reading gives, in this process."""
    stream = io.BytesIO()
    asked = {"reader": kind.reader, "what": kind.what, "column": None, "field": None}
    read_one(io.BytesIO(data), asked, stream)
    frames, data = [], stream.getvalue()
    while data:
        frames.append(data[:1])
        data = data[5 + int.from_bytes(data[1:5], "big") :]
    return frames


@pytest.mark.parametrize("form", KINDS)
@settings(max_examples=25)
@given(data=st.data())
def test_no_damage_makes_anything_but_our_errors(form: str, data: st.DataObject, written: Written) -> None:
    whole = bytearray(written(form).read_bytes())
    for _ in range(data.draw(st.integers(1, 5))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.one_of(st.just(len(whole)), st.integers(0, len(whole))))
    assert _frames(KINDS[form], bytes(whole[:cut]))[-1] in (b"D", b"E")


@pytest.mark.parametrize("kind", [OFFICE, OPEN_DOCUMENT, EPUB, HTML, RTF, PDF, NOTEBOOK, SUBTITLES], ids=lambda kind: kind.reader)
@given(data=st.binary(max_size=300))
@settings(max_examples=20)
def test_nor_do_any_bytes(kind: FileType, data: bytes) -> None:
    assert _frames(kind, data)[-1] in (b"D", b"E")


def test_an_error_crosses_the_process_whole(documents: DocumentReader) -> None:
    for error in DocumentError.__subclasses__():
        assert issubclass(error, CharloomError)
    with pytest.raises(UnreadableDocument) as refusal:
        documents.read(io.BytesIO(b"PK\3\4"), OFFICE, "a.docx")
    told = "a.docx is an Office document that cannot be read: it is damaged or incomplete; save its text as .txt, and give that"
    assert str(refusal.value) == told


def test_each_type_has_its_reader() -> None:
    from corpora import file_types

    named = {each.reader for each in vars(file_types).values() if isinstance(each, FileType) and each.reader}
    assert named - {"docx", "xlsx"} == READERS.keys()  # these two are told apart inside of `office`


def test_no_library_is_loaded_by_the_process_that_asks(written: Written) -> None:
    script = (
        "import sys, corpora; list(corpora.open_source(sys.argv[1]).pieces());"
        "sys.exit(sorted({'pypdf', 'openpyxl', 'striprtf'} & sys.modules.keys()) or 0)"
    )
    root = Path(__file__).resolve().parents[3]
    subprocess.run([sys.executable, "-c", script, str(written("rtf"))], cwd=root, check=True)
