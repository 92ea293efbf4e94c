"""Parses the command line, calls the service and prints. What computes is imported only by the commands that need it."""

from __future__ import annotations

import signal
import sys

# Until a command runs, Ctrl-C ends the program at once: an import that it interrupts prints a traceback, or may swallow it.
INTERRUPTIBLE = sys.argv[0].endswith(("charloom", "cli.py")) and signal.getsignal(signal.SIGINT) is signal.default_int_handler
if INTERRUPTIBLE:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import io
import json
import os
import shlex
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from model.config import ModelConfig, SamplingConfig, TrainingConfig
from model.errors import InvalidSetting, TextError
from service.terminal.click_support import PATH, READING, Commands, DurationType, address, chosen, database, limits, options_of, reading

if TYPE_CHECKING:
    from corpora import Source
    from service.inspection.results import CellReport, Inspection
    from service.store import Corpus, Run, Store
    from service.store.corpora import Corpora
    from service.store.runs import Runs
    from service.training.trainer import Trainer

BEGAN = time.monotonic()  # a budget covers the whole command


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


def say(text: str = "", *, err: bool = False) -> None:
    """Print text of any origin: what a terminal would obey is made harmless."""
    from service.system.formatting import safe

    click.echo(safe(text), err=err)


def echo_beside(text: str) -> None:
    """Write part of a line to standard error."""
    click.echo(text, nl=False, err=True)


def one_blas_thread() -> None:
    """Give BLAS one thread, in commands that sample: more would be slower. Has no effect once numpy is loaded."""
    from service.system.processes import THREAD_VARIABLES

    os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))


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
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    if context.invoked_subcommand == "train":
        from service.training import mpi

        if not mpi.leads():
            mpi.follow()
            context.exit()
        context.call_on_close(mpi.dismiss)


# ── corpora ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@main.group("corpus", cls=Commands)
def corpus_group() -> None:
    """Add, list, show and remove texts."""


@corpus_group.command("add")
@click.argument("source")
@click.option("--name", help="Name of the corpus; by default made from the source.")
@reading
@database
def corpus_add(db: Path, source: str, name: str | None, **how: Any) -> None:
    """Store a text: a file, folder, archive, URL, - for standard input, or a built-in corpus."""
    from corpora import open_source
    from service.terminal.reports import reading_line
    from service.training import corpus_import

    with opened(db, create=True) as store, reading_line(source, echo_beside) as (watch, progress):
        found = open_source(source, progress=progress, scratch=str(db.absolute().parent), **how)
        try:
            corpus = corpus_import.add(store, found, name, watch)
        except TextError:
            report_reading(found)  # what was left out may be why
            raise
    report_corpus(corpus, found)


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


def report_reading(source: Source | None) -> None:
    """Print what the reader left out."""
    for warning in source.report.warnings if source else []:
        say(f"note: {warning}", err=True)


def report_corpus(corpus: Corpus, source: Source | None) -> None:
    """Print what the reader left out, and the size of the stored corpus."""
    from service.terminal.reports import corpus_line

    report_reading(source)
    say(corpus_line(corpus), err=True)


@corpus_group.command("list")
@database
def corpus_list(db: Path) -> None:
    """List the stored corpora, and the built-in ones."""
    from corpora import BUILTINS
    from service.terminal.reports import corpora_table
    from service.terminal.text import line_width, table

    with opened(db) as store:
        corpora = store.corpora.list()
    if corpora:
        click.echo(f"{corpora_table(corpora, line_width())}\n")
    click.echo("Built in (read or fetched when they are first used):")
    click.echo(table(["name", ""], [[name, description] for name, description in BUILTINS.items()], line_width()))


@corpus_group.command("show")
@click.argument("name")
@click.option("--lines", type=click.IntRange(0, 1000), default=5, help="First lines to show.")
@database
def corpus_show(db: Path, name: str, lines: int) -> None:
    """Show a corpus: size, alphabet, origin, SHA-256 and first lines."""
    from service.terminal.reports import corpus_report

    with opened(db) as store:
        corpus = store.corpora.get(name)
        alphabet = store.corpora.alphabet(name)
        first = store.corpora.first_lines(name, lines)
    say(corpus_report(corpus, alphabet, first))


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


removing(corpus_group, "corpus", "NAME", lambda store: store.corpora, "Remove a corpus that no run needs.")


# ── training ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@main.command()
@click.argument("corpus", required=False)
@click.option("--name", help="Name of the run; by default made from the corpus and the cell.")
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
    resume_run: str | None,
    threads: int,
    as_json: bool,
    **settings: Any,
) -> None:
    """Train a model on CORPUS, or resume a run.

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
            given = [key for key in (*settings, "name") if context.get_parameter_source(key) is not FROM_DEFAULT]
            fixed = [key for key in given if key not in lengths]
            if fixed:
                option = fixed[0].rstrip("_").replace("_", "-")
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
                name=name,
            )
            jobs.check_settings(store, spec)  # before the text is read, which may take long
            with reading_line(corpus or "", echo_beside) as (watch, progress):
                found, source = corpus_import.corpus_for(
                    store, corpus or "", watch, progress=progress, **{key: settings[key] for key in READING}
                )
            if source is not None and not as_json:
                report_corpus(found, source)
            run = jobs.submit(store, replace(spec, corpus=found.name), queued=False)
            work = trainer.resume(store, run.name, began=BEGAN, new=True, ranks=ranks)
        carry_out(context, work, as_json)


FROM_DEFAULT = click.core.ParameterSource.DEFAULT


def db_option(context: click.Context) -> str:
    """Returns the option that names the database, as a further command needs it."""
    if context.get_parameter_source("db") is click.core.ParameterSource.COMMANDLINE:
        return f" --db {shlex.quote(str(context.params['db']))}"
    return ""  # the same file is found without it


def carry_out(context: click.Context, work: Trainer, as_json: bool = False) -> None:
    """Train a run and display its progress; after a signal, exit with that signal's status."""
    from service.terminal import training_display
    from service.terminal.text import terminal_width

    option = db_option(context)
    shown: training_display.Display
    if as_json:
        shown = training_display.JsonDisplay()
    elif sys.stdout.isatty():
        shown = training_display.BarDisplay(terminal_width, option=option)
    else:
        shown = training_display.LineDisplay(option=option)
    status = training_display.carry_out(work, shown, partial(click.echo, nl=False), partial(say, err=True), option)
    if status:
        context.exit(status)


# ── writing and serving ───────────────────────────────────────────────────────────────────────────────────────────────


@main.command()
@click.argument("model", required=False)
@options_of(SamplingConfig)
@click.option("--novelty", is_flag=True, help="Report what of the text was copied from the corpus that MODEL was trained on.")
@database
def sample(db: Path, model: str | None, novelty: bool, **settings: Any) -> None:
    """Write text with MODEL (by default latest).

    The text appears as it is written. With --novelty it appears as a whole, with its copied parts underlined on a terminal, and a
    report goes to standard error. For that, and for --max-copy, an index of the corpus is made and kept beside the database."""
    one_blas_thread()
    from service.generation import sample
    from service.novelty import Indexes
    from service.terminal.reports import compared, index_of

    with opened(db) as store, Indexes(store) as indexes:
        config = SamplingConfig(**{**settings, "stop": settings["stop"] or ()})
        find = partial(index_of, indexes, echo_beside)
        texts = sample.write(store, model, config, find if novelty or config.max_copy is not None else None)
        terminal = sys.stdout.isatty()
        for note in texts.notes:
            say(f"note: {note}", err=True)
        if novelty:
            for text, report in compared(texts, terminal):
                say_piece(text, False)
                say(report, err=True)
        else:
            for piece in texts.pieces():
                say_piece(piece, terminal)
        if terminal or sys.stderr.isatty():
            say(f"\n[{texts.model}, seed {texts.config.seed}]", err=True)


def say_piece(text: str, terminal: bool) -> None:
    """Print part of a text without delay; on a terminal, what it would obey is made harmless."""
    from service.system.formatting import safe

    data = (safe(text) if terminal else text).encode(sys.stdout.encoding or "utf-8", "replace")
    sys.stdout.flush()
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


@main.command("inspect")
@click.argument("model", required=False)
@click.option("--text", help="Text to read; without --text and --file, MODEL writes one.")
@click.option("--file", help="File to read, or - for standard input.")
@click.option("--length", type=click.IntRange(1, 100_000), default=400, help="Length of the text that MODEL writes, in symbols.")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), help="Seed of the text that MODEL writes.")
@click.option("--unit", metavar="LAYER:UNIT", help="Unit to show, both counted from 0; by default the one that varies most.")
@click.option("--find-cells", "finding", is_flag=True, help="Search for units that follow a readable feature of a corpus.")
@click.option("--corpus", help="Stored corpus to search; by default the one that MODEL was trained on.")
@click.option("--svg", type=PATH, help="Write a drawing: an .svg file, or with --find-cells a folder that gets one file per cell.")
@click.option("--columns", type=click.IntRange(20, 400), default=80, help="Characters per line of the drawing.")
@click.option("--overwrite", is_flag=True, help="Replace existing drawings.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@database
def inspect_command(
    db: Path,
    model: str | None,
    text: str | None,
    file: str | None,
    length: int,
    seed: int | None,
    unit: str | None,
    finding: bool,
    corpus: str | None,
    svg: Path | None,
    columns: int,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Look inside MODEL (by default latest) while it reads a text.

    It shows how surprising each character was, the activation of a unit, how often gates were saturated, and which characters the
    model treats alike. With --find-cells: which single units follow a readable feature, such as quotation marks, brackets or
    indentation."""
    given = {"text": text, "file": file, "seed": seed, "unit": unit}
    of_text = [f"--{name}" for name, value in given.items() if value is not None]
    if finding and of_text:
        raise click.UsageError(f"{of_text[0]} is for one text, and --find-cells reads a corpus; give one of the two")
    if corpus is not None and not finding:
        raise click.UsageError("--corpus is for --find-cells; give a text with --text or --file")
    if text is not None and file is not None:
        raise click.UsageError("give a text with --text or with --file, not both")
    one_blas_thread()
    from dataclasses import asdict

    from service.generation.model_cache import load
    from service.inspection import cell_search, inspector, svg_sheets
    from service.terminal import inspection_report
    from service.terminal.text import terminal_width

    found: CellReport | Inspection
    if svg is not None:
        svg_sheets.check(svg, folder=finding, overwrite=overwrite)
    with opened(db) as store:
        loaded = load(store, model)
        if finding:
            if sys.stderr.isatty():
                say("searching for cells, which takes some seconds", err=True)
            found = cell_search.find_cells(store, loaded, corpus)
        else:
            options = inspector.InspectionOptions(units=None if unit is None else [inspector.unit_named(unit)])
            if file is not None:
                text = inspector.text_in(file)
            elif text is None:
                text, seed = inspector.written(store, loaded, length, seed)
                say(f"note: {loaded.run.name} wrote the text itself, with seed {seed}", err=True)
            found = inspector.inspect(store, loaded, text, options)
    if as_json:
        click.echo(json.dumps(asdict(found), ensure_ascii=False))
    else:
        click.echo(inspection_report.report(found, terminal_width(), colors=sys.stdout.isatty()))
    for drawn in svg_sheets.save(found, svg, columns, overwrite=overwrite) if svg is not None else ():
        say(f"drawn: {drawn}", err=True)


@main.command()
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


@main.command()
@click.option("--workers", type=click.IntRange(1, 256), default=1, help="Training jobs to run at the same time.")
@database
def worker(db: Path, workers: int) -> None:
    """Run the training jobs that a service was given.

    A service has a worker of its own (serve --workers); others may work on the same database, also in other containers on the same
    machine. Ctrl-C and SIGTERM save; the jobs then wait for another worker, which continues them."""
    one_blas_thread()
    from service.training import worker

    worker.carry_out(db, workers, min_disk())


@main.command()
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
        os.execv(
            sys.executable, [sys.executable, str(Path(__file__).resolve()), "serve", "--db", str(db), "--host", host, "--port", str(port)]
        )


# ── keys ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


SCOPE = click.Choice(["write", "train", "admin"])  # `api_keys.SCOPES`, which needs the store


@main.group("key", cls=Commands)
def key_group() -> None:
    """Make, list and revoke API keys."""


@key_group.command("new")
@click.argument("name", required=False)
@click.option("--scope", type=SCOPE, default="admin", help="What it may do: write texts and read; also upload and train; everything.")
@click.option("--expires", type=DurationType(), help="How long it is valid, for example 30d; by default until it is revoked.")
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
        click.echo(keys_table(keys, line_width()) if keys else "no key yet; make one with: charloom key new")


@key_group.command("revoke")
@click.argument("name")
@database
def key_revoke(db: Path, name: str) -> None:
    """Make a key invalid, at once."""
    with opened(db) as store:
        store.keys.revoke(name)
    say(f"key {name} is revoked")


# ── runs and checkpoints ──────────────────────────────────────────────────────────────────────────────────────────────


@main.group("runs", cls=Commands)
def runs_group() -> None:
    """List, show and remove training runs."""


@runs_group.command("list")
@database
def runs_list(db: Path) -> None:
    """List the runs, the newest first."""
    from service.terminal.reports import runs_table
    from service.terminal.text import line_width

    with opened(db) as store:
        runs = store.runs.list()
    click.echo(runs_table(runs, line_width()) if runs else "no run yet; make one with: charloom train CORPUS")


@runs_group.command("show")
@click.argument("run")
@database
def runs_show(db: Path, run: str) -> None:
    """Show a run: settings, losses as a plot, checkpoints, and samples over time."""
    from service.terminal.reports import run_report
    from service.terminal.text import terminal_width

    with opened(db) as store:
        found = run_named(store, run)
        click.echo(run_report(store, found, width=terminal_width()))


removing(runs_group, "run", "RUN", lambda store: store.runs, "Remove a run with its checkpoints, metrics and samples.")


@main.command()
@click.argument("run", required=False)
@database
def checkpoints(db: Path, run: str | None) -> None:
    """List the checkpoints of RUN."""
    from service.terminal.reports import checkpoints_table
    from service.terminal.text import line_width

    with opened(db) as store:
        found = run_named(store, run)
        click.echo(checkpoints_table(store.checkpoints.list(found), line_width()))


@main.command("export")
@click.argument("model")
@click.argument("file", type=PATH)
@click.option("--overwrite", is_flag=True, help="Replace an existing file.")
@database
def export_command(db: Path, model: str, file: Path, overwrite: bool) -> None:
    """Write MODEL to a safetensors FILE.

    Its tensors have PyTorch's names and layout."""
    from service.generation.model_cache import export
    from service.system.formatting import size

    with opened(db) as store:
        stored = export(store, model, file, overwrite=overwrite)
    say(f"{file}: run {stored.run}, step {stored.step:,}, {size(stored.model_bytes)}")


@main.command("import")
@click.argument("file", type=PATH)
@click.option("--name", help="Name of the run that holds it; by default made from the file's name.")
@database
@click.pass_context
def import_command(context: click.Context, /, db: Path, file: Path, name: str | None) -> None:
    """Store a safetensors file that export wrote."""
    from corpora.naming import suggested_name
    from service.generation.model_cache import import_file

    wished = name if name is not None else suggested_name(file.name.removesuffix(".safetensors"))
    with opened(db, create=True) as store:
        run: Run = import_file(store, file, wished, exact=name is not None)
    say(f"run {run.name}: step {run.step:,}; write with: charloom sample {run.name}{db_option(context)}")


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@database
@click.pass_context
def info(context: click.Context, /, db: Path, as_json: bool) -> None:
    """Show what Charloom runs on: processor, BLAS and its speed, versions, database.

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


@main.command("backup")
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


@main.command("restore")
@click.argument("backup", type=PATH)
@database
def restore_command(db: Path, backup: Path) -> None:
    """Put a copy of BACKUP in the place of the database.

    BACKUP is checked first. The file that was there is kept beside it, under another name. While a service or a training run uses the
    database, nothing is done."""
    from service.store.backup import restore

    kept = restore(backup, db)
    say(f"{db} is now as {backup}" + (f"; what was there before is kept as {kept}" if kept else ""))


@main.command("check")
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


def run_named(store: Store, name: str | None) -> Run:
    """Return the run of that name, or the latest."""
    return store.runs.latest() if name in (None, "latest") else store.runs.get(str(name))


if __name__ == "__main__":
    main(prog_name="charloom")
