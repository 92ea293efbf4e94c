"""Defines the commands that write and read texts with a model."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from model.config import SamplingConfig
from service.system.formatting import counted, safe
from service.terminal.click_support import PATH, EscapedText, database, options_of
from service.terminal.console import echo_beside, given_text, one_blas_thread, opened, say, say_piece, text_in

if TYPE_CHECKING:
    from service.generation.sample import SampledTexts
    from service.inspection.results import CellReport, Inspection


@click.command()
@click.argument("model", required=False)
@options_of(SamplingConfig)
@click.option("--prompt-file", help="File with the text to continue, or - for standard input.")
@click.option("--novelty", is_flag=True, help="Report what of the text was copied from the corpus that MODEL was trained on.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a text, or a record, in a line of its own.")
@database
def sample(db: Path, model: str | None, prompt_file: str | None, novelty: bool, as_json: bool, **settings: Any) -> None:
    r"""Write text with MODEL (by default latest).

    In --prompt and --stop, C escapes are understood: \n is a line end, \\ a backslash. --prompt - reads standard input.

    The text appears as it is written. With --novelty it appears as a whole, with its copied parts underlined on a terminal, and a
    report goes to standard error. For that, and for --max-copy, an index of the corpus is made and kept beside the database.

    With --records N, a model of records writes N whole records, one a line or parted as in its corpus, and nothing else to standard
    output."""
    one_blas_thread()
    from service.generation import sample
    from service.novelty import Indexes, of_run
    from service.terminal.reports import index_of

    if prompt_file is not None and settings["prompt"]:
        raise click.UsageError("give a prompt with --prompt or with --prompt-file, not both")
    if prompt_file is not None or settings["prompt"] == "-":
        settings["prompt"] = text_in(prompt_file or "-")
    with opened(db) as store, Indexes(store) as indexes:
        config = SamplingConfig(**{**settings, "stop": settings["stop"] or ()})
        find = partial(index_of, indexes, echo_beside)
        known = partial(of_run, store) if novelty or config.new or config.valid else None
        texts = sample.write(store, model, config, find if novelty or config.max_copy is not None else None, known)
        for note in texts.notes:
            say(f"note: {note}", err=True)
        if config.records is not None:
            write_records(texts, novelty, as_json)
        else:
            write_texts(texts, novelty, as_json)
        if sys.stdout.isatty() or sys.stderr.isatty():
            say(f"\n[{texts.model}, seed {texts.config.seed}]", err=True)


def write_records(texts: SampledTexts, novelty: bool, as_json: bool) -> None:
    """Print records, and to standard error how many were tried. Raises `NoMoreRecords` after those that were found."""
    from service.novelty import CorpusRecords

    terminal = sys.stdout.isatty()
    written: list[str] = []
    try:
        for number, (record, seed) in enumerate(texts.records()):
            if as_json:
                new = {"new": not texts.known.has_record(record)} if novelty and texts.known else {}
                click.echo(as_line(texts, {"seed": seed, "record": number, "text": record, "finish_reason": "stop", **new}))
            else:
                say_piece(texts.between * (number > 0) + record, terminal)
            if novelty:
                written.append(record)
    finally:
        if texts.tries and texts.tries.kept and not as_json:
            say_piece("\n", terminal)
    assert texts.tries is not None
    say(f"{counted(texts.tries.kept, 'record')} from {texts.tries.words}", err=True)
    if novelty and isinstance(texts.known, CorpusRecords):
        say(texts.known.novelty(written).words, err=True)


def write_texts(texts: SampledTexts, novelty: bool, as_json: bool) -> None:
    """Print texts; the line above each of several, and reports, go to standard error."""
    from dataclasses import asdict

    from model.normalization import with_lf
    from service.novelty import CorpusRecords
    from service.terminal.reports import compared, novelty_report, underlined
    from service.terminal.text import may_draw, terminal_width

    terminal, prompt = sys.stdout.isatty(), with_lf(texts.config.prompt)

    def head(line: str) -> None:
        if line:
            say(line, err=True)

    if not novelty and not as_json:
        for piece in texts.pieces(head):
            say_piece(piece, terminal)
        return
    every: list[str] = []
    for turn, (whole, found) in enumerate(compared(texts) if novelty else ((each, None) for each in texts.whole())):
        every += texts.whole_records(whole)
        if as_json:
            report = {} if found is None else {"novelty": asdict(found)}
            click.echo(as_line(texts, {"prompt": prompt, **whole._asdict(), **report}, turn))
            continue
        assert found is not None
        head(texts.head(turn))
        say_piece(
            (safe(prompt) + underlined(whole.text, found.spans if may_draw(sys.stdout) else []) if terminal else prompt + whole.text)
            + "\n",
            False,
        )
        if not texts.known:
            say(novelty_report(whole.text, found, terminal_width()), err=True)
    if novelty and isinstance(texts.known, CorpusRecords):
        say(texts.known.novelty(every).words, err=True)


def as_line(texts: SampledTexts, facts: dict[str, Any], turn: int = 0) -> str:
    """Returns a text as one JSON object in a line."""
    notes = {"notes": texts.notes} if texts.notes else {}
    return json.dumps({"model": texts.model, "seed": (texts.config.seed or 0) + turn, **facts, **notes}, ensure_ascii=False)


@click.command("inspect")
@click.argument("model", required=False)
@click.option("--text", type=EscapedText(), help="Text to read; without --text and --file, MODEL writes one.")
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
    r"""Look inside MODEL (by default latest) while it reads a text.

    It shows how surprising each character was, the activation of a unit, how often gates were saturated, and which characters the
    model treats alike. In --text, C escapes are understood: \n is a line end, \\ a backslash. With --find-cells: which single units
    follow a readable feature, such as quotation marks, brackets or indentation."""
    given = {"text": text, "file": file, "seed": seed, "unit": unit}
    of_text = [f"--{name}" for name, value in given.items() if value is not None]
    if finding and of_text:
        raise click.UsageError(f"{of_text[0]} is for one text, and --find-cells reads a corpus; give one of the two")
    if corpus is not None and not finding:
        raise click.UsageError("--corpus is for --find-cells; give a text with --text or --file")
    if text is not None or file is not None:
        text = given_text(text, file)
    one_blas_thread()
    from dataclasses import asdict

    from service.generation.model_cache import load
    from service.inspection import cell_search, inspector, svg_sheets
    from service.terminal import inspection_report
    from service.terminal.text import may_draw, terminal_width

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
            if text is None:
                text, seed = inspector.written(store, loaded, length, seed)
                say(f"note: {loaded.run.name} wrote the text itself, with seed {seed}", err=True)
            found = inspector.inspect(store, loaded, text, options)
    if as_json:
        click.echo(json.dumps(asdict(found), ensure_ascii=False))
    else:
        click.echo(inspection_report.report(found, terminal_width(), colors=may_draw(sys.stdout)))
    for drawn in svg_sheets.save(found, svg, columns, overwrite=overwrite) if svg is not None else ():
        say(f"drawn: {drawn}", err=True)


def text_to_read(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options for a text that is given."""
    command = click.option("--file", help="File to read, or - for standard input.")(command)
    return click.option("--text", type=EscapedText(), help="Text to read.")(command)


@click.command()
@click.argument("models", metavar="[MODEL]...", nargs=-1)
@text_to_read
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@database
def score(db: Path, models: tuple[str, ...], text: str | None, file: str | None, as_json: bool) -> None:
    r"""Score a text: bits per character of each MODEL (by default latest).

    Of several models, it says which one most likely wrote the text. The text is read as if it followed a line end. In --text, C escapes
    are understood: \n is a line end, \\ a backslash."""
    given = given_text(text, file)
    one_blas_thread()
    from service.generation.scoring import score_stored
    from service.terminal.reports import score_report
    from service.web.api.analysis import score_of
    from service.web.api.responses import encoded

    with opened(db) as store:
        found = score_of([score_stored(store, name, given) for name in models or ("latest",)], given, None)
    click.echo(encoded(found).decode() if as_json else score_report(found))


@click.command()
@click.argument("model", required=False)
@text_to_read
@click.option("--prompt", type=EscapedText(), default="", help="Text before it, which is not compared; the first line begins in it.")
@click.option("--min-length", type=click.IntRange(1), default=30, help="Least length of the spans that are listed, in characters.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@database
def novelty(db: Path, model: str | None, text: str | None, file: str | None, prompt: str, min_length: int, as_json: bool) -> None:
    r"""Report what of a text was copied from the corpus that MODEL (by default latest) was trained on.

    In --text and --prompt, C escapes are understood: \n is a line end, \\ a backslash. An index of the corpus is made for that, and
    kept beside the database."""
    from dataclasses import asdict

    from service.novelty import Indexes, compare, learned
    from service.terminal.reports import index_of, novelty_report
    from service.terminal.text import terminal_width

    given = given_text(text, file)
    with opened(db) as store, Indexes(store) as indexes:
        run, _ = store.runs.resolve(model)
        index = index_of(indexes, echo_beside, run)
        corpus, known = indexes.corpus_of(run).name, learned(store, run)
        found = compare(index, given, corpus=corpus, prompt=prompt, min_length=min_length, known=known)
    click.echo(json.dumps(asdict(found), ensure_ascii=False) if as_json else novelty_report(given, found, terminal_width()))


COMMANDS = (sample, inspect_command, score, novelty)
