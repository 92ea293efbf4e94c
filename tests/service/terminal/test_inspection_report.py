"""The report on what was found inside a model: with and without colours, on wide and narrow terminals."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from service.inspection.results import (
    TINT_LEVELS,
    CellExcerpt,
    CellReport,
    FoundCell,
    FoundGauge,
    Gate,
    Inspection,
    Neighbour,
    UnitActivations,
)
from service.system.formatting import columns
from service.terminal import inspection_report as module
from service.terminal.inspection_report import report

TEXT = "a <b>\t각\x1b\nend"
LOUD = "\x1b["


@pytest.fixture
def inspection() -> Inspection:
    return Inspection(
        model="first@100",
        cell="lstm",
        num_layers=1,
        hidden_size=3,
        text=TEXT,
        characters=len(TEXT),
        bits_per_char=1.5,
        unknown=1,
        bits=[0.4, 1, 2.9, 3, 4, 5, 6, 7, 8, 9, 20, 11],
        alternatives=[[(" ", 0.5), ("\x07", 0.25)] for _ in TEXT],
        liveliest="0:2",
        units=[UnitActivations("0:2", [-1.0, 1.0, 0.0, 0.5, -0.5, 0.25, 1, 1, 1, -1, -1, 0])],
        gates=[Gate(0, "i", "input", [0.0, 0.5, 1.0], [1.0, 0.25, 0.0]), Gate(0, "f", "forget", [0.0] * 3, [0.5] * 3)],
        neighbours=[Neighbour("a", ["<", " "], [0.5, 0.75], 0, 1), Neighbour("\x1b", ["a", "b"], [0.5, 0.75], 0, 1)],
        map_shares=[0.25, 0.125],
    )


def cell(feature: str, f1: float, *, found: bool = True, learned: bool = True) -> FoundCell:
    excerpt = CellExcerpt("say 'a' &\n", [-1.0] * 5 + [1.0] * 5, [False] * 4 + [True] * 2 + [False] * 4)
    return FoundCell(
        feature, f"inside {feature} of some kind or other", "0:1", 0.25, False, f1, 0.85, 0.95, 0.2, 0.33, 0.4, found, learned, excerpt
    )


@pytest.fixture
def cells() -> CellReport:
    found = [cell("blanks", 0.95, learned=False), cell("quotes", 0.9), cell("digits", 0.6, found=False)]
    return CellReport(
        "first@100", "lstm 1x3", "tale", 5000, True, found, [FoundGauge("depth", "the depth of the brackets", "0:5", 0.5, 0.125)]
    )


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


@pytest.mark.parametrize("colors", [False, True])
@pytest.mark.parametrize("width", [36, 80])
def test_no_line_is_wider_than_the_terminal_and_nothing_commands_it(
    inspection: Inspection, cells: CellReport, width: int, colors: bool
) -> None:
    for found in (inspection, cells):
        shown = report(found, width, colors=colors)
        assert (LOUD in shown) == colors
        assert all(columns(line) <= width for line in plain(shown).split("\n"))
        assert "\x1b" not in plain(shown)
        assert "\x07" not in shown
        assert "\t" not in shown


def test_without_colours_bars_stand_below_their_characters(inspection: Inspection) -> None:
    lines = report(inspection, 80, colors=False).split("\n")
    row = lines.index("a <b>   각\ufffd↵")
    #                    0 1 2 3 4 5 (a tab: three columns) 6 (a wide character: two) 7 8 bits
    assert lines[row + 1] == " ▂▃▄▅" + "▆▆▆" + "▇▇" + "█" + "█"
    held = lines.index("a <b>   각\ufffd↵", row + 1)
    assert lines[held + 1] == "▁█▅▇▃" + "▆▆▆" + "██" + "█" + "█"
    assert lines[held + 2 : held + 4] == ["end", "▁▁▅"]


def test_with_colours_the_ground_tells(inspection: Inspection) -> None:
    shown = report(inspection, 80, colors=True)
    assert f"48;5;{module.BLUE[-1]}ma" in shown
    assert f"48;5;{module.RED[-1]}m " in shown
    assert f"48;5;{module.AMBER[-1]}m" in shown
    assert len(module.AMBER) == len(set(module.AMBER)) == len(module.BARS_FROM_ZERO) - 1 == TINT_LEVELS
    assert "\n".join(line.rstrip() for line in plain(shown).split("\n")).count("a <b>") == 2


def test_the_greatest_surprises_come_first_with_what_was_expected(inspection: Inspection) -> None:
    lines = report(inspection, 80, colors=False).split("\n")
    first = lines.index(next(line for line in lines if line.startswith("bits"))) + 1
    assert [line.split()[:2] for line in lines[first : first + 3]] == [["20.0", "n"], ["11.0", "d"], ["9.0", "e"]]
    assert "␣ 50%  U+0007 25%" in lines[first]
    assert "<b>⇥각\ufffd↵e" in lines[first]


def test_gates_are_told_by_their_means(inspection: Inspection) -> None:
    shown = report(inspection, 80, colors=False)
    assert re.search(r"0 +input +50% +42%", shown)
    assert re.search(r"0 +forget +0% +50%", shown)
    assert "gate" not in report(replace(inspection, gates=[]), 80, colors=False)


def test_a_long_text_is_cut(inspection: Inspection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROWS", 1)
    assert report(inspection, 80, colors=False).count("\n…\n") == 2


def test_the_empty_text(inspection: Inspection) -> None:
    empty = replace(inspection, text="", characters=0, bits=[], units=[UnitActivations("0:2", [])], alternatives=[], unknown=0)
    assert "over 0 characters" in report(empty, 80, colors=False)


@pytest.mark.parametrize("width", [40, 80])
def test_cells_are_listed_with_what_a_fresh_network_reaches(cells: CellReport, width: int) -> None:
    shown = " ".join(report(cells, width, colors=False).split())
    assert re.search(r"○ 0\.95 .*blanks.* ● 0\.90 .*quotes.* 0\.60 .*digits", shown)
    for part in ("0.40", "0.33", "0:1", "that it never learned from", "the depth of the brackets", "Unit 0:1 is below 0.25 inside quotes"):
        assert part in shown, part


def test_where_a_feature_holds_is_underlined(cells: CellReport) -> None:
    lines = report(cells, 80, colors=True).split("\n")
    row = next(line for line in lines if plain(line).startswith("say 'a' &"))
    assert re.findall(r"\x1b\[4;[0-9;]*m([^\x1b]*)", row) == ["'", "a"], "two grounds, one feature"


def test_nothing_found_is_said(cells: CellReport) -> None:
    assert "no feature occurs often enough" in report(replace(cells, cells=[]), 80, colors=False)


def test_what_was_not_asked_for_is_left_out(inspection: Inspection) -> None:
    none = replace(inspection, bits_per_char=None, bits=None, alternatives=None, gates=None, neighbours=None, map_shares=None, units=[])
    first, second = report(none, 80, colors=False).split("\n")
    assert first == "first@100, lstm 1x3: 12 characters"
    assert second.startswith("outside its alphabet: 1")
