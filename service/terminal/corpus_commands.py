"""Defines the commands that store, list, show, rename and remove texts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from model.errors import NothingToRead, TextError
from service.terminal.click_support import Commands, database, reading, recording
from service.terminal.console import echo_beside, opened, removing, say

if TYPE_CHECKING:
    from corpora import Source
    from service.store import Corpus


@click.group("corpus", cls=Commands)
def corpus_group() -> None:
    """Add, list, show, rename and remove texts."""


@corpus_group.command("add")
@click.argument("source")
@click.option("--name", help="Name of the corpus; by default made from the source.")
@reading
@database
def corpus_add(db: Path, source: str, name: str | None, records: str, unique: bool, **how: Any) -> None:
    """Store a text: a file, folder, archive, URL, - for standard input, or a built-in corpus."""
    from corpora import open_source
    from service.terminal.reports import reading_line
    from service.training import corpus_import

    with opened(db, create=True) as store, reading_line(source, echo_beside) as (watch, progress):
        found = open_source(source, progress=progress, scratch=str(db.absolute().parent), apart=records == "files", **how)
        try:
            corpus = corpus_import.add(store, found, name, watch, records=records, unique=unique)
        except TextError as error:
            if not isinstance(error, NothingToRead):  # which says it itself
                report_reading(found)  # what was left out may be why
            raise
    report_corpus(corpus, found)


def report_reading(source: Source | None) -> None:
    """Print what the reader left out."""
    for warning in source.report.warnings if source else []:
        say(f"note: {warning}", err=True)


def report_corpus(corpus: Corpus, source: Source | None, as_json: bool = False) -> None:
    """Print what the reader left out or guessed, and the size of the stored corpus and its records; as an event if the output is JSON."""
    from service.terminal.reports import corpus_event, corpus_line, records_line

    if as_json:
        click.echo(corpus_event(corpus, source.report.warnings if source else []))
        return
    report_reading(source)
    say(corpus_line(corpus), err=True)
    if corpus.records is not None:
        say(records_line(corpus.records), err=True)


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
    """Describe a corpus: size, alphabet, origin, SHA-256 and first lines."""
    from service.terminal.reports import corpus_report

    with opened(db) as store:
        corpus = store.corpora.get(name)
        alphabet = store.corpora.alphabet(corpus)
        first = store.corpora.first_lines(corpus, lines)
    say(corpus_report(corpus, alphabet, first))


@corpus_group.command("rename")
@click.argument("name")
@click.argument("new")
@database
def corpus_rename(db: Path, name: str, new: str) -> None:
    """Rename a corpus. The runs that were trained on it go along."""
    from service.training import corpus_import

    with opened(db) as store:
        corpus = corpus_import.rename(store, name, new)
    say(f"corpus {name} is now {corpus.name}")


@corpus_group.command("cut")
@click.argument("name")
@recording
@database
def corpus_cut(db: Path, name: str, records: str, unique: bool) -> None:
    """Change whether and how a stored text is cut into records. Runs that were ordered before keep what they had."""
    from service.training import corpus_import

    with opened(db) as store:
        report_corpus(corpus_import.cut_anew(store, name, records, unique), None)


removing(corpus_group, "corpus", "NAME", lambda store: store.corpora, "Remove a corpus that no run needs.")


COMMANDS = (corpus_group,)
