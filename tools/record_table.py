"""Measures what it gives that a list is read as records: seven lists are learned from as prose and as records, with equal settings.

::

    python -m tools.record_table [NAME ...]

The lists are made here, from a seed. From each model 200 texts are written, at temperature 1. The first record of each is compared with
those after it: whether it begins as records do, and whether it is well-formed. Takes about two minutes on an idle machine.
"""

from __future__ import annotations

import csv
import json
import random
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from corpora import open_source
from model.backend import network_for
from model.checkpoint import Checkpoint
from model.config import SamplingConfig
from model.sampling import generate
from service.store import Store
from service.training import corpus_import, jobs, trainer

TRAINING = {"steps": 500, "batch_size": 32, "seq_length": 64, "seed": 0}
MODEL = {"cell": "lstm", "hidden_size": 96}
TEXTS = 200
FIRST = (
    "Anna Bert Clara Dora Emil Frieda Greta Hugo Ida Jonas Klara Lena Mads Nora Olaf Paula Rosa Sven Tilda Ulla Vera Wim Yara Zoe".split()
)
LAST = "Bauer Clasen Dahl Ebert Falk Graf Holm Iversen Jansen Krog Lund Moe Nagel Otto Peters Quist Rahn Storm Thal Voss Wolff Zahn".split()
FOODS = "eggs flour butter onions rice beans carrots milk sugar salt apples pears cheese potatoes cream leeks".split()
NOUNS = "river moon field door winter lamp stone bird garden sea road window".split()
VERBS = "sleeps sings waits turns falls shines listens wanders burns grows".split()


class RecordList(NamedTuple):
    """A list of records. `separator` parts them in the file; a file of its own for each if it is empty."""

    records: list[str]
    file: str
    separator: str
    begins: str  # a pattern of how a record begins
    is_sound: Callable[[str], object]


def lists() -> dict[str, RecordList]:
    """Returns the lists by name."""
    rng = random.Random(17)
    pick = rng.choice

    def syllables(count: int) -> str:
        return "".join(pick("bdfgklmnprstvz") + pick("aeiou") + pick(["", "", "n", "r", "l"]) for _ in range(count)).capitalize()

    def object_line() -> str:
        return json.dumps({"name": f"{pick(FIRST)} {pick(LAST)}", "age": rng.randrange(18, 90), "member": pick([True, False])})

    def recipe() -> str:
        foods = "\n".join(f"- {rng.randrange(1, 9)}00 g {food}" for food in rng.sample(FOODS, rng.randrange(2, 5)))
        title, method = f"{pick(FIRST)}'s {pick(FOODS)} {pick(['soup', 'pie', 'stew'])}", f"{pick(['Mix', 'Cook', 'Bake'])} it"
        return f"Title: {title}\nIngredients:\n{foods}\nMethod: {method} for {rng.randrange(1, 9)}0 minutes."

    def tune(number: int) -> str:
        bars = " | ".join("".join(rng.choices("ABcdef", k=4)) for _ in range(4))
        head = f"T:The {pick(NOUNS)} {pick(['reel', 'jig', 'waltz'])}\nM:{pick(['4/4', '6/8', '3/4'])}\nK:{pick('ADG')}"
        return f"X:{number}\n{head}\n|: {bars} :|"

    def square() -> str:
        return f"{pick('abcdefgh')}{pick('12345678')}"

    def game() -> str:
        return " ".join(f"{n}. {pick(['', 'N', 'B', 'Q'])}{square()} {square()}" for n in range(1, rng.randrange(4, 8))) + pick(
            [" 1-0", " 0-1"]
        )

    def poem() -> str:
        lines = [f"the {pick(NOUNS)} {pick(VERBS)} by the {pick(NOUNS)}" for _ in range(4)]
        return "\n".join([f"{pick(NOUNS)} and {pick(NOUNS)}".upper(), *lines])

    def is_row(row: str) -> bool:
        (cells,) = csv.reader([row])
        return len(cells) == 4 and cells[0].isdigit() and bool(re.fullmatch(r"\d+\.\d\d", cells[3]))

    def is_object(line: str) -> bool:
        found = json.loads(line)
        return isinstance(found, dict) and set(found) == {"name", "age", "member"}

    rows = [f'{n},{pick(FIRST)},"{pick(LAST)}, {pick(["Dr.", "Prof.", "M.A."])}",{rng.random() * 90:.2f}' for n in range(1, 1500)]
    full = re.compile
    recipe_form = full(r"Title: .+\nIngredients:\n(- \d+ g \w+\n)+Method: .+\.")
    tune_form = full(r"X:\d+\nT:.+\nM:\d/\d\nK:[A-G]\n\|: .+ :\|")
    game_form = full(r"1\. \S+ \S+( \d+\. \S+ \S+)* (1-0|0-1)")
    poem_form = full(r"[A-Z]+ AND [A-Z]+(\nthe [a-z]+ [a-z]+ by the [a-z]+){4}")
    names = sorted({syllables(rng.randrange(2, 4)) for _ in range(2500)})
    return {
        "sorted names": RecordList(names, "names.txt", "\n", "[A-Z]", full("[A-Z][a-z]+").fullmatch),
        "CSV": RecordList(["id,first,last,price", *rows], "table.csv", "\n", r"\d+,", is_row),
        "JSON lines": RecordList([object_line() for _ in range(1200)], "people.jsonl", "\n", r'\{"name"', is_object),
        "recipes": RecordList([recipe() for _ in range(400)], "recipes.txt", "\n\n", "Title: ", recipe_form.fullmatch),
        "tunes": RecordList([tune(n) for n in range(1, 500)], "tunes.abc", "\n\n", r"X:\d", tune_form.fullmatch),
        "chess games": RecordList([game() for _ in range(800)], "games.txt", "\n", r"1\. ", game_form.fullmatch),
        "poems as files": RecordList([poem() for _ in range(400)], "poems", "", "[A-Z]+ AND ", poem_form.fullmatch),
    }


class Row(NamedTuple):
    """What was measured of a list, read in one way."""

    loss: float  # of validation, nats per symbol
    broken: int  # first records that are malformed, of all texts
    middle: int  # ... of them those that begin in the middle of a record
    later: int  # whole records after the first
    later_broken: int


def written(folder: Path, what: RecordList, records: str) -> Row:
    """Trains on a list read as `records` says, and examines what the model writes."""
    path = folder / what.file
    if what.separator:
        path.write_text(what.separator.join(what.records) + "\n")
    else:
        path.mkdir(exist_ok=True)
        for number, record in enumerate(what.records):
            (path / f"{number:04d}.txt").write_text(record + "\n")
    with Store(folder / f"{records}.db") as store:
        corpus = corpus_import.add(store, open_source(str(path), apart=records == "files"), "list", records=records)
        run = jobs.submit(store, jobs.JobSpec(corpus=corpus.name, model=MODEL, training=TRAINING), queued=False)
        for _ in trainer.resume(store, run.name).events():
            pass
        run, (_, data) = store.runs.get(run.name), store.checkpoints.load(store.runs.get(run.name), "last")
        checkpoint = Checkpoint.from_bytes(data)
    longest = max(map(len, what.records))
    texts = [""] * TEXTS
    config = SamplingConfig(length=4 * longest, n=TEXTS, temperature=1.0, seed=1)
    for piece in generate(network_for(checkpoint.model), checkpoint.vocabulary, config):
        texts[piece.choice] += piece.text
    return judged(texts, what, checkpoint.vocabulary.separator or what.separator, run.best_validation_loss or 0.0)


def judged(texts: list[str], what: RecordList, separator: str, loss: float) -> Row:
    """Examines texts; without a separator a record ends before a line that begins as a record does."""
    parts = [text.split(separator) if separator else re.split(rf"\n(?={what.begins})", text) for text in texts]
    first = [part[0].strip("\n") for part in parts]
    later = [each.strip("\n") for part in parts for each in part[1:-1]]
    middle = sum(re.match(what.begins, each) is None for each in first)
    return Row(loss, sum(not _is_sound(what, each) for each in first), middle, len(later), sum(not _is_sound(what, each) for each in later))


def _is_sound(what: RecordList, record: str) -> bool:
    try:
        return bool(what.is_sound(record))
    except (ValueError, csv.Error):
        return False


def main(names: list[str]) -> None:
    """Prints the table."""
    out = sys.stdout
    out.write(f"first records: of {TEXTS} texts\n\n")
    out.write(
        "| list | read as | validation loss | first records: malformed | begin in the middle | later ones: malformed |\n"
        "|---|---|---|---|---|---|\n"
    )
    for name, what in lists().items():
        if names and name not in names:
            continue
        for records in ("none", "auto" if what.separator else "files"):
            with tempfile.TemporaryDirectory() as folder:
                found = written(Path(folder), what, records)
            share = f"{found.later_broken / found.later:.1%} of {found.later:,}" if found.later else "-"
            way = "prose" if records == "none" else "records"
            out.write(f"| {name} | {way} | {found.loss:.3f} | {found.broken / TEXTS:.1%} | {found.middle / TEXTS:.1%} | {share} |\n")
            out.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
