"""Parses the command line: puts the commands together, which call the service and print."""

from __future__ import annotations

import signal
import sys

# Until a command runs, Ctrl-C ends the program at once: an import that it interrupts prints a traceback, or may swallow it.
INTERRUPTIBLE = sys.argv[0].endswith(("charloom", "cli.py")) and signal.getsignal(signal.SIGINT) is signal.default_int_handler
if INTERRUPTIBLE:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import io
import os

import click

from service.terminal import corpus_commands, database_commands, model_commands, service_commands, text_commands, training_commands
from service.terminal.click_support import Commands
from service.terminal.console import UNSHOWN, unshown_characters


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "show_default": True, "max_content_width": 120})
@click.version_option(package_name="charloom", message="%(prog)s %(version)s")
@click.pass_context
def main(context: click.Context) -> None:
    """Train small character-level recurrent networks on your own text, and serve them.

    One SQLite file holds everything. A CORPUS is the name of a stored corpus, of a built-in one (python, shakespeare, linux), or
    a file, folder, archive, URL or - for standard input. A MODEL is RUN, RUN@STEP, RUN@best, RUN@last or latest.
    """
    if INTERRUPTIBLE and context.invoked_subcommand != "serve":  # which imports more, and then handles signals itself
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # What is printed may be in any language, the terminal in any encoding; and a stream may be closed (`>&-`).
    for name, errors in (("stdout", UNSHOWN), ("stderr", "backslashreplace")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=errors)
    context.call_on_close(unshown_characters.tell)
    if context.invoked_subcommand == "train":
        from service.training import mpi

        if not mpi.leads():
            mpi.follow()
            context.exit()
        context.call_on_close(mpi.dismiss)


for module in (corpus_commands, training_commands, text_commands, service_commands, model_commands, database_commands):
    for command in module.COMMANDS:
        main.add_command(command)


if __name__ == "__main__":
    main(prog_name="charloom")
