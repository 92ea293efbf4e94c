"""Reads the text that a user named into a stored corpus."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from typing import Any

from corpora import BUILTINS, Source, is_builtin, open_source
from model.errors import InvalidSetting, SourceNotFound, TextTooShort
from service.store import Corpus, Store
from service.system.errors import InvalidName

Watch = Callable[[int], None]

ALIKE = 0.7  # how much of two names must be the same, so that one is proposed for the other
LEAST_TEXT = 100  # characters: below that there is nothing to learn from


def add(
    store: Store, source: Source, name: str | None = None, watch: Watch | None = None, *, anew: bool = False, least: int = LEAST_TEXT
) -> Corpus:
    """Store the text of `source` under `name`, or under a name made from the source's.

    If no `name` is given and the same text is stored already, that corpus is returned, unless a new name is to be made `anew` (two
    names of one text share its storage). `watch(characters)` is called with the number of characters read so far. Raises
    `InvalidName` for the name of a built-in corpus, `TextTooShort` for fewer characters than `least`, and what `Source.pieces` and
    `Corpora.add` raise; then nothing is kept.
    """
    if name is not None and source.name != name:
        _refuse_builtin(name)
    wished = source.name if name is None else name
    return store.corpora.add(wished, _watched(source, watch, least), source.origin, exact=name is not None, anew=anew)


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
    found = store.corpora.find(what)
    if found:
        for setting in ("glob", "encoding", "errors", "sha256", "mirror", "column", "field", "raw"):
            if reading.get(setting, "strict") not in (None, (), "strict", False):
                raise InvalidSetting(setting, reading[setting], f"left out for {what}", "that text is stored already")
        return found, None
    try:
        source = open_source(what, scratch=str(store.path.absolute().parent), room=store.room.check, **reading)
    except SourceNotFound as error:
        if is_builtin(what):
            raise
        stored = [corpus.name for corpus in store.corpora.list()]
        alike = [*error.alike, *difflib.get_close_matches(what, stored, 1, ALIKE)]
        raise SourceNotFound(what, BUILTINS, stored, dict.fromkeys(alike)) from None
    return add(store, source, watch=watch), source


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
