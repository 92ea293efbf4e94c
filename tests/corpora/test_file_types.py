"""Recognising by content: what is named for what it is, what becomes text, and what stays text."""

from __future__ import annotations

import sys
import sysconfig
import wave
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from sqlite_utils import Database

from corpora import open_source
from corpora.file_types import HEAD, declared_encoding, recognise
from model.errors import BinaryText, LockedFile, NothingToRead, SourceNotFound, UnsuitableFile

Text = Callable[..., str]
TABLES = "name,city\nAnna,Köln\n"
PLAIN = {
    "tale.txt": "The loom stood still.\n1 was its number.\n",
    "names.csv": TABLES,
    "a.jsonl": '{"text": "a"}\n{"text": "b"}\n',
    "chat.jsonl": '{"messages": [{"role": "user", "content": "hi"}]}\n',
    "a.json": '{"name": "x", "version": 1}',
    "a.md": "# A title\n\n<b>bold</b> words\n",
    "a.c": "#include <html.h>\nint main(void) { return 0; }\n",
    "log": "2024-01-05 10:11:12 GET / 200\n2024-01-05 10:11:13 GET / 200\n2024-01-05 10:11:14 GET / 200\n",
    "play": "ROMEO: It is my lady.\nJULIET: Ay me!\n",
    "recipe": "1\n2 eggs\n\n2\nflour\n",
    "xml": '<?xml version="1.0"?>\n<feed><p>text</p></feed>',
    "tex": "\\documentclass{article}\n",
    "elf": "ELF is a play.",
    "mz": "MZ, said she.",
}


@pytest.mark.parametrize("name", PLAIN)
def test_text_stays_text(name: str, tmp_path: Path, text_of: Text) -> None:
    (tmp_path / name).write_text(PLAIN[name], encoding="utf-8")
    assert text_of(tmp_path / name) == PLAIN[name]


def test_no_source_of_the_standard_library_is_anything_else() -> None:
    sources = Path(sysconfig.get_path("stdlib")).glob("*.py")
    assert [path.name for path in sources if recognise(path.read_bytes()[:HEAD], path.name)] == []


def _database(path: Path) -> None:
    database = Database(path)
    database["a"].insert({"b": 1})
    database.conn.close()


def _sound(path: Path) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(b"\0" * 99)


def _program(path: Path) -> None:
    path.write_bytes(Path(sys.executable).resolve().read_bytes()[: 2**16])


def _of(start: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(start + b"\0\1\2" * 99) and None


def _array(path: Path) -> None:
    with open(path, "wb") as file:
        np.save(file, np.zeros(3))


OTHERS: Mapping[str, tuple[Callable[[Path], None], str]] = {
    "JPEG": (
        _of(b"\xff\xd8\xff\xe0\0\x10JFIF"),
        "a JPEG picture; it holds no characters; recognise them first (OCR), for example with tesseract",
    ),
    "PNG": (_of(b"\x89PNG\r\n\x1a\n"), "a PNG picture; "),
    "WebP": (_of(b"RIFF\x99\0\0\0WEBPVP8 "), "a WebP picture; "),
    "MIDI": (_of(b"MThd\0\0\0\6"), "a MIDI file; write it as text first, for example in ABC notation (midi2abc FILE)"),
    "WAV": (_sound, "a WAV recording; write its words down first"),
    "MP4": (_of(b"\0\0\0\x18ftypisom"), "an MP4 film or recording; "),
    "MP3": (_of(b"ID3\4"), "an MP3 recording; "),
    "SQLite": (_database, "an SQLite database; write its text to a file first (sqlite3 FILE 'SELECT column FROM table' > text.txt)"),
    "program": (_program, "a program; give its source code, or another text"),
    "Windows": (_of(b"MZ\x90\0\3\0"), "a Windows program; "),
    "7z": (_of(b"7z\xbc\xaf\x27\x1c"), "packed with 7z; unpack it first (7z x FILE)"),
    "zstd": (_of(b"\x28\xb5\x2f\xfd"), "packed with zstd; unpack it first (unzstd FILE)"),
    "numpy": (_array, "a numpy array; write its text to a file first"),
    "Parquet": (_of(b"PAR1"), "a Parquet table; write its text to a file first, for example as JSON lines with pandas"),
    "doc": (
        _of(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"),
        "an Office file of the format before 2007, or one that is locked with a password; open it",
    ),
    "mobi": (_of(b"x" * 60 + b"BOOKMOBI"), "a Kindle book; convert it first (Calibre: ebook-convert FILE book.epub)"),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_something_else_is_named_with_its_own_next_step(kind: str, tmp_path: Path, text_of: Text) -> None:
    make, message = OTHERS[kind]
    make(tmp_path / "thing.txt")
    with pytest.raises(UnsuitableFile) as refusal:
        text_of(tmp_path / "thing.txt")
    assert str(refusal.value).startswith(f"{tmp_path}/thing.txt is {message}")


def test_in_a_folder_they_are_skipped_and_told(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg"):
        OTHERS["JPEG"][0](tmp_path / name)
    OTHERS["SQLite"][0](tmp_path / "c.db")
    (tmp_path / "d.txt").write_text("text")
    source = open_source(str(tmp_path))
    assert "".join(source.pieces()) == "text\n"
    assert [warning.partition(";")[0] for warning in source.report.warnings] == [
        "2 files were skipped, each of them a JPEG picture: a.jpg, b.jpg",
        "one file was skipped, an SQLite database: c.db",
    ]


# ── each cause its own next step ──


def _refusal(tmp_path: Path, text_of: Text, **options: str) -> str:
    with pytest.raises(NothingToRead) as refusal:
        text_of(tmp_path, **options)
    return str(refusal.value).removeprefix(str(tmp_path)).removeprefix(" has no text file")


def test_a_folder_of_packed_files(tmp_path: Path, text_of: Text) -> None:
    for name in ("a.gz", "b.gz"):
        (tmp_path / name).write_bytes(b"\x1f\x8b\x08" + b"\0" * 20)
    assert _refusal(tmp_path, text_of) == ": 2 files were skipped, each of them packed with gzip: a.gz, b.gz; unpack it first (gunzip FILE)"


def test_a_folder_of_another_encoding_or_of_nothing(tmp_path: Path, text_of: Text) -> None:
    assert _refusal(tmp_path, text_of) == "; give a text, or a folder or archive with some"
    (tmp_path / "a.txt").write_bytes("é".encode("latin-1"))
    assert _refusal(tmp_path, text_of, glob="*.md") == " that matches '*.md'; choose others with --glob"
    assert _refusal(tmp_path, text_of).endswith('a.txt; it seems to be cp1252 ("é") (choose with --encoding)')


def test_a_binary_file(tmp_path: Path, text_of: Text) -> None:
    (tmp_path / "a").write_bytes(b"\1\0\2")
    with pytest.raises(BinaryText):
        text_of(tmp_path / "a")
    assert _refusal(tmp_path, text_of) == ": one binary file was skipped: a; give text files or documents"


def test_a_locked_zip(tmp_path: Path, text_of: Text) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "secret")
    data = bytearray(path.read_bytes())
    for signature, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        data[data.index(signature) + flags] |= 1
    path.write_bytes(data)
    with pytest.raises(NothingToRead, match=r"one encrypted file was skipped: a\.txt; unpack it with its password \(7z x FILE\)"):
        text_of(path)


@pytest.mark.parametrize("what", ["name.txt", "Names.txt", "names.text", "sub/nmaes.txt"])
def test_a_wrong_name(what: str, tmp_path: Path, text_of: Text) -> None:
    folder = tmp_path / Path(what).parent
    folder.mkdir(exist_ok=True)
    for name in ("names.txt", "zebra.csv"):
        (folder / name).write_text("Anna")
    with pytest.raises(SourceNotFound, match=rf"did you mean {folder}/names\.txt\?$"):
        text_of(tmp_path / what)
    with pytest.raises(SourceNotFound, match=r"check the path or name$"):
        text_of(folder / "tale.md")
    with pytest.raises(SourceNotFound, match="did you mean shakespeare"):
        text_of("shakespear")


def test_a_pdf_that_is_locked(tmp_path: Path, text_of: Text) -> None:
    from pypdf import PdfWriter

    writer = PdfWriter()
    writer.add_blank_page(99, 99)
    writer.encrypt("secret", algorithm="RC4-128")
    writer.write(str(tmp_path / "a.pdf"))
    with pytest.raises(LockedFile, match="a PDF document that is locked with a password; open it with its password"):
        text_of(tmp_path / "a.pdf")


@pytest.mark.parametrize(
    ("head", "encoding"),
    [
        (b"<html><head><meta charset=euc-kr>", "cp949"),
        (b"<meta http-equiv='Content-Type' content='text/html; charset=iso-8859-1'>", "cp1252"),
        (b'<?xml version="1.0" encoding="Shift_JIS"?><html>', "cp932"),
        (b"\xef\xbb\xbf<meta charset=latin1>", None),
        (b"<meta charset=nonsense>", None),
        (b"<p>charset=latin1</p>", None),
    ],
)
def test_the_encoding_that_a_page_declares(head: bytes, encoding: str | None) -> None:
    assert declared_encoding(head) == encoding
