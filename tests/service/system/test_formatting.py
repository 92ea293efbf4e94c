"""Characters that are shown do no harm, and their width is known.

Durations and sizes: what is written is read back.
"""

from __future__ import annotations

import math
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.system import formatting
from service.system.formatting import columns, safe

# ── units ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("3m", 180), ("1h30m", 5400), ("1.5h", 5400), (" 2 ".strip(), 2), ("1D", 86_400), ("0.5", 0.5), ("1.", 1)],
)
def test_durations_are_read(text: str, seconds: float) -> None:
    assert formatting.parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "x", "1e3", "-3", "3 m", "m", "3w", "1h30", "nan", "inf", "٣m", "1..2", "+3", "1_000"])
def test_what_is_no_duration_is_told(text: str) -> None:
    assert formatting.parse_duration(text) is None


@given(days=st.integers(0, 9), hours=st.integers(0, 23), minutes=st.integers(0, 59), seconds=st.integers(0, 59))
def test_parts_of_a_duration_add_up(days: int, hours: int, minutes: int, seconds: int) -> None:
    text = f"{days}d{hours}h{minutes}m{seconds}s"
    assert formatting.parse_duration(text) == ((days * 24 + hours) * 60 + minutes) * 60 + seconds


@given(st.integers(0, 10**7))
def test_a_duration_that_is_shown_can_be_read_by_people(seconds: int) -> None:
    parts = [int(part) for part in formatting.duration(seconds).split(":")]
    assert sum(part * 60**power for power, part in enumerate(reversed(parts))) == seconds
    assert all(part < 60 for part in parts[1:])
    assert len(formatting.duration(seconds).rpartition(":")[2]) == 2


@pytest.mark.parametrize(
    ("seconds", "text"), [(7, "0:07"), (59.6, "1:00"), (180, "3:00"), (3723, "1:02:03"), (math.inf, "?"), (math.nan, "?")]
)
def test_durations_are_shown(seconds: float, text: str) -> None:
    assert formatting.duration(seconds) == text


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("500000", 500_000),
        ("500k", 500_000),
        ("20MB", 20_000_000),
        ("1.5 GB", 1_500_000_000),
        ("4gb", 4 * 10**9),
        ("2T", 2 * 10**12),
        ("7b", 7),
    ],
)
def test_sizes_are_read(text: str, size: int) -> None:
    assert formatting.parse_size(text) == size


@pytest.mark.parametrize("text", ["", "MB", "-1", "1e3", "3 apples", "1.2.3", "9" * 400, "9" * 300 + "TB"])
def test_what_is_no_size_is_told(text: str) -> None:
    assert formatting.parse_size(text) is None


@given(st.integers(0, 10**15))
def test_a_size_that_is_shown_is_read_back_closely(count: int) -> None:
    found = formatting.parse_size(formatting.size(count))
    assert found is not None
    assert math.isclose(found, count, rel_tol=0.06) or abs(found - count) <= 500


@pytest.mark.parametrize(("count", "text"), [(9, "9 B"), (999, "999 B"), (123_400, "123 kB"), (11_027_331, "11.0 MB"), (10**13, "10.0 TB")])
def test_sizes_are_shown(count: int, text: str) -> None:
    assert formatting.size(count) == text


@pytest.mark.parametrize(("per_second", "text"), [(840, "840/s"), (1240, "1.2k/s"), (312_000, "312k/s"), (1_200_000, "1.2M/s"), (0, "0/s")])
def test_rates_are_shown(per_second: float, text: str) -> None:
    assert formatting.rate(per_second) == text


@pytest.mark.parametrize(("count", "text"), [(0, "0 lines"), (1, "1 line"), (1000, "1,000 lines")])
def test_things_are_counted(count: int, text: str) -> None:
    assert formatting.counted(count, "line") == text


# ── characters ───────────────────────────────────────────────────────────────────────────────────────────────────────

ANYTHING = st.text(st.characters() | st.sampled_from("\x1b\x07\r\n\t\x9b한é😀\u0301\u202e\ud800"))
BIDI = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


@pytest.mark.parametrize(
    "sequence",
    ["\x1b[31m", "\x1b]0;title\x07", "\x9b2J", "\x1bc", "\r", "\x08", "\x7f", "\x00", "\x85", "\u202e", "\u2066", "\udc80"],
    ids=ascii,
)
def test_what_a_terminal_would_obey_is_made_harmless(sequence: str) -> None:
    found = safe(f"a{sequence}b")
    assert found[0] + found[-1] == "ab"
    assert not set(found) & set("\x1b\x07\x9b\r\x08\x7f\x00\x85\u202e\u2066\udc80")
    assert len(found) == len(sequence) + 2


@given(ANYTHING)
def test_safe_text_holds_no_command_and_loses_nothing_else(text: str) -> None:
    found = safe(text)
    assert len(found) == len(text)
    for before, after in zip(text, found, strict=True):
        if before == after:
            assert after in "\n\t" or (unicodedata.category(after) not in ("Cc", "Cs") and after not in BIDI)
        else:
            assert after == "\ufffd"
    assert safe(found) == found
    found.encode()


@pytest.mark.parametrize(("text", "width"), [("abc", 3), ("한글", 4), ("e\u0301", 1), ("😀", 2), ("Ａ", 2), ("", 0)])
def test_columns_are_counted(text: str, width: int) -> None:
    assert columns(text) == width
