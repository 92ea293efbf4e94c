"""A stored corpus becomes ids: in pieces, but as if it were read whole."""

from __future__ import annotations

import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.config import ModelConfig, TrainingConfig
from model.errors import CorpusNotFound, InvalidSetting, TextTooShort
from model.vocabulary import Vocabulary
from service import encoding
from service.reading import read
from service.store import Store
from service.store import corpora as stored_corpora
from service.store import texts as stored_texts


@settings(max_examples=30)
@given(
    text=st.text(st.sampled_from("ab\n é가한국\u1100\u1161\u0301😀"), min_size=120, max_size=300),
    level=st.sampled_from(["char", "byte"]),
    normalization=st.sampled_from(["nfc", "nfd", "none"]),
    small=st.sampled_from([0, encoding.SMALL]),
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
        patch.setattr(encoding, "SMALL", small)
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
    with pytest.raises(TextTooShort, match="corpus other has 1 characters"):
        read(store, "first", ModelConfig(), TrainingConfig(), validation_corpus="other")


def test_strangers_are_counted(store: Store) -> None:
    store.corpora.add("first", ["abc\n" * 50 + "xyy"], "x")
    own = read(store, "first", ModelConfig(), TrainingConfig())
    assert own.strangers == (0, 0)
    text = read(store, "first", ModelConfig(), TrainingConfig(), Vocabulary("char", "nfc", [ord(c) for c in "\nabcz"]))
    assert text.strangers == (3, 2)


@pytest.mark.parametrize("small", [0, encoding.SMALL])
def test_a_tick_may_end_the_reading(store: Store, monkeypatch: pytest.MonkeyPatch, small: int) -> None:
    store.corpora.add("first", ["abc\n" * 50], "x")
    monkeypatch.setattr(encoding, "SMALL", small)
    with pytest.raises(ZeroDivisionError):
        read(store, "first", ModelConfig(), TrainingConfig(), tick=lambda: 1 / 0)  # type: ignore[arg-type, return-value]
