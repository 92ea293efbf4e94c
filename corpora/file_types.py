"""Recognises by its first bytes what a file is: text, a document that becomes text, or something else, with the next step for it."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass

HEAD = 4096  # bytes that are enough to recognise each type: a tar's header takes 512, the first lines of a chat a few hundred


@dataclass(frozen=True)
class FileType:
    """A type of file: `what` it is in a message (``a JPEG picture``), and the next `step` if it cannot be read.

    A document has a `reader` instead (a name in `corpora.documents.reader_process`), and words for `many` of it and for each `part`
    of it. If it is `decoded`, the reader gets its text in UTF-8, otherwise its bytes.
    """

    what: str
    step: str = ""
    reader: str = ""
    many: str = ""
    part: str = "paragraph"
    decoded: bool = False
    records: bool = False  # whether its parts are records; else they are prose
    packed: bool = False  # compressed, or an archive


# ── documents ────────────────────────────────────────────────────────────────────────────────────────────────────────

WORD = FileType("a Word document", many="Word documents", reader="docx")
OPEN_DOCUMENT = FileType("an OpenDocument text", many="OpenDocument texts", reader="odt")
EPUB = FileType("an EPUB book", many="EPUB books", reader="epub")
HTML = FileType("an HTML page", many="HTML pages", reader="html", decoded=True)
RTF = FileType("an RTF document", many="RTF documents", reader="rtf", part="line")
PDF = FileType("a PDF document", many="PDF documents", reader="pdf", part="page")
NOTEBOOK = FileType("a Jupyter notebook", many="Jupyter notebooks", reader="notebook", part="cell", decoded=True)
SUBTITLES = FileType("a file of subtitles", many="files of subtitles", reader="subtitles", part="subtitle", decoded=True)
WHATSAPP = FileType("a WhatsApp chat", many="WhatsApp chats", reader="whatsapp", part="message", decoded=True, records=True)
CHAT = FileType("a chat export in JSON", many="chat exports in JSON", reader="chat", part="message", decoded=True, records=True)
EXCEL = FileType("an Excel workbook", many="Excel workbooks", reader="xlsx", part="value", records=True)
CSV = FileType("a table", many="tables", reader="csv", part="value", decoded=True, records=True)  # only if a column of it is asked for
JSON_LINES = FileType("a file of JSON objects", many="files of JSON objects", reader="json_lines", part="value", decoded=True, records=True)
# A zip whose members tell which of the three it is; the reader looks at all of them.
OFFICE = FileType("an Office document", many="Office documents", reader="office")

NO_TABLE = "--field is for JSON objects, and --column for tables; leave it out here"  # the step if one is asked of another document

# ── the others ───────────────────────────────────────────────────────────────────────────────────────────────────────

_PICTURE = "it holds no characters; recognise them first (OCR), for example with tesseract"
_SOUND = "write its words down first, for example with whisper"
_PROGRAM = "give its source code, or another text"
_BINARY_DATA = "write its text to a file first, for example as JSON lines with pandas, and give that"


def _packed(name: str, step: str) -> FileType:
    return FileType(f"packed with {name}", step, packed=True)


GZIP = _packed("gzip", "unpack it first (gunzip FILE)")
ZIP = FileType("a zip archive", "unpack it first (unzip FILE)", packed=True)
TAR = FileType("a tar archive", "unpack it first (tar -xf FILE)", packed=True)
BZIP2 = _packed("bzip2", "unpack it first (bunzip2 FILE)")
XZ = _packed("xz", "unpack it first (unxz FILE)")
READABLE = (GZIP, ZIP, TAR, BZIP2, XZ)  # are unpacked if the user names the file itself
POWERPOINT = FileType("a PowerPoint presentation", "save it as PDF, and give that")
OPEN_SHEET = FileType("an OpenDocument spreadsheet", "save it as .xlsx or .csv, and give that with --column")
OPEN_SLIDES = FileType("an OpenDocument presentation", "save it as PDF, and give that")
OLD_OFFICE = FileType(
    "an Office file of the format before 2007, or one that is locked with a password",
    "open it, and save it without a password as .docx or .xlsx (soffice --convert-to docx FILE)",
)
_ARCHIVES = {
    b"7z\xbc\xaf\x27\x1c": _packed("7z", "unpack it first (7z x FILE)"),
    b"\x28\xb5\x2f\xfd": _packed("zstd", "unpack it first (unzstd FILE)"),
    b"Rar!\x1a\x07": _packed("rar", "unpack it first (unrar x FILE)"),
    b"\x04\x22\x4d\x18": _packed("lz4", "unpack it first (unlz4 FILE)"),
    b"\x1f\x8b\x08": GZIP,
    b"\xfd7zXZ\0": XZ,
    **{b"BZh%d" % level + magic: BZIP2 for level in range(1, 10) for magic in (b"1AY&SY", b"\x17rE8P\x90")},
}
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")  # the second is an empty one
_SIGNATURES = _ARCHIVES | {
    b"\xff\xd8\xff": FileType("a JPEG picture", _PICTURE),
    b"\x89PNG\r\n\x1a\n": FileType("a PNG picture", _PICTURE),
    b"GIF87a": FileType("a GIF picture", _PICTURE),
    b"GIF89a": FileType("a GIF picture", _PICTURE),
    b"II*\0": FileType("a TIFF picture", _PICTURE),
    b"MM\0*": FileType("a TIFF picture", _PICTURE),
    b"AT&TFORM": FileType("a DjVu document", "take its text out first (djvutxt FILE text.txt)"),
    b"MThd": FileType("a MIDI file", "write it as text first, for example in ABC notation (midi2abc FILE)"),
    b"ID3": FileType("an MP3 recording", _SOUND),
    b"OggS": FileType("an Ogg recording", _SOUND),
    b"fLaC": FileType("a FLAC recording", _SOUND),
    b"\x1aE\xdf\xa3": FileType("a Matroska film", _SOUND),
    b"SQLite format 3\0": FileType(
        "an SQLite database", "write its text to a file first (sqlite3 FILE 'SELECT column FROM table' > text.txt)"
    ),
    b"\x7fELF": FileType("a program", _PROGRAM),
    b"\xca\xfe\xba\xbe": FileType("a compiled program", _PROGRAM),
    b"\xcf\xfa\xed\xfe": FileType("a program", _PROGRAM),
    b"\0asm": FileType("a WebAssembly program", _PROGRAM),
    b"PAR1": FileType("a Parquet table", _BINARY_DATA),
    b"ARROW1": FileType("an Arrow table", _BINARY_DATA),
    b"\x89HDF\r\n\x1a\n": FileType("an HDF5 file", _BINARY_DATA),
    b"\x93NUMPY": FileType("a numpy array", _BINARY_DATA),
    b"GGUF": FileType("a language model in GGUF", "give the text that it should learn from"),
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": OLD_OFFICE,
}
_INSIDE = {  # that begin later: offset and bytes
    (8, b"WEBP"): FileType("a WebP picture", _PICTURE),
    (8, b"WAVE"): FileType("a WAV recording", _SOUND),
    (8, b"AVI "): FileType("an AVI film", _SOUND),
    (4, b"ftyphei"): FileType("an HEIC picture", _PICTURE),
    (4, b"ftyp"): FileType("an MP4 film or recording", _SOUND),
    (60, b"BOOKMOBI"): FileType("a Kindle book", "convert it first (Calibre: ebook-convert FILE book.epub)"),
    (257, b"ustar"): TAR,
}

_OPEN_DOCUMENTS = {
    b"application/vnd.oasis.opendocument.text": OPEN_DOCUMENT,
    b"application/vnd.oasis.opendocument.spreadsheet": OPEN_SHEET,
    b"application/vnd.oasis.opendocument.presentation": OPEN_SLIDES,
    b"application/epub+zip": EPUB,
}
_OFFICE_MEMBER = re.compile(rb"\[Content_Types\]\.xml|_rels/\.rels|docProps/\w+\.xml|(word|xl|ppt)/[\w./-]+\.(xml|rels)")
_BY_ENDING = {"docx": OFFICE, "docm": OFFICE, "xlsx": OFFICE, "xlsm": OFFICE, "pptx": OFFICE, "odt": OPEN_DOCUMENT, "epub": EPUB}

_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_HTML = re.compile(r"<(!doctype html|html)\b", re.IGNORECASE)
_TAG = re.compile(r"<(p|div|span|body|head|h[1-6]|ul|ol|li|table|a|br|meta|title|section|article|em|strong|b|i)\b[^<>]*>", re.IGNORECASE)
_SUBTITLE = re.compile(r"(WEBVTT\b|(\d+[ \t]*\n)?\d+:\d\d:\d\d[,.]\d{1,3} --> \d)")
MESSAGE = re.compile(  # of WhatsApp, whose dates follow the telephone's language
    r"\u200e?\[?(\d{1,4}[./-]\s?\d{1,2}[./-]\s?\d{1,4}\.?),? (\D{0,4}\d{1,2}[:.]\d\d([:.]\d\d)?([ \u202f\xa0]?[AaPp]\.? ?[Mm]\.?)?)"
    r"(\] | - )"
)
_CHARSET = re.compile(rb"<(?:\?xml|meta)[^<>]*?(?:charset|encoding)\s*+=\s*+[\"']?+\s*+([\w.:-]++)", re.IGNORECASE)
# What a page means that declares these (Encoding Standard, "Names and labels"); others mean what Python calls so.
_MEANT = {
    **dict.fromkeys(("iso-8859-1", "iso8859-1", "latin1", "latin-1", "us-ascii", "ascii"), "cp1252"),
    **dict.fromkeys(("euc-kr", "ks_c_5601-1987", "korean"), "cp949"),
    **dict.fromkeys(("shift_jis", "shift-jis", "sjis", "x-sjis"), "cp932"),
    **dict.fromkeys(("gb2312", "gbk", "x-gbk"), "gb18030"),
    **dict.fromkeys(("utf-16", "utf-16le", "utf-16be"), "utf-8"),
    "iso-8859-9": "cp1254",
}
# The keys that a JSON text begins with, in this order: Telegram's export of a chat, of all chats, and Discord's of two kinds.
_CHATS = (
    ("{", '"name":', '"type":', '"id":', '"messages":'),
    ("{", '"about":', '"chats":'),
    ("{", '"guild":', '"channel":'),
    ("[", '"ID":', '"Timestamp":', '"Contents":'),
)
_SPACE = re.compile(r"[ \t\n]++([:{\[\"])?")  # and the sign behind it, so that each run of it is read once
_NOTEBOOKS = (("{", '"cells":', '"cell_type":'), ("{", '"nbformat":', '"cells":'), ("{", '"metadata":', '"nbformat":'))


def recognise(head: bytes, name: str) -> FileType | None:
    """Returns the type of a file that begins with `head` (`HEAD` bytes, or all of them), None for plain text or something unknown.

    The name decides only between types that the bytes allow.
    """
    if head.startswith(_ZIP):
        return _zip_type(head, name)
    for magic, kind in _SIGNATURES.items():
        if head.startswith(magic):
            return kind
    for (offset, magic), kind in _INSIDE.items():
        if head.startswith(magic, offset) and b"\0" in head:
            return kind
    if head.startswith(b"MZ") and b"\0" in head[:64]:
        return FileType("a Windows program", _PROGRAM)
    if head[:2] in (b"\xff\xfb", b"\xff\xf3", b"\xff\xf2") and b"\0" in head:  # a frame of MPEG audio; \xff\xfe would be UTF-16
        return FileType("an MP3 recording", _SOUND)
    if b"%PDF-" in head[:1024]:
        return PDF
    if head.startswith(b"{\\rtf"):
        return RTF
    return _text_type(head, name)


def _ending(name: str) -> str:
    name = re.sub(r"(?i)\.(gz|bz2|xz)$", "", name)
    return name.rpartition(".")[2].lower() if "." in name else ""


def _zip_type(head: bytes, name: str) -> FileType:
    length = int.from_bytes(head[26:28], "little")
    member, content = head[30 : 30 + length], head[30 + length + int.from_bytes(head[28:30], "little") :]
    if member == b"mimetype":  # stored as it is, and the first, in OpenDocument and EPUB
        for mime, kind in _OPEN_DOCUMENTS.items():
            if content.startswith(mime):
                return kind
    if _OFFICE_MEMBER.fullmatch(member):
        return OFFICE
    return _BY_ENDING.get(_ending(name), ZIP)


def _text_type(head: bytes, name: str) -> FileType | None:
    encoding = next((each for mark, each in _MARKS if head.startswith(mark)), "utf-8")  # other encodings share its ASCII
    text = head.decode(encoding, "replace").lstrip("\ufeff \t\r\n").replace("\r\n", "\n").replace("\r", "\n")
    ending = _ending(name)
    if "\0" in text:
        return None
    if _HTML.match(_without_prolog(text)) or (ending in ("html", "htm", "xhtml") and _TAG.search(text)):
        return HTML
    if ending == "ipynb" or _has_keys(text, _NOTEBOOKS):
        return NOTEBOOK
    if _SUBTITLE.match(text):
        return SUBTITLES
    if _has_keys(text, _CHATS):
        return CHAT
    lines = text.split("\n")[:20]
    if sum(MESSAGE.match(line) is not None for line in lines) > max(1, len(lines) // 4):
        return WHATSAPP
    return None


def _without_prolog(text: str) -> str:
    """Returns the text behind an XML declaration and comments."""
    while text.startswith(("<?xml", "<!--")):
        text = text.partition("?>" if text.startswith("<?") else "-->")[2].lstrip()
    return text


def _has_keys(text: str, orders: tuple[tuple[str, ...], ...]) -> bool:
    """Returns whether a JSON text begins with one of the brackets and has the keys that follow it, in this order."""
    if not text.startswith(("{", "[")):
        return False
    compact = _SPACE.sub(lambda found: found[1] or found[0], text)
    for bracket, *keys in orders:
        place = 0 if compact.startswith(bracket) else -1
        for key in keys:
            place = compact.find(key, place) if place >= 0 else -1
        if place >= 0:
            return True
    return False


def declared_encoding(head: bytes) -> str | None:
    """Returns the encoding that an HTML page declares for itself, None if it has a byte order mark or declares none that is known."""
    found = _CHARSET.search(head)
    if not found or head.startswith(tuple(mark for mark, _ in _MARKS)):
        return None
    label = found[1].decode("ascii", "replace").lower()
    try:
        return codecs.lookup(_MEANT.get(label, label)).name
    except LookupError:
        return None
