"""Word and OpenDocument as pandoc writes them, and what only other programs write, built by hand."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from xml.sax.saxutils import escape

import pytest

from corpora import open_source
from corpora.documents.office import read_docx, read_odt
from model.errors import LockedFile, UnreadableDocument

from .conftest import LINES, lines_of

W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main" xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006"'
RELATIONS = (
    '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="rId1" '
    'Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument" Target="{}"/></Relationships>'
)


def zipped(**members: str) -> io.BytesIO:
    """A zip of members, with ``__`` for a slash and ``_dot_`` for a dot in their names."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "/").replace("_dot_", "."), content)
    file.seek(0)
    return file


def docx(body: str, **parts: str) -> io.BytesIO:
    """A Word document of the smallest kind."""
    document = f"<w:document {W}><w:body>{body}</w:body></w:document>"
    return zipped(
        **{"[Content_Types].xml": "<Types/>", "_rels/.rels": RELATIONS.format("word/document.xml"), "word/document.xml": document} | parts
    )


def paragraph(text: str) -> str:
    """A paragraph of a Word document."""
    return f"<w:p><w:r><w:t>{escape(text)}</w:t></w:r></w:p>"


def odt(body: str, manifest: str = "") -> io.BytesIO:
    """An OpenDocument text of the smallest kind."""
    names = " ".join(f'xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"' for name in ("office", "text", "table", "manifest"))
    content = f"<office:document-content {names}><office:body><office:text>{body}</office:text></office:body></office:document-content>"
    return zipped(**{"content.xml": content, "META-INF/manifest.xml": f"<manifest:manifest {names}>{manifest}</manifest:manifest>"})


@pytest.mark.parametrize(("form", "note"), [("docx", "of a Word document"), ("odt", "of an OpenDocument text")])
def test_the_text_is_what_was_written(form: str, note: str, written: Callable[[str], Path]) -> None:
    source = open_source(str(written(form)))
    assert lines_of("".join(source.pieces())) == LINES
    assert source.report.warnings == [f"tale.{form}: 9 paragraphs {note}"]


@pytest.mark.parametrize(
    ("body", "paragraphs"),
    [
        ("<w:p><w:r><w:t>a</w:t></w:r></w:p><w:p/><w:p><w:r><w:t>b</w:t></w:r></w:p>", ["a", "", "b"]),
        # Tracked changes: what was put in is text, what was deleted or moved away is not.
        ("<w:p><w:ins><w:r><w:t>new</w:t></w:r></w:ins><w:del><w:r><w:delText>old</w:delText></w:r></w:del></w:p>", ["new"]),
        ("<w:p><w:moveFrom><w:r><w:t>away</w:t></w:r></w:moveFrom><w:r><w:t>here</w:t></w:r></w:p>", ["here"]),
        # Fields: the result, not the instruction. Content controls and smart tags wrap text.
        ("<w:p><w:r><w:instrText>PAGE</w:instrText></w:r><w:sdt><w:sdtContent><w:r><w:t>7</w:t></w:r></w:sdtContent></w:sdt></w:p>", ["7"]),
        ("<w:p><w:smartTag><w:r><w:t>Ulm</w:t></w:r></w:smartTag></w:p>", ["Ulm"]),
        # A text box is written twice, for two generations of programs.
        (
            (
                "<w:p><w:r><mc:AlternateContent><mc:Choice><w:txbxContent><w:p><w:r><w:t>box</w:t></w:r></w:p></w:txbxContent></mc:Choice>"
                "<mc:Fallback><w:txbxContent><w:p><w:r><w:t>box</w:t></w:r></w:p></w:txbxContent></mc:Fallback></mc:AlternateContent></w:r>"
                "<w:r><w:t>around</w:t></w:r></w:p>"
            ),
            ["box", "around"],
        ),
        (
            (
                "<w:p><w:r><w:rPr><w:vanish/></w:rPr><w:t>hidden</w:t></w:r>"
                "<w:r><w:rPr><w:vanish w:val='0'/></w:rPr><w:t>seen</w:t></w:r></w:p>"
            ),
            ["seen"],
        ),
        # A tab in the text, and one that is a property of the paragraph; a line break, and one of the page
        ("<w:p><w:pPr><w:tabs><w:tab/></w:tabs></w:pPr><w:r><w:t>a</w:t><w:tab/><w:t>b</w:t><w:br/><w:t>c</w:t></w:r></w:p>", ["a\tb\nc"]),
        ("<w:p><w:r><w:t>a</w:t><w:br w:type='page'/></w:r></w:p>", ["a"]),
        ("<w:p><w:r><w:t xml:space='preserve'> a  b </w:t></w:r></w:p>", [" a  b "]),
        (
            (
                "<w:tbl><w:tr><w:tc><w:p><w:r><w:t>a</w:t></w:r></w:p><w:p><w:r><w:t>b</w:t></w:r></w:p></w:tc><w:tc><w:p><w:r><w:t>c</w:t></w:r></w:p></w:tc>"
                "<w:tc><w:p/></w:tc></w:tr></w:tbl>"
            ),
            ["a b\tc"],
        ),
    ],
)
def test_what_word_writes(body: str, paragraphs: list[str]) -> None:
    assert list(read_docx(docx(body))) == paragraphs


def test_notes_stand_at_the_end() -> None:
    notes = (
        f"<w:footnotes {W}><w:footnote w:type='separator'><w:p><w:r><w:t>-</w:t></w:r></w:p></w:footnote>"
        "<w:footnote w:id='2'><w:p><w:r><w:t xml:space='preserve'> note</w:t></w:r></w:p></w:footnote></w:footnotes>"
    )
    body = "<w:p><w:r><w:t>text</w:t><w:footnoteReference w:id='2'/></w:r></w:p>"
    assert list(read_docx(docx(body, **{"word/footnotes.xml": notes}))) == ["text", "note"]


@pytest.mark.parametrize(
    ("body", "paragraphs"),
    [
        ("<text:p> a\n b <text:span>c</text:span></text:p>", ["a b c"]),
        ("<text:h>a</text:h><text:p/><text:p>b<text:s text:c='3'/>c<text:tab/>d<text:line-break/>e</text:p>", ["a", "", "b   c\td\ne"]),
        ("<text:tracked-changes><text:p>old</text:p></text:tracked-changes><text:p>new</text:p>", ["new"]),
        ("<text:p>a<office:annotation><text:p>comment</text:p></office:annotation></text:p>", ["a"]),
        (
            (
                "<text:p>a<text:note><text:note-citation>1</text:note-citation><text:note-body><text:p>note</text:p></text:note-body></text:note></text:p>"
                "<text:p>b</text:p>"
            ),
            ["a", "b", "note"],
        ),
        ("<text:list><text:list-item><text:p>one</text:p></text:list-item></text:list>", ["one"]),
        (
            (
                "<table:table><table:table-row><table:table-cell><text:p>a</text:p></table:table-cell><table:table-cell><text:p>b</text:p>"
                "</table:table-cell></table:table-row></table:table>"
            ),
            ["a\tb"],
        ),
    ],
)
def test_what_libreoffice_writes(body: str, paragraphs: list[str]) -> None:
    assert list(read_odt(odt(body))) == paragraphs


def test_a_locked_and_a_damaged_one() -> None:
    with pytest.raises(LockedFile):
        list(read_odt(odt("", "<manifest:file-entry><manifest:encryption-data/></manifest:file-entry>")))
    with pytest.raises(UnreadableDocument, match="it is damaged"):
        list(read_docx(io.BytesIO(b"PK\3\4 and no more")))
    with pytest.raises(UnreadableDocument, match=r"part word/document\.xml is missing"):
        list(read_docx(zipped(**{"_rels/.rels": RELATIONS.format("word/document.xml")})))


@pytest.mark.parametrize("make", [docx, odt])
def test_an_entity_is_refused_before_it_expands(make: Callable[[str], io.BytesIO]) -> None:
    bomb = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;">]><x>&b;</x>'
    with zipfile.ZipFile(make(""), "r") as archive:
        members = {name: archive.read(name).decode() for name in archive.namelist()}
    main = "content.xml" if "content.xml" in members else "word/document.xml"
    with pytest.raises(ValueError, match="declares entities"):
        list((read_odt if main == "content.xml" else read_docx)(zipped(**members | {main: bomb})))
