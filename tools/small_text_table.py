"""Compares `charloom train` on small texts with the best n-gram model of each: ``python -m tools.small_text_table``.

Both learn from the same part of a text and are scored on the same rest. The order of the n-gram model is the one that is best there, and
it is smoothed; the network's checkpoint is the one that is best there. Without PATH the texts are those in ``tools/small_texts``.
"""

from __future__ import annotations

import argparse
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from model.baselines import name, ngram_losses
from model.config import ModelConfig, TrainingConfig
from service.store import Run, Store
from service.terminal.text import table
from service.training.dataset import read

ROOT = Path(__file__).resolve().parent.parent
TEXTS = Path(__file__).with_name("small_texts")


class Compared(NamedTuple):
    """A text, its best n-gram model, and a run of each seed. Losses are in bits per character."""

    text: str
    kind: str  # of its records, or prose
    characters: int
    validated: int  # symbols that both are scored on
    order: str  # of the n-gram model
    ngram: float
    network: tuple[float, ...]
    seconds: tuple[float, ...]  # of the whole command

    @property
    def worse(self) -> bool:
        """Whether a seed ended above the n-gram model."""
        return max(self.network) > self.ngram


def compare(path: Path, seeds: Sequence[int], options: Sequence[str] = ()) -> Compared:
    """Trains on a file once for each seed. Raises `subprocess.CalledProcessError` if a training fails."""
    network, seconds = [], []
    for seed in seeds:
        with tempfile.TemporaryDirectory() as folder:
            db = Path(folder) / "small.db"
            command = [sys.executable, str(ROOT / "cli.py"), "train", str(path), "--db", str(db), "--seed", str(seed), *options]
            began = time.monotonic()
            subprocess.run(command, env=os.environ, stdout=subprocess.DEVNULL, check=True)
            seconds.append(time.monotonic() - began)
            with Store(db) as store:
                run = store.runs.latest()
                assert run.best_bits_per_char is not None
                network.append(run.best_bits_per_char)
                if seed == seeds[-1]:  # the text is the same for all
                    return _compared(path, store, run, network, seconds)
    raise ValueError("no seed was given")


def _compared(path: Path, store: Store, run: Run, network: Sequence[float], seconds: Sequence[float]) -> Compared:
    """Scores the n-gram models on what the network was scored on."""
    assert run.corpus is not None
    configs = ModelConfig.from_dict(run.model_config), TrainingConfig.from_dict(run.training_config)
    records = run.request.get("records")
    text = read(store, run.corpus, *configs, records=(records, None))
    counted = text.split.training
    ids, start, stop = text.after(counted)
    losses = ngram_losses(ids, counted, start, stop, text.vocabulary.size, text.vocabulary.unknown_cost)
    order = min(losses, key=lambda order: losses[order])
    bits = losses[order] * text.symbols_per_char / math.log(2)
    characters = store.corpora.get(run.corpus).characters
    return Compared(
        path.name, records["kind"] if records else "prose", characters, stop - start, name(order), bits, tuple(network), tuple(seconds)
    )


def row(each: Compared) -> list[str]:
    """Returns a row of the table: the mean of all seeds, the lowest and the highest."""
    mean = sum(each.network) / len(each.network)
    return [
        each.text,
        each.kind,
        f"{each.characters:,}",
        f"{each.validated:,}",
        f"{each.ngram:.2f}",
        each.order,
        f"{mean:.2f}",
        f"{min(each.network):.2f}-{max(each.network):.2f}",
        f"{sum(each.seconds) / len(each.seconds):.1f} s",
    ]


HEAD = ["text", "read as", "characters", "held out", "n-gram", "the best", "network", "seeds", "time"]


def main() -> None:
    """Prints the table, and exits with 1 if a network is worse than the n-gram model of its text."""
    parser = argparse.ArgumentParser(description=__doc__, epilog="All other options go to `charloom train`.")
    parser.add_argument("paths", nargs="*", type=Path, metavar="PATH", help="files to compare on instead")
    parser.add_argument("--seeds", type=int, default=3, help="runs on each text")
    given, options = parser.parse_known_args()
    found = []
    for path in given.paths or sorted(TEXTS.iterdir()):
        print(path.name, file=sys.stderr, flush=True)
        found.append(compare(path, range(given.seeds), options))
    print(table(HEAD, [row(each) for each in found]))
    worse = [each.text for each in found if each.worse]
    print(f"bits per character of what is held out; above the n-gram model: {', '.join(worse) or 'none'}")
    sys.exit(bool(worse))


if __name__ == "__main__":
    main()
