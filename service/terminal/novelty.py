"""What was copied, on a terminal: underlined in the text, and in a table."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence

from service.characters import safe
from service.novelty import Copied, Index, Indexes, Novelty, Progress, compare
from service.store import Run
from service.terminal.text import clipped, sentence, table, terminal_width
from service.writing import Texts

LISTED = 10  # records of either kind that are named


def index_of(indexes: Indexes, echo: Callable[[str], None], run: Run) -> Index:
    """The index of a model's corpus; while it is made a line says how far it is, where standard error is a terminal.

    Raises `NothingToCompare` and `IndexUnavailable`.
    """
    corpus, drawn = indexes.corpus_of(run), False

    def watch(progress: Progress) -> None:
        nonlocal drawn
        if sys.stderr.isatty():
            drawn = True
            echo(f"\r{clipped(f'making the index of corpus {corpus.name}: {progress.share:.0%}', terminal_width() - 1)}\x1b[K")

    try:
        return indexes.wait(corpus, watch)
    finally:
        if drawn:
            echo("\r\x1b[K")


def compared(texts: Texts, terminal: bool) -> Iterator[tuple[str, str]]:
    """Each text with its prompt as it is to be printed, on a `terminal` with what is copied underlined, and the report about it."""
    assert isinstance(texts.index, Index)
    for turn, (text, reason) in enumerate(texts.whole()):
        prompt = texts.config.prompt
        found = compare(texts.index, text, corpus=texts.run.corpus or "", prompt=prompt, ended=reason == "stop")
        shown = safe(prompt) + underlined(text, found.spans) if terminal else prompt + text
        yield f"{texts.head(turn)}{shown}\n", novelty_report(text, found, terminal_width())


def underlined(text: str, spans: Sequence[Copied]) -> str:
    """The text, made safe for a terminal, with its copied spans (in order) underlined."""
    text = safe(text)
    parts, done = [], 0
    for span in spans:
        start = max(done, span.start)
        parts += [text[done:start], *(_underlined(line) for line in text[start : span.stop].splitlines(keepends=True))]
        done = max(done, span.stop)
    return "".join([*parts, text[done:]])


def _underlined(line: str) -> str:
    bare = line.rstrip("\n")
    return f"\x1b[4m{bare}\x1b[24m{line[len(bare) :]}" if bare else line


def novelty_report(text: str, novelty: Novelty, width: int) -> str:
    """What of a text was copied: sentences and a table, in lines of `width` columns."""
    lines = [sentence(_summary(novelty), width)]
    if novelty.spans:
        rows = [
            [f"{each.length:,}", f"{each.times:,}", f"{each.line:,}", text[each.start : each.stop].strip("\n")] for each in novelty.spans
        ]
        lines.append(table(["copied", "times", "line", "text"], rows, width))
    if novelty.records is not None:
        lines.append(sentence(_record_summary(novelty), width))
    return "\n".join(lines)


def _summary(novelty: Novelty) -> str:
    longest = novelty.longest
    if longest is None:
        return f"nothing of these {novelty.characters:,} characters stands in corpus {novelty.corpus}"
    size = f"has {longest.length:,} ({_times(longest.times)}, line {longest.line:,})"
    if not novelty.copied:
        return (
            f"nothing of {novelty.min_length:,} characters or more in a row is copied from corpus {novelty.corpus}:"
            f" the longest span in common with it {size}"
        )
    return (
        f"{novelty.copied:,} of these {novelty.characters:,} characters ({novelty.share:.0%}) are copied from corpus {novelty.corpus}"
        f" in spans of {novelty.min_length:,} or more; the longest {size}"
    )


def _times(times: int) -> str:
    return "once" if times == 1 else f"{times:,} times"


def _record_summary(novelty: Novelty) -> str:
    records = novelty.records or ()
    old = list(dict.fromkeys(each.text for each in records if not each.new))
    new = sum(each.new for each in records)
    named = ", ".join(old[:LISTED]) + (f" and {len(old) - LISTED:,} more" if len(old) > LISTED else "")
    return f"{new:,} of {len(records):,} lines are new" + (f"; in the corpus are {named}" if old else "")
