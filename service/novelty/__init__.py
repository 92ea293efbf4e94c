"""Reports which parts of a text were copied from the corpus of its model.

::

    with Indexes(store) as indexes:
        corpus = indexes.corpus_of(run)
        index = indexes.wait(corpus)
        compare(index, text, corpus=corpus.name).longest

`Indexes.get` never waits: it raises `IndexNotReady` while the index is built. An `Index` is a `model.copy_guard.CopySource`, with which
a text can be kept from copying while it is generated.
"""

from __future__ import annotations

from service.novelty.corpus_records import CorpusRecords, RecordsNovelty, learned, of_run
from service.novelty.index_manager import Indexes
from service.novelty.report import ComparedRecord, CopiedSpan, TextNovelty, compare
from service.novelty.suffix_array import Index

__all__ = [
    "ComparedRecord",
    "CopiedSpan",
    "CorpusRecords",
    "Index",
    "Indexes",
    "RecordsNovelty",
    "TextNovelty",
    "compare",
    "learned",
    "of_run",
]
