"""HTML and EPUB as pandoc writes them, and what stands on real pages. tests/browser compares pages with a browser's own innerText."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from corpora import open_source
from corpora.documents.markup import read_epub, read_html
from model.errors import LockedFile

from .conftest import LINES, lines_of


@pytest.mark.parametrize(("form", "what"), [("html", "an HTML page"), ("epub", "an EPUB book")])
def test_the_text_is_what_was_written(form: str, what: str, written: Callable[[str], Path]) -> None:
    source = open_source(str(written(form)))
    assert lines_of("".join(source.pieces())) == LINES
    assert source.report.warnings == [f"tale.{form}: 10 paragraphs of {what}"]


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("<p>a<p>b", "a\n\nb"),
        ("<div>a</div><div>b<br>c<br></div>d", "a\nb\nc\nd"),
        ("a<b>b</b> <i> c</i>\n\n d", "ab c d"),
        ("<head><title>T</title><style>p {}</style><script>if (a < b) '<p>x'</script></head><p>text", "text"),
        ("<p>a</p><p hidden>b</p><div style='display: none'>c<p>d</div><template><p>e</template><p>f", "a\n\nf"),
        ("<ul><li hidden>a<li>b</ul>", "b"),
        ("<ul><li>a<li>b<ul><li>c</ul></ul>", "a\nb\nc"),
        ("<table><tr><th>a<th>b<tr><td> c <td><b>d</b></table>e", "a\tb\nc\td\ne"),
        ("<pre>a\n  b\n</pre>c", "a\n  b\nc"),
        ("&lt;b&gt; &amp;amp; &#8212; &nbsp;&eacute;", "<b> &amp; — \xa0é"),
        ("a<!-- <p>not -->b<![CDATA[x]]>", "ab"),
        ("word<a role='doc-noteref' href='#1'>1</a>, more", "word, more"),
        ("<img alt='x'><svg><text>no</text></svg>a<select><option>b</select>", "a"),
        ("", ""),
    ],
)
def test_what_stands_on_pages(page: str, text: str) -> None:
    assert "\n".join(read_html(io.BytesIO(page.encode()))) == text


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_blocks_do_not_matter(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    page = "<div>a <b>b</b>&amp;c</div><p>한국어 d<br>e</p><table><tr><td>f<td>g</table>"
    whole = list(read_html(io.BytesIO(page.encode())))
    monkeypatch.setattr("corpora.documents.markup.BLOCK", size)
    assert list(read_html(io.BytesIO(page.encode()))) == whole == ["a b&c", "", "한국어 d", "e", "", "f\tg"]


@pytest.mark.parametrize(
    ("data", "encoding"),
    [
        ("<meta charset=euc-kr><p>한국어".encode("cp949"), None),
        ("<meta charset=iso-8859-1><p>“naïve” – €".encode("cp1252"), None),
        ("<html><p>naïve 한국어".encode("utf-16"), None),
        ("<html><p>naïve".encode("cp1252"), "cp1252"),
        ("<!-- a comment --><!doctype html><p>naïve".encode(), None),
    ],
)
def test_encodings_of_pages(data: bytes, encoding: str | None, tmp_path: Path) -> None:
    (tmp_path / "a.html").write_bytes(data)
    text = "".join(open_source(str(tmp_path / "a.html"), encoding=encoding).pieces())
    assert text.strip() in ("한국어", "“naïve” – €", "naïve 한국어", "naïve")


def book(**more: str) -> io.BytesIO:
    """An EPUB whose spine has another order than its files, with a table of contents."""
    package = (
        '<package xmlns="http://www.idpf.org/2007/opf"><manifest>'
        '<item id="n" href="nav.xhtml" media-type="application/xhtml+xml" properties="nav"/>'
        '<item id="b" href="text/b%20b.xhtml" media-type="application/xhtml+xml"/>'
        '<item id="a" href="a.xhtml" media-type="application/xhtml+xml"/>'
        '<item id="c" href="c.css" media-type="text/css"/></manifest>'
        '<spine><itemref idref="n"/><itemref idref="b"/><itemref idref="a"/></spine></package>'
    )
    members = {
        "mimetype": "application/epub+zip",
        "META-INF/container.xml": '<container xmlns="c"><rootfiles><rootfile full-path="OPS/x.opf"/></rootfiles></container>',
        "OPS/x.opf": package,
        "OPS/nav.xhtml": "<p>contents</p>",
        "OPS/text/b b.xhtml": "<p>first</p>",
        "OPS/a.xhtml": "<p>second</p>",
    }
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in (members | more).items():
            archive.writestr(name, content)
    file.seek(0)
    return file


def test_chapters_come_in_the_order_of_the_book() -> None:
    assert list(read_epub(book())) == ["first", "", "second"]


def test_a_book_that_is_locked() -> None:
    lock = "<encryption xmlns='e'><EncryptedData><CipherData><CipherReference URI='OPS/{}'/></CipherData></EncryptedData></encryption>"
    assert list(read_epub(book(**{"META-INF/encryption.xml": lock.format("font.ttf")})))
    with pytest.raises(LockedFile):
        list(read_epub(book(**{"META-INF/encryption.xml": lock.format("a.xhtml")})))
