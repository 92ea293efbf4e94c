"""``charloom inspect`` as its users meet it."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result

import cli
from service.system.processes import THREAD_VARIABLES

Charloom = Callable[..., Result]
TINY = ["--hidden-size", "4", "--batch-size", "4", "--seq-length", "16", "--steps", "4", "--name", "first"]


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with a run of four steps; the commands here only read it."""
    folder = tmp_path_factory.mktemp("inspect")
    rng = random.Random(2)
    words = ["warp", "weft", "(red", "knot)", "'loom'", "42,", "A"]
    (folder / "tale.txt").write_text("".join(" ".join(rng.choices(words, k=5)) + "\n" for _ in range(300)))
    db = folder / "charloom.db"
    result = CliRunner().invoke(cli.main, ["train", str(folder / "tale.txt"), *TINY, "--db", str(db)], prog_name="charloom")
    assert result.exit_code == 0, result.output
    return db


@pytest.fixture
def charloom(database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Charloom:
    """Run ``charloom inspect`` in a folder of its own; whatever it is given, it ends with a status and never with a traceback."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CHARLOOM_DB", str(database))
    monkeypatch.setenv("COLUMNS", "100")
    for name in THREAD_VARIABLES:
        monkeypatch.setenv(name, "1")

    def run(*arguments: str, input: bytes | None = None) -> Result:
        result = CliRunner().invoke(cli.main, ["inspect", *arguments], input=input, prog_name="charloom")
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result

    return run


def test_a_text_is_read_and_drawn(charloom: Charloom) -> None:
    result = charloom("first", "--text", "warp (red) é", "--unit", "0:3", "--svg", "out.svg", "--columns", "30")
    assert result.exit_code == 0, result.output
    assert "over 12 characters" in result.stdout
    assert "outside its alphabet: 1 of them" in result.stdout
    assert "The activation of unit 0:3" in result.stdout
    assert "forget" in result.stdout
    assert "\x1b" not in result.stdout
    assert result.stderr.strip() == "drawn: out.svg"
    root = ElementTree.parse("out.svg").getroot()
    assert root.tag.endswith("svg")


def test_a_file_and_standard_input_are_read(charloom: Charloom) -> None:
    Path("text").write_text("weft")
    from_file, from_input = charloom("--file", "text", "--json"), charloom("--file", "-", "--json", input=b"weft")
    assert json.loads(from_file.stdout) == json.loads(from_input.stdout) == json.loads(charloom("--text", "weft", "--json").stdout)
    assert {"object": "inspection", "text": "weft", "characters": 4}.items() <= json.loads(from_file.stdout).items(), "as over HTTP"


def test_the_model_writes_a_text_itself_and_its_seed_writes_it_again(charloom: Charloom) -> None:
    first = charloom("--length", "30", "--json")
    assert first.exit_code == 0
    text = json.loads(first.stdout)["text"]
    assert len(text) == 30
    seed = first.stderr.strip().rpartition(" ")[2]
    assert json.loads(charloom("--length", "30", "--seed", seed, "--json").stdout)["text"] == text


def test_cells_are_looked_for_and_drawn(charloom: Charloom) -> None:
    result = charloom("first", "--find-cells", "--svg", "cells")
    assert result.exit_code == 0, result.output
    assert "that follow a readable feature of corpus tale" in result.stdout
    drawn = [Path(line.removeprefix("drawn: ")) for line in result.stderr.splitlines()]
    assert drawn
    assert sorted(drawn) == sorted(Path("cells").iterdir())
    found = json.loads(charloom("--find-cells", "--corpus", "tale", "--json").stdout)
    assert {cell["feature"] for cell in found["cells"]} >= {"round_brackets", "word_ends"}
    assert found["held_out"] is False, "the tale is short"


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["nobody"], 1, "there is no run"),
        (["--text", "a", "--unit", "1"], 1, "LAYER:UNIT"),
        (["--text", "a", "--unit", "0:4"], 1, "a unit from 0 to 3"),
        (["--text", "a" * 100_001], 1, "it has 100,001"),
        (["--file", "none.txt"], 1, "none.txt"),
        (["--find-cells", "--corpus", "other"], 1, "there is no corpus 'other'"),
        (["--text", "a", "--svg", "none/out.svg"], 1, "No such file or directory"),
        (["--text", "a", "--svg", "."], 1, "it is a folder"),
        (["--text", "a", "--file", "b"], 2, "one of the two"),
        (["--find-cells", "--unit", "0:1"], 2, "--unit is for one text"),
        (["--find-cells", "--text", "a"], 2, "--text is for one text"),
        (["--corpus", "tale"], 2, "--corpus is for --find-cells"),
        (["--columns", "3"], 2, "20<=x<=400"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(charloom: Charloom, arguments: list[str], status: int, said: str) -> None:
    result = charloom(*arguments)
    assert result.exit_code == status
    assert said in result.stderr
    assert "Traceback" not in result.output


def test_drawings_are_overwritten_only_where_that_is_asked_for(charloom: Charloom) -> None:
    Path("out.svg").write_text("mine")
    assert charloom("--text", "a", "--svg", "out.svg").exit_code == 1
    assert charloom("--find-cells", "--svg", "out.svg").exit_code == 1
    assert Path("out.svg").read_text() == "mine"
    assert charloom("--text", "a", "--svg", "out.svg", "--overwrite").exit_code == 0
    assert Path("out.svg").read_text(encoding="utf-8").startswith("<svg")
