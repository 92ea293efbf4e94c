"""Extends click: options made from the settings, types of parameters, and errors shown as sentences.

`cli.py` needs this before it knows which command is meant, so nothing slow to load is imported here.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import click

from model.config import ModelConfig, SamplingConfig, TrainingConfig
from model.errors import CharloomError, InvalidSetting, WrongEscape
from model.settings import Setting, Settings, settings_of, types_of
from service.system.errors import OutOfMemory
from service.system.formatting import parse_duration, parse_size
from service.web.service_config import ServiceConfig

# ── commands ─────────────────────────────────────────────────────────────────────────────────────────────────────────


class Commands(click.Group):
    """A group whose commands end with a sentence instead of a traceback, and with the exit status of the signal that ended them."""

    def invoke(self, context: click.Context) -> Any:
        try:
            with ended_by_sigterm():
                result = super().invoke(context)
                sys.stdout.flush()
                return result
        except CharloomError as error:
            raise click.ClickException(with_option(error)) from error
        except BrokenPipeError:  # the reader has left: `charloom sample | head`
            discard_output()
            context.exit(0)
        except OSError as error:
            discard_output()
            raise click.ClickException(f"{error.filename or 'the output or a file'} cannot be used: {error.strerror or error}") from error
        except MemoryError as error:
            raise click.ClickException(str(OutOfMemory(str(error)))) from error
        except KeyboardInterrupt:
            click.echo("\nstopped by Ctrl-C", err=True)
            context.exit(128 + signal.SIGINT)


def with_option(error: CharloomError) -> str:
    """Returns the sentence of an error; a setting at its beginning is named as the option that it has."""
    settings = {
        field.name for config in (ModelConfig, TrainingConfig, SamplingConfig) for field, each in settings_of(config) if each.option
    }
    name, message = error.param or "", str(error)
    if isinstance(error, InvalidSetting) and name in settings.union(READING) and message.startswith(f"{name} "):
        return f"--{name.replace('_', '-')}{message.removeprefix(name)}"
    return message


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """Makes SIGTERM raise `SystemExit` (143) inside, so that contexts are left properly; the first process of a container ignores it."""
    before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def discard_output() -> None:
    """Discards output that is still buffered; else Python fails to flush it at exit, since nothing reads it."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


# ── options ──────────────────────────────────────────────────────────────────────────────────────────────────────────

Command = TypeVar("Command", bound=Callable[..., Any])
PATH = click.Path(path_type=Path)
READING = ("glob", "encoding", "errors", "column", "field", "raw", "sha256", "mirror", "max_size", "records", "unique")


class DurationType(click.ParamType[float]):
    """90, 90s, 3m, 1h30m -> seconds. Unless `bare`, a number needs a unit: in a lifetime 3 may be meant as days."""

    name = "duration"

    def __init__(self, *, bare: bool = True) -> None:
        self._bare = bare

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        seconds = parse_duration(str(value))
        if seconds is None:
            self.fail(f"{value!r} is no duration; write 90s, 3m{', 1h30m or 30d' if not self._bare else ' or 1h30m'}", param, context)
        if not self._bare and str(value).strip()[-1].isdigit():
            self.fail(f"{value!r} has no unit; write {value}d for days, {value}h for hours, {value}m or {value}s", param, context)
        return seconds


class SizeType(click.ParamType[int]):
    """500000, 20MB, 1.5GB -> bytes."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> int:
        count = value if isinstance(value, int) else parse_size(str(value))
        return count if count is not None else self.fail(f"{value!r} is no size; write 500000, 20MB or 1.5GB", param, context)


class EscapedText(click.ParamType[str]):
    """A text in which C escapes stand for characters (`corpora.escapes`)."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> str:
        if "\\" not in str(value):
            return str(value)
        from corpora.escapes import unescaped

        try:
            return unescaped(str(value))
        except WrongEscape as error:
            self.fail(str(error), param, context)


def options_of(*configs: type[Settings], without: tuple[str, ...] = (), variables: bool = False) -> Callable[[Command], Command]:
    """Adds an option for every field of the configurations; the dataclass itself checks the ranges.

    With `variables` each has an environment variable too: CHARLOOM_ and its name in capitals.
    """

    def decorate(command: Command) -> Command:
        fields = [(config, *each) for config in configs for each in settings_of(config)]
        for config, field, setting in reversed(fields):
            if setting.option and field.name not in without:
                kind, _ = types_of(config)[field.name]
                command = click.option(
                    f"--{field.name.replace('_', '-')}",
                    field.name,
                    type=_type_of(field.name, kind, setting),
                    default=None if kind is tuple else field.default,
                    is_flag=kind is bool,
                    multiple=kind is tuple,
                    envvar=f"CHARLOOM_{field.name.upper()}" if variables else None,
                    help=f"{setting.meaning[0].upper()}{setting.meaning[1:]}.",
                )(command)
        return command

    return decorate


def _type_of(name: str, kind: type, setting: Setting) -> click.ParamType[Any] | type:
    if setting.choices:
        return click.Choice(setting.choices)
    if setting.unit == "seconds":
        return DurationType()
    if setting.unit == "bytes":
        return SizeType()
    if name in ("prompt", "stop"):
        return EscapedText()
    return str if kind is tuple else kind


def chosen(config: type[Settings], values: dict[str, Any]) -> dict[str, Any]:
    """Returns the values that belong to a configuration."""
    return {field.name: values[field.name] for field, _ in settings_of(config) if field.name in values}


database = click.option("--db", type=PATH, default="charloom.db", envvar="CHARLOOM_DB", show_envvar=True, help="The SQLite file.")


def recording(command: Command) -> Command:
    """Adds the options for cutting a text into records."""
    for option in (
        click.option("--unique", is_flag=True, help="Of equal records, learn from only one."),
        click.option(
            "--records",
            default="auto",
            help="Records of the text: auto finds out, none, lines, blocks (between blank lines), csv, tsv, jsonl, files (of a folder or"
            " archive), fortune, or the separator between two, such as '\\n---\\n'.",
        ),
    ):
        command = option(command)
    return command


def reading(command: Command) -> Command:
    """Adds the options for reading a text."""
    command = recording(command)
    for option in (
        click.option("--max-size", type=SizeType(), default="4GB", help="Refuse a larger text or download."),
        click.option("--mirror", help="Where to take the built-in linux or shakespeare from: a folder, file or URL."),
        click.option("--sha256", help="Refuse a file or download that has another SHA-256."),
        click.option("--raw", is_flag=True, help="Read documents as they are: HTML with its tags, notebooks as JSON."),
        click.option("--field", metavar="NAME", help="Read one field of JSON objects, one object a line; a.b is the field b inside of a."),
        click.option("--column", metavar="NAME", help="Read one column of a CSV, TSV or Excel table, by its name or number."),
        click.option(
            "--errors",
            type=click.Choice(["strict", "replace", "skip"]),
            default="strict",
            help="What becomes of bytes that cannot be decoded: the text is refused, U+FFFD is read, or nothing is.",
        ),
        click.option("--encoding", help="Of the text; by default UTF-8, or what a byte order mark says; auto takes the likeliest."),
        click.option("--glob", multiple=True, help="Take only such files of a folder or archive, for example '*.txt'. May be repeated."),
    ):
        command = option(command)
    return command


def address(command: Command) -> Command:
    """Adds the options for the address to listen on."""
    port = click.IntRange(1, 65535)
    command = click.option("--port", type=port, default=8000, envvar="CHARLOOM_PORT", show_envvar=True, help="Port to listen on.")(command)
    return click.option("--host", default="127.0.0.1", help="Address to listen on.")(command)


def limits(command: Command) -> Command:
    """Adds the options for the limits and keys of a service."""
    command = click.option(
        "--api-keys-file", type=PATH, envvar="CHARLOOM_API_KEYS_FILE", show_envvar=True, help="A file of keys that may call, one a line."
    )(command)
    return options_of(ServiceConfig, variables=True)(command)
