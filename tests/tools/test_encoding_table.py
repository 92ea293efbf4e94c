"""The right encoding is among those that are proposed, for texts that people bring."""

from __future__ import annotations

import codecs

import pytest

from corpora import encodings
from tools import encoding_table


def test_the_right_encoding_is_among_the_first_three_in_nine_of_ten() -> None:
    rows = list(encoding_table.placed())
    assert len(rows) >= 14 * 3
    assert sum(place is not None for _, _, place, _ in rows) >= 0.9 * len(rows)
    assert sum(place == 1 for _, _, place, _ in rows) >= 0.9 * len(rows)
    for _, _, _, found in rows:
        assert 1 <= len(found) <= 3
        assert "iso8859-1" not in [codecs.lookup(name).name for name in found]


def test_the_table_notices_a_worse_order(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    right = {codec: text for codec in ("cp949", "koi8_r") for text in encoding_table.TEXTS[codec][:1]}
    monkeypatch.setattr(encoding_table, "TEXTS", {codec: (text,) for codec, text in right.items()})
    assert encoding_table.main() == 0
    assert "the first proposal in 2 of 2, one of the first 3 in 2 (100%)" in capsys.readouterr().out
    monkeypatch.setattr(encodings, "_COMMON", {"cp1252": 1.0, "gb18030": 1.0})
    assert encoding_table.main() == 1
