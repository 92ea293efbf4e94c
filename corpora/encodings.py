"""Proposes encodings for bytes that are not UTF-8, the likeliest first.

chardet compares bytes with its models of languages. What it finds is weighed here by two more facts: how common an encoding is today, and
how much of what it reads stands in no text: half a word in another script, a sign inside a word, a capital behind a small letter.
"""

from __future__ import annotations

import codecs
import itertools
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Sequence
from typing import NamedTuple

SHOWN = 3  # proposals: the right encoding is nearly always among them
UNLIKELY = 100  # times less likely than the first: not proposed
LEAST_PLAUSIBLE = 0.5  # of the characters outside of ASCII: what has fewer plausible ones is no text
WEIGHED = 16  # of those that chardet finds
SAMPLE = 24  # characters of what an encoding would read ...
LINES = 200  # ... from one of these first lines
EVIDENCE = 8 * 1024  # bytes of lines that are not ASCII: more change no order

SETTLED = 20  # files of one encoding, after which it is tried before anything else is weighed
MOST_DETECTIONS = 50  # of one reading, each of some 35 ms; further files are read in an encoding that was found before, or in none
MOST_TRIED, ODD_IN = 5, 1000  # of those encodings, and characters by which they are compared

# How common an encoding is among the texts that people bring today: judged, not measured. chardet knows more; they are never proposed,
# and ISO 8859-1 is not, since Windows-1252 reads all of its characters.
# If several read the same, the first in this table is proposed: it is the best known, or reads most besides.
_COMMON = {
    **{"utf-8": 1.0, "cp1252": 1.2, "cp1251": 1.0, "cp1250": 1.0, "cp949": 1.0, "cp932": 1.0, "gb18030": 1.0, "big5hkscs": 1.0},
    **dict.fromkeys(("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be", "euc_jis_2004", "iso2022_jp_2", "iso2022_kr", "koi8-r"), 1.0),
    **dict.fromkeys(("cp1253", "cp1254", "cp1257", "cp874", "iso8859-2", "iso8859-5", "iso8859-7", "iso8859-9", "iso8859-15"), 0.9),
    "mac-roman": 0.6,
    **dict.fromkeys(("cp1255", "cp1256", "cp1258", "koi8-u", "cp437", "cp850", "cp852", "cp866", "johab"), 0.4),
    **dict.fromkeys(("iso8859-6", "iso8859-8", "mac-cyrillic", "mac-greek", "mac-latin2", "mac-turkish"), 0.2),
    **dict.fromkeys(("cp737", "cp855", "cp857", "iso8859-3", "iso8859-4", "iso8859-10", "iso8859-13", "iso8859-14", "iso8859-16"), 0.1),
}
_CHANCE = 0.01  # confidence that chardet also gives to encodings that are not the right one of a short text: less tells nothing
_INSIDE_WORDS = "'’‘·-‐‑–—"  # signs that may stand between letters
_SCRIPTS = ("LATIN", "GREEK", "CYRILLIC", "HEBREW", "ARABIC", "THAI")  # written in words of one script


class Proposal(NamedTuple):
    """An encoding that fits."""

    encoding: str  # a name that Python knows
    sample: str  # a few characters of what it reads, which the other proposals read differently


class Guesses:
    """Guesses the encodings of files that belong together, which are most often the same."""

    def __init__(self) -> None:
        self.found: Counter[str] = Counter()  # the likeliest encoding of each file
        self.samples: dict[str, str] = {}  # of the first file in it
        self._detections = 0

    def proposals(self, data: bytes, tried: str, *, whole: bool) -> list[Proposal]:
        """Returns `proposals` for one more file. If what most files seem to be is among them, it is the first."""
        usual, files = max(self.found.items(), key=lambda item: item[1], default=("", 0))
        if files >= SETTLED and usual != tried and _decoded(data, usual, whole) is not None:
            found = [Proposal(usual, self.samples[usual])]
        elif self._detections >= MOST_DETECTIONS:
            likely = [name for name, _ in self.found.most_common(MOST_TRIED) if name != tried]
            odd = {name: _odd(data, name, whole) for name in likely}
            found = [Proposal(name, self.samples[name]) for name in sorted(likely, key=odd.__getitem__) if odd[name] < 1 - LEAST_PLAUSIBLE]
            found = found[:SHOWN]
        else:
            self._detections += 1
            found = sorted(proposals(data, [tried], whole=whole), key=lambda each: each.encoding != usual)
        for each in found[:1]:
            self.found[each.encoding] += 1
            self.samples.setdefault(each.encoding, each.sample)
        return found


def proposals(data: bytes, tried: Collection[str] = (), *, whole: bool = True) -> list[Proposal]:
    """Returns up to `SHOWN` encodings that decode `data`, the likeliest first, without those that were `tried`; none if it is no text.

    `whole` says that the data does not end within a character.
    """
    import chardet  # takes a while, and is seldom needed

    era = chardet.EncodingEra
    evidence, ends = _evidence(data, whole)
    found = chardet.detect_all(evidence, True, encoding_era=era.ALL ^ era.MAINFRAME, compat_names=False, max_bytes=EVIDENCE)
    names = {codecs.lookup(name).name for name in tried}
    weights = {name: (each["confidence"] + _CHANCE) * _COMMON[name] for each in found if (name := each["encoding"] or "") in _COMMON}
    best: dict[str, tuple[float, str]] = {}  # what is read -> the highest weight, and the encoding that comes first in the table
    for name in sorted(weights, key=lambda name: -weights[name])[:WEIGHED]:
        if codecs.lookup(name).name in names or (text := _decoded(evidence, name, ends)) is None:
            continue
        plausible = 1 - _implausible(text)
        if plausible <= LEAST_PLAUSIBLE:
            continue
        weight = weights[name] * plausible**2
        before, other = best.get(text, (0.0, name))
        best[text] = max(before, weight), min(name, other, key=list(_COMMON).index)
    ranked = sorted(best.items(), key=lambda item: -item[1][0])
    texts = [text for text, (weight, _) in ranked[:SHOWN] if weight > ranked[0][1][0] / UNLIKELY]
    return [Proposal(best[text][1], sample) for text, sample in zip(texts, _samples(texts) if texts else [], strict=True)]


def _evidence(data: bytes, whole: bool) -> tuple[bytes, bool]:
    """Returns the complete lines that are not ASCII, up to `EVIDENCE` bytes, and whether they end with a whole character."""
    if 0 in data[:EVIDENCE]:  # UTF-16, whose line ends are not single bytes
        return data[:EVIDENCE], whole and len(data) <= EVIDENCE
    lines, size = [], 0
    for match in re.finditer(rb"[^\r\n]+[\r\n]*", data):
        if not match[0].isascii() or b"\x1b" in match[0]:
            lines.append(match[0])
            size += len(match[0])
            if size > EVIDENCE:
                break
    evidence = b"".join(lines) or data
    return evidence[:EVIDENCE], len(evidence) <= EVIDENCE and (whole or evidence.endswith((b"\r", b"\n")))


def _decoded(data: bytes, encoding: str, ends: bool) -> str | None:
    """Returns the text of the data; None if the encoding does not fit."""
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(data, ends)
        text.encode()
    except UnicodeError:
        return None
    return None if "\0" in text else text


def _odd(data: bytes, encoding: str, whole: bool) -> float:
    """Returns how implausible it is that the data is in an encoding; infinity if it cannot be decoded."""
    evidence, ends = _evidence(data, whole)
    if _decoded(data, encoding, whole) is None or (text := _decoded(evidence, encoding, ends)) is None:
        return math.inf
    return _implausible(text[:ODD_IN])


def _implausible(text: str) -> float:
    """Returns the share of the characters outside of ASCII that no text has in their places; more than 1 for control characters."""
    odd, total = 0.0, 0
    for before, c, after in zip(f" {text}", text, f"{text[1:]} ", strict=False):
        if not c.isascii():
            total += 1
            odd += _oddness(before, c, after)
    return odd / max(1, total)


def _oddness(before: str, c: str, after: str) -> float:
    category = unicodedata.category(c)
    if category in ("Cc", "Co", "Cn"):
        return 3
    if category[0] == "L":
        script = _script(c)
        if any(other.isalpha() and _script(other) != script for other in (before, after)):
            return float(script in _SCRIPTS)
        return float(c.isupper() and (before.islower() or (before.isalpha() and after.islower())))
    if category in ("So", "Sm") or c == "¤":
        return float(c not in "°©®×÷±−")
    return float(before.isalpha() and after.isalpha() and c not in _INSIDE_WORDS and category[0] != "M")


def _script(letter: str) -> str:
    name = unicodedata.name(letter, "").partition(" ")[0]
    return name if name in _SCRIPTS else ""


def _samples(texts: Sequence[str]) -> list[str]:
    """Returns a few characters of each text, from the first place that most of them read differently."""
    lines = list(itertools.islice(zip(*(re.split(r"[\r\n]+", text) for text in texts), strict=False), LINES))
    shown = max(lines, key=lambda line: len(set(line)), default=("",) * len(texts))
    differences = [len(set(these)) for these in zip(*shown, strict=False)]
    place = differences.index(max(differences, default=0)) if max(differences, default=0) > 1 else _first_foreign(shown[0])
    return [_around(line, place) for line in shown]


def _first_foreign(line: str) -> int:
    """Returns the place of the first character that is not ASCII."""
    return next((place for place, c in enumerate(line) if not c.isascii()), 0)


def _around(line: str, place: int) -> str:
    """Returns about `SAMPLE` characters of a line around a place, if possible from the beginning of a word."""
    start = max(0, min(place - SAMPLE // 2, len(line) - SAMPLE))
    if start:
        start = line.find(" ", start, place) + 1 or start
    end = start + SAMPLE
    return line[start:end].strip() + ("…" if len(line) > end else "")
