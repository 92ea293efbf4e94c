"""Caches arrays: mapped, checked, bounded, and nobody's loss when they go."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.system import array_cache as module
from service.system.array_cache import Cache, CacheKey, release
from service.system.disk import Room

TEXT, OTHER = "a" * 64, "b" * 64
IDS = np.arange(1000, dtype=np.uint16)


def key(number: int = 0, text: str = TEXT) -> CacheKey:
    return CacheKey(text, "ids", (number,))


@pytest.fixture
def cache(path: Path) -> Cache:
    return Cache(path)


def names(cache: Cache) -> list[str]:
    return sorted(path.name for path in cache.folder.iterdir())


def put(cache: Cache, number: int = 0, ids: np.ndarray[Any, Any] = IDS, text: str = TEXT) -> None:
    """Store an array and let go of it."""
    cache.store(key(number, text), ids.dtype, [ids], ids.nbytes)


@given(st.lists(st.lists(st.integers(0, 65535), max_size=9), max_size=5), st.sampled_from(["u1", "<u2", ">u2", "<u4", "<i8"]))
def test_what_was_stored_comes_back(tmp_path_factory: pytest.TempPathFactory, parts: list[list[int]], dtype: str) -> None:
    cache = Cache(tmp_path_factory.mktemp("cache") / "x.db")
    arrays = [np.array(part).astype(dtype) for part in parts]
    whole = np.concatenate([*arrays, np.empty(0, dtype)])
    assert cache.load(key(), dtype) is None
    stored = cache.store(key(), dtype, iter(arrays), whole.nbytes)
    loaded = cache.load(key(), dtype)
    assert loaded is not None
    for found in (stored, loaded):
        assert (found.dtype, found.tolist(), found.flags.writeable) == (np.dtype(dtype), whole.tolist(), False)


def test_an_array_knows_its_file(cache: Cache) -> None:
    for ids in (cache.store(key(), np.uint16, [IDS], IDS.nbytes), cache.load(key(), np.uint16)):
        part = ids[:500] if ids is not None else IDS
        assert isinstance(part, np.memmap)
        assert (part.filename, part.offset) == (str(cache.folder / key().file_name), 0)
        assert np.array_equal(np.memmap(part.filename, part.dtype, "r", part.offset, part.shape), IDS[:500])
    ours = cache.store(key(1), np.uint16, [IDS], IDS.nbytes, keep=False)
    assert isinstance(ours, np.memmap)
    assert (ours.filename, ours.tolist()) == (None, IDS.tolist())
    assert names(cache) == [key().file_name]


def test_the_folder_is_private_and_stands_beside_the_database(cache: Cache, path: Path) -> None:
    put(cache)
    assert cache.folder == path.with_name("charloom.db.cache")
    assert cache.folder.stat().st_mode & 0o777 == 0o700
    assert names(cache) == [key().file_name]


def test_each_key_has_its_own_file(cache: Cache) -> None:
    for number in range(3):
        put(cache, number, IDS + number)
    put(cache, 0, IDS + 9, OTHER)
    found = [cache.load(each, np.uint16) for each in (key(0), key(1), key(2), key(0, OTHER), key(3))]
    assert [None if ids is None else int(ids[0]) for ids in found] == [0, 1, 2, 9, None]


def damages() -> dict[str, Callable[[bytes], bytes]]:
    return {
        "empty": lambda data: b"",
        "shorter": lambda data: data[:-1],
        "much shorter": lambda data: data[:100],
        "longer": lambda data: data + b"\0",
        "a bit": lambda data: data[:500] + bytes([data[500] ^ 1]) + data[501:],
        "zeros": lambda data: bytes(2000) + data[2000:],
        "foreign": lambda data: b"SQLite format 3\0" * 200,
        "an item missing": lambda data: data[2:],
    }


@pytest.mark.parametrize("how", damages())
def test_a_damaged_file_is_not_trusted_and_made_again(cache: Cache, how: str) -> None:
    put(cache)
    file = cache.folder / key().file_name
    file.write_bytes(damages()[how](file.read_bytes()))
    assert cache.load(key(), np.uint16) is None
    put(cache)
    assert np.array_equal(cache.load(key(), np.uint16), IDS)  # type: ignore[arg-type]


def test_the_file_of_another_key_or_format_is_not_trusted(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    put(cache)
    (cache.folder / key().file_name).rename(cache.folder / key(1).file_name)
    assert cache.load(key(1), np.uint16) is None
    put(cache)
    monkeypatch.setattr(module, "FORMAT", 2)
    assert cache.load(key(), np.uint16) is None


def test_a_file_larger_than_a_block_is_checked_to_its_end(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK", 64)
    put(cache)
    assert cache.load(key(), np.uint16) is not None
    file = cache.folder / key().file_name
    data = bytearray(file.read_bytes())
    data[1999] ^= 128
    file.write_bytes(data)
    assert cache.load(key(), np.uint16) is None


def test_deleting_the_folder_harms_nobody_who_uses_it(cache: Cache) -> None:
    stored = cache.store(key(), np.uint16, [IDS], IDS.nbytes)
    loaded = cache.load(key(), np.uint16)
    shutil.rmtree(cache.folder)
    release(stored)
    assert np.array_equal(stored, IDS)
    assert loaded is not None
    assert np.array_equal(loaded, IDS)
    assert cache.load(key(), np.uint16) is None


def test_deleting_the_folder_while_a_file_is_written_harms_nobody(cache: Cache) -> None:
    def parts() -> Iterator[np.ndarray[Any, Any]]:
        yield IDS
        shutil.rmtree(cache.folder)
        yield IDS

    assert np.array_equal(cache.store(key(), np.uint16, parts(), 4000), np.tile(IDS, 2))
    assert not cache.folder.exists()


def test_what_fails_half_way_leaves_nothing(cache: Cache) -> None:
    def parts() -> Iterator[np.ndarray[Any, Any]]:
        yield IDS
        assert len(names(cache)) == 1
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.store(key(), np.uint16, parts(), 4000)
    assert names(cache) == []


def test_two_who_make_the_same_at_once_both_succeed(cache: Cache) -> None:
    meet = threading.Barrier(2, timeout=30)
    found: list[np.ndarray[Any, Any]] = []

    def make() -> None:
        def parts() -> Iterator[np.ndarray[Any, Any]]:
            meet.wait()
            yield IDS
            meet.wait()

        found.append(cache.store(key(), np.uint16, parts(), 2000))

    threads = [threading.Thread(target=make) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 2
    assert all(np.array_equal(each, IDS) for each in found)
    assert names(cache) == [key().file_name]


def test_a_folder_that_cannot_be_made_is_an_os_error(cache: Cache) -> None:
    cache.folder.write_text("a file stands there")
    cache.tidy([])
    assert cache.load(key(), np.uint16) is None
    with pytest.raises(OSError, match="exists"):
        put(cache)


def test_the_longest_unused_go_first_and_those_in_use_stay(path: Path) -> None:
    cache = Cache(path, limit=3 * 2100)
    for number in range(3):
        put(cache, number)
        os.utime(cache.folder / key(number).file_name, (number, number))
    assert len(names(cache)) == 3
    assert cache.load(key(0), np.uint16) is not None  # which makes it the youngest
    put(cache, 3)
    assert {number for number in range(4) if cache.load(key(number), np.uint16) is not None} == {0, 2, 3}
    used = cache.load(key(0), np.uint16)
    os.utime(cache.folder / key(0).file_name, (0, 0))
    put(cache, 4)
    assert used is not None
    assert (cache.folder / key(0).file_name).exists()
    del used
    os.utime(cache.folder / key(0).file_name, (0, 0))
    put(cache, 5)
    assert not (cache.folder / key(0).file_name).exists()
    assert sum(file.stat().st_size for file in cache.folder.iterdir()) <= 3 * 2100


def test_a_file_larger_than_the_limit_must_be_alone(path: Path) -> None:
    cache = Cache(path, limit=2500)
    put(cache, 0)
    put(cache, 1, np.tile(IDS, 3))
    assert names(cache) == [key(1).file_name]
    used = cache.load(key(1), np.uint16)
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        put(cache, 0)
    assert used is not None
    assert names(cache) == [key(1).file_name]


def test_at_most_half_of_the_free_disk_is_taken(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    put(cache)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=3000))
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        put(cache, 1, np.tile(IDS, 2))
    assert names(cache) == [key().file_name]  # what cannot help is not removed
    put(cache, 1)
    assert names(cache) == [key(1).file_name]


def test_what_must_be_left_of_the_disk_is_left(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = Cache(path, room=Room(path, 10_000))
    put(cache)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=13_000))
    assert cache.has_room(3_000 + 2_000)
    assert not cache.has_room(3_000 + 2_100)
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        put(cache, 1, np.tile(IDS, 3))
    put(cache, 1, IDS[:900])
    assert len(names(cache)) == 2


def test_whether_there_is_room_can_be_asked_before(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=3000 if folder.exists() else 0))
    assert cache.has_room(1500)
    assert not cache.has_room(1501)
    assert not cache.folder.exists()
    put(cache, 0, IDS[:500])
    size = (cache.folder / key(0).file_name).stat().st_size
    assert cache.has_room((3000 + size) // 2)
    assert not cache.has_room((3000 + size) // 2 + 1)
    assert cache.load(key(0), np.uint16) is not None


def test_leftovers_and_what_belongs_to_no_text_go_even_if_in_use(cache: Cache) -> None:
    put(cache)
    put(cache, 0, text=OTHER)
    put(cache, 1, text=OTHER)
    used = cache.load(key(1, OTHER), np.uint16)
    foreign = cache.folder / "notes.txt"
    foreign.write_text("mine")
    killed, begun = (cache.folder / f"{key(2).file_name}.{name}.part" for name in ("killed", "begun"))
    killed.write_bytes(b"half")
    begun.write_bytes(b"half")
    os.utime(killed, (0, 0))
    cache.tidy([TEXT])
    assert used is not None
    assert np.array_equal(used, IDS)
    assert set(names(cache)) == {key().file_name, "notes.txt", begun.name}


def test_the_leftover_of_a_killed_writer_goes_but_not_that_of_a_slow_one(cache: Cache, path: Path) -> None:
    code = (
        "import sys, numpy as np\nfrom pathlib import Path\nfrom service.system.array_cache import Cache, CacheKey\n"
        "def parts():\n    yield np.zeros(9, 'u1')\n    print('writing', flush=True)\n    sys.stdin.read()\n"
        f"Cache(Path({str(path)!r})).store(CacheKey('a' * 64, 'ids', ()), 'u1', parts(), 9)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"writing\n"
        (part,) = cache.folder.iterdir()
        os.utime(part, (0, 0))
        cache.tidy([TEXT])
        assert part.exists()
        writer.kill()
        writer.wait()
    os.utime(part, (0, 0))
    cache.tidy([TEXT])
    assert not part.exists()


def test_memory_that_was_read_can_be_given_back(cache: Cache) -> None:
    rollup = Path("/proc/self/smaps_rollup")
    if not rollup.exists():
        pytest.skip("this system does not tell what is mapped")

    def mapped() -> int:
        return next(int(line.split()[1]) for line in rollup.read_text().splitlines() if line.startswith("Rss:"))

    put(cache, 0, np.zeros(2**25, np.uint8))
    ids = cache.load(key(), np.uint8)
    assert ids is not None
    assert ids.sum() == 0
    before = mapped()
    release(ids[5:].reshape(3, -1).T)
    assert mapped() < before - 2**14  # kB: at least half of its 32 MiB
    assert ids.sum() == 0
    release(IDS)  # what is in memory stays there
    assert IDS[-1] == 999
