"""Large corpora, at a small size."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.texts import WIDE_LETTERS, lines_of, write_corpus

LINES = [f"line {index} of the text\n" for index in range(200)]


@pytest.mark.parametrize("size", [30, 1_000, 3_000, 50_000])
def test_a_corpus_has_the_size_and_only_real_lines(tmp_path: Path, size: int) -> None:
    path = tmp_path / "corpus.txt"
    write_corpus(path, LINES, size)
    text = path.read_text(encoding="utf-8")
    assert set(text.splitlines(keepends=True)) <= set(LINES)
    assert size - 30 < len(text.encode()) <= size
    if size > sum(map(len, LINES)):
        assert set(text.splitlines(keepends=True)) == set(LINES)


def test_a_wide_one_has_more_letters_than_a_byte_can_count(tmp_path: Path) -> None:
    path = tmp_path / "corpus.txt"
    lines = [f"{index} and {chr(32 + index % 90)}\n" for index in range(20_000)]
    write_corpus(path, lines, 400_000, wide=True)
    text = path.read_text(encoding="utf-8")
    wide = {c for c in text if ord(c) > 127}
    assert 256 < len(wide) <= WIDE_LETTERS
    assert sum(ord(c) < 128 for c in text) > 0.8 * len(text)


def test_lines_of_a_file_keep_their_ends(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("one\ntwo\n\nthree", encoding="utf-8")
    assert lines_of(str(path)) == ["one\n", "two\n", "\n", "three\n"]
