"""Detects from the beginning of a text whether it is made of records, and of which kind. If in doubt, it is prose.

A list of records repeats a form: each line or block begins, or is built, as the others are. Prose, verse, plays, markup and source code
do not: their lines differ in indentation, length and punctuation, or they have blank lines.
"""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from itertools import pairwise

from corpora.records import DELIMITERS, RecordFormat

HEAD = 2**18  # characters that are looked at
FEWEST = 10  # records; of fewer nothing can be said
NEARLY = 0.95  # share of the records that must have a form
KIND_OF = {each: kind for kind, delimiters in DELIMITERS.items() for each in delimiters}  # by delimiter
NAME_WORDS, NAME_LENGTH = 4, 40  # most words and characters of an entry of a list
DENSE = 6  # ... and characters, in scripts that write no spaces
VERSE_WORDS, VERSE_LOWER = 2, 0.75  # words of a line after its first, in the mean, and the share of them in lower case
NUMBER = re.compile(r"(?=\D*+\d)\s*+[-+]?[\d.,:/%€$ -]++")
LONGEST_NUMBER = 40  # characters
LABEL = re.compile(r"(?m)^[ \t]*([A-Za-z][\w -]{0,30}):")
SENTENCE_END = re.compile(r"[.,;:!?…。，、！？；：]$")
CODE = re.compile(r"[{}()<>=;#\\*@$/|\[\]]")
DENSE_SCRIPT = re.compile("[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")


def detected(text: str) -> RecordFormat | None:
    """Returns the format of a text, or None for prose. Only its first `HEAD` characters are looked at."""
    lines = text[:HEAD].split("\n")
    if len(text) > HEAD and len(lines) > 1:
        del lines[-1]  # it is cut
    filled = [line for line in lines if line and not line.isspace()]
    if len(set(filled)) < FEWEST:
        return None
    if _are_objects(filled):
        return RecordFormat.of_kind("jsonl")
    if _is_fortune(lines):
        return RecordFormat.of_kind("fortune")
    return _table(lines, filled, len(text) <= HEAD) or _blocks("\n".join(lines)) or _list(lines, filled)


def _are_objects(lines: list[str]) -> bool:
    def is_object(line: str) -> bool:
        try:
            return line.startswith("{") and isinstance(json.loads(line), dict)
        except (ValueError, RecursionError):
            return False

    return all(map(is_object, lines))


def _is_fortune(lines: list[str]) -> bool:
    """Lines of % alone, and no other line that begins with it, as comments of TeX do."""
    marks = sum(line.rstrip() == "%" for line in lines)
    return marks >= FEWEST // 2 and not any(line.startswith("%") and line.rstrip() != "%" for line in lines)


# ── tables ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _table(lines: list[str], filled: list[str], whole: bool) -> RecordFormat | None:
    """A table has the same number of cells in each row, and no cell but the first is indented."""
    for delimiter, kind in KIND_OF.items():
        if delimiter not in filled[0]:
            continue
        rows: list[list[str]] = []
        reader = csv.reader((f"{line}\n" for line in lines), delimiter=delimiter, strict=True)
        try:
            rows += (row for row in reader if row)
        except csv.Error:
            if whole or reader.line_num < NEARLY * len(lines):  # else the last row is a cut one
                continue
        if not whole and rows and len(rows[-1]) < len(rows[0]):
            del rows[-1]  # a cut one
        width = len(rows[0]) if rows else 0
        if len(rows) < FEWEST or width < 2 or any(len(row) != width for row in rows):
            continue
        inner = [cell for row in rows for cell in row[1:]]
        if sum(cell[:1].isspace() for cell in inner) > 0.5 * len(inner) or (any(line[:1].isspace() for line in filled) and kind == "tsv"):
            continue  # a sentence with commas, an indented text with tabs
        if width == 2 and sum(len(cell.split()) > 2 * NAME_WORDS for cell in inner) > 0.5 * len(inner) and '"' not in "".join(lines):
            continue  # sentences of two parts
        return RecordFormat.of_kind(kind, header=_has_header(rows))
    return None


def _has_header(rows: list[list[str]]) -> bool:
    """Whether the first row names the columns: it has no number, nothing twice, and differs in form from what stands below."""
    names, rest = rows[0], rows[1:]
    if len(set(names)) < len(names) or any(not name.strip() or _is_number(name) for name in names):
        return False
    columns = list(zip(*rest, strict=True))
    if any(name in column for name, column in zip(names, columns, strict=True)):
        return False
    if any(sum(map(_is_number, column)) >= NEARLY * len(column) for column in columns):
        return True
    plain = all(re.fullmatch(r"[a-z][a-z0-9_.-]*|[A-Z][A-Z0-9_.-]*", name) for name in names)
    return plain and any(sum(cell.islower() or cell.isupper() for cell in column) < 0.5 * len(column) for column in columns)


def _is_number(cell: str) -> bool:
    return len(cell) <= LONGEST_NUMBER and NUMBER.fullmatch(cell) is not None


# ── blocks ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _blocks(text: str) -> RecordFormat | None:
    """Blocks between blank lines have the same label in nearly all of them, as ``X:`` in tunes and ``Method:`` in recipes."""
    form = RecordFormat.of_kind("blocks")
    blocks = [block for some in form.cut([text]) for block in some]
    if len(blocks) < FEWEST or sum("\n" in block for block in blocks) < NEARLY * len(blocks):
        return None
    labels = Counter(label for block in blocks for label in set(LABEL.findall(block)))
    return form if labels and labels.most_common(1)[0][1] >= NEARLY * len(blocks) else None


# ── lists ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _list(lines: list[str], filled: list[str]) -> RecordFormat | None:
    """A list has neither blank nor indented lines, and is sorted, or has short entries, or all lines begin alike."""
    body = lines[:-1] if lines and not lines[-1] else lines
    if len(body) - len(filled) > 0.02 * len(body) or sum(line[0].isspace() for line in filled) > 0.02 * len(filled):
        return None
    if (_has_entries(filled) and not _reads_on(filled)) or _is_sorted(filled) or _begins_alike(filled):
        return RecordFormat.of_kind("lines")
    return None


def _share(pattern: re.Pattern[str], lines: list[str]) -> float:
    return sum(pattern.search(line) is not None for line in lines) / len(lines)


def _has_entries(lines: list[str]) -> bool:
    def is_entry(line: str) -> bool:
        most = DENSE if DENSE_SCRIPT.search(line) else NAME_LENGTH
        return len(line) <= most and len(line.split()) <= NAME_WORDS

    return sum(map(is_entry, lines)) >= NEARLY * len(lines) and _share(SENTENCE_END, lines) <= 0.1 and _share(CODE, lines) <= 0.02


def _reads_on(lines: list[str]) -> bool:
    """Lines of several words, of which those after the first are mostly in lower case, as in verse; names and titles have capitals."""
    later = [word for line in lines for word in line.split()[1:]]
    return len(later) > VERSE_WORDS * len(lines) and sum(word[0].islower() for word in later) > VERSE_LOWER * len(later)


def _is_sorted(lines: list[str]) -> bool:
    if len(lines) < 2 * FEWEST or _share(CODE, lines) > 0.1:
        return False
    keys = [line.casefold() for line in lines]
    pairs = list(pairwise(keys))
    return sum(a <= b for a, b in pairs) >= NEARLY * len(pairs)


def _begins_alike(lines: list[str]) -> bool:
    """The first words have the same form, which has a number and a sign in it: the times of a log, the numbers of moves."""
    forms = Counter(_form(line.split(None, 1)[0]) for line in lines)
    form, count = forms.most_common(1)[0]
    return count >= NEARLY * len(lines) and "9" in form and form != "9" and not all(line.startswith(("0x", "-")) for line in lines)


def _form(word: str) -> str:
    return re.sub(r"[^\W\d_]+", "a", re.sub(r"\d+", "9", word))
