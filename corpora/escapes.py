r"""Reads and writes the escapes of C: \n, \t, \x41, \101, \u00e9; \\ is a backslash."""

from __future__ import annotations

import re

from model.errors import WrongEscape

_SIGNS = {**dict(zip("abfnrtv", "\a\b\f\n\r\t\v", strict=True)), **{sign: sign for sign in "\\\"'?"}}
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-7]{1,3}|.?)", re.DOTALL)
_WRITTEN = {"\\": r"\\", **{_SIGNS[letter]: f"\\{letter}" for letter in "abfnrtv"}}
_CONTROL = re.compile(r"[\\\x00-\x1f\x7f]")


def unescaped(text: str) -> str:
    """Returns the text that is meant. Raises `WrongEscape`."""

    def character(found: re.Match[str]) -> str:
        escape = found[1]
        if escape in _SIGNS:
            return _SIGNS[escape]
        code = int(escape, 8) if escape.isdigit() else int(escape[1:], 16) if len(escape) > 1 else -1
        if not 0 <= code < 0x110000 or 0xD800 <= code < 0xE000:
            raise WrongEscape(text, found[0])
        return chr(code)

    return _ESCAPE.sub(character, text)


def escaped(text: str) -> str:
    """Returns a text as it is written with escapes."""
    return _CONTROL.sub(lambda found: _WRITTEN.get(found[0], f"\\x{ord(found[0]):02x}"), text)
