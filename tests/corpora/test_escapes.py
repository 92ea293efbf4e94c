"""The escapes of C, compared with those of Python, which are the same but for a few."""

from __future__ import annotations

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpora.escapes import escaped, unescaped
from model.errors import WrongEscape


@pytest.mark.parametrize("text", [r"a\nb", r"\t\r\a\b\f\v\\ \' \"", r"\x41\101\u00e9\U0001f600", r"\0", r"C:\\dir"])
def test_escapes_mean_what_they_mean_in_python(text: str) -> None:
    assert unescaped(text) == ast.literal_eval(f'"""{text} """')[:-1]


@given(st.text())
def test_what_is_written_with_escapes_reads_as_itself(text: str) -> None:
    written = escaped(text)
    assert unescaped(written) == text
    assert not any(character < " " for character in written)


@pytest.mark.parametrize("escape", ["\\d", "\\", "\\ud800", "\\U00110000", "\\x4"])
def test_what_is_no_character_is_refused(escape: str) -> None:
    with pytest.raises(WrongEscape, match="which is no character; write"):
        unescaped(f"a{escape}")
