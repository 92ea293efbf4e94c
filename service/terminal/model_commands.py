"""Defines the commands for runs and their checkpoints, and for models as files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from service.system.errors import proposed
from service.terminal.click_support import PATH, Commands, database
from service.terminal.console import db_option, opened, removing, run_named, say, watch_owner

if TYPE_CHECKING:
    from service.store import Run


@click.group("runs", cls=Commands)
def runs_group() -> None:
    """List, show, rename and remove training runs."""


@runs_group.command("list")
@database
def runs_list(db: Path) -> None:
    """List the runs, the newest first."""
    from service.terminal.reports import runs_table
    from service.terminal.text import line_width

    with opened(db) as store:
        runs = store.runs.list()
    click.echo(runs_table(runs, line_width()) if runs else f"no run yet; make one with: {proposed('train CORPUS', db)}")


@runs_group.command("show")
@click.argument("run")
@database
def runs_show(db: Path, run: str) -> None:
    """Describe a run: settings, losses as a plot, checkpoints, and samples over time."""
    from service.terminal.reports import run_report
    from service.terminal.text import terminal_width

    with opened(db) as store:
        found = run_named(store, run)
        click.echo(run_report(store, found, width=terminal_width()))


@runs_group.command("rename")
@click.argument("run")
@click.argument("new")
@database
def runs_rename(db: Path, run: str, new: str) -> None:
    """Rename a run, and with it its checkpoints."""
    with opened(db) as store:
        watch_owner(store, run)
        renamed = store.runs.rename(run, new)
    say(f"run {run} is now {renamed.name}")


removing(runs_group, "run", "RUN", lambda store: store.runs, "Remove a run with its checkpoints, metrics and samples.")


@click.command()
@click.argument("run", required=False)
@database
def checkpoints(db: Path, run: str | None) -> None:
    """List the checkpoints of RUN."""
    from service.terminal.reports import checkpoints_table
    from service.terminal.text import line_width

    with opened(db) as store:
        found = run_named(store, run)
        click.echo(checkpoints_table(store.checkpoints.list(found), line_width()))


@click.command()
@click.argument("model", metavar="RUN@STEP")
@database
def pin(db: Path, model: str) -> None:
    """Keep a checkpoint, which training would remove among its older ones."""
    change_pin(db, model, True)


@click.command()
@click.argument("model", metavar="RUN@STEP")
@database
def unpin(db: Path, model: str) -> None:
    """Unpin a checkpoint. It goes when training next removes older ones."""
    change_pin(db, model, False)


def change_pin(db: Path, model: str, pinned: bool) -> None:
    """Pins or unpins a checkpoint, named by its step since the best or last one may change."""
    with opened(db) as store:
        run, which = store.runs.resolve(model)
        if not isinstance(which, int):
            raise click.UsageError(f"name a checkpoint by its step, for example {run.name}@{run.step}")
        kept = store.checkpoints.pin(run, which, pinned)
    say(f"checkpoint {kept.run}@{kept.step} is {'' if kept.pinned else 'not '}kept for good")


@click.command("export")
@click.argument("model")
@click.argument("file", type=PATH)
@click.option("--overwrite", is_flag=True, help="Replace an existing file.")
@database
def export_command(db: Path, model: str, file: Path, overwrite: bool) -> None:
    """Export MODEL to a safetensors FILE.

    Its tensors have PyTorch's names and layout."""
    from service.generation.model_cache import export
    from service.system.formatting import size

    with opened(db) as store:
        stored = export(store, model, file, overwrite=overwrite)
    say(f"{file}: run {stored.run}, step {stored.step:,}, {size(stored.model_bytes)}")


@click.command("import")
@click.argument("file", type=PATH)
@click.option("--name", help="Name of the run that holds it; by default made from the file's name.")
@database
@click.pass_context
def import_command(context: click.Context, /, db: Path, file: Path, name: str | None) -> None:
    """Import a model from a safetensors FILE that export wrote."""
    from corpora.naming import suggested_name
    from service.generation.model_cache import import_file

    wished = name if name is not None else suggested_name(file.name.removesuffix(".safetensors"))
    with opened(db, create=True) as store:
        run: Run = import_file(store, file, wished, exact=name is not None)
    say(f"run {run.name}: step {run.step:,}; write with: charloom sample {run.name}{db_option(context)}")


COMMANDS = (runs_group, checkpoints, pin, unpin, export_command, import_command)
