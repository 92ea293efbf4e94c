"""Text to ids and back, alphabets from counts, prompts that never fail, and alphabets from JSON that may be nonsense."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from model.errors import DamagedCheckpoint
from model.out_of_vocabulary import Substitution
from model.vocabulary import SymbolCounts, Vocabulary, codes

KINDS = [(level, normalization) for level in ("char", "byte") for normalization in ("nfc", "nfd", "none")]
kinds = st.sampled_from(KINDS)
each_kind = pytest.mark.parametrize(("level", "normalization"), KINDS)
any_text = st.text(st.one_of(st.characters(), st.sampled_from("aé\u0301\u0323가각\u1100\u1161\u11a8中か\u3099\U0001f600\n\x00")))
valid_text = st.text(st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from("aé\u0301\u0323가각\u1100\u1161\u11a8中\n")))


def vocabulary(text: str, level: str = "char", normalization: str = "nfc", min_count: int | None = None) -> Vocabulary:
    return Vocabulary.build(SymbolCounts(level, normalization).add([text]), min_count)


def normal(text: str, normalization: str) -> str:
    return text if normalization == "none" else unicodedata.normalize(normalization.upper(), text)  # type: ignore[arg-type]


def symbols_of(text: str, level: str, normalization: str) -> list[int]:
    """Independent of the module: what the symbols of a text are."""
    form = normal(text, normalization)
    return list(form.encode()) if level == "byte" else [ord(c) for c in form]


@given(valid_text, kinds)
def test_a_text_over_its_own_alphabet_comes_back(text: str, kind: tuple[str, str]) -> None:
    words = vocabulary(text, *kind)
    ids = words.encode(text)
    expected = symbols_of(text, *kind)
    assert list(words.symbols) == sorted(set(expected))
    assert [words.symbols[i] for i in ids] == expected
    assert ids.dtype == words.dtype
    assert words.decode(ids) == (text if kind[1] == "none" else unicodedata.normalize("NFC", text))
    assert words.characters(ids) == len(unicodedata.normalize("NFC", text))
    assert words.knows(text)


@given(st.lists(valid_text, max_size=5), kinds)
def test_pieces_count_and_encode_as_the_whole(pieces: list[str], kind: tuple[str, str]) -> None:
    whole = "".join(pieces)
    counts = SymbolCounts(*kind).add(pieces)
    assert {int(symbol): int(counts.counts[symbol]) for symbol in np.flatnonzero(counts.counts)} == Counter(symbols_of(whole, *kind))
    assert counts.total == len(symbols_of(whole, *kind))
    words = Vocabulary.build(counts)
    parts = list(words.encode_pieces(pieces))
    assert np.concatenate([*parts, words.encode("")]).tolist() == words.encode(whole).tolist()


@given(valid_text, kinds)
def test_counts_from_characters_are_those_of_the_text(text: str, kind: tuple[str, str]) -> None:
    found = SymbolCounts.from_characters(*kind, Counter(text))
    if found is None:
        assert kind[1] == "nfc"
        assert any(unicodedata.normalize("NFD", c) != c or ord(c) >= 0x300 for c in text)
    else:
        assert {int(symbol): int(found.counts[symbol]) for symbol in np.flatnonzero(found.counts)} == Counter(symbols_of(text, *kind))


@given(valid_text, kinds)
def test_what_is_normal_already_need_not_be_normalised(text: str, kind: tuple[str, str]) -> None:
    form = normal(text, kind[1])
    counts = SymbolCounts(*kind).add([form[:3], form[3:]], normal=True)
    assert np.array_equal(counts.counts, SymbolCounts(*kind).add([text]).counts)
    words = Vocabulary.build(counts)
    parts = words.encode_pieces([form[:3], form[3:]], normal=True)
    assert np.concatenate(list(parts)).tolist() == words.encode(text).tolist()


@given(st.text(st.sampled_from("aé\u0301\u0323가\u1100\u1161\u11a8中か\u3099\U0001f600\n")), kinds, st.integers(1, 7), st.data())
def test_characters_are_counted_piece_by_piece_as_in_the_whole(text: str, kind: tuple[str, str], size: int, data: st.DataObject) -> None:
    words = vocabulary("a" + text[len(text) // 2 :], *kind)  # some are unknown
    ids = words.encode(text)
    ids = ids[data.draw(st.integers(0, 3)) : data.draw(st.sampled_from([None, -1, -2]))]  # bytes may begin and end inside a character
    known = [words.symbols[i] if i < words.size else None for i in ids.tolist()]
    if kind[0] == "byte":
        meant = bytes([0xFF if each is None else each for each in known]).decode("utf-8", "replace")
    else:
        meant = "".join("\ufffd" if each is None else chr(each) for each in known)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("model.vocabulary.PIECE", size)
        assert words.characters(ids) == len(unicodedata.normalize("NFC", meant))
    assert words.decode(ids) == normal(meant, "none" if kind[1] == "none" else "nfc")


@given(st.text("ab\r\né", max_size=12), kinds, st.none() | st.just("\n"))
def test_every_line_end_of_a_prompt_is_read_as_lf(text: str, kind: tuple[str, str], separator: str | None) -> None:
    alphabet = vocabulary("ab\ré" if separator else "ab\n\ré", *kind)
    read = Vocabulary(*kind, alphabet.symbols, separator)
    lines = "\n".join(text.replace("\r\n", "\r").split("\r"))
    assert read.encode_prompt(text, 99).ids.tolist() == read.encode_prompt(lines, 99).ids.tolist()


def test_counts_add_up_over_several_texts() -> None:
    counts = SymbolCounts("char", "nfc").add(["ab", "b"]).add(["\u0301b"])
    assert {chr(symbol): int(counts.counts[symbol]) for symbol in np.flatnonzero(counts.counts)} == {"a": 1, "b": 3, "\u0301": 1}


@pytest.mark.parametrize(("total", "least"), [(10, 1), (999_999, 1), (1_000_000, 1), (1_999_999, 1), (2_000_000, 2), (5_500_000, 5)])
def test_by_default_a_symbol_occurs_once_per_million(total: int, least: int) -> None:
    counts = SymbolCounts("char", "nfc")
    for times in range(1, 7):
        counts.counts[ord("0") + times] = times
    counts.counts[ord("a")] = total - 21
    if total > 21:
        assert counts.total == total
    words = Vocabulary.build(counts)
    assert [chr(symbol) for symbol in words.symbols if chr(symbol).isdigit()] == [str(times) for times in range(least, 7)]


def test_min_count_leaves_rarer_symbols_out() -> None:
    assert vocabulary("aaabbc", min_count=2).symbols == (ord("a"), ord("b"))
    assert vocabulary("aaabbc", min_count=3).symbols == (ord("a"),)
    assert vocabulary("aaabbc", min_count=4).size == 0
    assert vocabulary("").size == 0


def test_bytes_that_make_up_no_character_are_no_alphabet() -> None:
    """Ten syllables that share their first byte: with min_count 5 only that byte is left."""
    text = "".join(chr(0xAC00 + 65 * k) for k in range(10))
    assert vocabulary(text, "byte", "none", 5).size == 0
    assert vocabulary(text + "\n" * 5, "byte", "none", 5).symbols == (0x0A, 0xEA)


def test_halves_of_surrogate_pairs_are_no_symbols() -> None:
    assert vocabulary("a\ud800b").symbols == (ord("a"), ord("b"))
    assert vocabulary("a\ud800b").encode("a\ud800b").tolist() == [0, 2, 1]


@each_kind
def test_what_is_outside_the_alphabet_is_the_unknown_symbol(level: str, normalization: str) -> None:
    words = vocabulary("ba", level, normalization)
    assert (words.size, words.unknown) == (2, 2)
    assert words.encode("abé").tolist()[:2] == [0, 1]
    assert set(words.encode("é中").tolist()) <= {0, 1, 2}
    assert words.encode("中").tolist() == [2] * (3 if level == "byte" else 1)
    assert not words.knows("a中")
    assert words.decode(np.array([0, 2, 1])) == "a\ufffdb"


def test_an_unknown_code_point_could_have_been_any_and_an_unknown_byte_too() -> None:
    assert vocabulary("a").unknown_cost == math.log(1_114_112)
    assert vocabulary("a", "byte").unknown_cost == math.log(256)


@pytest.mark.parametrize(("size", "dtype"), [(1, np.uint8), (255, np.uint8), (256, np.uint16), (65_535, np.uint16), (65_536, np.uint32)])
def test_ids_are_as_small_as_the_alphabet_and_the_unknown_symbol_allow(size: int, dtype: type) -> None:
    words = Vocabulary("char", "none", [code for code in range(size + 2048) if not 0xD800 <= code < 0xE000][:size])
    assert words.dtype == dtype
    assert words.encode(chr(words.symbols[-1]) + "\U0010ffff").tolist() == [size - 1, size]


def test_codes_keep_everything() -> None:
    assert codes("a\ud800\U0010ffff", "char").tolist() == [97, 0xD800, 0x10FFFF]
    assert codes("", "char").tolist() == codes("", "byte").tolist() == []
    assert codes("é\ud800", "byte").tolist() == [0xC3, 0xA9, 0xED, 0xA0, 0x80]


# ── prompts ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@given(st.text(min_size=1), any_text, kinds, st.sampled_from([None, 2]))
@example("a", "", ("char", "nfc"), None)
@example("a", "\u0301", ("char", "nfd"), None)
@example("a", "\u0301\u0301", ("byte", "nfc"), None)
@example("a", "\ud800\x00", ("byte", "nfd"), None)
@example("가", "각", ("char", "nfd"), None)
def test_a_prompt_never_fails_and_tells_what_was_replaced(corpus: str, prompt: str, kind: tuple[str, str], min_count: int | None) -> None:
    words = vocabulary(corpus, *kind, min_count=min_count)
    if not words.size:
        return
    ids, substituted, truncated = words.encode_prompt(prompt, 1000)
    assert not truncated
    assert len(ids) > 0
    assert ids.dtype == words.dtype
    assert ids.max() <= words.unknown
    counts = Counter(normal(re.sub("\r\n?", "\n", prompt), kind[1]))
    known = {c for c in counts if words.knows(c)}
    assert {s.character: s.times for s in substituted} == {c: times for c, times in counts.items() if c not in known}
    for character, by, _ in substituted:
        assert by is None or words.knows(by)
        assert by != character
    if not substituted and prompt:
        assert ids.tolist() == words.encode(prompt).tolist()


def test_substitutions_stand_where_the_character_stood() -> None:
    words = vocabulary("abcde'\n ")
    ids, substituted, _ = words.encode_prompt("“É” ’中’e中", 99)
    assert words.decode(ids) == "'e' '\ufffd'e\ufffd"
    assert substituted == [
        Substitution("“", "'", 1),
        Substitution("É", "e", 1),
        Substitution("”", "'", 1),
        Substitution("’", "'", 2),
        Substitution("中", None, 2),
    ]


def test_an_accent_that_is_left_out_is_told() -> None:
    words = vocabulary("abc", normalization="nfd")
    ids, substituted, _ = words.encode_prompt("á", 99)
    assert (words.decode(ids), substituted) == ("a", [Substitution("\u0301", "", 1)])
    ids, substituted, _ = words.encode_prompt("\u0301", 99)
    assert (ids.tolist(), substituted) == ([words.unknown], [Substitution("\u0301", "", 1)])


@each_kind
def test_an_empty_prompt_reads_as_a_line_end_else_as_the_unknown_symbol(level: str, normalization: str) -> None:
    assert vocabulary("a\n", level, normalization).encode_prompt("", 99) == (np.array([0]), [], False)
    words = vocabulary("a b", level, normalization)
    assert words.encode_prompt("", 99) == (np.array([words.unknown]), [], False)


def test_a_long_prompt_of_different_unknown_characters_is_read() -> None:
    words = vocabulary("abc")
    prompt = "".join(chr(0x4E00 + k) for k in range(5_000))
    ids, substituted, truncated = words.encode_prompt(prompt, 5_000)
    assert ids.tolist() == [words.unknown] * 5_000
    assert len(substituted) == 5_000
    assert not truncated


@each_kind
@pytest.mark.parametrize("limit", [1, 2, 5])
def test_only_the_last_symbols_of_a_long_prompt_are_read(level: str, normalization: str, limit: int) -> None:
    words = vocabulary("abc\u0301가", level, normalization)
    for prompt in ("abcabcabc", "가가가a", "abc가", "중abcab", "…ab" * 9, "\u0302a" * 5, "\u0302" * 20 + "a"):
        all_ids, _, _ = words.encode_prompt(prompt, 99)
        ids, substituted, truncated = words.encode_prompt(prompt, limit)
        assert 1 <= len(ids) <= limit
        assert all_ids.tolist()[-len(ids) :] == ids.tolist()
        assert truncated or len(ids) == len(all_ids)
        assert truncated == (max(len(all_ids), len(normal(prompt, normalization))) > limit)
        assert {s.character for s in substituted} <= set(normal(prompt, normalization)[-limit:])


# ── to JSON and back ──────────────────────────────────────────────────────────────────────────────────────────────────


@given(st.text(min_size=1), kinds)
def test_json_brings_the_same_alphabet_back(text: str, kind: tuple[str, str]) -> None:
    words = vocabulary(text, *kind)
    if not words.size:
        return
    again = Vocabulary.from_dict(json.loads(json.dumps(words.to_dict())))
    assert again == words
    assert hash(again) == hash(words)
    assert again.symbols == words.symbols


def test_alphabets_of_different_kinds_differ() -> None:
    words = [vocabulary("ab", *kind) for kind in KINDS] + [vocabulary("abc")]
    assert all((a == b) == (a is b) for a in words for b in words)
    assert words[0] != "ab"


@pytest.mark.parametrize("index", range(3))
def test_a_symbol_can_be_shown(index: int) -> None:
    assert vocabulary("aé中").symbol(index) == "aé中"[index]
    assert vocabulary("aé", "byte", "nfc").symbol(index) == ["a", "\\xa9", "\\xc3"][index]


SOUND = {"level": "char", "normalization": "nfc", "symbols": "ab"}
NONSENSE: list[Any] = [
    None, 5, "level", [], {}, [["level", "char"]],
    {"level": "char"},
    SOUND | {"level": None}, SOUND | {"level": []}, SOUND | {"level": {}}, SOUND | {"level": "word"}, SOUND | {"level": "byte"},
    SOUND | {"normalization": None}, SOUND | {"normalization": ["nfc"]}, SOUND | {"normalization": "NFC"},
    SOUND | {"symbols": ""}, SOUND | {"symbols": "ba"}, SOUND | {"symbols": "aa"}, SOUND | {"symbols": "a\ud800"},
    SOUND | {"symbols": ["a", "b"]}, SOUND | {"symbols": {"a": 1}}, SOUND | {"symbols": None}, SOUND | {"symbols": [97, 98]},
    *({"level": "byte", "normalization": "nfc", "symbols": symbols} for symbols in (
        [], [98, 97], [97, 97], [-1, 97], [97, 256], [97.0], [97.5], ["97"], [True], [None], [math.inf], [math.nan], [10**400],
        [97, [98]], "ab", 97, {"97": 1}, [0x80], [0xEA, 0xEB],
    )),
]  # fmt: skip


@pytest.mark.parametrize("values", NONSENSE)
def test_what_is_no_alphabet_is_refused_as_damaged(values: Any) -> None:
    with pytest.raises(DamagedCheckpoint, match=r"^my file is not a sound checkpoint: its alphabet"):
        Vocabulary.from_dict(values, "my file")


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.sampled_from(["char", "byte", "nfc", "nfd", "none"])),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(), inner, max_size=3)),
    max_leaves=6,
)


@given(st.one_of(json_values, st.fixed_dictionaries(dict.fromkeys(["level", "normalization", "symbols"], json_values))))
def test_any_json_is_an_alphabet_or_damaged(values: Any) -> None:
    try:
        words = Vocabulary.from_dict(values)
    except DamagedCheckpoint:
        return
    assert words.to_dict() == values


# ── records ───────────────────────────────────────────────────────────────────────────────────────────────────────────

separators = st.sampled_from(["\n", "\n\n", "\n%\n", "\x1e", "---", "é", "ab"])


@given(st.lists(st.text(st.sampled_from("abcé\u0301\u0323가\u1100\u1161か\u3099\n-%")), min_size=1, max_size=6), separators, kinds)
@example(["a", "\u0301b"], "\n", ("char", "nfc"))
@example(["a", "\u0301b"], "e", ("char", "nfc"))
def test_records_come_back_with_their_separators(given_records: list[str], separator: str, kind: tuple[str, str]) -> None:
    text = separator.join(given_records)
    records = text.split(separator)  # a separator may stand in what was given
    counts = SymbolCounts(*kind)
    for record in records:
        counts.add([record])
    words = Vocabulary.build(counts, 1, separator)
    ids = words.encode(text)
    expected: list[int | None] = []
    for record in records:
        expected += [*symbols_of(record, *kind), None]
    assert words.boundary == words.size - 1 == len(words.symbols)
    assert [None if i == words.boundary else words.symbols[i] for i in ids.tolist()] == expected[:-1]
    assert ids.dtype == words.dtype
    composed = [record if kind[1] == "none" else unicodedata.normalize("NFC", record) for record in records]
    assert words.decode(ids) == separator.join(composed)
    assert words.characters(ids) == sum(len(unicodedata.normalize("NFC", record)) for record in records) + len(separator) * (
        len(records) - 1
    )
    assert [words.names[i] for i in ids.tolist()] == words.spelled(text)
    prompt = words.encode_prompt(text, 10_000)
    assert (prompt.ids.tolist(), prompt.substituted, prompt.truncated) == ([words.boundary, *ids.tolist()], [], False)
    assert words.given(prompt.ids).tolist() == ids.tolist()
    assert words.encode_ids(ids.tolist(), 10_000).ids.tolist() == prompt.ids.tolist()


def test_an_empty_prompt_of_records_is_the_boundary_and_a_long_one_keeps_it() -> None:
    words = Vocabulary("char", "nfc", [ord("a"), ord("n")], "\n")
    for empty in (words.encode_prompt("", 5), words.encode_ids([], 5)):
        assert (empty.ids.tolist(), empty.substituted, empty.truncated) == ([2], [], False)
    assert words.encode_prompt("anna", 5).ids.tolist() == [2, 0, 1, 1, 0]
    for long in (words.encode_prompt("anna", 4), words.encode_ids([0, 1, 1, 0], 4)):
        assert (long.ids.tolist(), long.truncated) == ([2, 1, 1, 0], True)
    assert words.encode_prompt("anna", 1).ids.tolist() == [2]
    found = words.encode_prompt("Ána\nx", 9)
    assert found.ids.tolist() == [2, 0, 1, 0, 2, 3]
    assert found.substituted == [Substitution("Á", "a", 1), Substitution("x", None, 1)]


def test_a_line_end_inside_a_record_is_a_symbol_of_its_own() -> None:
    words = Vocabulary("char", "nfc", [ord("\n"), ord("a")], "\n")
    assert words.encode("a\na").tolist() == [1, 2, 1]
    assert words.encode_record("a\na").tolist() == [1, 0, 1]
    assert np.concatenate(list(words.encode_pieces(["a", "\na"]))).tolist() == [1, 0, 1]
    assert words.decode(np.array([1, 0, 1, 2, 1])) == "a\na\na"


def test_a_separator_is_part_of_the_alphabet_in_json() -> None:
    records, prose = Vocabulary("char", "nfc", [97], "\n\n"), Vocabulary("char", "nfc", [97])
    assert Vocabulary.from_dict(json.loads(json.dumps(records.to_dict()))) == records != prose
    assert hash(records) != hash(prose)
    assert prose.to_dict().keys() == {"level", "normalization", "symbols"}
    for nonsense in ("", 1, ["\n"]):
        with pytest.raises(DamagedCheckpoint, match="the separator of its records is not a text"):
            Vocabulary.from_dict(prose.to_dict() | {"separator": nonsense})
