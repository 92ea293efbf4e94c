"""Reads the text that a user named into a stored corpus."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from corpora import BUILTINS, RecordCounter, RecordCutter, RecordFormat, Source, detected, is_builtin, open_source
from corpora.records import AUTO, NONE, chosen
from model.errors import InvalidSetting, RecordTooLong, SourceNotFound, TextTooShort, TooFewRecords
from service.store import Corpus, Store
from service.system.errors import InvalidName

Watch = Callable[[int], None]

ALIKE = 0.7  # how much of two names must be the same, so that one is proposed for the other
LEAST_TEXT = 100  # characters: below that there is nothing to learn from


def add(
    store: Store,
    source: Source,
    name: str | None = None,
    watch: Watch | None = None,
    *,
    anew: bool = False,
    least: int = LEAST_TEXT,
    records: str = AUTO,
    unique: bool = False,
) -> Corpus:
    """Store the text of `source` under `name`, or under a name made from the source's.

    If no `name` is given and the same text is stored already, that corpus is returned, unless a new name is to be made `anew` (two
    names of one text share its storage). `watch(characters)` is called with the number of characters read so far. `records` and `unique`
    are those of `Arriving`. Raises `InvalidName` for the name of a built-in corpus, `TextTooShort` for fewer characters than `least`, and
    what `Arriving`, `Source.pieces` and `Corpora.add` raise; then nothing is kept.
    """
    if name is not None and source.name != name:
        _refuse_builtin(name)
    store.room.check()  # before it is read, which may take long; each part of it is checked again
    wished = source.name if name is None else name
    arriving = Arriving(
        source.origin, NONE if is_builtin(source.name) and records == AUTO else records, unique, lambda: source.report.records
    )
    pieces = arriving.watched(_watched(source, watch, least))
    return store.corpora.add(wished, pieces, source.origin, exact=name is not None, anew=anew, records=arriving.facts)


def cut_anew(store: Store, name: str | int, records: str, unique: bool = False, tick: Callable[[], None] = lambda: None) -> Corpus:
    """Change how a stored corpus is cut into records; its text is read once to count them, during which `tick` is called and may raise.

    Raises `CorpusNotFound`, and as `Arriving`.
    """
    corpus = store.corpora.get(name)
    arriving = Arriving(f"corpus {corpus.name}", records, unique)
    for _ in arriving.watched(store.corpora.pieces(corpus)):
        tick()
    return store.corpora.cut_anew(corpus.id, arriving.facts())


class Arriving:
    """Decides whether a text that arrives in pieces is made of records, and counts them."""

    def __init__(self, origin: str, records: str, unique: bool, known: Callable[[], str | None] = lambda: None) -> None:
        """`records` is `auto`, `none`, a kind or a separator (`corpora.records.chosen`); of equal records, one is kept if `unique`.

        `known()` returns at the first piece the kind of records that documents became, which is not detected then. Raises `InvalidSetting`.
        """
        self._origin, self._unique, self._known = origin, unique, known
        form = chosen(records)
        self._detects = form == AUTO
        self._form = form if isinstance(form, RecordFormat) else None
        self._counter: RecordCounter | None = None
        if unique and form is None:
            raise self._not_unique()

    def watched(self, pieces: Iterator[str]) -> Iterator[str]:
        """Yields the pieces, and counts their records. Raises `InvalidSetting`, and `RecordTooLong` unless it was to detect them."""
        cutter: RecordCutter | None = None
        for number, piece in enumerate(pieces):
            if number == 0:
                cutter = self._begin(piece)
            yield piece
            if cutter:
                self._count(partial(cutter.push, piece))
        if cutter:
            self._count(cutter.finish)

    def _count(self, cut: Callable[[], list[str]]) -> None:
        try:
            if self._counter:
                self._counter.add(cut())
        except RecordTooLong:
            if not self._detects:
                raise
            self._counter = None  # prose after all

    def _begin(self, head: str) -> RecordCutter | None:
        found = None
        if self._detects and (kind := self._known()):
            found = RecordFormat.of_kind(kind)
        elif self._detects or self._form:
            found = detected(head)
        if self._detects or (found and self._form and found.kind == self._form.kind):
            form = found  # which knows of a header
        else:
            form = self._form.fitted(head) if self._form else None
        if form is None:
            if self._unique:
                raise self._not_unique()
            return None
        self._counter = RecordCounter(replace(form, unique=self._unique))
        return RecordCutter(self._counter.form)

    def facts(self) -> dict[str, Any] | None:
        """Returns `Corpus.records` of the whole text. Raises `TooFewRecords` unless it was to detect them."""
        if self._counter is None:
            return None
        facts = self._counter.facts()
        if facts["different"] < 2:
            if self._detects:
                return None
            raise TooFewRecords(self._origin, facts["different"], self._counter.form.words)
        return facts

    def _not_unique(self) -> InvalidSetting:
        return InvalidSetting("unique", True, f"left out for {self._origin}, which is prose", "if it is not, say how it is cut: records")


def rename(store: Store, name: str, new: str) -> Corpus:
    """Give a stored corpus another name. Raises as `Corpora.rename`, and `InvalidName` for the name of a built-in corpus."""
    _refuse_builtin(new)
    return store.corpora.rename(name, new)


def _refuse_builtin(name: str) -> None:
    if is_builtin(name):
        raise InvalidName("corpus", name, reserved=True)


def corpus_for(store: Store, what: str, watch: Watch | None = None, **reading: Any) -> tuple[Corpus, Source | None]:
    """Return the corpus that a CORPUS argument means: a stored name, else a built-in one, else a path, URL or `-`.

    `reading` are arguments of `open_source`. The source is returned too if it was read just now. Raises as `add` and `open_source`,
    and `InvalidSetting` for an argument of reading if the text is stored already.
    """
    records, unique = reading.pop("records", AUTO), reading.pop("unique", False)
    found = store.corpora.find(what)
    if found:
        for setting in ("glob", "encoding", "errors", "sha256", "mirror", "column", "field", "raw"):
            if reading.get(setting, "strict") not in (None, (), "strict", False):
                raise InvalidSetting(setting, reading[setting], f"left out for {what}", "that text is stored already")
        if records != AUTO or unique:
            raise InvalidSetting("records", records, f"left out for {what}", "that text is stored already; charloom corpus cut changes it")
        return found, None
    try:
        source = open_source(what, scratch=str(store.path.absolute().parent), room=store.room.check, apart=records == "files", **reading)
    except SourceNotFound as error:
        if is_builtin(what):
            raise
        stored = [corpus.name for corpus in store.corpora.list()]
        alike = [*error.alike, *difflib.get_close_matches(what, stored, 1, ALIKE)]
        raise SourceNotFound(what, BUILTINS, stored, dict.fromkeys(alike)) from None
    return add(store, source, watch=watch, records=records, unique=unique), source


def _watched(source: Source, watch: Watch | None, least: int) -> Iterator[str]:
    """Yield the pieces of a text, and raise `TextTooShort` at its end if they are too few."""
    characters = 0
    for piece in source.pieces():
        yield piece
        characters += len(piece)
        if watch:
            watch(characters)
    if characters < least:
        raise TextTooShort(source.origin, characters, least)
