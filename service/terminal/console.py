"""Opens the store for a command, and prints what it found."""

from __future__ import annotations

import codecs
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from model.errors import InvalidSetting
from service.system.errors import database_option
from service.terminal.click_support import database

if TYPE_CHECKING:
    from service.store import Run, Store
    from service.store.corpora import Corpora
    from service.store.runs import Runs

FROM_DEFAULT = click.core.ParameterSource.DEFAULT

# ── the store ────────────────────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def opened(db: Path, *, create: bool = False) -> Iterator[Store]:
    """Open the store, and close it at the end. Raises `DatabaseUnusable` if there is no file and `create` is false."""
    from service.store import Store

    with Store(db, create=create, min_disk=min_disk()) as store:
        yield store


def min_disk() -> int:
    """Return the bytes that what is stored leaves on the disk, as in the settings of a service. Raises `InvalidSetting`."""
    given = os.environ.get("CHARLOOM_MIN_DISK")
    from service.system.formatting import parse_size
    from service.web.service_config import ServiceConfig

    size = ServiceConfig.min_disk if given is None else parse_size(given)
    if size is None:
        raise InvalidSetting("CHARLOOM_MIN_DISK", given, "a size, for example 500MB")
    return size


def one_blas_thread() -> None:
    """Give BLAS one thread, in commands that sample: more would be slower. Has no effect once numpy is loaded."""
    from service.system.processes import THREAD_VARIABLES

    os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))


def db_option(context: click.Context) -> str:
    """Returns the option that names the database, as a further command needs it."""
    if context.get_parameter_source("db") is click.core.ParameterSource.COMMANDLINE:
        return database_option(context.params["db"])
    return ""  # the same file is found without it


def watch_owner(store: Store, name: str) -> None:
    """Wait until it is known whether the process of a run lives, if that is uncertain, and tell about it. Raises `RunNotFound`."""
    from service.store.database import age
    from service.system.formatting import duration
    from service.system.processes import LEASE, describe

    run = store.runs.get(name)
    if store.runs.is_uncertain(run):
        silent = duration(abs(age(run.heartbeat_at)))
        say(
            f"Run {name} belongs to {describe(run.owner)}, whose last sign of life differs by {silent} from the clock of this machine;"
            f" watching for up to {duration(LEASE)} whether it lives.",
            err=True,
        )
        store.runs.watch(name)


def run_named(store: Store, name: str | None) -> Run:
    """Return the run of that name, or the latest."""
    return store.runs.latest() if name in (None, "latest") else store.runs.get(str(name))


def removing(group: click.Group, what: str, metavar: str, part: Callable[[Store], Corpora | Runs], doc: str) -> None:
    """Add a command to `group` that removes an entry of `part` by its name."""

    @group.command("remove", help=doc)
    @click.argument("name", metavar=metavar)
    @database
    def remove(db: Path, name: str) -> None:
        with opened(db) as store:
            if part(store) is store.runs:
                watch_owner(store, name)
            part(store).remove(name)
        say(f"{what} {name} is removed")


def given_text(text: str | None, file: str | None) -> str:
    """Returns the text of --text or --file, of which one must be given. Raises `click.UsageError`, `EmptyText` and as `open_source`."""
    from model.errors import EmptyText

    if (text is None) == (file is None):
        raise click.UsageError("give a text with --text or with --file, one of the two")
    if file is not None:
        return text_in(file)
    if not text:
        raise EmptyText("--text")
    return text


def text_in(file: str) -> str:
    """Returns the text of a file, or of standard input for ``-``, in the likeliest encoding; tells what was guessed or replaced.

    Raises as `open_source`.
    """
    from corpora import open_source

    source = open_source(file if file == "-" else os.path.abspath(file), encoding="auto", errors="replace")
    text = "".join(source.pieces())
    for warning in source.report.warnings:
        say(f"note: {warning}", err=True)
    return text


# ── output ───────────────────────────────────────────────────────────────────────────────────────────────────────────


class UnshownCharacters:
    """Counts the characters that the encoding of standard output lacks: each is printed as a question mark."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, error: UnicodeError) -> tuple[str, int]:
        """Replaces characters: an error handler of `codecs`."""
        if not isinstance(error, UnicodeEncodeError):
            raise error
        self.count += error.end - error.start
        return "?" * (error.end - error.start), error.end

    def tell(self) -> None:
        """Says how many there were."""
        from service.system.formatting import counted

        if self.count:
            are, encoding = "is" if self.count == 1 else "are", sys.stdout.encoding
            lacking = f"{counted(self.count, 'character')} of the output {are} not in its encoding, {encoding}, and printed as ?"
            more = "" if encoding.lower().startswith("utf") else "; PYTHONIOENCODING=utf-8 prints all"
            say(f"note: {lacking}{more}", err=True)
            self.count = 0


UNSHOWN = "charloom-unshown"
unshown_characters = UnshownCharacters()
codecs.register_error(UNSHOWN, unshown_characters)


def say(text: str = "", *, err: bool = False) -> None:
    """Print text of any origin: what a terminal would obey is made harmless."""
    from service.system.formatting import safe

    click.echo(safe(text), err=err)


def echo_beside(text: str) -> None:
    """Write part of a line to standard error."""
    click.echo(text, nl=False, err=True)


def say_piece(text: str, terminal: bool) -> None:
    """Print part of a text without delay; on a terminal, what it would obey is made harmless."""
    from service.system.formatting import safe

    data = (safe(text) if terminal else text).encode(sys.stdout.encoding or "utf-8", UNSHOWN)
    sys.stdout.flush()
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
