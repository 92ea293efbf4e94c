"""Lists the packages and the modules of the project, each with a phrase that is taken from its docstring."""

from __future__ import annotations

import ast
import re
from pathlib import Path

PARTS = ("cli.py", "corpora", "model", "service")
# The rooms in the order of their imports, for the README.
ROOMS = ("terminal", "web", "inspection", "training", "generation", "novelty", "store", "system")
PACKAGES = ("cli.py", *(f"service/{room}" for room in ROOMS), "model", "corpora")
AROUND = {
    "tests": "mirrors the tree: model/cells/lstm.py is tested by tests/model/cells/test_lstm.py",
    "bench": "what is measured and how; never part of the tests",
    "tools": "what keeps the documentation equal to the truth",
    "docs": "the documentation; docs/README.md is its index",
}
LONGEST = 96  # characters of a phrase, so that a line of the tree needs no scrolling


def phrase(source: str) -> str:
    """The first sentence of a module's docstring without its full stop; a long one ends at its first colon or semicolon.

    Raises `ValueError` where the module has no docstring.
    """
    text = ast.get_docstring(ast.parse(source))
    if not text:
        raise ValueError("the module has no docstring; its first sentence says what the module is for")
    sentence = re.split(r"(?<=[.!?])\s(?=[^a-z])", " ".join(text.split("\n\n")[0].split()))[0].rstrip(".:")
    return re.split(r"[:;] ", sentence)[0] if len(sentence) > LONGEST else sentence


def rows(root: Path) -> list[tuple[str, str]]:
    """Each folder and module of the product as (indented name, phrase): modules first, then folders, each by name."""

    def of(path: Path, depth: int) -> list[tuple[str, str]]:
        indent = "  " * depth
        if path.is_file():
            return [(indent + path.name, phrase(path.read_text(encoding="utf-8")))]
        found = [(f"{indent}{path.name}/", phrase((path / "__init__.py").read_text(encoding="utf-8")))]
        modules = [item for item in path.glob("*.py") if item.name != "__init__.py"]
        folders = [item.parent for item in path.glob("*/__init__.py")]
        for item in sorted(modules) + sorted(folders):
            found += of(item, depth + 1)
        return found

    return [row for part in PARTS for row in of(root / part, 0)] + [(f"{name}/", said) for name, said in AROUND.items()]


def packages(root: Path) -> list[tuple[str, str]]:
    """The packages as (name, phrase), without the modules in them: the rooms of service/ and what stands beside it."""
    found = []
    for name in PACKAGES:
        file = root / name if name.endswith(".py") else root / name / "__init__.py"
        found.append((name if file.name == name else f"{name}/", phrase(file.read_text(encoding="utf-8"))))
    return found + [(f"{name}/", said) for name, said in AROUND.items()]


def block(found: list[tuple[str, str]]) -> str:
    """Names and phrases in two columns, as a Markdown block."""
    width = max(len(name) for name, _ in found) + 2
    return "```text\n" + "\n".join(f"{name:{width}}{said}" for name, said in found) + "\n```"


def tree(root: Path) -> str:
    """Every module and package."""
    return block(rows(root))


def house(root: Path) -> str:
    """The packages alone."""
    return block(packages(root))
