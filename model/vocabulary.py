"""Builds the alphabet of a model, and turns text into ids and back.

A symbol is an element of the alphabet: a Unicode code point (level `char`) or a byte of UTF-8 (level `byte`). Ids count the
alphabet in code point order, 0..V-1; V is the unknown symbol. Input is normalised, output is composed to NFC.

The alphabet of a text that is made of records has one more symbol, the boundary, as its last id V-1: it stands for the separator
between two records, and a prompt begins with it. Each record is normalised and composed by itself.
"""

from __future__ import annotations

import codecs
import functools
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.config import LEVELS, NORMALIZATIONS
from model.errors import DamagedCheckpoint
from model.functions import CODE_POINTS, UNKNOWN_COST
from model.normalization import normalize, normalized, with_lf
from model.out_of_vocabulary import Substitution, closest
from model.quick_check import keeps_characters
from model.utf8_constraint import Utf8Guide

Ids = NDArray[np.integer[Any]]

RARE = 1_000_000  # by default a symbol must occur once in this many
SYMBOL_BYTES = 200  # that the number and the name of a symbol take, measured in CPython 3.11
LONGEST_SEPARATOR = 102  # characters: the 100 that one may have, and the line ends around it
LINE_END = 0x0A  # composes with nothing
PIECE = 2**20  # ids that are decoded at once if only the length of their text is needed


def is_symbol(value: int, level: str) -> bool:
    """Whether a value is a byte, or a code point that can be encoded (surrogates cannot)."""
    if level == "byte":
        return 0 <= value < 256
    return 0 <= value < CODE_POINTS and not 0xD800 <= value < 0xE000


def is_text(text: str) -> bool:
    """Whether a string can be encoded: it has no surrogates."""
    return all(is_symbol(ord(c), "char") for c in text)


def codes(text: str, level: str) -> NDArray[Any]:
    """Returns the code points (uint32) or UTF-8 bytes (uint8) of a text, before they become ids."""
    if level == "byte":
        return np.frombuffer(text.encode("utf-8", "surrogatepass"), np.uint8)
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.dtype("<u4"))


def _shown_byte(value: int) -> str:
    return chr(value) if value < 0x80 else f"\\x{value:02x}"


class SymbolCounts:
    """Counts the symbols of a text that arrives in pieces; memory does not grow with the text."""

    def __init__(self, level: str, normalization: str) -> None:
        self.level, self.normalization = level, normalization
        self.counts = np.zeros(256 if level == "byte" else CODE_POINTS, np.int64)

    @classmethod
    def from_characters(cls, level: str, normalization: str, characters: Mapping[str, int]) -> SymbolCounts | None:
        """Returns the counts for a text with known character counts; None if they also depend on the order of the characters.

        They do only for NFC, and only with characters that may compose with others.
        """
        if normalization == "nfc" and not keeps_characters(characters, normalization):
            return None
        parts: Counter[str] = Counter()
        for c, count in characters.items():
            for part in normalize(c, normalization):  # normalising may reorder marks, but not change their number
                parts[part] += count
        return cls.of_normal(level, normalization, parts)

    @classmethod
    def of_normal(cls, level: str, normalization: str, characters: Mapping[str, int]) -> SymbolCounts:
        """Returns the counts for a text with known character counts of its normal form."""
        counts = cls(level, normalization)
        for c, count in characters.items():
            for symbol in codes(c, level).tolist():
                counts.counts[symbol] += count
        return counts

    def add(self, pieces: Iterable[str], normal: bool = False) -> SymbolCounts:
        """Counts the symbols of a text in pieces, which are normalised unless they are `normal` already; returns itself."""
        for piece in normalized(pieces, "none" if normal else self.normalization):
            found = np.bincount(codes(piece, self.level))
            self.counts[: len(found)] += found
        return self

    @property
    def total(self) -> int:
        """Symbols counted so far."""
        return int(self.counts.sum())


class Encoded(NamedTuple):
    """A prompt as ids, with its substitutions."""

    ids: Ids  # (N,) with N of at least 1; of records, the first is the boundary
    substituted: list[Substitution]
    truncated: bool  # whether only the end of the prompt is read


class Vocabulary:
    """An alphabet with its level and normalisation. Equal alphabets are equal objects."""

    def __init__(self, level: str, normalization: str, symbols: Sequence[int], separator: str | None = None) -> None:
        """`symbols`: the code points or byte values of the alphabet, in ascending order; `separator`: what stands between two records."""
        self.level, self.normalization, self.separator = level, normalization, separator
        self.symbols = tuple(int(symbol) for symbol in symbols)
        self.boundary = None if separator is None else len(self.symbols)
        self.size = len(self.symbols) + (separator is not None)
        self.unknown = self.size
        self.dtype = np.dtype(np.uint8 if self.size < 256 else np.uint16 if self.size < 65536 else np.uint32)
        # By code point or byte. The last entry stands for all behind it, since a table of all code points would take a megabyte or two.
        self._ids: Ids = np.full(max(self.symbols, default=0) + 2, self.unknown, self.dtype)
        self._ids[list(self.symbols)] = np.arange(len(self.symbols))

    @classmethod
    def build(cls, counts: SymbolCounts, min_count: int | None = None, separator: str | None = None) -> Vocabulary:
        """Returns the alphabet of a counted text, without symbols that occur fewer than `min_count` times.

        By default `min_count` is one per million symbols, at least 1. The result has no `symbols` if nothing is frequent enough: no code
        point, or no bytes that form a character.
        """
        least = max(1, counts.total // RARE) if min_count is None else min_count
        symbols = [symbol for symbol in np.flatnonzero(counts.counts >= least).tolist() if is_symbol(symbol, counts.level)]
        if counts.level == "byte" and not Utf8Guide(symbols).can_write:
            symbols = []
        return cls(counts.level, counts.normalization, symbols, separator)

    @property
    def unknown_cost(self) -> float:
        """Nats that an unknown symbol costs: any code point, or any byte, could have been meant."""
        return math.log(256) if self.level == "byte" else UNKNOWN_COST

    @property
    def nbytes(self) -> int:
        """About its size in memory."""
        return self._ids.nbytes + SYMBOL_BYTES * self.size

    def encode(self, text: str) -> Ids:
        """The ids (N,) of a text after normalisation; what is outside the alphabet becomes the unknown symbol, a separator the boundary."""
        records = self._records_of(text)
        if len(records) == 1:
            return self.encode_record(text)
        forms = [normalize(record, self.normalization) for record in records]
        ends = np.cumsum([len(form) if self.level == "char" or form.isascii() else len(codes(form, "byte")) for form in forms])
        return np.insert(self._look_up("".join(forms)), ends[:-1], self.size - 1)

    def encode_record(self, text: str) -> Ids:
        """The ids (N,) of one record, or of prose: `encode` without looking for separators."""
        return self._look_up(normalize(text, self.normalization))

    def _records_of(self, text: str) -> list[str]:
        """Returns what stands between the separators of a text; prose is one record."""
        return [text] if self.separator is None else text.split(self.separator)

    def _look_up(self, text: str) -> Ids:
        return self._ids.take(codes(text, self.level), mode="clip")  # half the time of indexing

    def encode_pieces(self, pieces: Iterable[str], normal: bool = False) -> Iterator[Ids]:
        """The ids of prose, or of a record, in pieces: joined, `encode_record` of the whole. `normal`: it is in normal form already."""
        for piece in normalized(pieces, "none" if normal else self.normalization):
            yield self._look_up(piece)

    def knows(self, text: str) -> bool:
        """Whether every symbol of a text (after normalisation) is in the alphabet."""
        return bool((self.encode(text) != self.unknown).all())

    def encode_prompt(self, prompt: str, limit: int) -> Encoded:
        """Returns the ids of a prompt and never fails: unknown characters get their closest known form, else the unknown symbol.

        Line ends become LF. The last `limit` symbols are read. An empty prompt is read as one line end, or as the unknown symbol if the
        alphabet has none. In front of a prompt of records stands a boundary.
        """
        separator, prompt = self.separator or "", with_lf(prompt)
        whole = separator.join(normalize(record, self.normalization) for record in self._records_of(prompt))
        if self.boundary is None:
            whole = whole or "\n"
        text = whole[-limit:]
        records = self._records_of(text)
        if not prompt or self.knows(text):
            return self._begun([self._look_up(record) for record in records], limit, [], len(whole) > limit)
        counts = Counter(c for record in records for c in record)
        by = {c: closest(c, self.knows) for c in counts if not self.knows(c)}
        forms = {c: self.encode(by.get(c, c) or "") for c in counts}
        forms |= {c: np.array([self.unknown], self.dtype) for c, form in by.items() if form is None}
        read = [np.concatenate([np.empty(0, self.dtype), *(forms[c] for c in record)]) for record in records]
        return self._begun(read, limit, [Substitution(c, form, counts[c]) for c, form in by.items()], len(whole) > limit)

    def given(self, prompt: Ids) -> Ids:
        """Returns the ids of a prompt without the boundary that was put in front of it, if the text is made of records."""
        return prompt if self.boundary is None else prompt[1:]

    def encode_ids(self, given: Sequence[int], limit: int) -> Encoded:
        """Returns a prompt that is given as ids; ids outside the alphabet become the unknown symbol. The last `limit` are read."""
        if not given:
            return self.encode_prompt("", limit)
        ids = np.array([each if 0 <= each < self.size else self.unknown for each in given[-limit:]], self.dtype)
        times = int(np.count_nonzero(ids == self.unknown))
        return self._begun([ids], limit, [Substitution("\ufffd", None, times)] if times else [], len(given) > limit)

    def _begun(self, records: list[Ids], limit: int, substituted: list[Substitution], truncated: bool) -> Encoded:
        """Returns the ids of a prompt's records with their boundaries: one in front of each, of prose none."""
        if self.boundary is None:
            (ids,) = records
            if not len(ids):  # nothing but accents that were left out
                ids = np.array([self.unknown], self.dtype)
            return Encoded(ids[-limit:], substituted, truncated or len(ids) > limit)
        ids = np.concatenate([part for record in records for part in ([self.boundary], record)]).astype(self.dtype)
        read = np.concatenate([ids[:1], ids[1:][max(0, len(ids) - limit) :]])
        return Encoded(read, substituted, truncated or len(ids) > limit)

    def decode(self, ids: Ids) -> str:
        """Returns the text of ids, composed to NFC unless normalisation is `none`; unknown and broken parts show as U+FFFD."""
        ends = [] if self.boundary is None else np.flatnonzero(np.asarray(ids) == self.boundary).tolist()
        records = [ids[start + 1 : stop] for start, stop in pairwise([-1, *ends, len(ids)])]
        texts = ["".join(self._decoded(record, max(1, len(record)))) for record in records]
        return (self.separator or "").join(text if self.normalization == "none" else normalize(text, "nfc") for text in texts)

    def _decoded(self, ids: Ids, size: int) -> Iterator[str]:
        """Yields the text of ids in pieces of `size` symbols, not composed; a boundary as one line end."""
        byte = self.level == "byte"
        codes = [*self.symbols, *([] if self.boundary is None else [LINE_END]), 0xFF if byte else 0xFFFD]
        values = np.array(codes, np.uint8 if byte else np.dtype("<u4"))
        decoder = codecs.getincrementaldecoder("utf-8" if byte else "utf-32-le")("replace")
        for start in range(0, len(ids), size):
            yield decoder.decode(values[ids[start : start + size]].tobytes())
        yield decoder.decode(b"", final=True)

    def characters(self, ids: Ids) -> int:
        """Returns how many characters (code points of the NFC text) ids (N,) are, for bits per character. Memory does not grow with N.

        A boundary is as many as the separator has.
        """
        count = sum(map(len, normalized(self._decoded(ids, PIECE), "nfc")))
        return count if self.separator is None else count + int(np.count_nonzero(ids == self.boundary)) * (len(self.separator) - 1)

    def symbol(self, index: int) -> str:
        """Returns one symbol as text for display: the character, \\xNN for a byte outside ASCII, the separator for the boundary."""
        if index == self.boundary and self.separator is not None:
            return self.separator
        value = self.symbols[index]
        return chr(value) if self.level == "char" else _shown_byte(value)

    @functools.cached_property
    def guide(self) -> Utf8Guide | None:
        """What keeps bytes valid UTF-8; None at level char."""
        return Utf8Guide(self.symbols, boundary=self.boundary is not None) if self.level == "byte" else None

    @functools.cached_property
    def names(self) -> list[str]:
        """Every `symbol` of the alphabet, and U+FFFD for the unknown one."""
        return [*map(self.symbol, range(self.size)), "\ufffd"]

    def spelled(self, text: str) -> list[str]:
        """Returns the symbols of a text, in the alphabet or not, each as text for display: as many as `encode` returns ids."""
        shown: list[str] = []
        for index, record in enumerate(self._records_of(text)):
            form = normalize(record, self.normalization)
            shown += [self.separator or ""] * (index > 0)
            shown += list(form) if self.level == "char" else map(_shown_byte, codes(form, "byte").tolist())
        return shown

    def to_dict(self) -> dict[str, Any]:
        """Returns the alphabet ready for JSON."""
        symbols = list(self.symbols) if self.level == "byte" else "".join(map(chr, self.symbols))
        values = {"level": self.level, "normalization": self.normalization, "symbols": symbols}
        return values if self.separator is None else values | {"separator": self.separator}

    @classmethod
    def from_dict(cls, values: dict[str, Any], origin: str = "the checkpoint") -> Vocabulary:
        """Reverses `to_dict`. Raises `DamagedCheckpoint` unless it is a sorted alphabet."""
        try:
            level, normalization, given = values["level"], values["normalization"], values["symbols"]
        except (KeyError, TypeError):
            raise DamagedCheckpoint(origin, "its alphabet is incomplete") from None
        if level not in LEVELS or normalization not in NORMALIZATIONS or type(given) is not (str if level == "char" else list):
            raise DamagedCheckpoint(origin, "its alphabet is of an unknown kind")
        symbols: list[Any] = [ord(c) for c in given] if level == "char" else list(given)
        sound = all(type(symbol) is int and is_symbol(symbol, level) for symbol in symbols)
        if not symbols or not sound or any(a >= b for a, b in pairwise(symbols)):
            raise DamagedCheckpoint(origin, "its alphabet is not a list of different symbols in order")
        if level == "byte" and not Utf8Guide(symbols).can_write:
            raise DamagedCheckpoint(origin, "its alphabet has no bytes that make up a character")
        separator = values.get("separator")
        if separator is not None and not (type(separator) is str and 0 < len(separator) <= LONGEST_SEPARATOR and is_text(separator)):
            raise DamagedCheckpoint(origin, f"the separator of its records is not a text of 1 to {LONGEST_SEPARATOR} characters")
        return cls(level, normalization, symbols, separator)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self.to_dict() == other.to_dict()

    def __hash__(self) -> int:
        return hash((self.level, self.normalization, self.symbols, self.separator))
