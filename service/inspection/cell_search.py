"""Finds the units of a model that follow a readable feature of a stored corpus.

`find_cells` searches. `CellReports` does it for HTTP: in a process of its own, beside which generated texts hardly wait, and once for each
checkpoint and corpus. That process is::

    python -m service.inspection.cell_search DATABASE MODEL CORPUS

It writes the `CellReport` as JSON to standard output, and ends when its standard input does, whose other end its parent holds. If it ends
with status `REFUSED`, standard error says why.
"""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from model.config import TrainingConfig
from model.errors import CharloomError, MissingSetting
from model.functions import Ids
from model.inspection import unit_search
from model.inspection.text_sample import sample
from model.language_model import LanguageModel
from service.generation.model_cache import LoadedCheckpoint, LoadedModel, load_of
from service.inspection.inspector import name_of, rounded
from service.inspection.results import CellExcerpt, CellReport, FoundCell, FoundGauge
from service.store import Corpus, Run, Store
from service.system.concurrency import LruCache, Turns
from service.system.errors import SearchFailed
from service.system.processes import end_with_parent, lower_priority, start_child
from service.training.dataset import read

ENOUGH = 16_384  # symbols kept for validation; if there are fewer, the whole text is searched
LEARNED = 0.1  # F1 by which a cell must be better than the fresh network's to be called learned

log = logging.getLogger("charloom")


def find_cells(store: Store, loaded: LoadedCheckpoint, corpus: str | int | None = None) -> CellReport:
    """Returns the units that follow a readable feature of a stored corpus, by default of the one that the model was trained on.

    Of that one, the text kept for validation is read, if it is long enough. The same search in the same network before training shows what
    is found without learning. Raises `MissingSetting` if an imported model is given no corpus, and `CorpusNotFound`.
    """
    model, vocabulary, run = loaded.checkpoint.model, loaded.checkpoint.vocabulary, loaded.run
    searched = store.corpora.get(corpus_of(run, corpus))
    ids, start, held_out = _region(store, loaded, searched)
    found_on, tested_on = sample(vocabulary, ids, start, len(ids), unit_search.most_stretches(model)).halves()
    findings = unit_search.search(model, found_on, tested_on)
    seed = TrainingConfig.from_dict(run.training_config).seed
    fresh = unit_search.search(LanguageModel.new(model.config, vocabulary.size, seed), found_on, tested_on)
    fresh_f1 = {cell.feature: cell.score.f1 for cell in fresh.cells}
    fresh_explained = {gauge.feature: gauge.explained for gauge in fresh.gauges}
    return CellReport(
        model=name_of(loaded),
        network=f"{model.config.cell} {model.config.num_layers}x{model.config.hidden_size}",
        corpus=searched.name,
        characters=int(tested_on.counts.sum()),
        held_out=held_out,
        cells=[_found_cell(cell, fresh_f1[cell.feature]) for cell in findings.cells],
        gauges=[_found_gauge(gauge, fresh_explained.get(gauge.feature, 0.0)) for gauge in findings.gauges],
    )


def corpus_of(run: Run, corpus: str | int | None) -> str | int:
    """Returns the name or id of the corpus to search, by default the run's own.

    Raises `MissingSetting` if an imported model is given none.
    """
    found = corpus if corpus is not None else run.corpus_id
    if found is None:
        raise MissingSetting("corpus", f"a stored one to look for cells in, since {run.name} was imported without its own")
    return found


def _region(store: Store, loaded: LoadedCheckpoint, corpus: Corpus) -> tuple[Ids, int, bool]:
    """Returns the ids to search, where to begin in them, and whether the model never learned from them."""
    run, vocabulary = loaded.run, loaded.checkpoint.vocabulary
    own = corpus.id == run.corpus_id
    training = TrainingConfig.from_dict(run.training_config if own else {})
    text = read(store, corpus.id, loaded.checkpoint.model.config, training, vocabulary, run.validation_corpus_id if own else None)
    if not own:
        return text.ids, 0, True
    if len(text.validation) - text.split.start >= ENOUGH:
        return text.validation, text.split.start, True
    return text.ids, 0, False


def _found_cell(cell: unit_search.UnitMatch, fresh: float) -> FoundCell:
    excerpt = cell.excerpt
    return FoundCell(
        feature=cell.feature,
        meaning=cell.meaning,
        unit=str(cell.unit),
        threshold=round(cell.threshold.value, 4),
        above=cell.threshold.above,
        f1=round(cell.score.f1, 4),
        precision=round(cell.score.precision, 4),
        recall=round(cell.score.recall, 4),
        share=round(cell.share, 4),
        always=round(cell.always, 4),
        fresh=round(fresh, 4),
        found=cell.found,
        learned=cell.score.f1 >= fresh + LEARNED,
        excerpt=CellExcerpt(excerpt.text, rounded(excerpt.activations, 3), excerpt.holds.tolist()),
    )


def _found_gauge(gauge: unit_search.Gauge, fresh: float) -> FoundGauge:
    return FoundGauge(gauge.feature, gauge.meaning, str(gauge.unit), round(gauge.explained, 4), round(fresh, 4))


# ── shared among requests ────────────────────────────────────────────────────────────────────────────────────────────

AT_ONCE = 1  # searches: each takes a processor for some seconds, and some 300 MB
WAITING = 8  # requests that wait for a turn
MEMORY = 2**22  # bytes of reports that are kept as JSON: a quarter of a megabyte each
POLL = 0.1  # seconds between two checks whether the search is done, and whether the client has left

ReportKey = tuple[int, str, str, str, str]  # a run that trains on, or a name that is used anew, is another model or corpus


class CellReports:
    """Searches for clients. May be used from any thread. Requests for a search that is running wait for its report."""

    def __init__(self, store: Store, seconds: float) -> None:
        """`seconds` limits one request, waiting included."""
        self._store, self._turns = store, Turns(AT_ONCE, WAITING, seconds)
        self._cache: LruCache[ReportKey, bytes] = LruCache(MEMORY, len)

    def get(self, model: LoadedModel, corpus: str | None, left: Callable[[], bool], caller: str = "") -> CellReport:
        """Returns the report of `find_cells`, from memory or from a search, which ends early if the client has `left`. Callers take turns.

        Raises `MissingSetting` if an imported model is given no corpus, `CorpusNotFound`, `SearchFailed`, `TooManyRequests`,
        `WaitedTooLong`, `TookTooLong` and `ClientDisconnected`.
        """
        stored = self._store.corpora.get(corpus_of(model.run, corpus))
        key = model.run.id, model.name, model.stored.model_sha256, stored.name, stored.sha256
        tick = self._turns.clock(left)
        report = self._cache.get(key)
        if report is None:
            with self._turns.turn(caller):
                report = self._cache.get(key)  # the request before this one may have been for the same
                if report is None:
                    report = self._search(model, stored, tick)
                    self._cache.put(key, report)
        return msgspec.json.decode(report, type=CellReport)

    def _search(self, loaded: LoadedModel, searched: Corpus, tick: Callable[[], None]) -> bytes:
        model, corpus = loaded.name, searched.name
        with _process(self._store.path, loaded.run.id, loaded.stored.step, searched.id) as process:
            output, errors = _outcome(process, tick)
        if process.returncode == 0:
            return output
        if process.returncode == REFUSED:
            raise SearchFailed(model, corpus, errors.decode())
        if process.returncode < 0:
            raise SearchFailed(model, corpus, "it was stopped, perhaps for want of memory; try again when more is free")
        log.error("looking for cells of %s in corpus %s failed\n%s", model, corpus, errors.decode(errors="replace"))
        raise SearchFailed(model, corpus, "the log says why")


def _outcome(process: subprocess.Popen[bytes], tick: Callable[[], None]) -> tuple[bytes, bytes]:
    while True:
        try:
            return process.communicate(timeout=POLL)
        except subprocess.TimeoutExpired:
            tick()


@contextmanager
def _process(path: Path, run: int, step: int, corpus: int) -> Iterator[subprocess.Popen[bytes]]:
    """Starts the process that searches; kills it at the end."""
    pipe = subprocess.PIPE
    with start_child("service.inspection.cell_search", path, run, step, corpus, stdout=pipe, stderr=pipe) as process:
        lifeline, process.stdin = process.stdin, None  # else `communicate` closes it, which ends the search
        assert lifeline is not None
        with lifeline:
            try:
                yield process
            finally:
                process.kill()


# ── the process ──────────────────────────────────────────────────────────────────────────────────────────────────────

REFUSED = 3  # the status after an error that standard error explains in a sentence


def main(path: str, run: str, step: str, corpus: str) -> None:
    """Searches in a checkpoint of the run and in the corpus that have these ids, and prints the report."""
    end_with_parent()
    lower_priority()
    try:
        with Store(Path(path), create=False) as store:
            report = find_cells(store, load_of(store, store.runs.get(int(run)), int(step)), int(corpus))
    except CharloomError as error:
        sys.stderr.write(str(error))
        sys.exit(REFUSED)
    sys.stdout.buffer.write(msgspec.json.encode(report))


if __name__ == "__main__":
    main(*sys.argv[1:])
