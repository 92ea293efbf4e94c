"""The texts of the page: each is there in both languages, and those are there that the page asks for. No browser is needed for it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

SERVICE = Path(__file__).resolve().parents[2] / "service" / "web"
TABLES = sorted(path for path in (SERVICE / "static" / "i18n").glob("*.js") if path.name != "i18n.js")
SCRIPTS = {path: path.read_text() for path in sorted((SERVICE / "static").rglob("*.js"))}
PAGES = "".join(path.read_text() for path in (SERVICE / "templates").glob("*.html"))
ROW = re.compile(r'^  (?:"([\w.-]+)"|(\w+)): (\[.*?\]),$', re.MULTILINE | re.DOTALL)
# What is asked for by a name that is put together: t(`state.${name}`)
PATTERNS = {
    re.sub(r"\\\$\\\{.*?\\\}", r"[\\w.-]+", re.escape(each))
    for source in SCRIPTS.values()
    for each in re.findall(r"\b(?:t|translated)\(`([^`]+)`", source)
}


def table(path: Path) -> dict[str, list[str | None]]:
    """The texts of a file: name -> English and Korean."""
    return {one or other: json.loads(re.sub(r",\s*\]$", "]", pair)) for one, other, pair in ROW.findall(path.read_text())}


ALL = {name: texts for path in TABLES for name, texts in table(path).items()}


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.name)
def test_every_text_is_there_in_both_languages(path: Path) -> None:
    texts = table(path)
    assert len(texts) == len(re.findall(r'^  "?[\w.-]+"?: \[', path.read_text(), re.MULTILINE)) > 0
    for name, (english, korean) in texts.items():
        assert korean, name
        assert english or name.startswith("setting."), name  # meanings of settings come from the service in English
        if english:
            assert set(re.findall(r"\{(\w+)", english)) == set(re.findall(r"\{(\w+)", korean)), name


def test_no_text_has_two_places() -> None:
    assert len(ALL) == sum(len(table(path)) for path in TABLES)


def test_every_text_that_is_asked_for_is_there() -> None:
    asked = {name for source in SCRIPTS.values() for name in re.findall(r'\bt\((?:[^()`"]*\? )?"([\w.-]+)"', source)}
    asked |= set(re.findall(r'data-(?:t|label)="([\w.-]+)"', PAGES))
    assert len(asked) > 150
    assert asked - set(ALL) == set()
    for pattern in PATTERNS:
        assert any(re.fullmatch(pattern, name) for name in ALL), pattern


def test_no_text_is_there_for_nothing() -> None:
    used = PAGES + "".join(source for path, source in SCRIPTS.items() if path not in TABLES)
    unused = {name for name in ALL if f'"{name}"' not in used and not any(re.fullmatch(pattern, name) for pattern in PATTERNS)}
    assert unused == set()
