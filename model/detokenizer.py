"""Turns ids into text while it is written: whole characters only, valid UTF-8, composed to NFC."""

from __future__ import annotations

import codecs

from model.normalization import Composer
from model.vocabulary import Vocabulary

NO_BYTE = 0xFF  # occurs nowhere in UTF-8
FIRST_JAMO, LAST_JAMO = "\u1100", "\u1112"  # leading consonants, which form no syllable without a vowel


class Detokenizer:
    """Takes the symbols of one text as they are drawn and gives back the characters that are final.

    Everything pushed and flushed, joined, is ``vocabulary.decode`` of all the ids. At level byte it has no U+FFFD if each symbol was
    one of ``guide.allowed[utf8_state]``. A boundary is shown as the separator.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._composer = Composer() if vocabulary.normalization != "none" else None
        self._bytes = codecs.getincrementaldecoder("utf-8")("replace") if vocabulary.level == "byte" else None
        self.guide = vocabulary.guide
        self.utf8_state = 0
        self._last = ""
        self._final = 0  # characters that are final
        self._width = 1  # characters of the last symbol

    def push(self, symbol: int) -> str:
        """Adds one symbol; returns the text that became final, often one character, sometimes none or several.

        The unknown symbol, which only a prompt can have, shows as U+FFFD.
        """
        if symbol == self._vocabulary.boundary:
            return self._end_record(self._vocabulary.separator or "")
        self._width = 1
        known = symbol < self._vocabulary.size
        if self._bytes is None or self.guide is None:
            text = chr(self._vocabulary.symbols[symbol]) if known else "\ufffd"
        else:
            self.utf8_state = self.guide.next_state(self.utf8_state, symbol) if known else 0
            text = self._bytes.decode(bytes((self._vocabulary.symbols[symbol] if known else NO_BYTE,)))
        return self._composed(text)

    def _end_record(self, separator: str) -> str:
        text = self.flush() + separator
        self.utf8_state, self._last, self._width = 0, "", len(separator)
        self._final += len(text)
        return text

    def _composed(self, text: str) -> str:
        self._last = text[-1:] or self._last
        text = self._composer.push(text) if self._composer else text
        self._final += len(text)
        return text

    def write(self, symbols: list[int]) -> str:
        """Adds several known symbols; returns the text that became final."""
        if self._bytes is not None or self._vocabulary.boundary in symbols:
            return "".join([self.push(symbol) for symbol in symbols])
        return self._composed("".join(map(self._vocabulary.names.__getitem__, symbols)))

    @property
    def position(self) -> int:
        """The index, in the text, of the character that the last symbol belongs to."""
        characters = self._final + (len(self._composer.pending) if self._composer else 0)
        return max(0, characters - self._width * (self.utf8_state == 0))

    @property
    def held(self) -> bool:
        """Whether the last character may still change."""
        return self._composer is not None and self._composer.pending != ""

    @property
    def inside_character(self) -> bool:
        """Whether ending here would cut a character: inside a UTF-8 sequence, or after a leading consonant of a Korean syllable."""
        if self.guide is not None:
            return self.utf8_state != 0
        return self._vocabulary.normalization == "nfd" and FIRST_JAMO <= self._last <= LAST_JAMO

    def flush(self) -> str:
        """Returns what was held back, at the end; a character that was cut shows as U+FFFD."""
        rest = self._bytes.decode(b"", final=True) if self._bytes is not None else ""
        return self._composer.push(rest) + self._composer.flush() if self._composer else rest
