"""Defines the commands of a service: it, its workers, its jobs and its keys."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from service.system.errors import proposed
from service.terminal.click_support import Commands, DurationType, address, database, limits
from service.terminal.console import min_disk, one_blas_thread, opened, say

if TYPE_CHECKING:
    from service.store import Run, Store


@click.command()
@address
@click.option("--train-default", is_flag=True, help="Train the default model meanwhile, if no model is stored yet.")
@limits
@database
def serve(db: Path, host: str, port: int, train_default: bool, api_keys_file: Path | None, **settings: Any) -> None:
    """Serve the page and the API over HTTP.

    The page is at /; POST /generate writes text; GET /v1/models lists the models, and GET /health the state. Each limit can also be
    set by an environment variable, for example CHARLOOM_MAX_ROWS. If other machines can reach it, a caller needs a key: one from
    CHARLOOM_API_KEYS (separated by commas), from the file of keys, or made by charloom key new; if there is none, one is made and
    printed."""
    one_blas_thread()
    from service.store import api_keys
    from service.web.server import ServerSettings, serve

    valid = api_keys.given(os.environ.pop(api_keys.VARIABLE, None), api_keys_file)  # child processes need not see them
    serve(ServerSettings(db=db, host=host, port=port, train_default=train_default, keys=valid, **settings))


@click.command()
@click.option("--workers", type=click.IntRange(1, 256), default=1, help="Training jobs to run at the same time.")
@database
def worker(db: Path, workers: int) -> None:
    """Run the training jobs that a service was given.

    A service has a worker of its own (serve --workers); others may work on the same database, also in other containers on the same
    machine. Ctrl-C and SIGTERM save; the jobs then wait for another worker, which continues them."""
    one_blas_thread()
    from service.training import worker

    worker.carry_out(db, workers, min_disk())


@click.group("jobs", cls=Commands)
def jobs_group() -> None:
    """List, follow, pause, cancel and resume the training jobs of a service."""


@jobs_group.command("list")
@click.option("--all", "ended", is_flag=True, help="Also those that have ended.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
@database
def jobs_list(db: Path, ended: bool, as_json: bool) -> None:
    """List the jobs that wait, run or are paused, the newest first."""
    from service.store.runs import ENDED
    from service.terminal.reports import jobs_table
    from service.terminal.text import line_width
    from service.web.api.fine_tuning_adapter import job_of
    from service.web.api.responses import encoded

    with opened(db) as store:
        found = [run for run in store.runs.list() if run.corpus and (ended or run.state not in ENDED)]
    if as_json:
        click.echo("".join(f"{encoded(job_of(run)).decode()}\n" for run in found), nl=False)
    else:
        click.echo(jobs_table(found, line_width()) if found else "no job waits or runs; charloom runs list has those that have ended")


@jobs_group.command("events")
@click.argument("job")
@click.option("--follow", is_flag=True, help="Go on until the job ends.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
@database
def jobs_events(db: Path, job: str, follow: bool, as_json: bool) -> None:
    """List what happened to JOB, the oldest first."""
    from service.terminal.reports import event_line
    from service.training import jobs
    from service.web.api.fine_tuning_adapter import event_shown
    from service.web.api.responses import encoded

    with opened(db) as store:
        for event in jobs.followed(store, job) if follow else jobs.events(store, job, limit=10**9):
            say(encoded(event_shown(event)).decode() if as_json else event_line(event))


@jobs_group.command("pause")
@click.argument("job")
@database
def jobs_pause(db: Path, job: str) -> None:
    """Pause JOB. A running one keeps a checkpoint of where it is."""
    from service.training import jobs

    change(db, job, jobs.pause)


@jobs_group.command("cancel")
@click.argument("job")
@database
def jobs_cancel(db: Path, job: str) -> None:
    """Cancel JOB. A running one keeps a checkpoint of where it is."""
    from service.training import jobs

    change(db, job, jobs.cancel)


@jobs_group.command("resume")
@click.argument("job")
@database
def jobs_resume(db: Path, job: str) -> None:
    """Continue a paused, cancelled or failed JOB from its last checkpoint, as soon as a worker is free."""
    from service.training import jobs

    change(db, job, jobs.resume)


def change(db: Path, job: str, asked: Callable[[Store, str], Run]) -> None:
    """Asks for a change of a job, waits until a running one has made it, and says what it is now."""
    from service.training import jobs

    with opened(db) as store:
        run = jobs.settled(store, asked(store, job))
    say(f"job {run.name} is {run.state}" + (f", to be {run.wanted}" if run.wanted else "") + (f": {run.message}" if run.message else ""))


SCOPE = click.Choice(["write", "train", "admin"])  # `api_keys.SCOPES`, which needs the store


@click.group("key", cls=Commands)
def key_group() -> None:
    """Make, list and revoke API keys."""


@key_group.command("new")
@click.argument("name", required=False)
@click.option("--scope", type=SCOPE, default="admin", help="What it may do: write texts and read; also upload and train; everything.")
@click.option("--expires", type=DurationType(bare=False), help="How long it is valid, for example 30d; by default until it is revoked.")
@database
def key_new(db: Path, name: str | None, scope: str, expires: float | None) -> None:
    """Make a key, and print it once: only its hash is stored.

    It is valid at once, also for a running service. From the first key on, every caller needs one, on this machine too."""
    from service.store import api_keys
    from service.terminal.reports import lifetime

    key = api_keys.new()
    with opened(db, create=True) as store:
        made = store.keys.add(api_keys.hashed(key), name, scope=scope, seconds=expires)
    click.echo(key)
    say(f"key {made.name} is made (scope {made.scope}, {lifetime(made)})", err=True)
    say("send it as 'Authorization: Bearer KEY', or open the page as /#key=KEY", err=True)


@key_group.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
@database
def key_list(db: Path, as_json: bool) -> None:
    """List the keys: what they may do, until when, and when they were last used."""
    from dataclasses import asdict

    from service.terminal.reports import keys_table
    from service.terminal.text import line_width

    with opened(db) as store:
        keys = store.keys.list()
    if as_json:
        click.echo("\n".join(json.dumps({**asdict(key), "expired": key.expired}) for key in keys), nl=bool(keys))
    else:
        click.echo(keys_table(keys, line_width()) if keys else f"no key yet; make one with: {proposed('key new', db)}")


@key_group.command("revoke")
@click.argument("name")
@database
def key_revoke(db: Path, name: str) -> None:
    """Make a key invalid, at once."""
    with opened(db) as store:
        store.keys.revoke(name)
    say(f"key {name} is revoked")


COMMANDS = (serve, worker, jobs_group, key_group)
