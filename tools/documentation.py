"""Keeps the generated parts of the documentation equal to the truth.

``python -m tools.documentation check`` says which are not and fails; ``write`` mends them. A generated part stands between
the lines ``<!-- NAME -->`` and ``<!-- /NAME -->``; whatever is around it is written by people and never touched.
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
from tools.tree import tree

ROOT = Path(__file__).resolve().parent.parent


def command_line() -> click.Command:
    """The root command, imported when it is asked for."""
    import cli

    return cli.main


# file -> name of the block -> what makes it
BLOCKS: Mapping[str, Mapping[str, Callable[[], str]]] = {
    "README.md": {"commands": lambda: command_table(command_line()), "tree": lambda: tree(ROOT)},
    "docs/http.md": {"routes": routes_table, "errors": errors_table},
    "docs/cli.md": {"help": lambda: help_pages(command_line())},
    "docs/settings.md": {"settings": settings_tables},
}


def with_block(text: str, name: str, block: str) -> str:
    """`text` with what stands between the markers of `name` replaced by `block`.

    Raises `ValueError` where the markers are missing or stand there twice.
    """
    found = re.findall(rf"^<!-- {name} -->\n(?:.*\n)*?<!-- /{name} -->$", text, re.MULTILINE)
    if len(found) != 1:
        raise ValueError(f"{len(found)} blocks are named {name}; one must stand between the lines <!-- {name} --> and <!-- /{name} -->")
    return text.replace(found[0], f"<!-- {name} -->\n{block}\n<!-- /{name} -->")


def renewed(path: str, text: str) -> str:
    """The text of a file with all of its generated blocks made anew."""
    for name, make in BLOCKS[path].items():
        text = with_block(text, name, make())
    return text


def stale(root: Path = ROOT) -> list[str]:
    """The files whose generated blocks are not equal to the truth."""
    return [path for path in BLOCKS if (text := (root / path).read_text(encoding="utf-8")) != renewed(path, text)]


def main() -> None:
    """Check or write; exits 1 where a check finds something stale."""
    parser = argparse.ArgumentParser(prog="python -m tools.documentation", description=__doc__)
    parser.add_argument("action", choices=("check", "write"))
    action = parser.parse_args().action
    found = stale()
    for path in found:
        if action == "check":
            print(f"{path} is not what the code says; mend it with: make format")
        else:
            (ROOT / path).write_text(renewed(path, (ROOT / path).read_text(encoding="utf-8")), encoding="utf-8")
            print(f"{path} is renewed")
    sys.exit(1 if found and action == "check" else 0)


if __name__ == "__main__":
    main()
