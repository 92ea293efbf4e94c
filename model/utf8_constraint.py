"""Restricts the next byte, so that a text written byte by byte is valid UTF-8.

The table of well-formed sequences is Unicode 15.0, table 3-7: no overlong forms, no surrogates, nothing above U+10FFFF.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

# state -> [(first byte, last byte, next state)]; state 0 is the beginning of a character
TRANSITIONS: dict[int, list[tuple[int, int, int]]] = {
    0: [
        (0x00, 0x7F, 0),
        (0xC2, 0xDF, 1),
        (0xE0, 0xE0, 4),
        (0xE1, 0xEC, 2),
        (0xED, 0xED, 5),
        (0xEE, 0xEF, 2),
        (0xF0, 0xF0, 6),
        (0xF1, 0xF3, 3),
        (0xF4, 0xF4, 7),
    ],
    1: [(0x80, 0xBF, 0)],  # one continuation byte is missing
    2: [(0x80, 0xBF, 1)],
    3: [(0x80, 0xBF, 2)],
    4: [(0xA0, 0xBF, 1)],  # after E0: not overlong
    5: [(0x80, 0x9F, 1)],  # after ED: not a surrogate
    6: [(0x90, 0xBF, 2)],  # after F0: not overlong
    7: [(0x80, 0x8F, 2)],  # after F4: not above U+10FFFF
}


class Utf8Guide:
    """The states of a UTF-8 decoder over an alphabet of some of the 256 bytes.

    A byte is allowed only if the alphabet can also finish the character that it begins.

    `allowed` (state, symbol): in state 0 at the beginning of a character, in the others inside one; `next` (state, symbol) is the state
    after an allowed symbol. A symbol is an index into the alphabet; a boundary, which is the last one if there is one, stands between
    characters.
    """

    def __init__(self, alphabet: Sequence[int], *, boundary: bool = False) -> None:
        position = {byte: index for index, byte in enumerate(alphabet)}
        can_finish = {0}
        for _ in range(3):  # bytes that may follow the first one
            can_finish |= {
                state
                for state, rules in TRANSITIONS.items()
                if any(byte in position for low, high, to in rules if to in can_finish for byte in range(low, high + 1))
            }
        self.next = np.zeros((len(TRANSITIONS), len(position) + boundary), np.int64)
        self.allowed: NDArray[np.bool_] = np.zeros(self.next.shape, bool)
        for state, rules in TRANSITIONS.items():
            for low, high, to in rules:
                for byte in range(low, high + 1):
                    if byte in position and to in can_finish:
                        self.allowed[state, position[byte]] = True
                        self.next[state, position[byte]] = to
        self.can_write = bool(self.allowed[0].any())  # a character at all
        self.allowed[0, len(position) :] = True

    def next_state(self, state: int, symbol: int) -> int:
        """Returns the state after an allowed symbol."""
        return int(self.next[state, symbol])
