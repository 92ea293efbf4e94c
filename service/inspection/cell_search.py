"""Looks for interpretable cells of a model in a process of its own, which streams hardly notice::

    python -m service.inspection.cell_search DATABASE MODEL CORPUS

It writes the `CellReport` as JSON to standard output, and ends when its standard input does: whoever has started it holds the other
end. Where it ends with status `REFUSED`, standard error says why.

The interpretable cells of models: found once, then kept in memory.
"""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from model.errors import CharloomError
from service.generation.model_cache import LoadedModel, load
from service.inspection.inspector import corpus_of, find_cells
from service.inspection.results import CellReport
from service.store import Store
from service.system.concurrency import Turns
from service.system.errors import SearchFailed
from service.system.processes import end_with_parent, lower_priority, start_child

# ── cell_reports ─────────────────────────────────────────────────────────────────────────────────────────────────────

AT_ONCE = 1  # searches: each takes a processor for some seconds, and some 300 MB
WAITING = 6  # requests that wait for that
KEPT = 16  # reports, a quarter of a megabyte each
LOOK = 0.1  # seconds between two looks whether it is done, and whether whoever asked is still there

log = logging.getLogger("charloom")
ReportKey = tuple[int, int, str, str, str]  # a run that trains on, or a name that is used anew, is another model or corpus


class CellReports:
    """May be used from any thread. Whoever asks for what is being looked for already waits for that."""

    def __init__(self, store: Store, seconds: float) -> None:
        """`seconds` is what one request may take, waiting included."""
        self._store, self._turns = store, Turns(AT_ONCE, WAITING, seconds)
        self._kept: OrderedDict[ReportKey, CellReport] = OrderedDict()  # the one used last stands last
        self._lock = threading.Lock()

    def get(self, model: LoadedModel, corpus: str | None, left: Callable[[], bool]) -> CellReport:
        """The units of a model that follow a readable feature of a stored corpus, by default of its own.

        The search ends where whoever asked has `left`. Raises `MissingSetting` where an imported model needs to be told a corpus,
        `CorpusNotFound`, `SearchFailed`, `TooManyRequests`, `WaitedTooLong`, `TookTooLong` and `ClientDisconnected`.
        """
        found = self._store.corpora.get(corpus_of(model.run, corpus))
        key = model.run.id, model.stored.step, model.stored.model_sha256, found.name, found.sha256
        tick = self._turns.clock(left)
        known = self._known(key)
        if known:
            return known
        with self._turns.turn():
            return self._known(key) or self._keep(key, self._search(model.name, found.name, tick))

    def _known(self, key: ReportKey) -> CellReport | None:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def _keep(self, key: ReportKey, report: CellReport) -> CellReport:
        with self._lock:
            self._kept[key] = report
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return report

    def _search(self, model: str, corpus: str, tick: Callable[[], None]) -> CellReport:
        with _process(self._store.path, model, corpus) as process:
            found, said = _outcome(process, tick)
        if process.returncode == 0:
            return msgspec.json.decode(found, type=CellReport)
        if process.returncode == REFUSED:
            raise SearchFailed(model, corpus, said.decode())
        if process.returncode < 0:
            raise SearchFailed(model, corpus, "it was stopped, perhaps for want of memory; try again when more is free")
        log.error("looking for cells of %s in corpus %s failed\n%s", model, corpus, said.decode(errors="replace"))
        raise SearchFailed(model, corpus, "the log says why")


def _outcome(process: subprocess.Popen[bytes], tick: Callable[[], None]) -> tuple[bytes, bytes]:
    while True:
        try:
            return process.communicate(timeout=LOOK)
        except subprocess.TimeoutExpired:
            tick()


@contextmanager
def _process(path: Path, model: str, corpus: str) -> Iterator[subprocess.Popen[bytes]]:
    """The process that searches; it is gone in the end."""
    pipe = subprocess.PIPE
    with start_child("service.inspection.cell_search", path, model, corpus, stdout=pipe, stderr=pipe) as process:
        lifeline, process.stdin = process.stdin, None  # else `communicate` closes it, which ends the search
        assert lifeline is not None
        with lifeline:
            try:
                yield process
            finally:
                process.kill()


# ── cell_search ──────────────────────────────────────────────────────────────────────────────────────────────────────

REFUSED = 3  # the status with which the process ends where it has said why


def main(path: str, model: str, corpus: str) -> None:
    """What the process does."""
    end_with_parent()
    lower_priority()
    try:
        with Store(Path(path), create=False) as store:
            report = find_cells(store, load(store, model), corpus)
    except CharloomError as error:
        sys.stderr.write(str(error))
        sys.exit(REFUSED)
    sys.stdout.buffer.write(msgspec.json.encode(report))


if __name__ == "__main__":
    main(*sys.argv[1:])
