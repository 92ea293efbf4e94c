"""Looks up whole records of a corpus: whether a record stands in it, and whether it has the form of those that do.

Of each record a hash of 64 bits is kept in memory, 8 bytes however long it is. So a record that is told to be new certainly is; one that
stands in the corpus is never missed.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from io import StringIO
from itertools import islice
from typing import Annotated

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from corpora import RecordFormat
from corpora.records import DELIMITERS
from model.errors import InvalidSetting
from model.normalization import normalize
from service.store import Corpus, Run, Store
from service.system.errors import NothingToCompare

SHAPED = 10_000  # records at the beginning of the corpus whose shapes are counted
RARE = 0.01  # a smaller share of them is taken for flaws of the corpus

Shape = int | frozenset[str]  # the number of columns of a row, or the keys of an object


@dataclass(frozen=True, kw_only=True)
class RecordsNovelty:
    """How many of some records stand in the corpus of their model."""

    corpus: str
    records: Annotated[int, Meta(ge=0)]
    known: Annotated[int, Meta(ge=0, description="that stand in the corpus")]
    different: Annotated[int, Meta(ge=0, description="of all; equal ones count once")]
    new: Annotated[list[bool], Meta(description="for each record, whether it does not stand in the corpus")]

    @property
    def words(self) -> str:
        """The same in words: ``175 of 300 records stand in corpus names; 283 are different``."""
        return f"{self.known:,} of {self.records:,} records stand in corpus {self.corpus}; {self.different:,} are different"


class CorpusRecords:
    """The records of a corpus, in NFC; `model.record_sampling.RecordSource`. Safe for use by several threads."""

    def __init__(self, corpus: str, form: RecordFormat, records: Iterable[list[str]]) -> None:
        """`records` come in lists; `corpus` is the name of the corpus."""
        self.corpus, self._form = corpus, form
        hashes: list[NDArray[np.int64]] = []
        first: list[str] = []
        for some in records:
            first += some[: SHAPED - len(first)]
            hashes.append(np.fromiter((hash(normalize(each, "nfc")) for each in some), np.int64, len(some)))
        self._hashes = np.unique(np.concatenate(hashes)) if hashes else np.empty(0, np.int64)  # (N,) sorted
        self._shape_of = _shape_of(form, first)
        self._shapes = _common(self._shape_of(record) for record in first) if self._shape_of else frozenset()

    @property
    def kind(self) -> str:
        """Of the records."""
        return self._form.kind

    @property
    def separator(self) -> str:
        """What stands between two of them."""
        return self._form.separator

    def cut(self, text: str) -> list[str]:
        """Returns the records of another text, all of them."""
        return [each for some in replace(self._form, header=False, unique=False).cut([text]) for each in some]

    @property
    def nbytes(self) -> int:
        """About its size in memory."""
        return self._hashes.nbytes

    def novelty(self, records: Sequence[str]) -> RecordsNovelty:
        """Returns how many of some records stand in the corpus."""
        new = [not self.has_record(each) for each in records]
        return RecordsNovelty(corpus=self.corpus, records=len(records), known=len(new) - sum(new), different=len(set(records)), new=new)

    def has_record(self, record: str) -> bool:
        """Tells whether a record stands in the corpus."""
        wanted = hash(normalize(self._trimmed(record), "nfc"))
        place = int(np.searchsorted(self._hashes, wanted))
        return place < len(self._hashes) and int(self._hashes[place]) == wanted

    def _trimmed(self, record: str) -> str:
        """Returns a record as it is cut from a text: without line ends around it."""
        return record if self._form.separator == "\n" else record.strip("\n")

    def check_valid(self) -> None:
        """Raises `InvalidSetting` if the records have no form that could be checked."""
        if self._shape_of is None:
            must = f"left out for records that are {self._form.words}"
            raise InvalidSetting("valid", True, must, "only rows of CSV and JSON lines have a form that can be checked")

    def is_valid(self, record: str) -> bool:
        """Tells whether a row has as many columns, or a JSON object the same keys, as records of the corpus. Raises as `check_valid`."""
        self.check_valid()
        assert self._shape_of is not None
        return self._shape_of(record) in self._shapes


def of_run(store: Store, run: Run, separator: str) -> CorpusRecords:
    """Reads the records of the corpus of a model. Raises `NothingToCompare` if it is not stored here."""
    if run.corpus_id is None:
        raise NothingToCompare(run.name)
    corpus = store.corpora.get(run.corpus_id)
    return of_corpus(store, corpus, form_of(run, corpus, separator))


def learned(store: Store, run: Run) -> CorpusRecords | None:
    """Reads the records that a model has learned; None if it is one of prose. Raises as `of_run`."""
    return of_run(store, run, "") if run.request.get("records") else None


def of_corpus(store: Store, corpus: Corpus, form: RecordFormat) -> CorpusRecords:
    """Reads the records of a corpus."""
    return CorpusRecords(corpus.name, form, form.cut(store.corpora.pieces(corpus)))


def form_of(run: Run, corpus: Corpus, separator: str | None) -> RecordFormat:
    """Returns how the corpus of a model was cut when the model learned it; one that is stored as prose is cut at the model's separator."""
    values = run.request.get("records") or corpus.records or {"kind": "separator", "separator": separator or "\n"}
    return RecordFormat.from_dict(values)


def _shape_of(form: RecordFormat, records: list[str]) -> Callable[[str], Shape | None] | None:
    """Returns the function that tells the shape of a record, or None for one that has none; None for records without a form."""
    if form.kind == "jsonl":
        return _keys
    if form.kind == "tsv":
        return lambda record: _columns(record, "\t")
    if form.kind != "csv":
        return None

    def agreement(delimiter: str) -> int:
        widths = Counter(_columns(record, delimiter) for record in islice(records, 100))
        return max((times for width, times in widths.items() if width is not None and width > 1), default=0)

    delimiter = max(DELIMITERS["csv"], key=agreement)
    return lambda record: _columns(record, delimiter)


def _columns(record: str, delimiter: str) -> int | None:
    try:
        [row] = csv.reader(StringIO(record), delimiter=delimiter, strict=True)
    except (csv.Error, ValueError):  # it has several rows, or none
        return None
    return len(row)


def _keys(record: str) -> frozenset[str] | None:
    try:
        found = json.loads(record)
    except (ValueError, RecursionError):
        return None
    return frozenset(found) if isinstance(found, dict) else None


def _common(shapes: Iterator[Shape | None]) -> frozenset[Shape]:
    """Returns the shapes that are not rare."""
    counts = Counter(shapes)
    return frozenset(shape for shape, times in counts.items() if shape is not None and times >= RARE * counts.total())
