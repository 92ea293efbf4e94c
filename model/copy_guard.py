"""Keeps a text from copying more than N characters in a row from its corpus, while it is written.

The guarantee, for every level and normalisation: wherever a text ends, no N + 1 characters in a row of it (code points of its NFC
form, without the prompt) occur in the NFC form of the corpus. A symbol is forbidden if the text would break the guarantee right after
it. At level byte, a symbol is also forbidden if every character that it could begin is forbidden: so a text is never stuck inside a
character. With `nfd` a syllable grows (하, 한), and each of its forms counts. A boundary counts as the separator.

Let w be the last N characters. The forbidden characters are those that follow w somewhere in the corpus, so there is nothing to look up
unless w occurs there. If only the last k characters of w do, at least N - k more characters must be written before that.
"""

from __future__ import annotations

import copy
import functools
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from model.normalization import Composer
from model.quick_check import is_normal
from model.vocabulary import Vocabulary

Mask = NDArray[np.bool_]

# How many characters one more character can add to the text that is not final: it becomes at most four, and so does the one that it
# changes (the longest canonical decomposition, UAX #15, table "Maximum Expansion Factors").
GROWTH = 7


class CopySource(Protocol):
    """A text (in NFC) that must not be copied."""

    def followers(self, text: str) -> frozenset[str]:
        """Returns the characters that follow `text` somewhere in the source; none if the source does not contain it."""
        ...

    def known_suffix(self, text: str) -> int:
        """Returns the length of the longest suffix of `text` that occurs in the source."""
        ...


@functools.cache
def _is_inert(c: str) -> bool:
    """Whether a character neither changes the one before it nor is changed by it."""
    return is_normal([c], "nfc")


class CopyRules:
    """The tables that all guards of an alphabet share."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self.inert: dict[str, int] = {}  # character -> symbol
        self.composing: list[tuple[str, int]] = []  # characters that may change the one before them, or be changed themselves
        self.utf8 = vocabulary.guide
        self.growth = max(1, len(vocabulary.separator or ""))  # characters that a symbol adds at most, if none composes
        if self.utf8 is not None:
            bytes_allowed = self.utf8.allowed[:, : len(vocabulary.symbols)]
            self.allowed: list[list[int]] = [np.flatnonzero(row).tolist() for row in bytes_allowed]  # symbols by state
            return
        for symbol, code in enumerate(vocabulary.symbols):
            if _is_inert(chr(code)):
                self.inert[chr(code)] = symbol
            else:
                self.composing.append((chr(code), symbol))

    @property
    def composes(self) -> bool:
        """Whether written characters may still change."""
        return self.utf8 is not None or bool(self.composing)


class CopyGuard:
    """Follows one text symbol by symbol and returns which symbols must not come next::

    mask = guard.forbidden()
    guard.advance(symbol)  # a symbol that is not in the mask; if all are, the text ends here
    """

    def __init__(self, rules: CopyRules, source: CopySource, max_copy: int, *, one_record: bool = False) -> None:
        """`max_copy`: N, at least 1. A boundary ends the text, and is no part of it, if that is `one_record`."""
        self._rules, self._source, self._most, self._one_record = rules, source, max_copy, one_record
        self._final = ""  # the last N characters that do not change any more
        self._bound = 0  # upper bound of the length of their suffix that occurs in the source
        self._composer = Composer() if rules.composes else None
        self._bytes = b""  # of an incomplete character
        self._state = 0  # of the UTF-8 guide
        self._begin_symbol()

    def _begin_symbol(self) -> None:
        """Clears the results that hold for the previous text."""
        self._pending: str | None = None
        self._followers: dict[str, frozenset[str]] = {}
        self._next: frozenset[str] | None = None

    @property
    def free(self) -> int:
        """The number of symbols that may be written before `forbidden` must be called."""
        return 0 if self._composer else max(0, self._most - self._bound) // self._rules.growth

    def forbidden(self) -> Mask | None:
        """Returns which of the V symbols must not come next, ``(V,)``; None if all may.

        At level byte the mask includes the symbols that would break UTF-8.
        """
        if not self._is_due():
            return None
        self._bound = self._source.known_suffix(self._final)
        if not self._is_due():
            return None
        symbols = self._forbidden_bytes() if self._rules.utf8 else self._forbidden_characters()
        boundary = self._rules.vocabulary.boundary
        if boundary is not None and self._state == 0 and not self._one_record and self._copies_separator():
            symbols.append(boundary)
        if not symbols:
            return None
        mask = np.zeros(self._rules.vocabulary.size, bool)
        mask[symbols] = True
        if self._rules.utf8:
            mask |= ~self._rules.utf8.allowed[self._state]
        return mask

    def advance(self, symbol: int) -> None:
        """Adds a symbol that was written."""
        self._begin_symbol()
        if symbol == self._rules.vocabulary.boundary:
            self._add((self._composer.flush() if self._composer else "") + (self._rules.vocabulary.separator or ""))
            return
        value = self._rules.vocabulary.symbols[symbol]
        if self._rules.utf8 is None:
            self._write(chr(value))
            return
        self._bytes += bytes((value,))
        self._state = self._rules.utf8.next_state(self._state, symbol)
        if self._state == 0:
            self._write(self._bytes.decode())
            self._bytes = b""

    def _write(self, c: str) -> None:
        self._add(self._composer.push(c) if self._composer else c)

    def _add(self, done: str) -> None:
        """Adds characters that are final."""
        self._final = (self._final + done)[-self._most :]
        self._bound = min(self._bound + len(done), len(self._final))

    def _is_due(self) -> bool:
        """Whether the next symbol may make a copied span too long."""
        if self._composer is None:
            return self._bound + self._rules.growth > self._most
        return self._bound + len(self._tail()) + max(GROWTH, self._rules.growth) > self._most

    def _tail(self) -> str:
        """Returns the characters behind the final ones, as they are now."""
        if self._pending is None:
            self._pending = copy.copy(self._composer).flush() if self._composer else ""
        return self._pending

    def _copied_next(self) -> frozenset[str]:
        """Returns the characters that would make a copied span too long, if they do not change the text before them."""
        if self._next is None:
            self._next = self._behind(self._final + self._tail())
        return self._next

    def _forbidden_characters(self) -> list[int]:
        symbols = [self._rules.inert[c] for c in self._copied_next() if c in self._rules.inert]
        return symbols + [symbol for c, symbol in self._rules.composing if self._copies(c)]

    def _forbidden_bytes(self) -> list[int]:
        return [symbol for symbol in self._rules.allowed[self._state] if self._leads_to_copies(self._bytes, self._state, symbol)]

    def _leads_to_copies(self, data: bytes, state: int, symbol: int) -> bool:
        """Whether every character that begins with `data` and a further symbol is forbidden."""
        assert self._rules.utf8 is not None
        data += bytes((self._rules.vocabulary.symbols[symbol],))
        state = self._rules.utf8.next_state(state, symbol)
        if state == 0:
            return self._copies(data.decode())
        return all(self._leads_to_copies(data, state, each) for each in self._rules.allowed[state])

    def _copies(self, c: str) -> bool:
        """Whether the text would have too long a copied span if it ended with this character."""
        if _is_inert(c):
            return c in self._copied_next()
        composer: Any = copy.copy(self._composer)
        text = self._final + composer.push(c) + composer.flush()
        return any(text[index] in self._behind(text[:index]) for index in range(len(self._final), len(text)))

    def _copies_separator(self) -> bool:
        """Whether the text would have too long a copied span if a record ended here."""
        begun = self._final + self._tail()
        text = begun + (self._rules.vocabulary.separator or "")
        return any(text[index] in self._behind(text[:index]) for index in range(len(begun), len(text)))

    def _behind(self, text: str) -> frozenset[str]:
        """Returns the characters that follow the last N characters of a text in the source; none if it has fewer."""
        window = text[-self._most :]
        if len(window) < self._most:
            return frozenset()
        if window not in self._followers:
            self._followers[window] = self._source.followers(window)
        return self._followers[window]
