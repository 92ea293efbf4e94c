"""Reads what people said: subtitles, chats of WhatsApp, Telegram and Discord. A chat becomes ``name: message``.

An empty line inside of a message is left out: it parts messages.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from typing import Any, BinaryIO

from corpora.file_types import MESSAGE
from corpora.records import BLANK_LINES

_TIMES = re.compile(rb"(\d+:)?\d+:\d\d[,.]\d{1,3}[ \t]+-->[ \t]+\d")
_MARKUP = re.compile(r"</?(?:(?:b|i|c|u|v|font|ruby|rt|lang)(?=[\s.>])|\d+:\d\d)[^<>\n]*>|\{\\[^{}\n]*\}", re.IGNORECASE)
_VTT_BLOCKS = (b"WEBVTT", b"NOTE", b"STYLE", b"REGION")
# What WhatsApp writes for a picture or sound, in English, Spanish, German, French, Portuguese, Italian, Korean
_LEFT_OUT = re.compile(
    r"\u200e?(<[^<>]*(omitted|omitido|ausgeschlossen|omis|oculto|omesso|생략)[^<>]*>"
    r"|(image|video|audio|sticker|GIF|document|Contact card) omitted|This message was deleted\.?|You deleted this message\.?"
    r"|<attached: [^<>]*>|[\w.-]+ \(file attached\)|null)"
)
_LONGEST_LEFT_OUT = 500  # characters: the name of a file, and words
_EDITED = re.compile(r" ?\u200e?<This message was edited>$")


def read_subtitles(file: BinaryIO) -> Iterator[str]:
    """Yields the words of each subtitle of SubRip or WebVTT, without times, names of speakers and styles, on one line."""
    for block in _blocks(file):
        place = next((number for number, line in enumerate(block[:2]) if _TIMES.match(line)), None)
        if place is None or (block[0].startswith(_VTT_BLOCKS) and place == 0):
            continue
        text = " ".join(line.decode("utf-8", "replace").strip() for line in block[place + 1 :])
        text = html.unescape(_MARKUP.sub("", text)).strip()
        if text:
            yield text


def _blocks(file: BinaryIO) -> Iterator[list[bytes]]:
    """Yields the lines of each block between empty lines."""
    block: list[bytes] = []
    for line in file:
        if line.strip():
            block.append(line)
        elif block:
            yield block
            block = []
    if block:
        yield block


def read_whatsapp(file: BinaryIO) -> Iterator[str]:
    """Yields the messages of an exported chat; those of WhatsApp itself, and the places of pictures, as "" (left out)."""
    message: str | None = None
    for raw in file:
        line = raw.decode("utf-8", "replace").rstrip("\n")
        if found := MESSAGE.match(line):
            if message is not None:
                yield _said(message)
            message = line[found.end() :]
        elif message is not None:
            message += f"\n{line}"
    if message is not None:
        yield _said(message)


def _said(message: str) -> str:
    name, colon, text = message.partition(": ")
    own = text.startswith("\u200e")  # the mark, invisible, of what is no one's words
    text = _EDITED.sub("", text).strip("\u200e\n ")
    if own or not colon or "\n" in name or (len(text) <= _LONGEST_LEFT_OUT and _LEFT_OUT.fullmatch(text)):
        return ""
    return f"{name.strip(chr(0x200E))}: {_closed(text)}" if text else ""


def _closed(text: str) -> str:
    return BLANK_LINES.sub("\n", text)


def read_chat(file: BinaryIO) -> Iterator[str]:
    """Yields the messages of a JSON export of Telegram or Discord, with "" for those without words."""
    content = json.loads(file.read())
    if isinstance(content, list):  # of Discord's own package of data, which has one's own messages alone
        yield from (_closed(_text_of(each.get("Contents"))) for each in content)
        return
    chats = [content] if "messages" in content else content["chats"]["list"]
    for chat in chats:
        for message in chat["messages"]:
            author = message.get("author") or {}
            name = message.get("from") or (author.get("nickname") or author.get("name") if isinstance(author, dict) else "")
            text = _closed(_text_of(message["content"] if "content" in message else message.get("text")).strip())
            yield f"{name}: {text}" if name and text else text


def _text_of(text: Any) -> str:
    """Returns a message's text, which Telegram gives in parts if some of them are styled."""
    if isinstance(text, list):
        return "".join(part if isinstance(part, str) else _text_of(part.get("text")) for part in text)
    return text if isinstance(text, str) else ""
