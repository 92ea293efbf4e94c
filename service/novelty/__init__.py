"""What of a text was copied from the corpus that its model has learned from; and, while it is written, keeping it from copying.

::

    with Indexes(store) as indexes:
        corpus = indexes.corpus_of(run)
        index = indexes.wait(corpus)
        compare(index, text, corpus=corpus.name).longest

`Indexes.get` never waits: it raises `IndexNotReady` while the index is made. An `Index` is a `model.copying.Source`.
"""

from __future__ import annotations

from service.novelty.claims import Progress
from service.novelty.index import Index
from service.novelty.indexes import Indexes
from service.novelty.report import MIN_LENGTH, Copied, Novelty, Record, compare

__all__ = ["MIN_LENGTH", "Copied", "Index", "Indexes", "Novelty", "Progress", "Record", "compare"]
