"""What files keep of a text: the ids of a second run are those of the first, whatever happens to the files."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from model.config import ModelConfig, TrainingConfig
from service import cache, encoding, machine
from service.reading import Text, read
from service.store import Store

MELTING = "a line of cafe\u0301 and \u1112\u1161\u11ab\n" * 20  # only reading it tells how many symbols there are


@pytest.fixture
def nothing_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "SMALL", 0)


def read_text(store: Store, **model: object) -> Text:
    return read(store, "text", ModelConfig.from_dict(model), TrainingConfig())


def folder(store: Store) -> Path:
    return Path(f"{store.path}.cache")


def kinds(store: Store) -> list[str]:
    return sorted(path.suffix for path in folder(store).iterdir())


def test_a_small_text_needs_no_file(store: Store) -> None:
    store.corpora.add("text", [MELTING], "test")
    assert read_text(store).ids.flags.writeable
    assert not folder(store).exists()


@pytest.mark.usefixtures("nothing_is_small")
def test_the_second_run_reads_no_text(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.corpora.add("text", [MELTING], "test")
    first = read_text(store)
    assert kinds(store) == [".counts", ".ids"]

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} was read again")

    monkeypatch.setattr(store.corpora, "pieces", refuse)
    second = read_text(store)
    assert second.ids.tobytes() == first.ids.tobytes()
    assert second[2:] == first[2:]
    assert second.vocabulary == first.vocabulary
    second.release()
    assert second.ids.tobytes() == first.ids.tobytes()


@pytest.mark.usefixtures("nothing_is_small")
def test_what_the_ids_depend_on_is_told_apart(store: Store) -> None:
    store.corpora.add("text", [MELTING], "test")
    for model in ({}, {"normalization": "nfd"}, {"level": "byte"}, {"min_count": 21}, {"normalization": "none"}):
        for _ in range(2):
            found = read_text(store, **model)
            assert np.array_equal(found.ids, found.vocabulary.encode(MELTING))
    del found  # what is in use is spared
    store.corpora.remove("text")
    store.corpora.add("text", [MELTING.replace("cafe", "cave")], "test")
    found = read_text(store)
    assert np.array_equal(found.ids, found.vocabulary.encode(MELTING.replace("cafe", "cave")))
    assert kinds(store) == [".counts", ".ids"]  # what was made from the text that is gone is gone, too


@pytest.mark.usefixtures("nothing_is_small")
def test_damaged_files_are_made_again(store: Store) -> None:
    store.corpora.add("text", [MELTING], "test")
    expected = read_text(store).ids.tobytes()
    for file in folder(store).iterdir():
        data = bytearray(file.read_bytes())
        data[3] ^= 1
        file.write_bytes(data)
    assert read_text(store).ids.tobytes() == expected
    shutil.rmtree(folder(store))
    assert read_text(store).ids.tobytes() == expected


@pytest.mark.usefixtures("nothing_is_small")
@pytest.mark.parametrize(
    ("free", "note"), [(10**9, None), (100, "the text takes 0.0 GB of memory and 0.0 GB are free; it would take next"), (None, None)]
)
def test_where_no_file_can_be_kept_ids_stay_in_memory(
    store: Store, monkeypatch: pytest.MonkeyPatch, free: int | None, note: str | None
) -> None:
    store.corpora.add("text", [MELTING], "test")
    folder(store).write_text("something else stands there")
    monkeypatch.setattr(machine, "free_memory", lambda: free)
    found = read_text(store)
    assert np.array_equal(found.ids, found.vocabulary.encode(MELTING))
    assert found.ids.flags.writeable
    assert found.note is None if note is None else (found.note or "").startswith(note)


@pytest.mark.usefixtures("nothing_is_small")
def test_a_disk_that_fills_up_costs_nothing_but_memory(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.corpora.add("text", [MELTING], "test")

    def fill_up(file: object, *rest: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache, "_write", fill_up)
    found = read_text(store)
    assert np.array_equal(found.ids, found.vocabulary.encode(MELTING))
    assert list(folder(store).iterdir()) == []


@pytest.mark.usefixtures("nothing_is_small")
@pytest.mark.parametrize("level", ["char", "byte"])
@pytest.mark.parametrize("writable", [True, False])
def test_a_text_that_must_be_read_is_read_once_where_a_file_can_be_kept(
    store: Store, monkeypatch: pytest.MonkeyPatch, level: str, writable: bool
) -> None:
    store.corpora.add("text", [MELTING, "q", MELTING], "test")
    if not writable:
        folder(store).write_text("something else stands there")
    monkeypatch.setattr(encoding, "BLOCK", 100)
    pieces, read_times = store.corpora.pieces, []
    monkeypatch.setattr(store.corpora, "pieces", lambda name: (read_times.append(name), pieces(name))[1])
    found = read_text(store, level=level, min_count=2)
    assert np.array_equal(found.ids, found.vocabulary.encode(MELTING + "q" + MELTING))
    assert not found.vocabulary.knows("q")
    assert len(read_times) == (1 if writable else 2)
    if writable:
        assert kinds(store) == [".counts", ".ids"]


@pytest.mark.usefixtures("nothing_is_small")
def test_a_draft_is_not_kept(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.corpora.add("text", [MELTING], "test")
    before = read_text(store)
    draft_of = cache.Cache.store

    def store_no_other(self: cache.Cache, *given: object, keep: bool = True) -> object:
        if keep:
            raise OSError(28, "No space left on device")
        return draft_of(self, *given, keep=keep)  # type: ignore[arg-type]

    shutil.rmtree(folder(store))
    monkeypatch.setattr(cache.Cache, "store", store_no_other)
    found = read_text(store)
    assert found.ids.tobytes() == before.ids.tobytes()
    assert list(folder(store).iterdir()) == []
