"""Encodes a stored corpus as ids: the alphabet, the training part and the validation part.

The records of a corpus are encoded each by itself, behind a boundary. A hash of each record decides whether it validates, so that equal
ones are on the same side, and where they stand does not matter. They are learned from in another order each epoch.

The ids of a long text lie in a memory-mapped file (see `service.system.array_cache`), so that neither memory nor the next start grows with
the text. A chunk of text goes one way: `Corpora.pieces`, normalised, encoded, into that file; `model.batches.Streams` reads it from there.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from corpora import RecordFormat
from model.batches import Ids, Records, RecordStreams, Split, Streams, split
from model.config import ModelConfig, TrainingConfig
from model.errors import InvalidSetting, TextTooShort, TooFewRecords
from model.normalization import normalize
from model.quick_check import is_normal, normalized
from model.vocabulary import SymbolCounts, Vocabulary, codes
from service.store import Corpus, Store
from service.system import hardware
from service.system.array_cache import Cache, CacheKey, release
from service.training.corpus_import import LEAST_TEXT

SMALL = 8_000_000  # symbols: fewer are encoded in about 0.1 s and need no file

Tick = Callable[[], None]  # called now and then while a text is read; what it raises ends the reading
RecordFormats = tuple[dict[str, Any] | None, dict[str, Any] | None]  # `Corpus.records` of a corpus and of the one that validates


class UnknownSymbols(NamedTuple):
    """The symbols of a text that are not in an alphabet."""

    symbols: int
    different: int


class Dataset(NamedTuple):
    """A corpus ready to train on: ids[:split.training] are trained on, and validation[split.start:split.stop] validate."""

    vocabulary: Vocabulary
    ids: Ids  # (N,), maybe memory-mapped; not to be written
    split: Split
    symbols_per_char: float  # in the validation symbols
    note: str | None = None  # a sentence for the user
    other: Ids | None = None  # (M,) the ids of the corpus that validates, if that is another one
    unknown: UnknownSymbols = UnknownSymbols(0, 0)
    records: Records | None = None  # those that are trained on; None for prose
    told: str | None = None  # a sentence for the user about them

    def streams(self, training: TrainingConfig) -> Streams:
        """Returns the training part as streams."""
        if self.records is not None:
            return RecordStreams(self.records, training.batch_size, training.seq_length, training.seed)
        return Streams(self.ids[: self.split.training], training.batch_size, training.seq_length)

    @property
    def validation(self) -> Ids:
        """The ids into which the split's start and stop point."""
        return self.ids if self.other is None else self.other

    def after(self, count: int) -> tuple[Ids, int, int]:
        """Returns the last `count` symbols of the training part followed by the validation part, whose start and stop come with them."""
        first, stop = self.split.training - count, self.split.stop
        if self.other is None:
            return self.ids[first:], self.split.start - first, stop - first
        if self.records is not None:
            return np.concatenate([self.records.joined(first)[:count], self.other[:stop]]), self.split.start + count, stop + count
        return np.concatenate([self.ids[first : self.split.training], self.other[:stop]]), self.split.start + count, stop + count

    def release(self) -> None:
        """Gives back the memory of the ids that were read so far, if a file keeps them. Long runs call it now and then."""
        release(self.ids)
        release(self.validation)


def read(
    store: Store,
    name: str | int,
    model: ModelConfig,
    training: TrainingConfig,
    vocabulary: Vocabulary | None = None,
    validation_corpus: str | int | None = None,
    tick: Tick | None = None,
    records: RecordFormats = (None, None),
) -> Dataset:
    """Reads a corpus with the alphabet of a checkpoint, or with its own. The memory that it takes does not grow with the text.

    Corpora are given by name or id, and may be renamed from then on. With a `validation_corpus` all of the first is trained on.
    `records` says how the two are cut; with an alphabet that has no boundary they are read as prose, and prose is cut at the separator
    of one that has.
    Raises `CorpusNotFound`, `TextTooShort`, `TooFewRecords`, `InvalidSetting` if `min_count` leaves no alphabet, `DatabaseUnusable`.
    """
    store.corpora.sweep()
    corpus = store.corpora.get(name)
    validating = None if validation_corpus is None else store.corpora.get(validation_corpus)
    if form := _form(records[0], vocabulary):
        other_form = _form(records[1], vocabulary) or form
        return _read_records(store, corpus, form, model, training, vocabulary, validating, other_form, tick)
    counts = store.corpora.counts(corpus, model.level, model.normalization, tick)
    if vocabulary is None:
        vocabulary = Vocabulary.build(counts, model.min_count)
        if not vocabulary.size:
            most = int(counts.counts.max())
            raise InvalidSetting("min_count", model.min_count, f"at most {most:,} for corpus {corpus.name}", "no symbol occurs more often")
    parts = split(counts.total, training.validation_fraction, training.validation_size)
    if parts.training < 2:
        raise TextTooShort(f"corpus {corpus.name}", counts.total, LEAST_TEXT)
    ids, note = _encode(store, corpus, vocabulary, counts.total, tick)
    other = None
    if validating is not None:
        total = store.corpora.counts(validating, vocabulary.level, vocabulary.normalization, tick).total
        if total < 2:
            raise TextTooShort(f"corpus {validating.name}", total, LEAST_TEXT)
        other, _ = _encode(store, validating, vocabulary, total, tick)
        # The first symbol has nothing before it to be predicted from.
        parts = Split(counts.total, 1, min(total, 1 + training.validation_size) if training.validation_size else total)
    validation = (ids if other is None else other)[parts.start : parts.stop]
    symbols_per_char = len(validation) / max(1, vocabulary.characters(validation))
    return Dataset(vocabulary, ids, parts, symbols_per_char, note, other, _unknown(counts, vocabulary))


def _encode(store: Store, corpus: Corpus, vocabulary: Vocabulary, total: int, tick: Tick | None) -> tuple[Ids, str | None]:
    """Returns the ids of a text of `total` symbols, and a note for the user if they take more memory than there is."""

    def parts() -> Iterator[Ids]:
        for piece in normalized(store.corpora.pieces(corpus), vocabulary.normalization, store.corpora.alphabet(corpus)):
            if tick:
                tick()
            yield from vocabulary.encode_pieces([piece], normal=True)

    note = None
    if total >= SMALL:
        cache, size = store.cache, total * vocabulary.dtype.itemsize
        key = CacheKey(corpus.sha256, "ids", (vocabulary.to_dict(), vocabulary.dtype.str, unicodedata.unidata_version))
        known = cache.load(key, vocabulary.dtype)
        if known is not None and len(known) == total:
            return known, None
        try:
            return cache.store(key, vocabulary.dtype, parts(), size), None
        except OSError as error:
            note = _shortage(cache, size, error)
    ids, start = np.empty(total, vocabulary.dtype), 0
    for part in parts():
        ids[start : start + len(part)] = part
        start += len(part)
    return ids, note


def _shortage(cache: Cache, size: int, error: OSError) -> str | None:
    """Returns a note for the user if ids must stay in memory and do not fit there."""
    free = hardware.free_memory()
    if free is None or size <= free:
        return None
    return (
        f"the text takes {size / 1e9:.1f} GB of memory and {free / 1e9:.1f} GB are free;"
        f" it would take next to none if {cache.folder} could be written ({error.strerror or error})"
    )


def _unknown(counts: SymbolCounts, vocabulary: Vocabulary) -> UnknownSymbols:
    known = counts.counts[list(vocabulary.symbols)]
    return UnknownSymbols(counts.total - int(known.sum()), int(np.count_nonzero(counts.counts) - np.count_nonzero(known)))


# ── records ──────────────────────────────────────────────────────────────────────────────────────────────────────────

HASHED = 4096  # characters from which on the factors of the hash repeat
FACTORS = np.random.PCG64(0).random_raw(HASHED) | np.uint64(1)  # of each place in a record, odd


class HashedRecords(NamedTuple):
    """The records of a corpus with a hash of each (of what stands in it, in normal form); of equal ones only one if they are unique."""

    records: Records
    hashes: NDArray[np.uint64]  # (n,)
    note: str | None

    def take(self, chosen: NDArray[Any]) -> HashedRecords:
        """Returns some of the records, by a mask or by their numbers."""
        return HashedRecords(self.records.take(chosen), self.hashes[chosen], self.note)


def _form(records: dict[str, Any] | None, vocabulary: Vocabulary | None) -> RecordFormat | None:
    """Returns how a corpus is cut for an alphabet, or for a new one if that is None; None if it is read as prose."""
    if vocabulary is not None and vocabulary.separator is None:
        return None
    if records is None:
        return None if vocabulary is None else RecordFormat(kind="separator", separator=vocabulary.separator or "")
    return RecordFormat.from_dict(records)


def _read_records(
    store: Store,
    corpus: Corpus,
    form: RecordFormat,
    model: ModelConfig,
    training: TrainingConfig,
    vocabulary: Vocabulary | None,
    validating: Corpus | None,
    validation_form: RecordFormat,
    tick: Tick | None,
) -> Dataset:
    """Does `read` for records."""
    level, normalization = (vocabulary or model).level, (vocabulary or model).normalization
    counts = _count_records(store, corpus, form, level, normalization, tick)
    if vocabulary is None:
        vocabulary = Vocabulary.build(counts, model.min_count, form.separator)
        if not vocabulary.symbols:
            most = int(counts.counts.max())
            raise InvalidSetting("min_count", model.min_count, f"at most {most:,} for corpus {corpus.name}", "no symbol occurs more often")
    found = _encode_records(store, corpus, form, vocabulary, counts.total, tick)
    every = len(found.hashes)
    distinct, first, kind = np.unique(found.hashes, return_index=True, return_inverse=True)
    if form.unique:
        found, kind = found.take(np.sort(first)), kind[np.sort(first)]
    if validating is not None:
        other_counts = _count_records(store, validating, validation_form, level, normalization, tick)
        held = _encode_records(store, validating, validation_form, vocabulary, other_counts.total, tick)
        if not len(held.hashes):
            raise TooFewRecords(f"corpus {validating.name}", 0, validation_form.words)
        trained, shared = found.records, int(np.isin(held.hashes, distinct).sum())
    else:
        if len(distinct) < 2:
            raise TooFewRecords(f"corpus {corpus.name}", len(distinct), form.words)
        holds = _holds(kind, found.records.sizes, len(distinct), training.validation_fraction)
        trained, held, shared = found.records.take(~holds), found.take(holds), 0
    validation = _validation(held, training.validation_size)
    sizes = f"{len(trained.starts):,} to learn from, {len(held.hashes):,} for validation"
    told = f"the text is read as {every:,} records ({form.words}), {len(distinct):,} different"
    told += " ones, each read once" if form.unique else ""
    told += f": {sizes}" + (f", of which {shared:,} stand in corpus {corpus.name}, too" if shared else "")
    parts = Split(trained.symbols, 1, len(validation))
    symbols_per_char = (len(validation) - 1) / max(1, vocabulary.characters(validation[1:]))
    unknown = _unknown(counts, vocabulary)
    return Dataset(vocabulary, found.records.ids, parts, symbols_per_char, found.note, validation, unknown, trained, told)


def _holds(kind: NDArray[Any], sizes: NDArray[np.int64], kinds: int, fraction: float) -> NDArray[np.bool_]:
    """Returns which records validate: those with the lowest hashes, about `fraction` of all symbols. `kind` numbers the hashes in order."""
    share = np.cumsum(np.bincount(kind, sizes, kinds)) / sizes.sum()
    count = int(np.abs(share - fraction).argmin()) + 1
    return np.asarray(kind < min(count, kinds - 1))


def _validation(held: HashedRecords, most: int) -> Ids:
    """Returns the ids of the records that are read at a validation, those with the lowest hashes first; whole records if `most` allows."""
    chosen = held.records.take(np.argsort(held.hashes, kind="stable"))
    if most:
        count = max(1, int(np.searchsorted(np.cumsum(chosen.sizes), most, "right")))
        chosen = chosen.take(np.arange(len(chosen.sizes)) < count)
        return chosen.joined(0, min(chosen.symbols, max(most, 1)) + 1)
    return chosen.joined()


def _cut(store: Store, corpus: Corpus, form: RecordFormat, level: str, normalization: str, tick: Tick | None) -> Iterator[_CutPiece]:
    """Yields the records of each piece of a corpus, in a normal form."""
    normal = is_normal(store.corpora.alphabet(corpus), normalization)
    for records in form.cut(store.corpora.pieces(corpus)):
        if tick:
            tick()
        forms = records if normal else [normalize(record, normalization) for record in records]
        text = "".join(forms)
        alike = level == "char" or text.isascii()
        yield _CutPiece(text, np.array([len(each) if alike else len(each.encode()) for each in forms], np.int64))


class _CutPiece(NamedTuple):
    text: str  # of some records, one behind the other
    sizes: NDArray[np.int64]  # symbols of each


def _count_records(store: Store, corpus: Corpus, form: RecordFormat, level: str, normalization: str, tick: Tick | None) -> SymbolCounts:
    """Returns how often each symbol occurs in the records of a corpus."""
    counts = SymbolCounts(level, normalization)
    for piece in _cut(store, corpus, form, level, normalization, tick):
        counts.add([piece.text], normal=True)
    return counts


def _encode_records(
    store: Store, corpus: Corpus, form: RecordFormat, vocabulary: Vocabulary, total: int, tick: Tick | None
) -> HashedRecords:
    """Returns the records of a corpus that have `total` symbols together, without boundaries."""
    sizes: list[NDArray[np.int64]] = []
    hashes: list[NDArray[np.uint64]] = []

    def parts() -> Iterator[Ids]:
        sizes.clear()
        hashes.clear()
        for piece in _cut(store, corpus, form, vocabulary.level, vocabulary.normalization, tick):
            starts = np.cumsum(piece.sizes) - piece.sizes
            sizes.append(piece.sizes + 1)
            hashes.append(hashed(codes(piece.text, vocabulary.level), starts, piece.sizes))
            (ids,) = vocabulary.encode_pieces([piece.text], normal=True)
            yield np.insert(ids, starts, vocabulary.size - 1)
        yield np.array([vocabulary.size - 1], vocabulary.dtype)

    note, cache = None, store.cache
    about = (vocabulary.to_dict(), vocabulary.dtype.str, unicodedata.unidata_version, form.kind, form.separator, form.header)
    kept = [CacheKey(corpus.sha256, kind, about) for kind in ("records", "sizes", "hashes")]
    kinds = (vocabulary.dtype, np.dtype(np.int64), np.dtype(np.uint64))
    if total >= SMALL:
        known = [cache.load(key, dtype) for key, dtype in zip(kept, kinds, strict=True)]
        if (ids := known[0]) is not None and (size := known[1]) is not None and (found := known[2]) is not None:
            return _hashed(ids, size, found)
        try:
            ids = cache.store(kept[0], kinds[0], parts(), total * kinds[0].itemsize)
            cache.store(kept[1], kinds[1], sizes, sum(array.nbytes for array in sizes))
            cache.store(kept[2], kinds[2], hashes, sum(array.nbytes for array in hashes))
            return _hashed(ids, np.concatenate(sizes), np.concatenate(hashes))
        except OSError as error:
            note = _shortage(cache, total * kinds[0].itemsize, error)
    ids = np.concatenate([*parts()])
    return _hashed(ids, np.concatenate([np.empty(0, np.int64), *sizes]), np.concatenate([np.empty(0, np.uint64), *hashes]), note)


def _hashed(ids: Ids, sizes: NDArray[np.int64], hashes: NDArray[np.uint64], note: str | None = None) -> HashedRecords:
    return HashedRecords(Records(ids, np.cumsum(sizes) - sizes, sizes), hashes, note)


def hashed(symbols: NDArray[Any], starts: NDArray[np.int64], sizes: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Returns a hash of each of n records, which are parts of `symbols` (N,), none of them empty.

    Multilinear hashing: the sum of the symbols times a factor for each place (Lemire and Kaser 2014), whose bits are then mixed as
    splitmix64 does.
    """
    if not len(starts):
        return np.empty(0, np.uint64)
    places = np.arange(len(symbols)) - np.repeat(starts, sizes)
    sums: NDArray[np.uint64] = np.add.reduceat((symbols.astype(np.uint64) + np.uint64(1)) * FACTORS[places % HASHED], starts)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        sums = (sums ^ (sums >> np.uint64(shift))) * np.uint64(factor)
    return sums ^ (sums >> np.uint64(31))
