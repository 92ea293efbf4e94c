"""Texts go in and out unchanged, arrive all or not at all, are shared between names, and leave nothing behind."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import threading
import unicodedata
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.errors import EmptyText, TooManyCharacters, UndecodableText
from model.normalization import normalize
from service.store import Store, corpora
from service.store.corpora import LEVEL
from service.system import processes
from service.system.array_cache import CacheKey
from service.system.errors import CorpusInUse, CorpusNotFound, DatabaseUnusable, InvalidName, NameTaken


def count(store: Store, table: str) -> int:
    return int(store.db.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


# ── in and out ────────────────────────────────────────────────────────────────────────────────────────────────────────


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=12), max_size=12), st.integers(1, 9))
def test_cut_keeps_the_text_and_its_chunks_are_full(pieces: list[str], size: int) -> None:
    chunks = list(corpora.cut(pieces, size))
    assert "".join(chunks) == "".join(pieces)
    assert all(len(chunk) == size for chunk in chunks[:-1])
    assert all(chunks)


@settings(max_examples=30)
@given(
    st.lists(
        st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("\n\n👩‍👧é한"), max_size=20), min_size=1, max_size=6
    ).filter(any),
    st.integers(1, 30),
)
def test_any_text_in_any_pieces_comes_back(tmp_path_factory: pytest.TempPathFactory, pieces: list[str], chunk: int) -> None:
    text = "".join(pieces)
    with pytest.MonkeyPatch.context() as patch, Store(tmp_path_factory.mktemp("any") / "c.db") as store:
        patch.setattr("service.store.corpora.CHUNK", chunk)
        patch.setattr("service.store.corpora.CHUNK", chunk)
        corpus = store.corpora.add("any", pieces, "hypothesis")
        assert "".join(store.corpora.pieces("any")) == text
        assert corpus.sha256 == hashlib.sha256(text.encode()).hexdigest()
        assert (corpus.characters, corpus.bytes) == (len(text), len(text.encode()))
        assert corpus.lines == len(text.removesuffix("\n").split("\n"))
        assert store.corpora.alphabet("any") == dict(sorted(Counter(text).items()))
        assert corpus.alphabet_size == len(set(text))


def test_what_is_known_about_a_corpus(store: Store) -> None:
    corpus = store.corpora.add("tale", ["It was\nthe ", "best\n"], "tale.txt")
    assert store.corpora.get("tale") == store.corpora.find("tale") == corpus == store.corpora.list()[0]
    assert (corpus.name, corpus.origin, corpus.lines, corpus.characters) == ("tale", "tale.txt", 2, 16)
    assert corpus.created_at.endswith("Z")
    assert list(store.corpora.alphabet("tale"))[:3] == ["\n", " ", "I"]


def test_first_lines(store: Store) -> None:
    store.corpora.add("tale", ["one\n\nthree\n" + "x" * 300 + "\nfive\nsix\n"], "here")
    assert store.corpora.first_lines("tale", 4, width=10) == ("one", "", "three", "x" * 9 + "…")
    store.corpora.add("short", ["alone"], "here")
    assert store.corpora.first_lines("short") == ("alone",)


def test_not_there(store: Store) -> None:
    assert store.corpora.find("tale") is None
    for ask in (store.corpora.get, store.corpora.pieces, store.corpora.remove, store.corpora.alphabet, store.corpora.first_lines):
        with pytest.raises(CorpusNotFound, match="no corpus 'tale'; none is stored yet"):
            ask("tale")
    store.corpora.add("poem", ["text"], "here")
    with pytest.raises(CorpusNotFound, match="stored are: poem"):
        store.corpora.get("tale")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="this system does not tell a process's peak memory")
def test_memory_stays_flat(path: Path, start: Callable[..., subprocess.Popen[str]]) -> None:
    script = """
        import re, sys
        from service.store import Store
        line = "".join(map(chr, range(32, 127))) + "\\n"
        def peak():
            return int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read()).group(1)) * 1024
        with Store(sys.argv[1]) as store:
            store.corpora.add("small", (line * 1000 for _ in range(50)), "5 MB")
            before = peak()
            store.corpora.add("large", (line * 1000 for _ in range(500)), "48 MB")
            assert len("".join(next(store.corpora.pieces("large")))) == 2**20
            print(peak() - before)
        """
    output, errors = start(script, path).communicate(timeout=60)
    assert int(output or 2**40) < 16 * 2**20, errors  # a third of the text


def test_what_has_too_many_different_characters_is_no_text(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpora, "MOST_CHARACTERS", 100)
    store.corpora.add("many", ["".join(map(chr, range(100, 200)))] * 3, "many.txt")
    with pytest.raises(TooManyCharacters, match=r"more\.txt has more than 100 different characters"):
        store.corpora.add("more", ["".join(map(chr, range(100, 200))), "a", chr(250)], "more.txt")
    assert [each.name for each in store.corpora.list()] == ["many"]


def test_a_damaged_chunk_is_told(store: Store) -> None:
    store.corpora.add("tale", ["text"], "here")
    store.db.execute("UPDATE text_chunks SET zlib = x'00'")
    with pytest.raises(DatabaseUnusable, match="the text of corpus tale in it is damaged: chunk 0 cannot be read"):
        list(store.corpora.pieces("tale"))
    store.db.execute("DELETE FROM text_chunks")
    with pytest.raises(DatabaseUnusable, match="chunk 0 of corpus tale is gone"):
        list(store.corpora.pieces("tale"))


# ── counts ────────────────────────────────────────────────────────────────────────────────────────────────────────────

TRICKY = "ab\n éÅ\u0301\u0323\u0334\u0316\u0344\u0345\u1100\u1161\u11a8가각か\u3099\u0958\u2126中😀"


def counted(store: Store, level: str, normalization: str) -> Counter[int]:
    counts = store.corpora.counts("any", level, normalization)
    assert (counts.level, counts.normalization) == (level, normalization)
    return Counter({int(symbol): int(counts.counts[symbol]) for symbol in np.flatnonzero(counts.counts)})


@settings(max_examples=40)
@given(st.lists(st.text(st.sampled_from(TRICKY), max_size=12), min_size=1, max_size=6).filter(any), st.integers(1, 9))
def test_symbols_are_counted_on_arrival_as_in_the_whole(tmp_path_factory: pytest.TempPathFactory, pieces: list[str], chunk: int) -> None:
    text = "".join(pieces)
    with pytest.MonkeyPatch.context() as patch, Store(tmp_path_factory.mktemp("any") / "c.db") as store:
        patch.setattr("service.store.corpora.CHUNK", chunk)
        store.corpora.add("any", pieces, "hypothesis")
        for text_is in ("new", "of an earlier release"):
            if text_is == "new":
                patch.setattr(store.corpora, "pieces", lambda name: pytest.fail("it was read again"))
            else:
                patch.undo()
                patch.setattr("service.store.corpora.CHUNK", chunk)
                store.db.execute("UPDATE texts SET nfc = NULL")
            for normalization in ("none", "nfc", "nfd"):
                form = text if normalization == "none" else unicodedata.normalize(normalization.upper(), text)  # type: ignore[arg-type]
                assert counted(store, "char", normalization) == Counter(map(ord, form))
                assert counted(store, "byte", normalization) == Counter(form.encode())


def test_a_text_of_an_earlier_release_is_counted_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.corpora.add("any", ["cafe\u0301"], "here")
    stored = store.db.execute("SELECT nfc FROM texts").fetchone()
    for old in (None, '{"unicode": "1.0.0", "characters": {"c": 9}}'):
        store.db.execute("UPDATE texts SET nfc = ?", [old])
        with pytest.raises(ZeroDivisionError):
            store.corpora.counts("any", "char", "nfc", lambda: 1 / 0)  # type: ignore[arg-type, return-value]
        assert store.corpora.counts("any", "char", "nfc").total == 4
        assert store.db.execute("SELECT nfc FROM texts").fetchone() == stored
    monkeypatch.setattr(store.corpora, "pieces", lambda name: pytest.fail("it was read again"))
    assert store.corpora.counts("any", "char", "nfc").total == 4


def test_what_the_alphabet_tells_is_not_stored_twice(store: Store) -> None:
    store.corpora.add("any", ["Всё… café 가나다 中文"], "here")
    assert store.db.execute("SELECT nfc FROM texts").fetchone() == (None,)


def test_a_row_of_marks_that_never_ends_is_counted_later(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model.quick_check.BLOCK", 50)
    text = "e" + "\u0301" * 100
    store.corpora.add("any", [text], "here")
    assert store.db.execute("SELECT nfc FROM texts").fetchone() == (None,)
    assert counted(store, "char", "nfc") == Counter(map(ord, normalize(text, "nfc")))


# ── names ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_names_are_checked_before_anything_is_read(store: Store) -> None:
    def never() -> Iterator[str]:
        pytest.fail("it was read")
        yield ""

    store.corpora.add("tale", ["text"], "here")
    with pytest.raises(NameTaken):
        store.corpora.add("tale", never(), "here")
    for name in ("two words", "lstm", ""):
        with pytest.raises(InvalidName):
            store.corpora.add(name, never(), "here")


def test_a_name_that_is_only_a_wish(store: Store) -> None:
    added = [store.corpora.add("my tale.txt", [text], "here", exact=False).name for text in "abc"]
    assert added == ["my-tale.txt", "my-tale.txt-2", "my-tale.txt-3"]
    assert store.corpora.free_name("lstm") == "lstm-2"


def test_of_two_that_add_one_name_at_once_one_wins(store: Store) -> None:
    """The slower one, too, had found the name free when it began."""
    begun = threading.Event()
    finished = threading.Event()

    def slow() -> Iterator[str]:
        yield "slow "
        begun.set()
        assert finished.wait(10)
        yield "text"

    failures: list[Exception] = []

    def add() -> None:
        try:
            store.corpora.add("tale", slow(), "slow")
        except Exception as error:
            failures.append(error)

    thread = threading.Thread(target=add)
    thread.start()
    assert begun.wait(10)
    assert store.corpora.list() == ()
    store.corpora.add("tale", ["quick text"], "quick")
    finished.set()
    thread.join()
    assert [type(error) for error in failures] == [NameTaken]
    assert "".join(store.corpora.pieces("tale")) == "quick text"
    assert count(store, "texts") == count(store, "text_chunks") == 1


def test_the_same_text_under_two_names_is_stored_once(store: Store) -> None:
    first = store.corpora.add("first", ["one ", "text"], "here")
    second = store.corpora.add("second", ["one text"], "there")
    assert first.sha256 == second.sha256
    assert first.text_id == second.text_id
    assert second.origin == "there"
    assert count(store, "texts") == count(store, "text_chunks") == 1
    store.corpora.remove("first")
    assert "".join(store.corpora.pieces("second")) == "one text"
    store.corpora.remove("second")
    assert count(store, "texts") == count(store, "text_chunks") == 0


def test_a_corpus_that_runs_need_stays(store: Store) -> None:
    store.corpora.add("tale", ["text"], "here")
    for name in ("b", "a"):
        store.runs.create(name, corpus="tale", model_config={}, training_config={})
    with pytest.raises(CorpusInUse, match="corpus tale is needed by: a, b; remove those runs first"):
        store.corpora.remove("tale")
    store.runs.remove("a")
    store.runs.remove("b")
    store.corpora.remove("tale")
    assert store.corpora.list() == ()


# ── what goes wrong half-way ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("error", [OSError("the line broke"), KeyboardInterrupt()])
def test_a_source_that_fails_leaves_nothing(store: Store, monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    monkeypatch.setattr("service.store.corpora.CHUNK", 4)

    def broken() -> Iterator[str]:
        yield "some text"
        raise error

    with pytest.raises(type(error)):
        store.corpora.add("tale", broken(), "here")
    assert store.corpora.list() == ()
    assert count(store, "texts") == count(store, "text_chunks") == 0


def test_no_text_and_half_a_surrogate_pair(store: Store) -> None:
    with pytest.raises(EmptyText, match=r"nothing\.txt holds no text"):
        store.corpora.add("tale", ["", ""], "nothing.txt")
    with pytest.raises(UndecodableText, match="offset 5"):
        store.corpora.add("tale", ["text ", "\ud83d"], "half.txt")
    assert count(store, "texts") == 0


ADD_FOREVER = """
    import os, sys
    from service.store import Store, corpora
    corpora.CHUNK = 1000
    def endless():
        while True:
            yield os.urandom(500).hex()
            print("more", flush=True)
    Store(sys.argv[1]).corpora.add("endless", endless(), "urandom")
    """


def test_a_killed_add_leaves_nothing_after_the_next_start_and_a_living_one_is_let_alone(
    path: Path, start: Callable[..., subprocess.Popen[str]]
) -> None:
    process = start(ADD_FOREVER, path)
    assert process.stdout is not None
    for _ in range(20):
        assert process.stdout.readline() == "more\n"
    with Store(path) as store:
        assert store.corpora.list() == ()
        assert count(store, "texts") == 1
        process.kill()
        process.wait()
    with Store(path) as store:
        assert store.corpora.list() == ()
        assert count(store, "texts") == count(store, "text_chunks") == 0
        assert store.db.execute("PRAGMA freelist_count").fetchone()[0] == 0


def test_a_removal_that_was_killed_is_finished_at_the_next_start(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = processes.identity().replace('"pid": ', '"pid": 9')
    with Store(path) as store, monkeypatch.context() as patch:
        store.corpora.add("tale", ["text"], "here")
        patch.setattr("service.system.processes.identity", lambda: gone)
        patch.setattr("service.store.corpora.TextChunks.discard", lambda self, text: None)
        store.corpora.remove("tale")
        assert count(store, "text_chunks") == 1
    with Store(path) as store:
        assert count(store, "texts") == count(store, "text_chunks") == 0


def test_an_add_whose_rows_were_taken_for_leftovers_says_so(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.store.corpora.CHUNK", 4)

    def interrupted() -> Iterator[str]:
        yield "text"
        store.db.execute("DELETE FROM texts")
        yield "text"

    with pytest.raises(DatabaseUnusable, match="taken for a leftover"):
        store.corpora.add("tale", interrupted(), "here")
    assert store.corpora.list() == ()


def test_nothing_of_a_removed_text_is_left_in_any_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the text nor its compressed form, its alphabet or its origin: not in free pages, the log, or what is cached."""
    monkeypatch.setattr("service.store.corpora.CHUNK", 30_000)
    text = "".join(random.Random(1).choices("abcdefgh zyxw", k=100_000))
    parts = [zlib.compress(text[start : start + 30_000].encode(), LEVEL) for start in range(0, 100_000, 30_000)]
    traces = [each[at : at + 40] for each in parts for at in range(100, len(each) - 100, 1000)]
    traces += [b"a very secret diary", *(text[at : at + 40].encode() for at in range(0, 99_000, 1000))]
    with Store(path) as store:
        store.corpora.add("kept", ["another text, which stays here"], "here")
        corpus = store.corpora.add("diary", [text], "a very secret diary")
        key = CacheKey(corpus.sha256, "suffixes", ())
        used = store.cache.store(key, np.uint8, [np.frombuffer(text.encode(), np.uint8)], len(text))
        assert len(found(path.parent, traces)) == len(traces)
        store.corpora.remove("diary")
        assert found(path.parent, traces) == []
        assert used[:10].tobytes().decode() == text[:10], "it can be read where it is mapped"
        assert store.corpora.get("kept").characters == 30
    assert found(path.parent, traces) == []


def found(folder: Path, traces: list[bytes]) -> list[bytes]:
    """Those of the traces that are in any file."""
    data = b"".join(file.read_bytes() for file in folder.rglob("*") if file.is_file())
    return [trace for trace in traces if trace in data]


def test_files_are_readable_by_their_owner_alone(path: Path) -> None:
    before = os.umask(0)
    try:
        with Store(path) as store:
            store.corpora.add("tale", ["text"], "here")
            store.cache.store(CacheKey("a" * 64, "ids", ()), np.uint8, [np.zeros(9, np.uint8)], 9)
            store.backup(path.with_name("backup.db"))
            kept = [file for file in path.parent.rglob("*") if not file.name.endswith(".reserve")]
            assert {file.name.partition(".db")[2] for file in kept} >= {"", "-wal", "-shm", ".cache"}
            assert {file.stat().st_mode & 0o077 for file in kept} == {0}
    finally:
        os.umask(before)
