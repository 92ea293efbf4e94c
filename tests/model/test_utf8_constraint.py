"""What the guide allows is what Python's strict decoder reads, no more and no less."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from model.utf8_constraint import TRANSITIONS, Utf8Guide

EVERY_BYTE = range(256)
alphabets = st.one_of(
    st.sets(st.integers(0, 255)).map(sorted),
    st.text().map(lambda text: sorted(set(text.encode("utf-8", "surrogatepass")))),
)


def readable(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


@given(alphabets, st.integers(0, 2**32))
def test_a_walk_over_allowed_bytes_is_valid_whenever_it_is_between_characters(alphabet: list[int], seed: int) -> None:
    guide, rng = Utf8Guide(alphabet), random.Random(seed)
    assert guide.can_write == guide.allowed[0].any()
    if not guide.can_write:
        return
    state, data = 0, bytearray()
    for _ in range(200):
        choices = [symbol for symbol, allowed in enumerate(guide.allowed[state]) if allowed]
        assert choices, "a character was begun that the alphabet cannot finish"
        symbol = rng.choice(choices)
        data.append(alphabet[symbol])
        state = guide.next_state(state, symbol)
        assert readable(bytes(data)) == (state == 0)


@given(st.text(st.characters(exclude_categories=["Cs"])), alphabets)
def test_every_valid_text_over_the_alphabet_is_allowed(text: str, more: list[int]) -> None:
    alphabet = sorted({*text.encode(), *more})
    guide, state = Utf8Guide(alphabet), 0
    for byte in text.encode():
        symbol = alphabet.index(byte)
        assert guide.allowed[state, symbol]
        state = guide.next_state(state, symbol)
    assert state == 0


def test_every_sequence_of_up_to_three_bytes() -> None:
    """The whole alphabet: a path exists exactly where the strict decoder reads on."""
    guide = Utf8Guide(EVERY_BYTE)
    paths = [(b"", 0)]
    for _ in range(3):
        longer = []
        for data, state in paths:
            for byte in EVERY_BYTE:
                path = data + bytes((byte,))
                if guide.allowed[state, byte]:
                    longer.append((path, guide.next_state(state, byte)))
                elif state == 0 or byte in (0x00, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xFF):
                    assert not readable(path)
        assert all(readable(data) == (state == 0) for data, state in longer)
        paths = [(data, state) for data, state in longer if state]
    assert {state for _, state in paths} <= set(TRANSITIONS)


def test_the_number_of_characters_is_that_of_unicode() -> None:
    """Counted along the table: 1,114,112 code points less 2,048 surrogates."""
    guide = Utf8Guide(EVERY_BYTE)
    at = {0: 1}
    written = 0
    for _ in range(4):
        after: dict[int, int] = {}
        for state, count in at.items():
            for byte in EVERY_BYTE:
                if guide.allowed[state, byte]:
                    to = guide.next_state(state, byte)
                    after[to] = after.get(to, 0) + count
        written += after.pop(0, 0)
        at = after
    assert not at
    assert written == 0x110000 - 0x800


def test_a_character_that_cannot_be_finished_is_never_begun() -> None:
    alphabet = [0x41, 0x90, 0xC3, 0xE0, 0xED, 0xF0, 0xF4]  # E0 needs A0-BF next, F4 needs 80-8F
    guide = Utf8Guide(alphabet)
    assert [alphabet[symbol] for symbol in guide.allowed[0].nonzero()[0]] == [0x41, 0xC3, 0xED, 0xF0]
    assert not Utf8Guide([0xEA, 0xEB]).can_write
    assert not Utf8Guide([0x80]).can_write
    assert not Utf8Guide([]).can_write
