"""The help page of every command, as its users see it on a terminal of 80 columns."""

from __future__ import annotations

from collections.abc import Iterator

import click

WIDTH = 80


def contexts(command: click.Command, name: str = "charloom", parent: click.Context | None = None) -> Iterator[click.Context]:
    """The command and all below it, in the order of its own list, each in a context of fixed width; hidden ones are left out."""
    settings = {**command.context_settings, "terminal_width": WIDTH, "max_content_width": WIDTH}
    context = command.context_class(command, info_name=name, parent=parent, **settings)
    yield context
    if isinstance(command, click.Group):
        for below in command.list_commands(context):
            found = command.get_command(context, below)
            if found is not None and not found.hidden:
                yield from contexts(found, below, context)


def help_pages(command: click.Command) -> str:
    """A Markdown section with the help page of each command."""
    return "\n\n".join(f"## {context.command_path}\n\n```text\n{context.get_help().rstrip()}\n```" for context in contexts(command))


def command_table(command: click.Command) -> str:
    """A Markdown table: each command that does something, with its arguments, and what it does."""
    found = ["| command | |", "|---|---|"]
    for context in contexts(command):
        if isinstance(context.command, click.Group):
            continue
        arguments = [item.make_metavar(context) for item in context.command.params if isinstance(item, click.Argument)]
        usage = " ".join([context.command_path, *arguments]).replace("|", "\\|")
        found.append(f"| `{usage}` | {context.command.get_short_help_str(limit=200).rstrip('.')} |")
    return "\n".join(found)
