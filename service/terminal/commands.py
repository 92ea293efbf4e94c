"""How every command ends: with a sentence instead of a traceback, and with the status that its signal asks for."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import click

from model.errors import CharloomError, OutOfMemory


class Commands(click.Group):
    """A group whose commands end with a sentence instead of a traceback."""

    def invoke(self, context: click.Context) -> Any:
        try:
            with ended_by_sigterm():
                result = super().invoke(context)
                sys.stdout.flush()
                return result
        except CharloomError as error:
            raise click.ClickException(str(error)) from error
        except BrokenPipeError:  # the reader has left: `charloom sample | head`
            nobody_reads()
            context.exit(0)
        except OSError as error:
            nobody_reads()
            raise click.ClickException(f"{error.filename or 'the output or a file'} cannot be used: {error.strerror or error}") from error
        except MemoryError as error:
            raise click.ClickException(str(OutOfMemory(str(error)))) from error
        except KeyboardInterrupt:
            click.echo("\nstopped by Ctrl-C", err=True)
            context.exit(128 + signal.SIGINT)


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """SIGTERM ends what is inside with status 143, having tidied up; a process that is the first of its container would ignore it."""
    before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def nobody_reads() -> None:
    """What is still waiting to be printed has no reader; without this, Python would complain at its end."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
