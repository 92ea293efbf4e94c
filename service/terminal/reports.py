"""Formats what the command line prints about corpora, runs, checkpoints and copied text."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from service.store.runs import share_done
from service.system.formatting import counted, duration, safe, size
from service.terminal.text import clipped, indented, may_draw, sentence, table, terminal_width, wrapped

if TYPE_CHECKING:  # a list of runs needs nothing that trains, writes or repairs
    from service.generation.sample import SampledTexts, Whole
    from service.novelty import CopiedSpan, Index, Indexes, TextNovelty
    from service.store import Corpus, Event, Run, Store, StoredCheckpoint
    from service.store.api_keys import ApiKey
    from service.store.integrity import IntegrityReport
    from service.store.repair import Repaired
    from service.web.api.protocol import Scored

# ── corpora ──────────────────────────────────────────────────────────────────────────────────────────────────────────

SHOWN_CHARACTERS = 40  # of an alphabet, the most frequent
EXAMPLE_WIDTH = 40  # of a record


@contextmanager
def reading_line(what: str, echo: Callable[[str], None]) -> Iterator[tuple[Callable[[int], None], Callable[[int, int | None], None]]]:
    """Shows a line that counts what has been read, if standard error, to which `echo` writes, is a terminal; removes it in the end.

    Gives two functions: one is called with the characters read, the other with the bytes downloaded and, if known, their total.
    """
    shown = may_draw(sys.stderr)

    def draw(text: str) -> None:
        if shown:
            echo(f"\r{clipped(safe(text), terminal_width() - 1)}\x1b[K")

    def downloaded(count: int, total: int | None) -> None:
        draw(f"fetching {what}: {size(count)}" + (f" of {size(total)}" if total else ""))

    try:
        yield lambda characters: draw(f"reading {what}: {counted(characters, 'character')}"), downloaded
    finally:
        draw("")


def corpus_line(corpus: Corpus) -> str:
    """Returns the facts of a corpus in a line."""
    return (
        f"corpus {corpus.name}: {counted(corpus.characters, 'character')}, {counted(corpus.alphabet_size, 'different one')},"
        f" {counted(corpus.lines, 'line')}, from {corpus.origin}"
    )


def corpus_event(corpus: Corpus, notes: Sequence[str]) -> str:
    """Returns a text that was read for a run as one line of JSON, with what was guessed, skipped or replaced."""
    facts = {"event": "corpus", "corpus": corpus.name, "origin": corpus.origin, "characters": corpus.characters, "lines": corpus.lines}
    return json.dumps(
        {**facts, "alphabet_size": corpus.alphabet_size, "sha256": corpus.sha256, "records": corpus.records, "notes": list(notes)},
        ensure_ascii=False,
    )


def records_line(records: Mapping[str, Any]) -> str:
    """Returns the facts of a corpus's records in a line; examples are cut."""
    from corpora import RecordFormat
    from corpora.escapes import escaped

    form = RecordFormat.from_dict(dict(records))
    about = "about " if records["estimated"] else ""
    different = (
        "all different"
        if records["different"] == records["count"] and not records["estimated"]
        else f"{about}{records['different']:,} different"
    )
    kept = ", each learned from once" if form.unique and records["different"] < records["count"] else ""
    header = ", without the first row, which names the columns" if form.header else ""
    examples = "; ".join(clipped(escaped(example), EXAMPLE_WIDTH) for example in records["examples"])
    return (
        f"{counted(records['count'], 'record')} ({form.words}{header}), {different}{kept}, {counted(records['median'], 'character')} in the"
        f" middle: {examples} (--records none if it is prose)"
    )


def corpora_table(corpora: Sequence[Corpus], width: int) -> str:
    """Returns a line for each corpus, cut to `width`."""
    rows = [
        [
            each.name,
            size(each.bytes),
            f"{each.characters:,}",
            f"{each.alphabet_size:,}",
            "prose" if each.records is None else f"{each.records['count']:,} {each.records['kind']}",
            each.created_at[:10],
            each.origin,
        ]
        for each in corpora
    ]
    return table(["name", "size", "characters", "alphabet", "records", "added", "origin"], rows, width)


def keys_table(keys: Sequence[ApiKey], width: int) -> str:
    """Returns a line for each key, cut to `width`."""
    rows = [[key.name, key.scope, key.created_at[:10], lifetime(key), minute(key.used_at)] for key in keys]
    return table(["name", "scope", "made", "valid", "used (UTC)"], rows, width)


def lifetime(key: ApiKey) -> str:
    """Returns until when a key is valid, in words."""
    if key.expires_at is None:
        return "until it is revoked"
    return f"{'expired at' if key.expired else 'until'} {minute(key.expires_at)}"


def minute(moment: str | None) -> str:
    """Returns a stored time to the minute."""
    return "never" if moment is None else moment[:16].replace("T", " ")


def corpus_report(corpus: Corpus, alphabet: Mapping[str, int], first_lines: Sequence[str]) -> str:
    """Returns all facts of a corpus; `alphabet` counts its characters."""
    common = sorted(alphabet, key=lambda c: -alphabet[c])[:SHOWN_CHARACTERS]
    facts = {
        "name": corpus.name,
        "origin": corpus.origin,
        "added": corpus.created_at,
        "size": f"{counted(corpus.characters, 'character')}, {counted(corpus.bytes, 'byte')} of UTF-8, {counted(corpus.lines, 'line')}",
        "sha256": corpus.sha256,
        "alphabet": f"{counted(corpus.alphabet_size, 'character')}; the most frequent: {' '.join(repr(c)[1:-1] for c in common)}",
    }
    if corpus.records is not None:
        facts["records"] = records_line(corpus.records)
    return "\n".join([*(f"{label:<12}{text}" for label, text in facts.items()), "first lines", *(f"    {line}" for line in first_lines)])


# ── runs and checkpoints ─────────────────────────────────────────────────────────────────────────────────────────────

SAMPLES = 5  # of a run, spread over its time
SAMPLE_LINES = 6
LABEL = 12  # columns


def runs_table(runs: Sequence[Run], width: int) -> str:
    """Returns a line for each run, cut to `width`."""
    rows = [
        [
            run.name,
            run.state,
            minute(run.created_at),
            _network(run),
            f"{run.step:,}",
            _loss(run.best_validation_loss),
            duration(run.seconds),
            run.corpus or "-",
        ]
        for run in runs
    ]
    return table(["run", "state", "made (UTC)", "network", "step", "validation loss", "time", "corpus"], rows, width)


def jobs_table(runs: Sequence[Run], width: int) -> str:
    """Returns a line for each job, cut to `width`: how far it is, and what its state is about."""
    from service.training.progress import seconds_left

    rows = []
    for run in runs:
        share = share_done(run)
        left = seconds_left(share, run.seconds, budget=run.training_config.get("budget")) if share and run.state == "running" else None
        about = ", ".join(filter(None, (f"to be {run.wanted}" if run.wanted else None, run.message)))
        rows.append(
            [
                run.name,
                run.state,
                minute(run.created_at),
                "-" if share is None else f"{share:.0%}",
                "-" if left is None else duration(left),
                run.corpus or "-",
                about,
            ]
        )
    return table(["job", "state", "made (UTC)", "done", "left", "corpus", ""], rows, width)


def event_line(event: Event) -> str:
    """Returns an event of a run in a line."""
    return f"{event.created_at[:19].replace('T', ' ')}  {'' if event.level == 'info' else f'{event.level}: '}{event.message}"


def checkpoints_table(checkpoints: Sequence[StoredCheckpoint], width: int) -> str:
    """Returns a line for each checkpoint, cut to `width`."""
    rows = [
        [
            f"{each.run}@{each.step}",
            f"{each.epoch:.2f}",
            _loss(each.validation_loss),
            _loss(each.bits_per_char),
            size(each.model_bytes),
            " ".join(word for word, holds in (("best", each.best), ("last", each.last), ("pinned", each.pinned)) if holds),
        ]
        for each in checkpoints
    ]
    return table(["checkpoint", "epoch", "validation loss", "bits per character", "size", ""], rows, width)


def run_report(store: Store, run: Run, width: int) -> str:
    """Returns all facts of a run: settings, a plot of the losses, checkpoints, samples over time."""
    metrics, samples, checkpoints = store.metrics.list(run), store.samples.list(run), store.checkpoints.list(run)
    facts = {
        "run": f"{run.name}, {run.state}" + (f", to be {run.wanted}" if run.wanted else "") + (f": {run.message}" if run.message else ""),
        "corpus": (run.corpus or "-") + (f", validated on {run.validation_corpus}" if run.validation_corpus else ""),
        "parent": run.parent or "",
        "network": _network(run),
        "trained": f"{run.step:,} steps, {run.epoch:.2f} epochs, {duration(run.seconds)}",
        "best": f"{_loss(run.best_validation_loss)} nats, {_loss(run.best_bits_per_char)} bits per character, on validation",
        "model": _settings(run.model_config),
        "training": _settings(run.training_config),
        "on": _settings(run.environment),
        "times": f"created {run.created_at}, started {run.started_at or '-'}, ended {run.ended_at or '-'}",
    }
    if run.best_validation_loss is None:
        del facts["best"]
    if run.parent is None:
        del facts["parent"]
    lines = [f"{label:<{LABEL}}{wrapped(text, width, LABEL)}" for label, text in facts.items()]
    training = [(each.step, each.loss) for each in metrics if each.loss is not None]
    validation = [(each.step, each.validation_loss) for each in metrics if each.validation_loss is not None]
    if validation:
        from service.terminal.training_display import plot

        lines += ["", clipped("loss in nats per symbol (· training, • validation) against steps", width)]
        lines.append(plot([("·", training), ("•", validation)], width=min(width, 80)))
    if checkpoints:
        lines += ["", checkpoints_table(checkpoints, width)]
    spread = sorted({round(index * (len(samples) - 1) / max(1, SAMPLES - 1)) for index in range(SAMPLES)}) if samples else []
    for index in spread:
        each = samples[index]
        lines += ["", f"sample at step {each.step:,}", indented(each.text, width, SAMPLE_LINES)]
    return safe("\n".join(lines))


def _network(run: Run) -> str:
    model = run.model_config
    return f"{model['cell']} {model['num_layers']}x{model['hidden_size']}"


def _settings(values: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in values.items() if value is not None) or "-"


def _loss(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


# ── scores ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def score_report(found: Scored) -> str:
    """Returns a line for each model that scored a text, and which of several most likely wrote it."""
    rows = [
        [
            each.model,
            f"{each.symbols:,}",
            f"{each.unknown:,}",
            _loss(each.loss),
            _loss(each.bits_per_char),
            f"{each.probability:.1%}",
        ]
        for each in found.data
    ]
    lines = [table(["model", "symbols", "unknown", "loss", "bits per character", "probability"], rows)]
    if len(rows) > 1:
        lines.append(f"of these, {found.likeliest} most likely wrote it")
    return "\n".join(lines)


# ── novelty ──────────────────────────────────────────────────────────────────────────────────────────────────────────

SILENCE = 2.0  # seconds of work after which it is told what is done
LISTED = 10  # lines of the corpus that are named


def index_of(indexes: Indexes, echo: Callable[[str], None], run: Run) -> Index:
    """Returns the index of a model's corpus; while it is built, shows its progress, or without a terminal says once what is done.

    Raises `NothingToCompare` and `IndexUnavailable`.
    """
    corpus, drawn, tell_at = indexes.corpus_of(run), False, time.monotonic() + SILENCE

    def watch(progress: float) -> None:
        nonlocal drawn, tell_at
        if not may_draw(sys.stderr):
            if time.monotonic() > tell_at:
                tell_at = math.inf  # once
                echo(f"making the index of corpus {corpus.name}\n")
        else:
            drawn = True
            echo(f"\r{clipped(f'making the index of corpus {corpus.name}: {progress:.0%}', terminal_width() - 1)}\x1b[K")

    try:
        return indexes.wait(corpus, watch)
    finally:
        if drawn:
            echo("\r\x1b[K")


def compared(texts: SampledTexts) -> Iterator[tuple[Whole, TextNovelty]]:
    """Yields each text with what was copied."""
    from model.normalization import with_lf
    from service.novelty import CorpusRecords, Index, compare

    index, corpus, prompt = texts.index, texts.run.corpus, with_lf(texts.config.prompt)
    assert isinstance(index, Index)  # as `index_of` has returned
    assert corpus is not None  # as `index_of` has checked
    known = texts.known if isinstance(texts.known, CorpusRecords) else None
    for whole in texts.whole():
        yield whole, compare(index, whole.text, corpus=corpus, prompt=prompt, ended=whole.finish_reason == "stop", known=known)


def underlined(text: str, spans: Sequence[CopiedSpan]) -> str:
    """Returns the text, made safe for a terminal, with its copied spans (in order) underlined."""
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


def novelty_report(text: str, novelty: TextNovelty, width: int) -> str:
    """Returns what of a text was copied: sentences and a table, in lines of `width` columns."""
    lines = [sentence(_summary(novelty), width)]
    if novelty.spans:
        rows = [
            [f"{each.length:,}", f"{each.times:,}", f"{each.line:,}", text[each.start : each.stop].strip("\n")] for each in novelty.spans
        ]
        lines.append(table(["copied", "times", "line", "text"], rows, width))
    if novelty.records is not None:
        lines.append(sentence(_record_summary(novelty), width))
    return "\n".join(lines)


def _these(novelty: TextNovelty) -> str:
    return "this 1 character" if novelty.characters == 1 else f"these {novelty.characters:,} characters"


def _summary(novelty: TextNovelty) -> str:
    longest = novelty.longest
    if longest is None:
        return f"nothing of {_these(novelty)} stands in corpus {novelty.corpus}"
    size = f"has {longest.length:,} ({_times(longest.times)}, line {longest.line:,})"
    if not novelty.copied:
        return (
            f"nothing of {counted(novelty.min_length, 'character')} or more in a row is copied from corpus {novelty.corpus}:"
            f" the longest span in common with it {size}"
        )
    are = "is" if novelty.copied == 1 else "are"
    return (
        f"{novelty.copied:,} of {_these(novelty)} ({novelty.share:.0%}) {are} copied from corpus {novelty.corpus}"
        f" in spans of {novelty.min_length:,} or more; the longest {size}"
    )


def _times(times: int) -> str:
    return "once" if times == 1 else f"{times:,} times"


def _record_summary(novelty: TextNovelty) -> str:
    records = novelty.records or ()
    old = list(dict.fromkeys(each.text for each in records if not each.new))
    new = sum(each.new for each in records)
    named = ", ".join(old[:LISTED]) + (f" and {len(old) - LISTED:,} more" if len(old) > LISTED else "")
    one, several = ("line", "lines") if novelty.kind in (None, "lines") else ("record", "records")
    return f"{new:,} of {counted(len(records), one, several)} {'is' if len(records) == 1 else 'are'} new" + (
        f"; in the corpus are {named}" if old else ""
    )


# ── damage ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def integrity_report(found: IntegrityReport, width: int) -> str:
    """Lays out what a check found: a line for what was checked, and four for each damaged thing."""
    checked = f"{counted(found.corpora, 'corpus', 'corpora')}, {counted(found.runs, 'run')} and {counted(found.checkpoints, 'checkpoint')}"
    again = f"{counted(found.failed_once, 'read')} of the disk failed, and succeeded the second time; check the disk, and make a backup"
    passing = [sentence(again, width, "warning: ")] if found.failed_once else []
    if found.sound:
        return safe("\n".join([f"{found.database} is sound: {checked}", *passing]))
    lines = [f"{found.database} is damaged in {counted(len(found.findings), 'place')}; checked were {checked}", *passing]
    for finding in found.findings:
        lines.append(finding.what)
        facts = {"found": clipped(finding.why, 300), "lost": finding.lost}
        lines += [f"  {name:<8}{wrapped(text, width, 10)}" for name, text in facts.items()]
        lines.append(f"  mend    {finding.mend}")  # in one line, so that its commands can be copied
    return safe("\n".join(lines))


def repair_report(repaired: Repaired, width: int) -> str:
    """Lays out what a repair found, what it did, and what is still damaged; without a repair, what a check found."""
    parts = [integrity_report(repaired.before, width)]
    if repaired.kept:
        parts.append(
            "\n".join(sentence(done, width, "repaired: ") for done in (*repaired.done, f"the damaged file is kept as {repaired.kept}"))
        )
        parts.append(integrity_report(repaired.after, width))
    return "\n\n".join(parts)


def repair_json(repaired: Repaired) -> str:
    """Returns what was found as one JSON object, and what was done if there was a repair."""
    found = repaired.after
    facts = {"sound": found.sound, **asdict(found)}
    if repaired.kept:
        facts |= {"repaired": list(repaired.done), "kept": str(repaired.kept), "before": asdict(repaired.before)["findings"]}
    return json.dumps(facts, ensure_ascii=False)
