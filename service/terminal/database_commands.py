"""Defines the commands for the machine and the database: facts, backups and repairs."""

from __future__ import annotations

import json
from pathlib import Path

import click

from service.terminal.click_support import PATH, database
from service.terminal.console import FROM_DEFAULT, opened, say


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@database
@click.pass_context
def info(context: click.Context, /, db: Path, as_json: bool) -> None:
    """Report what Charloom runs on: processor, BLAS and its speed, versions, database.

    It takes about a second, to measure matrix products."""
    from service.terminal.info import facts, lines
    from service.terminal.text import line_width, wrapped

    named = context.get_parameter_source("db") is not FROM_DEFAULT
    found = facts(db if named or db.exists() else None)
    if as_json:
        click.echo(json.dumps(found, ensure_ascii=False))
        return
    for name, value in lines(found):
        say(f"{name:<12}{wrapped(value, line_width(), 12)}")


@click.command("backup")
@click.argument("file", type=PATH)
@database
@click.pass_context
def backup_command(context: click.Context, /, db: Path, file: Path) -> None:
    """Copy the database to FILE, even while it is in use.

    The copy is checked. If something in it is damaged, as in the database, it is kept and named, and the status is 1."""
    from service.system.formatting import size
    from service.terminal.reports import integrity_report
    from service.terminal.text import line_width

    with opened(db) as store:
        found = store.backup(file)
    say(f"{file}: {size(file.stat().st_size)}")
    if not found.sound:
        say(integrity_report(found, line_width()), err=True)
        context.exit(1)


@click.command("restore")
@click.argument("backup", type=PATH)
@database
def restore_command(db: Path, backup: Path) -> None:
    """Put a copy of BACKUP in the place of the database.

    BACKUP is checked first. The file that was there is kept beside it, under another name. While a service or a training run uses the
    database, nothing is done."""
    from service.store.backup import restore

    kept = restore(backup, db)
    say(f"{db} is now as {backup}" + (f"; what was there before is kept as {kept}" if kept else ""))


@click.command("check")
@click.option("--repair", "repairing", is_flag=True, help="Put a repaired file in the place of a damaged one, which is kept beside it.")
@click.option(
    "--from", "copies", type=PATH, multiple=True, help="Backup to take from what is damaged; may be given more than once, the newest first."
)
@click.option("--without-backup", is_flag=True, help="Repair also if only a backup could bring back all: the rest is lost then.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@database
@click.pass_context
def check_command(
    context: click.Context, /, db: Path, repairing: bool, copies: tuple[Path, ...], without_backup: bool, as_json: bool
) -> None:
    """Check the database, even while it is in use: every page, text, model and row.

    It says what is damaged, what is lost by that, and what mends it. The status is 1 if anything is, or still is after a repair.
    --repair makes a new file of all that can be read, and of backups what cannot. Nothing is repaired while a service or a training run
    uses the database."""
    from service.store.integrity import check
    from service.store.repair import Repaired, repair
    from service.system.errors import BackupNeeded
    from service.terminal.reports import repair_json, repair_report
    from service.terminal.text import line_width

    if (copies or without_backup) and not repairing:
        raise click.UsageError("--from and --without-backup say how --repair works; give it, too")
    found = check(db)
    if repairing and not (copies or without_backup) and found.only_from_copies:
        raise BackupNeeded(str(db), found.only_from_copies)
    repaired = repair(db, copies) if repairing else Repaired(before=found, after=found)
    click.echo(repair_json(repaired) if as_json else repair_report(repaired, line_width()))
    if not repaired.after.sound:
        context.exit(1)


COMMANDS = (info, backup_command, restore_command, check_command)
