"""The command line: parses, calls, prints. Whatever computes is in `service`, `model` and `corpora`, imported when it is needed."""

from __future__ import annotations

import io
import json
import os
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar

import click

from model.config import ModelConfig, SamplingConfig, Setting, Settings, TrainingConfig, settings_of, types_of
from model.errors import CharloomError, OutOfMemory, StoreError, TextError

if TYPE_CHECKING:
    from corpora import Source
    from service.store import Corpus, Run, Store

BEGAN = time.monotonic()  # a budget covers the whole command

Command = TypeVar("Command", bound=Callable[..., Any])
PATH = click.Path(path_type=Path)


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
            raise click.ClickException(f"{error.filename or 'the output'} cannot be used: {error.strerror or error}") from error
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


class Duration(click.ParamType[float]):
    """90, 90s, 3m, 1h30m -> seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> float:
        from service.terminal.units import parse_duration

        seconds = value if isinstance(value, float) else parse_duration(str(value))
        return seconds if seconds is not None else self.fail(f"{value!r} is no duration; write 90s, 3m or 1h30m", param, context)


class Size(click.ParamType[int]):
    """500000, 20MB, 1.5GB -> bytes."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> int:
        from service.terminal.units import parse_size

        count = value if isinstance(value, int) else parse_size(str(value))
        return count if count is not None else self.fail(f"{value!r} is no size; write 500000, 20MB or 1.5GB", param, context)


def options_of(*configs: type[Settings], without: tuple[str, ...] = ()) -> Callable[[Command], Command]:
    """An option for every field of the configurations; the dataclass itself checks the ranges."""

    def decorate(command: Command) -> Command:
        fields = [(config, *each) for config in configs for each in settings_of(config)]
        for config, field, setting in reversed(fields):
            if field.name not in without:
                kind, _ = types_of(config)[field.name]
                command = click.option(
                    f"--{field.name.replace('_', '-')}",
                    field.name,
                    type=_type_of(field.name, kind, setting),
                    default=None if kind is tuple else field.default,
                    multiple=kind is tuple,
                    help=f"{setting.meaning[0].upper()}{setting.meaning[1:]}.",
                )(command)
        return command

    return decorate


def _type_of(name: str, kind: type, setting: Setting) -> click.ParamType[Any] | type:
    if setting.choices:
        return click.Choice(setting.choices)
    if name == "budget":
        return Duration()
    return str if kind is tuple else kind


def chosen(config: type[Settings], values: dict[str, Any]) -> dict[str, Any]:
    """The values that belong to a configuration."""
    return {field.name: values[field.name] for field, _ in settings_of(config) if field.name in values}


database = click.option("--db", type=PATH, default="charloom.db", envvar="CHARLOOM_DB", show_envvar=True, help="The SQLite file.")


@contextmanager
def opened(db: Path, *, create: bool = False) -> Iterator[Store]:
    """The store, closed at the end; a command that only looks makes no file. Raises `DatabaseUnusable` where there is none."""
    from service.store import Store

    with Store(db, create=create) as store:
        yield store


def say(text: str = "", *, err: bool = False) -> None:
    """Print text that may come from anywhere."""
    from service.terminal.text import safe

    click.echo(safe(text), err=err)


def one_blas_thread() -> None:
    """For commands that sample: more threads would only be slower. It counts only before numpy is loaded."""
    from service.blas import THREAD_VARIABLES

    os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "show_default": True, "max_content_width": 120})
@click.version_option(package_name="charloom", message="%(prog)s %(version)s")
@click.pass_context
def main(context: click.Context) -> None:
    """Train small character-level recurrent networks on your own text, and serve them.

    One SQLite file holds everything. A CORPUS is the name of a stored corpus, of a built-in one (python, shakespeare, linux), or
    a file, folder, archive, URL or - for standard input. A MODEL is RUN, RUN@STEP, RUN@best, RUN@last or latest.
    """
    # What is printed may be in any language, the terminal in any encoding; and a stream may be closed (`>&-`).
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    if context.invoked_subcommand == "train":
        from service.parallel import mpi

        if not mpi.leads():
            mpi.follow()
            context.exit()
        context.call_on_close(mpi.dismiss)


# ── corpora ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@main.group("corpus", cls=Commands)
def corpus_group() -> None:
    """Add, list, show and remove texts."""


READING = ("glob", "encoding", "sha256", "from_", "max_size")


def reading(command: Command) -> Command:
    """How a text is read."""
    for option in (
        click.option("--max-size", type=Size(), default="4GB", help="Refuse a larger text or download."),
        click.option("--from", "from_", help="Where to take the built-in linux or shakespeare from: a folder, file or URL."),
        click.option("--sha256", help="Refuse a file or download that has another SHA-256."),
        click.option("--encoding", help="Of the text; by default UTF-8, or what a byte order mark says."),
        click.option("--glob", multiple=True, help="Take only such files of a folder or archive, for example '*.txt'. May be repeated."),
    ):
        command = option(command)
    return command


@corpus_group.command("add")
@click.argument("source")
@click.option("--name", help="What to call it; by default made from the source.")
@reading
@database
def corpus_add(db: Path, source: str, name: str | None, **how: Any) -> None:
    """Store a text: a file, folder, archive, URL, - for standard input, or a built-in corpus."""
    from corpora import open_source
    from service import intake

    with opened(db, create=True) as store, reading_line(source) as (watch, progress):
        found = open_source(source, progress=progress, scratch=str(db.absolute().parent), **how)
        try:
            corpus = intake.add(store, found, name, watch)
        except TextError:
            report_reading(found)  # what was left out may be why
            raise
    report_corpus(corpus, found)


@contextmanager
def reading_line(what: str) -> Iterator[tuple[Callable[[int], None], Callable[[int, int | None], None]]]:
    """A line on the terminal that counts what has been read; functions to tell it of characters, and of bytes of a download."""
    from service.terminal.text import clipped, safe
    from service.terminal.units import size

    shown = sys.stderr.isatty()

    def draw(text: str) -> None:
        if shown:
            click.echo(f"\r{clipped(safe(text), terminal_width() - 1)}\x1b[K", nl=False, err=True)

    def downloaded(count: int, total: int | None) -> None:
        draw(f"fetching {what}: {size(count)}" + (f" of {size(total)}" if total else ""))

    try:
        yield lambda characters: draw(f"reading {what}: {characters:,} characters"), downloaded
    finally:
        draw("")


def report_reading(source: Source | None) -> None:
    """Tell what the reader left out."""
    for warning in source.report.warnings if source else []:
        say(f"note: {warning}", err=True)


def report_corpus(corpus: Corpus, source: Source | None) -> None:
    """Tell what the reader saw."""
    report_reading(source)
    say(
        f"corpus {corpus.name}: {corpus.characters:,} characters, {corpus.alphabet_size:,} different ones, {corpus.lines:,} lines,"
        f" from {corpus.origin}",
        err=True,
    )


@corpus_group.command("list")
@database
def corpus_list(db: Path) -> None:
    """List the stored corpora, and the built-in ones."""
    from corpora import BUILTINS
    from service.terminal.text import table
    from service.terminal.units import size

    with opened(db) as store:
        rows = [
            [each.name, size(each.bytes), f"{each.characters:,}", f"{each.alphabet_size:,}", each.created_at[:10], each.origin]
            for each in store.corpora.list()
        ]
    if rows:
        click.echo(table(["name", "size", "characters", "alphabet", "added", "origin"], rows, line_width()))
        click.echo()
    click.echo("Built in (read or fetched when they are first used):")
    click.echo(table(["name", ""], [[name, description] for name, description in BUILTINS.items()], line_width()))


@corpus_group.command("show")
@click.argument("name")
@click.option("--lines", type=click.IntRange(0, 1000), default=5, help="First lines to show.")
@database
def corpus_show(db: Path, name: str, lines: int) -> None:
    """Show a corpus: size, alphabet, origin, SHA-256 and first lines."""
    with opened(db) as store:
        corpus = store.corpora.get(name)
        alphabet = store.corpora.alphabet(name)
        first = store.corpora.first_lines(name, lines)
    common = sorted(alphabet, key=lambda c: -alphabet[c])
    say(f"name        {corpus.name}")
    say(f"origin      {corpus.origin}")
    say(f"added       {corpus.created_at}")
    say(f"size        {corpus.characters:,} characters, {corpus.bytes:,} bytes of UTF-8, {corpus.lines:,} lines")
    say(f"sha256      {corpus.sha256}")
    say(f"alphabet    {corpus.alphabet_size:,} characters; the most frequent: {' '.join(repr(c)[1:-1] for c in common[:40])}")
    say("\n".join(["first lines", *(f"    {line}" for line in first)]))


@corpus_group.command("remove")
@click.argument("name")
@database
def corpus_remove(db: Path, name: str) -> None:
    """Remove a corpus that no run needs."""
    with opened(db) as store:
        store.corpora.remove(name)
    say(f"corpus {name} is removed")


# ── training ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@main.command()
@click.argument("corpus", required=False)
@click.option("--name", help="Of the run; by default made from the corpus and the cell.")
@click.option("--resume", "resume_run", metavar="RUN", help="Go on with a run; with --epochs, --steps or --budget for that much longer.")
@click.option("--processes", type=click.IntRange(0, 256), default=0, help="Processes that train together; 0 chooses by a fixed rule.")
@click.option("--threads", type=click.IntRange(0, 256), default=0, help="BLAS threads of each process; 0 chooses by a fixed rule.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
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
    processes: int,
    threads: int,
    as_json: bool,
    **settings: Any,
) -> None:
    """Train a model on CORPUS, or resume a run.

    Without --epochs, --steps or --budget it takes three minutes. In a given time (--budget, or those three minutes) settings that are
    not given are chosen from the text and the speed of this machine; otherwise they are the defaults below. Ctrl-C saves and pauses.
    """
    from service import intake, recipe, trainer
    from service.parallel import mpi

    ranks = mpi.ranks()
    if ranks > 1 and context.get_parameter_source("processes") is not FROM_DEFAULT:
        raise click.UsageError(f"--processes cannot be chosen where {ranks} ranks of MPI train together; give one of the two")
    if (corpus is None) == (resume_run is None):
        raise click.UsageError("give a CORPUS to train on, or --resume RUN to go on with one; not both")
    with opened(db, create=True) as store:
        if resume_run is not None:
            lengths = ("epochs", "steps", "budget")
            given = [key for key in (*settings, "name", "processes", "threads") if context.get_parameter_source(key) is not FROM_DEFAULT]
            fixed = [key for key in given if key not in lengths]
            if fixed:
                option = fixed[0].rstrip("_").replace("_", "-")
                raise click.UsageError(f"--{option} cannot be changed when a run is resumed; train a new one for that")
            work = trainer.resume(store, resume_run, **{key: settings[key] for key in lengths}, began=BEGAN, ranks=ranks)
        else:
            by_user = {key: value for key, value in settings.items() if context.get_parameter_source(key) is not FROM_DEFAULT}
            model = ModelConfig(**chosen(ModelConfig, settings))
            training = TrainingConfig(**chosen(TrainingConfig, settings))
            notes: list[str] = []
            if name is not None:
                store.runs.check_free(name)
            with reading_line(corpus or "") as (watch, progress):
                found, source = intake.corpus_for(store, corpus or "", watch, progress=progress, **{key: settings[key] for key in READING})
            if source is not None and not as_json:
                report_corpus(found, source)
            if training.epochs is None and training.steps is None:  # the time rules, and what is not given is chosen
                budget = training.budget or trainer.DEFAULT_BUDGET
                choice = recipe.choose(found.characters, found.alphabet_size, budget, recipe.speed(processes, threads, ranks), by_user)
                model, training, processes, notes = choice.model, choice.training, choice.workers.processes, [choice.words]
            run = trainer.create(store, found.name, model, training, name=name, threads=threads, processes=processes, ranks=ranks)
            work = trainer.Trainer(store, run, began=BEGAN, new=True, ranks=ranks, notes=notes)
        carry_out(context, work, as_json)


FROM_DEFAULT = click.core.ParameterSource.DEFAULT


STOPPED_BY = {
    signal.SIGINT: "Ctrl-C",
    signal.SIGTERM: "SIGTERM",
    **({signal.SIGHUP: "a closed terminal"} if hasattr(signal, "SIGHUP") else {}),
    # Of the signals that mpiexec passes on, the one that it does not follow by SIGKILL half a second later.
    **({signal.SIGUSR1: "SIGUSR1"} if hasattr(signal, "SIGUSR1") else {}),
}


def carry_out(context: click.Context, work: Any, as_json: bool = False) -> None:
    """Train and show it. Ctrl-C, SIGTERM and a closed terminal save, then end with 128 and the signal's number (130 for Ctrl-C).

    A second Ctrl-C does not wait.
    """
    from service.events import Ended
    from service.terminal.display import BarDisplay, Display, JsonDisplay, LineDisplay, farewell

    received: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        if received and number == signal.SIGINT:
            raise KeyboardInterrupt
        received.append(number)
        work.stop(f"paused by {STOPPED_BY[signal.Signals(number)]}")

    terminal = sys.stdout.isatty()
    if context.get_parameter_source("db") is click.core.ParameterSource.COMMANDLINE:
        option = f" --db {shlex.quote(str(context.params['db']))}"
    else:
        option = ""  # the same file is found without it
    display: Display = JsonDisplay() if as_json else BarDisplay(terminal_width, option=option) if terminal else LineDisplay(option=option)
    left: OSError | None = None
    before = {number: signal.signal(number, stop) for number in STOPPED_BY}
    try:
        with closing(work.events()) as events:
            for event in events:
                text = display.show(event)
                try:
                    if text and left is None:
                        click.echo(text, nl=False)
                except OSError as error:  # whoever read it has left, or its terminal was closed
                    left = error
                    work.stop("paused because nobody reads its output any more")
    except KeyboardInterrupt:
        received.append(signal.SIGINT)
    except StoreError:
        say(
            f"run {work.run.name} is stored up to step {work.run.step:,}; go on with: charloom train --resume {work.run.name}{option}",
            err=True,
        )
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if left and not received:
        raise left
    if len(received) > 1 and not left and work.run.state != "succeeded":
        say(f"\n{farewell(Ended(run=work.run), option)}", err=True)
    if received:
        context.exit(128 + received[0])


# ── writing and serving ───────────────────────────────────────────────────────────────────────────────────────────────


@main.command()
@click.argument("model", required=False)
@options_of(SamplingConfig)
@database
def sample(db: Path, model: str | None, **settings: Any) -> None:
    """Write text with MODEL (by default latest).

    The text appears as it is drawn."""
    one_blas_thread()
    from service import writing

    with opened(db) as store:
        texts = writing.write(store, model, SamplingConfig(**{**settings, "stop": settings["stop"] or ()}))
        terminal = sys.stdout.isatty()
        for note in texts.notes:
            say(f"note: {note}", err=True)
        for piece in texts.pieces():
            say_piece(piece, terminal)
        if terminal or sys.stderr.isatty():
            say(f"\n[{texts.model}, seed {texts.config.seed}]", err=True)


def say_piece(text: str, terminal: bool) -> None:
    """Print a part of a text at once; what a terminal would obey is made harmless there, and only there."""
    from service.terminal.text import safe

    data = (safe(text) if terminal else text).encode(sys.stdout.encoding or "utf-8", "replace")
    sys.stdout.flush()
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def address(command: Command) -> Command:
    """Where to listen."""
    port = click.IntRange(1, 65535)
    command = click.option("--port", type=port, default=8000, envvar="CHARLOOM_PORT", show_envvar=True, help="Port to listen on.")(command)
    return click.option("--host", default="127.0.0.1", help="Address to listen on.")(command)


@main.command()
@address
@click.option("--train-default", is_flag=True, help="Where no model is stored yet, train the default one meanwhile.")
@database
def serve(db: Path, host: str, port: int, train_default: bool) -> None:
    """Serve the page and the API over HTTP.

    The page is at /; POST /generate writes text; GET /v1/models and GET /health tell what is there."""
    one_blas_thread()
    from service.server import ServerSettings, serve

    first = [sys.executable, str(Path(__file__).resolve()), "start", "--no-serve", "--db", str(db)] if train_default else None
    serve(ServerSettings(db=db, host=host, port=port, train_command=first))


@main.command()
@address
@click.option("--serve/--no-serve", "serving", default=True, help="Whether to serve in the end.")
@database
@click.pass_context
def start(context: click.Context, /, db: Path, host: str, port: int, serving: bool) -> None:
    """Begin here: train a first model, and serve.

    Where no model is stored yet, the default one is trained for a minute, on the source of Python's standard
    library, and a sample of it is shown."""
    from service import first

    with opened(db, create=True) as store:
        work = first.trainer_of_first(store, BEGAN)
        if work is not None:
            text = "on the source of Python's standard library, for about a minute in all"
            say(
                f"Going on with the default model, {text}."
                if work.run.step
                else f"No model is stored yet: training the default one, {text}."
            )
            carry_out(context, work)
            say(f"\nA sample of it:\n\n{first.sample(store)}\n")
    if serving:  # in a process of its own, whose BLAS has one thread
        sys.stdout.flush()
        os.execv(
            sys.executable, [sys.executable, str(Path(__file__).resolve()), "serve", "--db", str(db), "--host", host, "--port", str(port)]
        )


# ── runs and checkpoints ──────────────────────────────────────────────────────────────────────────────────────────────


@main.group("runs", cls=Commands)
def runs_group() -> None:
    """List, show and remove training runs."""


@runs_group.command("list")
@database
def runs_list(db: Path) -> None:
    """List the runs, the newest first."""
    from service.terminal.report import runs_table

    with opened(db) as store:
        runs = store.runs.list()
    click.echo(runs_table(runs, line_width()) if runs else "no run yet; make one with: charloom train CORPUS")


@runs_group.command("show")
@click.argument("run")
@database
def runs_show(db: Path, run: str) -> None:
    """Show a run: settings, losses as a plot, checkpoints, and how its samples grew."""
    from service.terminal.report import run_report

    with opened(db) as store:
        found = run_named(store, run)
        click.echo(run_report(store, found, width=terminal_width()))


@runs_group.command("remove")
@click.argument("run")
@database
def runs_remove(db: Path, run: str) -> None:
    """Remove a run with its checkpoints, metrics and samples."""
    with opened(db) as store:
        store.runs.remove(run)
    say(f"run {run} is removed")


@main.command()
@click.argument("run", required=False)
@database
def checkpoints(db: Path, run: str | None) -> None:
    """List the checkpoints of RUN."""
    from service.terminal.report import checkpoints_table

    with opened(db) as store:
        found = run_named(store, run)
        click.echo(checkpoints_table(store.checkpoints.list(found), line_width()))


@main.command("export")
@click.argument("model")
@click.argument("file", type=PATH)
@click.option("--overwrite", is_flag=True, help="Replace a file that exists.")
@database
def export_command(db: Path, model: str, file: Path, overwrite: bool) -> None:
    """Write MODEL to a safetensors FILE.

    Its tensors have PyTorch's names and layout."""
    from service.exchange import export
    from service.terminal.units import size

    with opened(db) as store:
        stored = export(store, model, file, overwrite=overwrite)
    say(f"{file}: run {stored.run}, step {stored.step:,}, {size(stored.model_bytes)}")


@main.command("import")
@click.argument("file", type=PATH)
@click.option("--name", help="Of the run that holds it; by default made from the file's name.")
@database
def import_command(db: Path, file: Path, name: str | None) -> None:
    """Store a safetensors file that export wrote."""
    from service.exchange import import_file

    with opened(db, create=True) as store:
        run: Run = import_file(store, file, name)
    say(f"run {run.name}: step {run.step:,}; write with: charloom sample {run.name}")


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@database
@click.pass_context
def info(context: click.Context, /, db: Path, as_json: bool) -> None:
    """Show what Charloom runs on: processor, BLAS and its speed, versions, database.

    It takes about a second, in which matrices are multiplied."""
    from service.facts import facts, lines
    from service.terminal.text import wrapped

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
def backup_command(db: Path, file: Path) -> None:
    """Copy the database to FILE, in use or not."""
    from service.terminal.units import size

    with opened(db) as store:
        store.backup(file)
    say(f"{file}: {size(file.stat().st_size)}")


def run_named(store: Store, name: str | None) -> Run:
    """The run of that name, or the latest."""
    return store.runs.latest() if name in (None, "latest") else store.runs.get(str(name))


def terminal_width() -> int:
    """Columns of the terminal; where there is none, of a page."""
    return shutil.get_terminal_size((100, 24)).columns


def line_width() -> int:
    """How long the lines of a list may be: they are cut on a terminal only."""
    return terminal_width() if sys.stdout.isatty() else 10_000


if __name__ == "__main__":
    main(prog_name="charloom")
