"""Measures the peak memory of all of Charloom's processes while they train and sample, with large corpora, too."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench import ours
from bench.processes import tell
from bench.texts import WIDE_LETTERS, lines_of, write_corpus
from bench.watching import unwatchable, watch

MB = 10**6
LARGE = ("--cell", "lstm", "--num-layers", "2", "--hidden-size", "512", "--batch-size", "64", "--seq-length", "64")
SMALL = ("--cell", "lstm", "--num-layers", "1", "--hidden-size", "128", "--steps", "5")


def measure(quick: bool, big: bool, text: str = "python") -> dict[str, Any]:
    """A row for each command: its peak, how many processes, its time, and when a training made its first step.

    The corpora are made of the lines of `text`; `big` adds those of 1 GB. Where a system cannot tell, `skipped` says why.
    """
    if reason := unwatchable():
        return {"skipped": reason, "rows": []}
    lines = lines_of(text)
    rows = of_networks(lines, 5, (1_000, 10_000)) if quick else of_networks(lines, 20, (10_000, 1_000_000))
    rows += of_corpus(lines, 10 * MB, 5) if quick else of_corpus(lines, 100 * MB, 30)
    if big:
        rows += of_corpus(lines, 1000 * MB, 120) + of_corpus(lines, 1000 * MB, 120, wide=True)
    return {"rows": rows}


def of_networks(lines: list[str], seconds: int, lengths: Iterable[int]) -> list[dict[str, Any]]:
    """Training the largest network of the grid, and writing with a small one."""
    with workplace() as place:
        write_corpus(place.text, lines, MB)
        place.run(f"training lstm 2x512, 64x64, --budget {seconds}s", "train", place.text, *LARGE, "--budget", f"{seconds}s", "--json")
        place.run("training lstm 1x128 for 5 steps", "train", place.text, *SMALL, "--json")
        for length in lengths:
            place.run(f"sampling {length:,} characters from it", "sample", "--length", str(length), "--seed", "0")
    return place.rows


def of_corpus(lines: list[str], size: int, seconds: int, wide: bool = False) -> list[dict[str, Any]]:
    """Adding a corpus of `size` bytes and training on it."""
    name = f"{size // MB:,} MB" + (f" with {WIDE_LETTERS:,} letters more" if wide else "")
    with workplace() as place:
        write_corpus(place.text, lines, size, wide=wide)
        place.run(f"adding {name}", "corpus", "add", place.text, "--name", "large")
        place.run(f"training on {name}, --budget {seconds}s", "train", "large", "--budget", f"{seconds}s", "--json")
    return place.rows


class Workplace:
    """A folder for a text and a database, and what was found of the commands that were run there."""

    def __init__(self, folder: Path) -> None:
        self.text, self.db = folder / "corpus.txt", folder / "bench.db"
        self.rows: list[dict[str, Any]] = []

    def run(self, what: str, *arguments: str | Path) -> None:
        """Watch a command of the command line."""
        watched = watch(ours.command(*arguments, "--db", self.db))
        row = {"what": what, "peak": watched.peak, "processes": watched.processes, "seconds": watched.seconds}
        if arguments[0] == "train":
            run = ours.newest_run(self.db)
            row |= {"first_step": first_step(watched.lines), "model_config": run.model_config, "training_config": run.training_config}
        self.rows.append(row)
        tell(f"  memory, {what}: {watched.peak / MB:.0f} MB")


@contextmanager
def workplace() -> Iterator[Workplace]:
    """One that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="charloom-bench-") as folder:
        yield Workplace(Path(folder))


def first_step(lines: list[tuple[float, str]]) -> float | None:
    """Seconds until `charloom train --json` told of a step; None where it never did."""
    return next((seconds for seconds, line in lines if json.loads(line)["event"] == "step"), None)
