"""A few points of each kind, and the proof that a loss would be noticed. All of them: ``python -m tools.kill_test --victim store``."""

from __future__ import annotations

import platform
import random
import shutil
from pathlib import Path

import pytest

from tools.crash_points import LIFE, Disk, Operation, Sweep, Tally, recorded

pytestmark = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc" or not shutil.which("cc"),
    reason="the library that disturbs a process needs Linux, glibc and a compiler",
)


def test_nothing_is_lost_at_any_point_and_a_loss_would_be_noticed(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, points=2, seed=random.randrange(10**6))
    found = sweep.carry_out(tell=False)
    assert {kind: tally.tried for kind, tally in found.items()} == dict.fromkeys(found, 2) | {"power cut": 6}
    assert len({str(state) for state in sweep.states}) > 0.8 * len(LIFE), "most acts have a result that can be seen"

    with sweep._child(), sweep._new() as folder:
        tally, disk = Tally(), Disk(str(folder))
        for operation in recorded(sweep.log):
            if operation.kind not in "sf" and disk.acts < 5:
                disk.carry_out(operation)
        disk.write(folder, None, names=True)
        sweep.judge(folder, 5, "a disk that was never synced", tally)
    [fault] = tally.lost
    assert fault.startswith("a disk that was never synced, after 'order a job': charloom.db: keys: reader: aaaa")
    assert "was expected, None is there" in fault


def test_after_a_power_cut_what_was_synced_is_there_and_the_rest_as_it_comes(tmp_path: Path) -> None:
    def disk(*operations: str) -> Disk:
        found = Disk("/x")
        for each in operations:
            kind, path, *rest = each.split()
            found.carry_out(Operation(kind, path, rest[0] if kind == "r" else "", 0, rest[0].encode() if kind == "w" else b""))
        return found

    def left(found: Disk, draw: random.Random | None, names: bool) -> dict[str, bytes]:
        shutil.rmtree(tmp_path)
        tmp_path.mkdir()
        found.write(tmp_path, draw, names=names)
        return {file.name: file.read_bytes() for file in tmp_path.iterdir()}

    synced = ("c /x/a", "w /x/a one", "s /x/a", "f /x")
    replaced = (*synced, "c /x/b", "w /x/b two", "r /x/b /x/a")
    assert left(disk("c /x/a", "w /x/a one", "s /x/a"), None, False) == {}
    assert left(disk("c /x/a", "w /x/a one", "f /x"), None, False) == {"a": b""}
    assert left(disk(*synced, "w /x/a two"), None, False) == {"a": b"one"}
    assert left(disk(*synced, "u /x/a"), None, False) == {"a": b"one"}
    assert left(disk(*replaced), None, False) == {"a": b"one"}
    assert left(disk(*replaced), None, True) == {"a": b""}, "renamed before it was synced"
    drawn = [left(disk(*replaced), random.Random(seed), False) for seed in range(50)]
    assert {tuple(sorted(each.items())) for each in drawn} >= {(("a", b"one"),), (("a", b"two"),), (("a", b""),)}
