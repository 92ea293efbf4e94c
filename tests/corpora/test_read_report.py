"""The account of a reading."""

from __future__ import annotations

from corpora.read_report import ReadReport
from model.errors import BinaryText, UndecodableText, ZeroCharacters


def test_sentences() -> None:
    report = ReadReport()
    assert report.warnings == []
    report.skip("a", BinaryText("a", 0))
    assert report.warnings == ["one binary file was skipped: a"]
    for name in "bcdef":
        report.skip(name, BinaryText(name, 0))
    report.skip("g\udcff", UndecodableText("g", 0, "utf-8"))
    assert report.warnings == [
        "6 binary files were skipped: a, b, c and 3 more",
        "one file was skipped that could not be decoded: g\\udcff",
    ]
    assert report.skipped == 7


def test_files_with_zero_characters_are_told_with_the_next_step() -> None:
    report = ReadReport(files=3)
    report.skip("a", ZeroCharacters("a", 5, 1, [1], more=False))
    report.guessed["cp1252"] += 1
    guessed, skipped = report.warnings
    assert skipped == "one file was skipped that has NUL characters: a; --errors skip leaves those out"
    assert "cp1252 in 1 file;" in guessed
