"""Formats and parses durations, sizes and counts, and makes text safe to show on a terminal."""

from __future__ import annotations

import math
import re
import unicodedata

SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
BYTES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}


def parse_duration(text: str) -> float | None:
    """Returns the seconds in ``90``, ``90s``, ``3m``, ``1h30m`` or ``1.5h``; None if it is no duration."""
    text = text.strip().lower()
    if re.fullmatch(r"\d+(\.\d*)?", text, re.ASCII):
        return float(text)
    if not re.fullmatch(r"(\d+(\.\d*)?[smhd])+", text, re.ASCII):
        return None
    return sum(float(number) * SECONDS[unit] for number, _, unit in re.findall(r"(\d+(\.\d*)?)([smhd])", text, re.ASCII))


def duration(seconds: float) -> str:
    """Formats seconds: ``0:07``, ``3:00``, ``1:02:03``; ``?`` if not finite."""
    if not math.isfinite(seconds):
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def parse_size(text: str) -> int | None:
    """Returns the bytes in ``500000``, ``500k``, ``20MB`` or ``1.5 GB`` (powers of ten); None if it is no size."""
    match = re.fullmatch(r"(\d+(?:\.\d*)?)\s*([kmgt]?)b?", text.strip().lower(), re.ASCII)
    count = float(match[1]) * BYTES[match[2]] if match else math.inf
    return round(count) if math.isfinite(count) else None


def size(count: float, unit: str = "B") -> str:
    """Formats a size: ``11.0 MB``, ``123 kB``, ``9 B``."""
    for name in ("", "k", "M", "G"):
        if count < 999.5:
            return f"{count:.0f} {name}{unit}" if name in ("", "k") else f"{count:.1f} {name}{unit}"
        count /= 1000
    return f"{count:.1f} T{unit}"


def rate(per_second: float) -> str:
    """Formats a rate: ``312k/s``, ``1.2M/s``, ``840/s``."""
    for name, scale in (("M", 1e6), ("k", 1e3)):
        if per_second >= scale:
            value = per_second / scale
            return f"{value:.0f}{name}/s" if value >= 10 else f"{value:.1f}{name}/s"
    return f"{per_second:.0f}/s"


def counted(count: int, noun: str, plural: str = "") -> str:
    """Formats a count with its noun: ``1 line``, ``1,000 lines``; `plural` only if it is not the noun with an s."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def safe(text: str) -> str:
    """Replaces control characters that a terminal would obey (a model may have learned some); line feeds and tabs stay."""
    if text.isprintable():
        return text
    return "".join(c if c in "\n\t" or not _commands(c) else "\ufffd" for c in text)


def _commands(c: str) -> bool:
    return unicodedata.category(c) in ("Cc", "Cs") or c in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


def columns(text: str) -> int:
    """Returns the columns that a text takes on a terminal: two for wide characters, none for accents and vowel signs above and below."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.category(c) in ("Mn", "Me") else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
