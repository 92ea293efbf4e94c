"""A stored corpus becomes ids: in pieces, but as if it were read whole; a second run has the same ids, whatever happens to the files."""

from __future__ import annotations

import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.config import ModelConfig, TrainingConfig
from model.errors import InvalidSetting, TextTooShort
from model.vocabulary import Vocabulary
from service.store import Store
from service.store import corpora as stored_corpora
from service.store import corpora as stored_texts
from service.system import array_cache, hardware
from service.system.errors import CorpusNotFound
from service.training import dataset
from service.training.dataset import Dataset, read

# ── encoding ─────────────────────────────────────────────────────────────────────────────────────────────────────────

MELTING = "a line of cafe\u0301 and \u1112\u1161\u11ab\n" * 20  # composition changes the number of its symbols


@pytest.fixture
def nothing_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset, "SMALL", 0)


def read_text(store: Store, **model: object) -> Dataset:
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
    assert kinds(store) == [".ids"]

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
    assert kinds(store) == [".ids"]  # what was made from the text that is gone is gone, too


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
    monkeypatch.setattr(hardware, "free_memory", lambda: free)
    found = read_text(store)
    assert np.array_equal(found.ids, found.vocabulary.encode(MELTING))
    assert found.ids.flags.writeable
    assert found.note is None if note is None else (found.note or "").startswith(note)


@pytest.mark.usefixtures("nothing_is_small")
def test_a_disk_that_fills_up_costs_nothing_but_memory(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.corpora.add("text", [MELTING], "test")

    def fill_up(file: object, *rest: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(array_cache, "_write", fill_up)
    found = read_text(store)
    assert np.array_equal(found.ids, found.vocabulary.encode(MELTING))
    assert list(folder(store).iterdir()) == []


@pytest.mark.parametrize("small", [0, dataset.SMALL])
@pytest.mark.parametrize("level", ["char", "byte"])
@pytest.mark.parametrize("normalization", ["nfc", "nfd"])
def test_a_run_reads_its_text_once(store: Store, monkeypatch: pytest.MonkeyPatch, level: str, normalization: str, small: int) -> None:
    monkeypatch.setattr(dataset, "SMALL", small)
    store.corpora.add("text", [MELTING, "q", MELTING], "test")
    pieces, read_times = store.corpora.pieces, []
    monkeypatch.setattr(store.corpora, "pieces", lambda corpus: (read_times.append(corpus.name), pieces(corpus))[1])
    found = read_text(store, level=level, normalization=normalization, min_count=2)
    assert np.array_equal(found.ids, found.vocabulary.encode(MELTING + "q" + MELTING))
    assert not found.vocabulary.knows("q")
    assert read_times == ["text"]


# ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@settings(max_examples=30)
@given(
    text=st.text(st.sampled_from("ab\n é가한국\u1100\u1161\u0301😀"), min_size=120, max_size=300),
    level=st.sampled_from(["char", "byte"]),
    normalization=st.sampled_from(["nfc", "nfd", "none"]),
    small=st.sampled_from([0, dataset.SMALL]),
    own=st.booleans(),
)
def test_reading_in_pieces_is_encoding_the_whole(
    tmp_path_factory: pytest.TempPathFactory, text: str, level: str, normalization: str, small: int, own: bool
) -> None:
    form = text if normalization == "none" else unicodedata.normalize("NFC" if normalization == "nfc" else "NFD", text)
    symbols: list[int] = list(form.encode()) if level == "byte" else [ord(c) for c in form]
    alphabet = sorted(set(symbols) if own else set(symbols) - {10, 97, 98, 233} | {ord(" ")})
    vocabulary = None if own else Vocabulary(level, normalization, alphabet)
    with pytest.MonkeyPatch.context() as patch, Store(tmp_path_factory.mktemp("store") / "x.db") as store:
        for module in (stored_texts, stored_corpora):
            patch.setattr(module, "CHUNK", 7)
        patch.setattr(dataset, "SMALL", small)
        store.corpora.add("text", [text], "test")
        for _ in ("first made", "then found"):
            found = read(store, "text", ModelConfig(level=level, normalization=normalization), TrainingConfig(), vocabulary)
            assert found.vocabulary.symbols == tuple(alphabet)
            assert found.ids.tolist() == [alphabet.index(each) if each in alphabet else len(alphabet) for each in symbols]
            assert found.ids.dtype == np.uint8
            assert found.split.training + round(len(found.ids) * 0.1) == len(found.ids)
            assert (found.split.stop, found.note) == (len(found.ids), None)


def test_the_alphabet_of_a_checkpoint_is_kept(store: Store) -> None:
    store.corpora.add("text", ["abc" * 50], "test")
    known = Vocabulary("char", "nfc", [ord("a"), ord("b")])
    found = read(store, "text", ModelConfig(), TrainingConfig(), known)
    assert found.vocabulary is known
    assert found.ids[:3].tolist() == [0, 1, known.unknown]


def test_symbols_per_character_are_those_of_the_validation_part(store: Store) -> None:
    store.corpora.add("text", ["a" * 100 + "é" * 100], "test")
    found = read(store, "text", ModelConfig(normalization="nfd"), TrainingConfig(validation_fraction=0.1))
    assert found.symbols_per_char == 2
    assert read(store, "text", ModelConfig(), TrainingConfig()).symbols_per_char == 1


def test_what_leaves_no_alphabet_or_nothing_to_learn_is_refused(store: Store) -> None:
    store.corpora.add("text", ["ab" * 60], "test")
    with pytest.raises(InvalidSetting, match="min_count is 61; it must be at most 60 for corpus text"):
        read(store, "text", ModelConfig(min_count=61), TrainingConfig())
    store.corpora.add("two", ["ab"], "test")
    with pytest.raises(TextTooShort):
        read(store, "two", ModelConfig(), TrainingConfig(validation_fraction=0.5))
    with pytest.raises(CorpusNotFound):
        read(store, "none", ModelConfig(), TrainingConfig())


# ── another corpus that validates ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("size", "stop"), [(0, 400), (200_000, 400), (399, 400), (50, 51)])
def test_another_corpus_validates_and_all_of_the_first_is_learned_from(store: Store, size: int, stop: int) -> None:
    store.corpora.add("first", ["abc\n" * 50], "x")
    store.corpora.add("other", ["cab\n" * 99 + "cad\n"], "x")
    text = read(store, "first", ModelConfig(), TrainingConfig(validation_size=size), validation_corpus="other")
    assert (text.split.training, text.split.start, text.split.stop) == (200, 1, stop)
    assert text.ids.tolist() == [1, 2, 3, 0] * 50  # "\n" a b c
    assert text.validation.tolist() == [3, 1, 2, 0] * 99 + [3, 1, 4, 0]  # d is not in the alphabet
    assert text.symbols_per_char == 1
    ids, start, end = text.after(3)
    assert (ids.tolist(), start, end) == ([2, 3, 0, *text.validation[:stop]], 4, 3 + stop)


def test_without_another_corpus_the_end_of_the_text_validates(store: Store) -> None:
    store.corpora.add("first", ["abc\n" * 50], "x")
    text = read(store, "first", ModelConfig(), TrainingConfig(validation_fraction=0.25))
    assert text.validation is text.ids
    ids, start, stop = text.after(3)
    assert (ids.tolist(), start, stop) == (text.ids[147:].tolist(), 3, 53)


def test_a_corpus_too_short_to_validate_on(store: Store) -> None:
    store.corpora.add("first", ["abc\n" * 50], "x")
    store.corpora.add("other", ["c"], "x")
    with pytest.raises(TextTooShort, match="corpus other has 1 character;"):
        read(store, "first", ModelConfig(), TrainingConfig(), validation_corpus="other")


def test_symbols_outside_the_alphabet_are_counted(store: Store) -> None:
    store.corpora.add("first", ["abc\n" * 50 + "xyy"], "x")
    own = read(store, "first", ModelConfig(), TrainingConfig())
    assert own.unknown == (0, 0)
    text = read(store, "first", ModelConfig(), TrainingConfig(), Vocabulary("char", "nfc", [ord(c) for c in "\nabcz"]))
    assert text.unknown == (3, 2)


@pytest.mark.parametrize("small", [0, dataset.SMALL])
def test_a_tick_may_end_the_reading(store: Store, monkeypatch: pytest.MonkeyPatch, small: int) -> None:
    store.corpora.add("first", ["abc\n" * 50], "x")
    monkeypatch.setattr(dataset, "SMALL", small)
    with pytest.raises(ZeroDivisionError):
        read(store, "first", ModelConfig(), TrainingConfig(), tick=lambda: 1 / 0)  # type: ignore[arg-type, return-value]
