"""Subtitles and chats in the forms of their programs. The examples are written after the programs' own documentation."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from corpora import open_source

SRT = """\
1
00:00:01,000 --> 00:00:02,500
<i>The loom</i>
stood {\\an8}still.

2
00:00:03,000 --> 00:00:04,000
- Why? & how?

"""
VTT = """\
WEBVTT - a title

STYLE
::cue { color: red }

NOTE a remark
of two lines

intro
00:01.000 --> 00:02.500 align:start
<v Anna>The <c.loud>loom</c> stood

1
01:00:03.000 --> 01:00:04.000
Is 1 &lt; 2?
"""
ANDROID = """\
24/12/2023, 18:05 - Messages and calls are end-to-end encrypted.
24/12/2023, 18:05 - Anna: Hello: you
24/12/2023, 18:06 - Bo Müller: two
lines
25/12/2023, 9:07 pm - Anna: <Media omitted>
25/12/2023, 18:08 - Anna: bye
"""
IOS = """\
\u200e[12/24/23, 6:05:01\u202fPM] Anna: \u200eMessages and calls are end-to-end encrypted.
[12/24/23, 6:05:02\u202fPM] Anna: Hello
\u200e[12/24/23, 6:06:00\u202fPM] Bo: \u200eimage omitted
[12/24/23, 6:07:00\u202fPM] Bo: no
"""
TELEGRAM = {
    "name": "Anna",
    "type": "personal_chat",
    "id": 1,
    "messages": [
        {"id": 1, "type": "service", "action": "create_group", "text": ""},
        {"id": 2, "type": "message", "from": "Anna", "text": "Hello"},
        {"id": 3, "type": "message", "from": "Bo", "text": ["see ", {"type": "link", "text": "x.org"}, "!"]},
    ],
}
DISCORD = {
    "guild": {"id": "1", "name": "g"},
    "channel": {"id": "2", "name": "c"},
    "messages": [
        {"id": "3", "content": "Hello", "author": {"name": "anna", "nickname": "Anna"}},
        {"id": "4", "content": "", "author": {"name": "bo"}},
        {"id": "5", "content": "yes", "author": {"name": "bo"}},
    ],
}
PACKAGE = [{"ID": 1, "Timestamp": "2024-01-01 00:00:00", "Contents": "Hello", "Attachments": ""}]


@pytest.mark.parametrize(
    ("name", "content", "text", "note"),
    [
        ("a.srt", SRT, "The loom stood still.\n- Why? & how?\n", "2 subtitles of a file of subtitles"),
        ("a.vtt", VTT, "The loom stood\nIs 1 < 2?\n", "2 subtitles of a file of subtitles"),
        (
            "chat.txt",
            ANDROID,
            "Anna: Hello: you\n\nBo Müller: two\nlines\n\nAnna: bye\n",
            "3 messages of a WhatsApp chat (2 without text were left out)",
        ),
        ("_chat.txt", IOS, "Anna: Hello\nBo: no\n", "2 messages of a WhatsApp chat (2 without"),
        ("result.json", TELEGRAM, "Anna: Hello\nBo: see x.org!\n", "2 messages of a chat export in JSON (1 without text was left out)"),
        (
            "all.json",
            {"about": "x", "chats": {"about": "y", "list": [TELEGRAM]}},
            "Anna: Hello\nBo: see x.org!\n",
            "2 messages of a chat export",
        ),
        ("channel.json", DISCORD, "Anna: Hello\nbo: yes\n", "2 messages of a chat export"),
        ("messages.json", PACKAGE, "Hello\n", "1 message of a chat export in JSON"),
    ],
)
def test_what_was_said(name: str, content: object, text: str, note: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content if isinstance(content, str) else json.dumps(content, indent=1), encoding="utf-8")
    source = open_source(str(tmp_path / name))
    assert "".join(source.pieces()) == text
    assert source.report.warnings[0].startswith(f"{name}: {note}")


@pytest.mark.parametrize(("encoding", "option"), [("utf-8-sig", None), ("utf-16", None), ("cp1252", "cp1252")])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_encodings_and_line_ends(encoding: str, option: str | None, newline: str, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(SRT.replace("Why?", "Wärum?").replace("\n", newline).encode(encoding))
    assert "".join(open_source(str(path), encoding=option).pieces()) == "The loom stood still.\n- Wärum? & how?\n"


def test_raw_keeps_the_markup(tmp_path: Path) -> None:
    (tmp_path / "a.srt").write_text(SRT)
    source = open_source(str(tmp_path / "a.srt"), raw=True)
    assert "".join(source.pieces()) == SRT
    assert source.report.warnings == []
