"""Keeps a text from copying more than N characters in a row from its corpus, while it is written.

The promise, for every level and normalisation: wherever a text ends, no N + 1 characters in a row of it (code points of its NFC form,
without the prompt) stand like that in the NFC form of the corpus. A symbol is forbidden where the text would break that as soon as the
symbol is written. At level byte, where a symbol is less than a character, one is also forbidden when every character that it could
begin is: so a text is never stuck inside a character. With `nfd` a syllable grows (하, 한), and each of its forms counts.

Let w be the last N characters. What would be one copied character too many is exactly what follows w somewhere in the corpus, so
there is nothing to look up until w can stand there at all. If only its last k characters do, that takes at least N - k more.
"""

from __future__ import annotations

import copy
import functools
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from model.normalization import Composer
from model.quick_check import is_normal
from model.utf8_constraint import Utf8Guide
from model.vocabulary import Vocabulary

Mask = NDArray[np.bool_]

# By how many characters one more can lengthen what is not final: what it falls on becomes at most four, and itself at most four
# (the longest canonical decomposition, UAX #15, table "Maximum Expansion Factors").
GROWTH = 7


class CopySource(Protocol):
    """A text (in NFC) that is not to be copied."""

    def followers(self, text: str) -> frozenset[str]:
        """The characters that stand right behind `text` somewhere in it; none where `text` is not in it."""
        ...

    def known_suffix(self, text: str) -> int:
        """How many of the last characters of `text` stand in it like that, in a row."""
        ...


@functools.cache
def _is_quiet(c: str) -> bool:
    """Whether a character neither changes nor is changed by what stands before it."""
    return is_normal([c], "nfc")


class CopyRules:
    """What all guards of an alphabet share."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self.quiet: dict[str, int] = {}  # character -> symbol
        self.melting: list[tuple[str, int]] = []  # those that may change what stands before them, or are changed themselves
        self.utf8: Utf8Guide | None = None
        if vocabulary.level == "byte":
            self.utf8 = Utf8Guide(vocabulary.symbols)
            self.allowed: list[list[int]] = [np.flatnonzero(row).tolist() for row in self.utf8.allowed]  # symbols by state
            return
        for symbol, code in enumerate(vocabulary.symbols):
            if _is_quiet(chr(code)):
                self.quiet[chr(code)] = symbol
            else:
                self.melting.append((chr(code), symbol))

    @property
    def composes(self) -> bool:
        """Whether what was written may still change."""
        return self.utf8 is not None or bool(self.melting)


class CopyGuard:
    """Follows one text symbol by symbol and says what must not come next::

    mask = guard.forbidden()
    guard.advance(symbol)  # one of those that are not in the mask; if all are, the text ends here
    """

    def __init__(self, rules: CopyRules, source: CopySource, max_copy: int) -> None:
        """`max_copy`: N, at least 1."""
        self._rules, self._source, self._most = rules, source, max_copy
        self._final = ""  # the last N characters that do not change any more
        self._bound = 0  # so many of their last ones, at most, stand in the source
        self._composer = Composer() if rules.composes else None
        self._bytes = b""  # of a character that is not complete
        self._state = 0  # of the UTF-8 guide
        self._begin_symbol()

    def _begin_symbol(self) -> None:
        """Forget what was found out about the text as it stood."""
        self._pending: str | None = None
        self._followers: dict[str, frozenset[str]] = {}
        self._next: frozenset[str] | None = None

    @property
    def free(self) -> int:
        """Symbols that may be written before `forbidden` must be asked."""
        return 0 if self._composer else max(0, self._most - self._bound)

    def forbidden(self) -> Mask | None:
        """Which of the V symbols must not come next, ``(V,)``; None for none of them.

        At level byte those that are no UTF-8 here are among them.
        """
        if not self._is_due():
            return None
        self._bound = self._source.known_suffix(self._final)
        if not self._is_due():
            return None
        symbols = self._forbidden_bytes() if self._rules.utf8 else self._forbidden_characters()
        if not symbols:
            return None
        mask = np.zeros(self._rules.vocabulary.size, bool)
        mask[symbols] = True
        if self._rules.utf8:
            mask |= ~self._rules.utf8.allowed[self._state]
        return mask

    def advance(self, symbol: int) -> None:
        """Take a symbol that was written."""
        self._begin_symbol()
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
        done = self._composer.push(c) if self._composer else c
        self._final = (self._final + done)[-self._most :]
        self._bound = min(self._bound + len(done), len(self._final))

    def _is_due(self) -> bool:
        """Whether the next symbol may make a span that is too long."""
        if self._composer is None:
            return self._bound >= self._most
        return self._bound + len(self._tail()) + GROWTH > self._most

    def _tail(self) -> str:
        """What stands behind the final characters as yet."""
        if self._pending is None:
            self._pending = copy.copy(self._composer).flush() if self._composer else ""
        return self._pending

    def _copied_next(self) -> frozenset[str]:
        """The quiet characters that would make a span too long."""
        if self._next is None:
            self._next = self._behind(self._final + self._tail())
        return self._next

    def _forbidden_characters(self) -> list[int]:
        symbols = [self._rules.quiet[c] for c in self._copied_next() if c in self._rules.quiet]
        return symbols + [symbol for c, symbol in self._rules.melting if self._copies(c)]

    def _forbidden_bytes(self) -> list[int]:
        return [symbol for symbol in self._rules.allowed[self._state] if self._leads_to_copies(self._bytes, self._state, symbol)]

    def _leads_to_copies(self, data: bytes, state: int, symbol: int) -> bool:
        """Whether every character that begins with some bytes and a further one is forbidden."""
        assert self._rules.utf8 is not None
        data += bytes((self._rules.vocabulary.symbols[symbol],))
        state = self._rules.utf8.next_state(state, symbol)
        if state == 0:
            return self._copies(data.decode())
        return all(self._leads_to_copies(data, state, each) for each in self._rules.allowed[state])

    def _copies(self, c: str) -> bool:
        """Whether the text would have too long a span if this character came next and nothing more."""
        if _is_quiet(c):
            return c in self._copied_next()
        composer: Any = copy.copy(self._composer)
        text = self._final + composer.push(c) + composer.flush()
        return any(text[index] in self._behind(text[:index]) for index in range(len(self._final), len(text)))

    def _behind(self, text: str) -> frozenset[str]:
        """What follows the last N characters of a text in the source; nothing where it has fewer."""
        window = text[-self._most :]
        if len(window) < self._most:
            return frozenset()
        if window not in self._followers:
            self._followers[window] = self._source.followers(window)
        return self._followers[window]
