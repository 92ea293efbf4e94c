"""A sample of the damage table: each flipped bit that changes anything is found, and mended with a good copy."""

from __future__ import annotations

from pathlib import Path

from tools.damage_table import attempt, attempts, make, stored

TRIES = 20


def test_a_sample_is_found_and_mended(tmp_path: Path) -> None:
    make(tmp_path / "good.db", seed=2)
    tries = attempts(tmp_path / "good.db", tmp_path, TRIES, seed=2)
    assert [each for each in tries if each.failed] == []
    assert sum(each.changed for each in tries) > TRIES // 4


def test_what_is_not_found_fails(tmp_path: Path) -> None:
    """The table's own reading sees a change wherever there is one."""
    make(tmp_path / "good.db", seed=2)
    before = stored(tmp_path / "good.db")
    assert before is not None
    at = (tmp_path / "good.db").read_bytes().index(b"tale.txt")
    result = attempt(tmp_path / "good.db", tmp_path, at, 0, "rows", before)
    assert (result.changed, result.found, result.mended, result.failed) == (True, ("corpus tale",), True, False)
    assert result._replace(found=()).failed
    assert result._replace(mended=False).failed
