"""Defines the commands that train: a model on a text, or the first model of all."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from model.config import ModelConfig, TrainingConfig
from service.terminal.click_support import READING, address, chosen, database, options_of, reading
from service.terminal.console import FROM_DEFAULT, db_option, echo_beside, opened, say, watch_owner
from service.terminal.corpus_commands import report_corpus

if TYPE_CHECKING:
    from service.training.trainer import Trainer

BEGAN = time.monotonic()  # a budget covers the whole command
PROGRAM = Path(__file__).resolve().parents[2] / "cli.py"


@click.command()
@click.argument("corpus", required=False)
@click.option("--name", help="Name of the run; by default made from the corpus and the cell.")
@click.option("--from", "parent", metavar="MODEL", help="Go on from MODEL with this text: its network and its alphabet are kept.")
@click.option("--resume", "resume_run", metavar="RUN", help="Continue a run; with --epochs, --steps or --budget for that much longer.")
@click.option(
    "--threads", type=click.IntRange(0, 256), default=0, help="Threads that share the work of a step; 0: as many as there are cores."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
@options_of(ModelConfig, TrainingConfig)
@reading
@database
@click.pass_context
def train(
    context: click.Context,
    /,
    db: Path,
    corpus: str | None,
    name: str | None,
    parent: str | None,
    resume_run: str | None,
    threads: int,
    as_json: bool,
    **settings: Any,
) -> None:
    """Train a model on CORPUS, anew or --from MODEL, or resume a run.

    Without --epochs, --steps or --budget it trains for three minutes. With a time budget (--budget, or those three minutes), settings
    that are not given are chosen from the text and the speed of this machine; otherwise they are the defaults below. Ctrl-C saves and
    pauses.
    """
    from model.kernels.library import library
    from service.terminal.reports import reading_line
    from service.training import corpus_import, jobs, mpi, trainer

    library()  # a wrong choice of it is told before the text is read, which may take long
    ranks = mpi.ranks()
    if (corpus is None) == (resume_run is None):
        raise click.UsageError("give a CORPUS to train on, or --resume RUN to continue one; not both")
    with opened(db, create=True) as store:
        if resume_run is not None:
            lengths = ("epochs", "steps", "budget")
            given = [key for key in (*settings, "name", "parent") if context.get_parameter_source(key) is not FROM_DEFAULT]
            fixed = [key for key in given if key not in lengths]
            if fixed:
                option = fixed[0].replace("parent", "from").replace("_", "-")
                raise click.UsageError(f"--{option} cannot be changed when a run is resumed; train a new one for that")
            longer = {key: settings[key] for key in lengths}
            watch_owner(store, resume_run)
            work = trainer.resume(store, resume_run, **longer, began=BEGAN, ranks=ranks, threads=threads)
        else:
            by_user = {key: value for key, value in settings.items() if context.get_parameter_source(key) is not FROM_DEFAULT}
            spec = jobs.JobSpec(
                corpus=corpus or "",
                model=chosen(ModelConfig, by_user),
                training=chosen(TrainingConfig, by_user),
                threads=threads,
                parent=parent,
                name=name,
            )
            jobs.check_settings(store, spec)  # before the text is read, which may take long
            with reading_line(corpus or "", echo_beside) as (watch, progress):
                found, source = corpus_import.corpus_for(
                    store, corpus or "", watch, progress=progress, **{key: settings[key] for key in READING}
                )
            if source is not None:
                report_corpus(found, source, as_json)
            run = jobs.submit(store, replace(spec, corpus=found.name), queued=False)
            work = trainer.resume(store, run.name, began=BEGAN, new=True, ranks=ranks)
        carry_out(context, work, as_json)


def carry_out(context: click.Context, work: Trainer, as_json: bool = False) -> None:
    """Train a run and display its progress; after a signal, exit with that signal's status."""
    from service.terminal import training_display
    from service.terminal.text import may_draw, terminal_width

    option = db_option(context)
    shown: training_display.Display
    if as_json:
        shown = training_display.JsonDisplay()
    elif may_draw(sys.stdout):
        shown = training_display.BarDisplay(terminal_width, option=option)
    else:
        shown = training_display.LineDisplay(option=option)
    status = training_display.carry_out(work, shown, partial(click.echo, nl=False), partial(say, err=True), option)
    if status:
        context.exit(status)


@click.command()
@address
@click.option("--serve/--no-serve", "serving", default=True, help="Whether to serve afterwards.")
@database
@click.pass_context
def start(context: click.Context, /, db: Path, host: str, port: int, serving: bool) -> None:
    """Begin here: train a first model, and serve.

    If no model is stored yet, the default one is trained for a minute, on the source of Python's standard library, and a sample of it
    is shown."""
    from service.training import default_model

    with opened(db, create=True) as store:
        work = default_model.trainer_of_first(store, BEGAN)
        if work is not None:
            text = "on the source of Python's standard library, for about a minute in all"
            say(
                f"Going on with the default model, {text}."
                if work.run.step
                else f"No model is stored yet: training the default one, {text}."
            )
            carry_out(context, work)
            say(f"\nA sample of it:\n\n{default_model.sample(store)}\n")
    if serving:  # in a process of its own, whose BLAS has one thread
        sys.stdout.flush()
        os.execv(sys.executable, [sys.executable, str(PROGRAM), "serve", "--db", str(db), "--host", host, "--port", str(port)])


COMMANDS = (train, start)
