"""The table counts what is malformed and what begins in the middle, in texts whose faults are known."""

from __future__ import annotations

from tools.record_table import judged, lists


def test_the_lists_are_sound_themselves() -> None:
    for what in lists().values():
        rows = what.records[1:] if what.file.endswith(".csv") else what.records
        text = (what.separator or "\n").join(["", *rows, ""])[len(what.separator or "\n") :]
        found = judged([text], what, what.separator, 1.5)
        assert found[:3] == (1.5, 0, 0)
        assert found.later_broken == 0
        assert found.later >= len(rows) - 2


def test_faults_are_counted() -> None:
    found = judged(["Anna\nBo x\nCid\nDo", "bert\nEmil\nF", "Go3\n"], lists()["sorted names"], "\n", 2.0)
    assert found == (2.0, 2, 1, 3, 1)
