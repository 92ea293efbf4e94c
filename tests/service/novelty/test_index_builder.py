"""One process at a time builds an index and reports its progress; the index is stored if there is room, and refused if there is not."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from service.novelty import index_builder
from service.novelty.index_builder import Claim, build, build_progress, check_resources, disk_needed, index_key, index_parts
from service.novelty.suffix_array import Index
from service.store import Corpus, Store
from service.system import hardware
from service.system.array_cache import Cache, CacheKey
from service.system.errors import IndexTooLarge, IndexUnavailable

# ── claim ────────────────────────────────────────────────────────────────────────────────────────────────────────────

KEY = CacheKey("a" * 64, "suffixes", ())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "x.db.cache"


def test_others_read_the_progress(folder: Path) -> None:
    assert build_progress(folder, KEY) is None
    with Claim(folder, KEY) as claim:
        assert build_progress(folder, KEY) == 0.0
        claim.report(0.123456)
        assert build_progress(folder, KEY) == 0.123
        claim.report(1.0)
        assert build_progress(folder, KEY) == 1.0
        assert build_progress(folder, KEY._replace(text="b" * 64)) is None
    assert build_progress(folder, KEY) is None
    assert list(folder.iterdir()) == []


def test_a_failure_ends_the_claim(folder: Path) -> None:
    with pytest.raises(RuntimeError), Claim(folder, KEY):
        raise RuntimeError
    assert build_progress(folder, KEY) is None


def test_a_report_that_cannot_be_read_is_a_beginning(folder: Path) -> None:
    with Claim(folder, KEY):
        for unreadable in ("[", '["sorting", 0.5]'):
            (folder / f"{KEY.file_name}.claim").write_text(unreadable)
            assert build_progress(folder, KEY) == 0.0


def test_the_others_wait_for_their_turn(folder: Path) -> None:
    inside, most, done = 0, 0, []

    def work() -> None:
        nonlocal inside, most
        for _ in range(20):
            with Claim(folder, KEY) as claim:
                inside += 1
                most = max(most, inside)
                claim.report(0.5)
                assert build_progress(folder, KEY) == 0.5
                inside -= 1
        done.append(True)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most, len(done)) == (1, 4)


def test_the_claim_of_a_killed_process_is_free(folder: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom service.system.array_cache import CacheKey\n"
        "from service.novelty.index_builder import Claim\n"
        f"with Claim(Path({str(folder)!r}), CacheKey('a' * 64, 'suffixes', ())) as claim:\n"
        "    claim.report(0.5)\n    print('mine', flush=True)\n    sys.stdin.read()\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"mine\n"
        assert build_progress(folder, KEY) == 0.5
        process.kill()
        process.wait()
    assert build_progress(folder, KEY) is None
    with Claim(folder, KEY):
        assert build_progress(folder, KEY) == 0.0


# ── building ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def files(store: Store) -> list[str]:
    return sorted(path.suffix for path in Path(f"{store.path}.cache").iterdir())


def load(store: Store, corpus: Corpus) -> Index | None:
    array = Cache(store.path).load(index_key(corpus), np.uint8)
    return Index(array) if array is not None else None


def test_what_is_made_is_kept_beside_the_database(store: Store, corpus: Corpus, tale: str) -> None:
    assert load(store, corpus) is None
    build(store, corpus)
    index = load(store, corpus)
    assert index is not None
    assert (index.characters, index.count("knots")) == (len(tale), tale.count("knots"))
    assert files(store) == [".suffixes"]
    (file,) = Path(f"{store.path}.cache").iterdir()
    assert 0 <= file.stat().st_size - disk_needed(corpus) < 100  # the cache's own ending


def test_a_corpus_is_indexed_in_nfc(store: Store) -> None:
    corpus = store.corpora.add("accents", ["cafe\u0301 ", "e", "\u0301\n"], "test")
    build(store, corpus)
    index = load(store, corpus)
    assert index is not None
    assert (index.characters, index.count("é"), index.count("e")) == (7, 2, 0)


def test_several_at_once_make_it_once(store: Store, corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    made = 0

    def counted(*arguments: Any) -> Iterator[np.ndarray[Any, Any]]:
        nonlocal made
        made += 1
        yield from index_parts(*arguments)

    monkeypatch.setattr(index_builder, "index_parts", counted)
    threads = [threading.Thread(target=build, args=(store, corpus)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == 1
    assert load(store, corpus) is not None


def test_the_reported_progress_goes_up_to_the_end() -> None:
    shares: list[float] = []
    text = "a line of the text\n" * 200_000
    pieces = (text[start : start + 2**20] for start in range(0, len(text), 2**20))
    for _ in index_parts(pieces, len(text), shares.append):
        pass
    assert shares == sorted(shares)
    assert 0 < shares[0] < index_builder.READ < shares[-1] < 1
    assert shares[-1] > index_builder.SORTED


def test_what_does_not_fit_is_refused(store: Store, corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = Cache(store.path)
    check_resources(corpus, cache)
    with monkeypatch.context() as patch:
        patch.setattr(hardware, "free_memory", lambda: 5_000)
        with pytest.raises(
            IndexTooLarge, match=r"corpus tale cannot be told: its index takes about 0\.1 GB of memory, and 0\.0 GB are free"
        ):
            check_resources(corpus, cache)
    with monkeypatch.context() as patch:
        patch.setattr(hardware, "free_memory", lambda: None)
        patch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=2 * disk_needed(corpus) - 2))
        with pytest.raises(IndexTooLarge, match=r"GB of disk in charloom\.db\.cache \(which takes half of what is free\)"):
            check_resources(corpus, cache)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "pydivsufsort", None)
        with pytest.raises(IndexUnavailable, match="pip install pydivsufsort"):
            check_resources(corpus, cache)
    assert not cache.folder.exists()


def test_a_disk_that_is_full_leaves_nothing(store: Store, corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> Iterator[np.ndarray[Any, Any]]:
        yield np.zeros(9, np.uint8)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(index_builder, "index_parts", full)
    with pytest.raises(IndexUnavailable, match=r"cannot be kept in charloom\.db\.cache \(No space left on device\)"):
        build(store, corpus)
    assert files(store) == []


def test_memory_that_is_not_there_is_a_sentence(store: Store, corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_much(*_: Any) -> Iterator[np.ndarray[Any, Any]]:
        raise MemoryError
        yield

    monkeypatch.setattr(index_builder, "index_parts", too_much)
    with pytest.raises(IndexTooLarge, match="of memory"):
        build(store, corpus)
    assert files(store) == []


def test_a_folder_that_cannot_be_made_is_a_sentence(store: Store, corpus: Corpus) -> None:
    Path(f"{store.path}.cache").write_text("a file stands there")
    with pytest.raises(IndexUnavailable, match="cannot be kept"):
        build(store, corpus)


def test_an_index_that_is_ready_after_its_text_was_removed_is_not_kept(
    store: Store, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    def removed(*arguments: Any) -> Iterator[np.ndarray[Any, Any]]:
        yield from index_parts(*arguments)
        store.corpora.remove(corpus.name)

    monkeypatch.setattr(index_builder, "index_parts", removed)
    build(store, corpus)
    assert list(store.cache.folder.iterdir()) == []
