"""Keeps the generated parts of the documentation equal to the truth.

``python -m tools.documentation check`` names the files that differ and fails; ``write`` renews them. A generated part stands between
the lines ``<!-- NAME -->`` and ``<!-- /NAME -->``; the text around it is written by people and never touched.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import click

from tools.help_pages import command_table, help_pages
from tools.http_tables import errors_table, routes_table
from tools.settings_tables import settings_tables
from tools.tree import house, tree

ROOT = Path(__file__).resolve().parent.parent


def command_line() -> click.Command:
    """Returns the root command; the import waits until it is needed."""
    import cli

    return cli.main


# file -> name of the block -> what makes it
BLOCKS: Mapping[str, Mapping[str, Callable[[], str]]] = {
    "README.md": {"house": lambda: house(ROOT)},
    "docs/architecture.md": {"tree": lambda: tree(ROOT)},
    "docs/http.md": {"routes": routes_table, "errors": errors_table},
    "docs/cli.md": {"commands": lambda: command_table(command_line()), "help": lambda: help_pages(command_line())},
    "docs/settings.md": {"settings": settings_tables},
}


def with_block(text: str, name: str, block: str) -> str:
    """Returns `text` with `block` between the markers of `name`.

    Raises `ValueError` if the markers are missing or stand there twice.
    """
    found = re.findall(rf"^<!-- {name} -->\n(?:.*\n)*?<!-- /{name} -->$", text, re.MULTILINE)
    if len(found) != 1:
        raise ValueError(f"{len(found)} blocks are named {name}; one must stand between the lines <!-- {name} --> and <!-- /{name} -->")
    return text.replace(found[0], f"<!-- {name} -->\n{block}\n<!-- /{name} -->")


def renewed(path: str, text: str) -> str:
    """Returns the text of a file with all of its generated blocks renewed."""
    for name, make in BLOCKS[path].items():
        text = with_block(text, name, make())
    return text


def stale(root: Path = ROOT) -> list[str]:
    """Lists the files whose generated blocks differ from the code."""
    return [path for path in BLOCKS if (text := (root / path).read_text(encoding="utf-8")) != renewed(path, text)]


def main() -> None:
    """Check or write; exits 1 if a check finds a stale block."""
    parser = argparse.ArgumentParser(prog="python -m tools.documentation", description=__doc__)
    parser.add_argument("action", choices=("check", "write"))
    action = parser.parse_args().action
    found = stale()
    for path in found:
        if action == "check":
            print(f"{path} differs from the code; renew it with: make format")
        else:
            (ROOT / path).write_text(renewed(path, (ROOT / path).read_text(encoding="utf-8")), encoding="utf-8")
            print(f"{path} is renewed")
    sys.exit(1 if found and action == "check" else 0)


if __name__ == "__main__":
    main()
