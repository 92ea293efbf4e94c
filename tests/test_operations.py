"""The page, HTTP and the command line do the same things with the same words: the table in docs/operations.md is the truth."""

from __future__ import annotations

import re
from pathlib import Path

import click

from cli import main
from tools.help_pages import contexts
from tools.http_tables import routes

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if line.startswith("| ")][1:]
STATIC = ROOT / "service" / "web" / "static"
VERBS = {"Download", "Return", "Change"}  # of rows that only one way has


def quoted(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


def commands() -> dict[str, str]:
    """Each command with the first word of its help."""
    found = {each.command_path: each.command for each in contexts(main) if not isinstance(each.command, click.Group)}
    return {path: (command.help or "").split()[0].rstrip(",.:") for path, command in found.items()}


def requests() -> dict[str, str]:
    """Each route with the first word of its summary."""
    return {f"{route.method} {route.path}": route.summary.split()[0].rstrip(",.:") for route in routes()}


def test_each_command_and_each_route_stands_there_once() -> None:
    named = quoted(PAGE.partition("| operation")[2])
    for every in (commands(), requests()):
        assert sorted(each for each in named if each in every) == sorted(every)
    assert [each for each in named if each not in commands() and each not in requests()] == []


def test_what_does_the_same_is_described_with_the_same_verb() -> None:
    verbs = commands() | requests()
    for operation, _, over_http, command in ROWS:
        assert {verbs[each] for each in quoted(over_http) + quoted(command)} <= {operation.split()[0]}, operation


def test_only_rows_of_one_way_lack_the_other() -> None:
    for operation, _, over_http, command in ROWS:
        if "—" in (over_http, command):
            assert operation.split()[0] in VERBS, operation


def test_the_page_has_its_part() -> None:
    """Each label of the table is a text of the page; and each address that the page asks for stands in a row that names a view."""
    words = "".join(file.read_text(encoding="utf-8") for file in (STATIC / "i18n").glob("*.js"))
    views = {path.name for path in (STATIC / "views").iterdir()}
    shown = ""
    for _, page, over_http, _ in ROWS:
        if page != "—":
            view, _, label = page.partition(": ")
            assert view.lower() in views
            assert not label or f"[{label}," in words
            shown += over_http
    code = "".join(file.read_text(encoding="utf-8") for file in STATIC.rglob("*.js"))
    asked = {re.sub(r"\$\{[^}]*\}+\)?\}?", "{}", path) for path in re.findall(r"""(?:ask|upload|events)\(["`](/[^"`?]*)""", code)}
    offered = {re.sub(r"\{\w+\}", "{}", each.partition(" ")[2]) for each in quoted(shown)}
    assert len(asked) > 5
    assert asked - {"/openapi.json"} <= offered
    changes = re.findall(r"jobPath\([\w.]+, [\"`](/\w+)", code)
    assert {f"/v1/fine_tuning/jobs/{{}}{each}" for each in changes} <= offered
