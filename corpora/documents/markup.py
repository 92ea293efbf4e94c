"""Reads HTML, as pages and inside of EPUB books.

The text is that of `innerText` in a browser without style sheets (HTML Standard, "The innerText and outerText properties"): white space
collapses, a paragraph stands between empty lines, every other block on lines of its own, and cells of a table between tabs.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import BinaryIO

from corpora.documents.packages import Package

BLOCK = 64 * 1024  # characters that are parsed at once
# Elements whose content a browser does not show.
UNSEEN = frozenset(
    "title script style template noscript svg canvas audio video object iframe select datalist textarea meter progress noframes rp".split()
)
# Elements whose end tag may be left out: the next one of the same kind ends them (HTML Standard, "Optional tags").
ENDED_BY_NEXT = frozenset("p li dt dd td th tr option".split())
VOID = frozenset("area base br col embed hr img input link meta param source track wbr".split())
BLOCKS = frozenset(
    "address article aside blockquote body center dd details dialog dir div dl dt fieldset figcaption figure footer form h1 h2 h3 h4 h5 h6"
    " header hgroup hr html legend li listing main menu nav ol optgroup option p pre search section summary table caption ul xmp tr"
    " tbody thead tfoot".split()
)
_MARKS = frozenset(("doc-noteref", "doc-backlink", "noteref", "backlink"))  # Digital Publishing WAI-ARIA Module 1.1, EPUB 3
SPACE = re.compile(r"[ \t\n\r\f]+")


def read_html(file: BinaryIO) -> Iterator[str]:
    """Yields the lines of a page in UTF-8."""
    page = _Page()
    while data := file.read(BLOCK):
        page.feed(page.decode(data))
        yield from page.lines()
    page.close()
    yield from page.last_lines()


def read_epub(file: BinaryIO) -> Iterator[str]:
    """Yields the lines of a book's chapters, in their order. Raises `LockedFile` and `UnreadableDocument`."""
    package = Package(file, "an EPUB book")
    begun = False
    for chapter in package.chapters():
        with package.open(chapter) as content:
            lines = read_html(content)
            if (first := next(lines, None)) is not None:
                yield from ([""] if begun else [])
                begun = True
                yield first
                yield from lines


class _Page(HTMLParser):
    """Collects the lines of a page. `_breaks` is the number of line ends that the next text needs before it."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._lines: list[str] = []
        self._line: list[str] = []
        self._breaks = 0
        self._lines_begun = False  # whether a line is complete
        self._space = False  # whether white space was read that shows only if text follows in this line
        self._unseen: list[str] = []  # open elements from the first that is not shown
        self._preformatted = 0
        self._paragraph = False  # whether a paragraph is open
        self._cells = 0  # cells that this row has so far

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self._unseen == [tag] and tag in ENDED_BY_NEXT:
            self._unseen = []
        if self._unseen:
            if tag not in VOID:
                self._unseen.append(tag)
            return
        if tag in UNSEEN or any(_hides(name, value or "") for name, value in attrs):
            if tag not in VOID:
                self._unseen.append(tag)
            return
        if tag == "br":
            self._flush()
            self._end_line()
        elif tag in ("td", "th"):
            if self._cells:
                self._write("\t")
            self._cells += 1
        elif tag in BLOCKS:
            self._break(tag)
            self._paragraph = tag == "p"
            if tag == "tr":
                self._cells = 0
            if tag in ("pre", "listing", "xmp"):
                self._preformatted += 1

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if self._unseen:
            if tag in self._unseen:
                while self._unseen and self._unseen.pop() != tag:
                    pass
            return
        if tag in BLOCKS:
            self._break(tag)
            self._paragraph = False
            if tag in ("pre", "listing", "xmp"):
                self._preformatted = max(0, self._preformatted - 1)

    def handle_data(self, data: str) -> None:
        if self._unseen:
            return
        if self._preformatted:
            for number, line in enumerate(data.split("\n")):
                if number:
                    self._flush()
                    self._end_line()
                if line:
                    self._write(line)
            return
        if data[:1] in " \t\n\r\f" and data:
            self._space = True
        if text := SPACE.sub(" ", data).strip(" "):
            self._write(text)
            self._space = data[-1] in " \t\n\r\f"

    def _write(self, text: str) -> None:
        self._flush()
        if self._space and self._line and text != "\t":
            self._line.append(" ")
        self._space = False
        self._line.append(text)

    def _flush(self) -> None:
        """Ends lines as the blocks before the next text need it. A ``<br>`` at the end of a block has ended its line already."""
        if self._breaks:
            if self._line:
                self._end_line()
            if self._breaks == 2 and self._lines_begun:
                self._lines.append("")
            self._breaks, self._space = 0, False

    def _end_line(self) -> None:
        self._lines.append("".join(self._line))
        self._line, self._space, self._lines_begun = [], False, True

    def _break(self, tag: str) -> None:
        """Begins or ends a block; either also ends a paragraph without an end tag."""
        self._breaks = max(self._breaks, 2 if tag == "p" or self._paragraph else 1)

    def lines(self) -> Iterator[str]:
        """Yields the lines that are complete."""
        lines, self._lines = self._lines, []
        yield from lines

    def last_lines(self) -> Iterator[str]:
        """Yields what is left at the end of the page."""
        if self._line:
            self._end_line()
        yield from self.lines()


def _hides(attribute: str, value: str) -> bool:
    """Whether an attribute says that its element is not shown, or is the mark of a note and no word of the text."""
    if attribute in ("role", "epub:type"):
        return not _MARKS.isdisjoint(value.split())
    return attribute == "hidden" or (attribute == "style" and re.search(r"display\s*:\s*none", value) is not None)
