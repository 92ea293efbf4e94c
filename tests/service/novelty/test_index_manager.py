"""Indexes are built in the background by one process, waited for by all callers, and built again if they are lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from service.novelty import Index, Indexes, index_manager
from service.novelty.index_builder import build
from service.store import Corpus, Run, Store
from service.system import hardware
from service.system.errors import IndexNotReady, IndexTooLarge, IndexUnavailable, NothingToCompare

# A builder that comes no further than the first bytes of its index.
STUCK = """
import sys
import numpy as np
from service.novelty import index_builder

def index_parts(*arguments):
    yield np.zeros(9, np.uint8)
    print("writing", flush=True)
    index_builder.threading.Event().wait()

index_builder.index_parts = index_parts
index_builder.main(*sys.argv[1:])
"""


@pytest.fixture
def at_hand(store: Store) -> Iterator[Indexes]:
    with Indexes(store) as opened:
        yield opened


@pytest.fixture
def stuck(store: Store, corpus: Corpus) -> Iterator[subprocess.Popen[str]]:
    """A process in the middle of building the index of `corpus`."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", STUCK, str(store.path), str(corpus.id)], text=True, **pipes) as process:  # type: ignore[call-overload]
        assert process.stdout.readline() == "writing\n"
        yield process
        process.kill()


def starting(code: str) -> Callable[[Indexes, Corpus], subprocess.Popen[bytes]]:
    """Returns a replacement for `Indexes._start` whose process runs `code`."""

    def start(self: Indexes, corpus: Corpus) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stderr=subprocess.PIPE)

    return start


def ended(at_hand: Indexes, corpus: Corpus) -> Index:
    """Returns or raises what `get` does once no process is building."""
    while True:
        try:
            return at_hand.get(corpus)
        except IndexNotReady:
            time.sleep(0.02)


def folder(store: Store) -> Path:
    return Path(f"{store.path}.cache")


def test_the_first_who_asks_is_told_to_come_back(at_hand: Indexes, corpus: Corpus, tale: str) -> None:
    with pytest.raises(IndexNotReady, match=r"corpus tale is being made \(\d+% done\)"):
        at_hand.get(corpus)
    index = ended(at_hand, corpus)
    assert index.count("knots") == tale.count("knots")
    assert at_hand.get(corpus) is index
    assert at_hand.progress(corpus) is None


def test_one_can_wait_and_watch(at_hand: Indexes, corpus: Corpus, tale: str) -> None:
    seen: list[float] = []
    assert at_hand.wait(corpus, seen.append).characters == len(tale)
    assert seen[0] == 0.0
    assert at_hand.wait(corpus, seen.clear) is at_hand.get(corpus)
    assert seen


def test_the_same_text_under_another_name_has_the_same_index(at_hand: Indexes, store: Store, corpus: Corpus, tale: str) -> None:
    build(store, corpus)
    twin = store.corpora.add("twin", [tale], "test")
    assert at_hand.get(corpus) is at_hand.get(twin)


def test_many_threads_start_one_process(at_hand: Indexes, corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    started = []
    start = Indexes._start
    monkeypatch.setattr(Indexes, "_start", lambda self, corpus: started.append(corpus) or start(self, corpus))
    found: list[Index] = []
    threads = [threading.Thread(target=lambda: found.append(at_hand.wait(corpus))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(started) == 1
    assert len(set(map(id, found))) == 1
    assert len(found) == 4


def test_what_another_process_makes_is_waited_for(
    at_hand: Indexes, store: Store, corpus: Corpus, stuck: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(*_: Any) -> None:
        raise AssertionError("two make the same index")

    with monkeypatch.context() as patch:
        patch.setattr(Indexes, "_start", start)
        for _ in range(3):
            with pytest.raises(IndexNotReady):
                at_hand.get(corpus)
        assert at_hand.progress(corpus) is not None
    assert len(list(folder(store).glob("*.part"))) == 1


def test_what_a_killed_process_has_begun_is_not_used(at_hand: Indexes, store: Store, corpus: Corpus, stuck: subprocess.Popen[str]) -> None:
    stuck.kill()
    stuck.wait()
    (part,) = folder(store).glob("*.part")
    os.utime(part, (0, 0))  # long ago, so that nobody can be about to go on with it
    assert at_hand.progress(corpus) is None
    assert at_hand.wait(corpus).characters == corpus.characters
    for builder in at_hand._builders.values():
        builder.wait(30)  # the index is there before its claim is gone
    at_hand.close()
    assert [path.suffix for path in folder(store).iterdir()] == [".suffixes"]


def test_a_builder_ends_with_its_parent(stuck: subprocess.Popen[str]) -> None:
    assert stuck.poll() is None
    assert stuck.stdin is not None
    stuck.stdin.close()
    assert stuck.wait(30) == 1


def test_nothing_goes_on_after_closing(at_hand: Indexes, corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Indexes, "_start", starting("import time; time.sleep(600)"))
    with pytest.raises(IndexNotReady):
        at_hand.get(corpus)
    (process,) = at_hand._builders.values()
    at_hand.close()
    assert process.returncode == -signal.SIGKILL


@pytest.mark.parametrize("harm", ["remove", "damage"])
def test_what_is_lost_is_made_again(store: Store, corpus: Corpus, harm: str) -> None:
    build(store, corpus)
    with Indexes(store) as first:
        index = first.get(corpus)
        (file,) = folder(store).iterdir()
        if harm == "remove":
            file.unlink()
        else:
            data = bytearray(file.read_bytes())
            data[10] ^= 1
            file.unlink()
            file.write_bytes(data)
        assert first.get(corpus) is index
        with Indexes(store) as second, pytest.raises(IndexNotReady):
            second.get(corpus)
        with Indexes(store) as third:
            assert third.wait(corpus).count("e") == index.count("e")


def test_what_another_version_of_unicode_composed_is_not_used(
    at_hand: Indexes, store: Store, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(store, corpus)
    monkeypatch.setattr("unicodedata.unidata_version", "1.0.0")
    assert at_hand._load(corpus) is None


def test_what_does_not_fit_is_refused_at_once(at_hand: Indexes, corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "free_memory", lambda: 1000)
    with pytest.raises(IndexTooLarge):
        at_hand.get(corpus)
    with pytest.raises(IndexTooLarge):
        at_hand.wait(corpus)


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("import sys; sys.stderr.write('the moon is full'); sys.exit(3)", "corpus tale cannot be told: the moon is full; leave"),
        ("import os; os.kill(os.getpid(), 9)", "making its index was stopped, perhaps for want of memory"),
        ("raise RuntimeError('secret')", "making its index failed, and the log says why"),
        ("", "its index was made, but is not there or is not sound"),
    ],
)
def test_a_failure_is_told_and_not_repeated_at_once(
    at_hand: Indexes, corpus: Corpus, code: str, why: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Indexes, "_start", starting(code))
        with pytest.raises(IndexUnavailable, match=why):
            ended(at_hand, corpus)
    assert ("secret" in caplog.text) is ("secret" in code)
    with pytest.raises(IndexUnavailable, match=why):
        at_hand.get(corpus)
    monkeypatch.setattr(index_manager, "RETRY_PERIOD", 0.0)
    with pytest.raises(IndexNotReady):
        at_hand.get(corpus)


def test_a_refusal_inside_the_process_is_told(at_hand: Indexes, store: Store, corpus: Corpus) -> None:
    folder(store).write_text("a file stands there")
    with pytest.raises(IndexUnavailable, match=r"cannot be kept in charloom\.db\.cache"):
        ended(at_hand, corpus)


def test_few_stay_open(at_hand: Indexes, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_manager, "MAX_OPEN", 2)
    corpora = [store.corpora.add(name, [f"text {name}\n" * 9], "test") for name in "abc"]
    for corpus in corpora:
        build(store, corpus)
    found = [at_hand.get(corpus) for corpus in corpora]
    assert [at_hand.get(corpus) is index for corpus, index in zip(corpora[1:], found[1:], strict=True)] == [True, True]
    assert at_hand.get(corpora[0]) is not found[0]


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="this system does not tell what is mapped")
def test_nothing_of_a_removed_text_stays(at_hand: Indexes, store: Store, corpus: Corpus) -> None:
    def mapped() -> bool:
        return corpus.sha256[:16] in Path("/proc/self/maps").read_text()

    at_hand.wait(corpus)
    assert mapped()
    store.corpora.remove(corpus.name)
    at_hand.forget_removed()
    assert not mapped()
    assert list(store.cache.folder.iterdir()) == []


def test_a_model_without_a_corpus_cannot_be_compared(at_hand: Indexes, store: Store, corpus: Corpus, add_model: Callable[..., Run]) -> None:
    with pytest.raises(NothingToCompare, match="model first"):
        at_hand.corpus_of(add_model("first"))
    run = store.runs.create("second", corpus="tale", model_config={}, training_config={})
    assert at_hand.corpus_of(run) == corpus
