"""The documentation runs: its generated blocks equal the truth, its Python is executed, and nothing that exists goes unnamed."""

from __future__ import annotations

import doctest
import re
from collections.abc import Iterable
from pathlib import Path

import click
import pytest

from cli import main
from model.settings import settings_of
from service.web.app import create_app
from tools import documentation
from tools.help_pages import WIDTH, command_table, contexts, help_pages
from tools.settings_tables import CONFIGURATIONS
from tools.tree import LONGEST, phrase, rows

ROOT = documentation.ROOT


def pages() -> str:
    """All of the documentation in one text."""
    files = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    return "\n".join(file.read_text(encoding="utf-8") for file in files)


def unnamed(names: Iterable[str], text: str) -> list[str]:
    """Those that `text` does not hold as a whole word."""
    return [name for name in names if not re.search(rf"(?<![\w/-]){re.escape(name)}(?![\w/-])", text)]


def in_words(rule: str) -> str:
    """A route as the documentation writes it: ``/runs/<string:name>`` is ``/runs/{name}``."""
    return re.sub(r"<(?:[^<>:]+:)?(\w+)>", r"{\1}", rule)


def python_blocks(text: str) -> list[tuple[int, str]]:
    """(number of the line before it, source) of each fenced Python block that shows a session."""
    found = re.finditer(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [(text[: block.start()].count("\n") + 1, block[1]) for block in found if ">>>" in block[1]]


def failures(text: str) -> tuple[int, int]:
    """(failed, tried) examples of a page; later blocks see the names of earlier ones."""
    runner, names = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE), {"__name__": "__main__"}
    for line, source in python_blocks(text):
        test = doctest.DocTestParser().get_doctest(source, names, "README.md", "README.md", line)
        runner.run(test, clear_globs=False)
        names = test.globs
    return runner.failures, runner.tries


# ── the truth ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("path", documentation.BLOCKS)
def test_generated_blocks_equal_the_truth(path: str) -> None:
    text = (ROOT / path).read_text(encoding="utf-8")
    assert text == documentation.renewed(path, text), "mend it with: make format"


def test_the_python_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CHARLOOM_DB", raising=False)
    failed, tried = failures((ROOT / "README.md").read_text(encoding="utf-8"))
    assert tried > 0
    assert failed == 0


def test_every_command_is_documented() -> None:
    assert unnamed((context.command_path for context in contexts(main)), pages()) == []


def test_every_setting_is_documented() -> None:
    names = [f"`{field.name}`" for configuration in CONFIGURATIONS for field, _ in settings_of(configuration)]
    assert unnamed(names, pages()) == []


def test_every_route_is_documented(tmp_path: Path) -> None:
    routes = [
        f"{method} {in_words(rule.rule)}"
        for rule in create_app(tmp_path / "charloom.db").url_map.iter_rules()
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"})
        if rule.endpoint != "static"
    ]
    assert routes
    assert unnamed(routes, pages()) == []


def test_every_option_says_what_it_does() -> None:
    options = [
        (context.command_path, option)
        for context in contexts(main)
        for option in context.command.params
        if isinstance(option, click.Option) and not option.hidden
    ]
    assert [(path, option.name) for path, option in options if not option.help] == []


# ── the machinery ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("names", "text", "missing"),
    [
        (["POST /generate"], "`POST /generate` answers", []),
        (["POST /generate"], "`GET /generate` answers", ["POST /generate"]),
        (["GET /v1/models"], "`GET /v1/models/{name}`", ["GET /v1/models"]),
        (["charloom run"], "`charloom runs`, `charloom run-all`", ["charloom run"]),
        (["`seed`"], "the `seed` and `seeds`", []),
        (["`seed`"], "the seed and `seeds`", ["`seed`"]),
    ],
)
def test_what_is_missing_from_the_pages_is_found(names: list[str], text: str, missing: list[str]) -> None:
    assert unnamed(names, text) == missing


@pytest.mark.parametrize(
    ("rule", "expected"),
    [("/health", "/health"), ("/runs/<name>/<int:step>", "/runs/{name}/{step}"), ("/f/<any(a, b):kind>", "/f/{kind}")],
)
def test_routes_are_written_with_braces(rule: str, expected: str) -> None:
    assert in_words(rule) == expected


def test_python_blocks_are_really_run() -> None:
    page = "```python\n>>> x = 0.5\n```\n\n```python\n>>> x + 0.25\n0.7...\n>>> x\n0.6\n```\n\n```python\nraise SystemExit\n```\n"
    assert failures(page) == (1, 3)


def test_blocks_are_replaced_and_nothing_else() -> None:
    text = "before\n<!-- tree -->\nold\n\nold\n<!-- /tree -->\nafter <!-- tree -->\n"
    assert documentation.with_block(text, "tree", "new") == "before\n<!-- tree -->\nnew\n<!-- /tree -->\nafter <!-- tree -->\n"
    assert documentation.with_block("<!-- tree -->\n<!-- /tree -->", "tree", "new") == "<!-- tree -->\nnew\n<!-- /tree -->"


@pytest.mark.parametrize("text", ["", "<!-- tree -->\nno end", "<!-- tree -->\n<!-- /tree -->\n" * 2])
def test_a_block_without_its_place_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="one must stand between"):
        documentation.with_block(text, "tree", "new")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ('"""What it is. More."""', "What it is"),
        ('"""What\nit is.\n\nMore."""', "What it is"),
        ('"""What it is, e.g. this: short."""', "What it is, e.g. this: short"),
        (f'"""What it is: {"long " * 30}."""', "What it is"),
    ],
)
def test_the_phrase_of_a_module_is_its_first_sentence(source: str, expected: str) -> None:
    assert phrase(source) == expected


def test_a_module_without_a_docstring_is_refused() -> None:
    with pytest.raises(ValueError, match="no docstring"):
        phrase("import os")


def test_the_phrases_of_the_tree_fit_a_line() -> None:
    assert [row for row in rows(ROOT) if len(row[1]) > LONGEST] == []


def test_help_pages_do_not_depend_on_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    @click.group(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
    def charloom() -> None:
        """Weaves text."""

    @charloom.command()
    @click.argument("corpus")
    @click.option("--length", default=500, help="Symbols to write at most, " + "which is said at length " * 5)
    def train(corpus: str, length: int) -> None:
        """Train on CORPUS."""

    @charloom.command(hidden=True)
    def worker() -> None:
        """Not for people."""

    found = []
    for columns in ("40", "200"):
        monkeypatch.setenv("COLUMNS", columns)
        found.append(help_pages(charloom))
    assert found[0] == found[1]
    assert max(map(len, found[0].splitlines())) <= WIDTH
    assert "Usage: charloom train [OPTIONS] CORPUS" in found[0]
    assert "[default: 500]" in found[0]
    assert "worker" not in found[0]
    assert command_table(charloom) == "| command | |\n|---|---|\n| `charloom train CORPUS` | Train on CORPUS |"
