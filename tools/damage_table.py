"""Damages a real database one bit at a time: ``python -m tools.damage_table``.

Each try flips a bit of a copy, half of the tries anywhere in the file, half in its smaller parts: header, schema, rows, indexes. An
independent reading of both files (SQLite alone, row by row) says whether anything that is stored changed. If so, `charloom check` must
find it and say what, and with a good copy `charloom check --repair --from` must give back each row as it was.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from sqlite_utils.utils import sqlite3  # type: ignore[attr-defined]

from service.store import Store
from service.store.integrity import check
from service.store.repair import repair
from service.system.errors import StoreError
from service.training import jobs, trainer

PAGE = 4096
FORGOTTEN = {"sqlite_sequence", "_sqlite_migrations", "removed"}  # nothing that a user stored: numbers, moments, places of what is gone
WORDS = "the loom weaves a thread of red and gold, night after night; who counts its knots?".split()


class Try(NamedTuple):
    """One flipped bit, and what came of it."""

    offset: int
    bit: int
    place: str
    changed: bool  # anything that is stored, or whether it can be read
    found: tuple[str, ...]
    mended: bool  # sound again, with every row as it was

    @property
    def failed(self) -> bool:
        """Whether a change was not found, or what was found not mended."""
        return (self.changed and not self.found) or (bool(self.found) and not self.mended)


def make(path: Path, seed: int) -> None:
    """Stores texts, trains two small models with checkpoints, metrics, samples and events, and makes keys."""
    rng = random.Random(seed)
    with Store(path) as store:
        for name in ("tale", "saga", "left"):
            text = "".join(" ".join(rng.choices(WORDS, k=rng.randint(2, 7))) + "\n" for _ in range(900))
            store.corpora.add(name, [text], f"{name}.txt")
        for name in ("tale", "saga"):
            model = {"hidden_size": 24, "num_layers": 1}
            spec = jobs.JobSpec(corpus=name, model=model, training={"steps": 60, "batch_size": 4, "seq_length": 16, "seed": 1})
            run = jobs.submit(store, spec, queued=False)
            for _ in trainer.resume(store, run.name, new=True).events():
                pass
        for _ in range(3):
            store.keys.add(f"{rng.getrandbits(256):064x}")
        store.corpora.remove("left")  # so that there are free pages
        store.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def stored(path: Path) -> dict[str, list[Any]] | None:
    """Every row of every table, read by SQLite alone; None if it cannot read them."""
    conn = sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)
    conn.text_factory = bytes
    try:
        names = [name.decode() for (name,) in conn.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        found = {name: sorted(conn.execute(f"SELECT * FROM {name} NOT INDEXED"), key=repr) for name in sorted(set(names) - FORGOTTEN)}
        indexes = conn.execute("SELECT name, tbl_name FROM sqlite_schema WHERE type = 'index'").fetchall()
        for name, table in indexes:  # a row that an index does not find is lost as well
            if b"sqlite_autoindex" not in name and b"queue" not in name and table.decode() in found:
                found[f"index {name.decode()}"] = conn.execute(
                    f"SELECT count(*) FROM {table.decode()} INDEXED BY {name.decode()}"
                ).fetchall()
        return found
    except (sqlite3.Error, UnicodeDecodeError):
        return None
    finally:
        conn.close()


def places(path: Path) -> dict[int, str]:
    """What each page of the file is for."""
    data = path.read_bytes()
    kinds = {2: "inner page of an index", 5: "inner page of a table", 10: "index", 13: "rows"}
    found = {
        number: kinds.get(data[number * PAGE + (100 if number == 0 else 0)], "bytes of texts and models")
        for number in range(len(data) // PAGE)
    }
    return {0: "header and schema", **{number: place for number, place in found.items() if number}}


def attempt(good: Path, folder: Path, offset: int, bit: int, place: str, before: dict[str, list[Any]]) -> Try:
    """Flips one bit of a copy; checks and mends it."""
    damaged = folder / "damaged.db"
    data = bytearray(good.read_bytes())
    data[offset] ^= 1 << bit
    damaged.write_bytes(data)
    changed = stored(damaged) != before
    try:
        found = tuple(finding.what for finding in check(damaged).findings)
    except StoreError as error:
        found = (f"refused: {error}",)
    mended = False
    if found:
        with contextlib.suppress(StoreError):
            mended = repair(damaged, [good]).after.sound and stored(damaged) == before
    for file in folder.glob("damaged.db*"):
        file.unlink()
    return Try(offset, bit, place, changed, found, mended)


def attempts(good: Path, folder: Path, tries: int, seed: int) -> list[Try]:
    """Makes the tries of a seed."""
    rng = random.Random(seed)
    before = stored(good)
    assert before is not None
    pages = places(good)
    small = [number for number, place in pages.items() if place != "bytes of texts and models"]
    data = good.read_bytes()
    found = []
    for number in range(tries):
        used = [at for at in _span(number, pages, small, rng) if data[at]]  # most other bytes hold nothing
        offset = rng.choice(used) if used else 0
        place = "header" if offset < 100 else pages[offset // PAGE]
        found.append(attempt(good, folder, offset, rng.randrange(8), place, before))
    return found


def _span(number: int, pages: dict[int, str], small: list[int], rng: random.Random) -> range:
    """The bytes from which a try takes one: of ten tries one in the header, five in small pages, four in any page."""
    if number % 10 == 0:
        return range(100)
    page = rng.choice(small) if number % 2 else rng.randrange(len(pages))
    return range(page * PAGE, (page + 1) * PAGE)


def main() -> None:
    """Prints the table, and exits with 1 if a change was not found or not mended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tries", type=int, default=400)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make(folder / "good.db", given.seed)
        tries = attempts(folder / "good.db", folder, given.tries, given.seed)
    print(f"{'where':<28}{'tries':>7}{'changed':>9}{'found':>7}{'mended':>8}{'held nothing':>14}")
    for place in [*sorted({each.place for each in tries}), "all"]:
        here = [each for each in tries if place in (each.place, "all")]
        counts = Counter({name: sum(bool(getattr(each, name)) for each in here) for name in ("changed", "found", "mended")})
        nothing = sum(not each.changed and not each.found for each in here)
        print(f"{place:<28}{len(here):>7}{counts['changed']:>9}{counts['found']:>7}{counts['mended']:>8}{nothing:>14}")
    failed = [each for each in tries if each.failed]
    for each in failed:
        print(each)
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
