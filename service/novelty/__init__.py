"""What of a text was copied from the corpus that its model has learned from; and, while it is written, keeping it from copying.

::

    with Indexes(store) as indexes:
        corpus = indexes.corpus_of(run)
        index = indexes.wait(corpus)
        compare(index, text, corpus=corpus.name).longest

`Indexes.get` never waits: it raises `IndexNotReady` while the index is made. An `Index` is a `model.copy_guard.Source`.
"""

from __future__ import annotations

from service.novelty.index_builder import IndexProgress
from service.novelty.index_manager import Indexes
from service.novelty.report import MIN_LENGTH, Copied, Novelty, Record, compare
from service.novelty.suffix_array import Index

__all__ = ["MIN_LENGTH", "Copied", "Index", "IndexProgress", "Indexes", "Novelty", "Record", "compare"]
