"""Reads text: files, folders, archives, URLs and the built-in corpora become pieces of clean text. Stores nothing."""

from __future__ import annotations

from corpora.builtin import BUILTINS, is_builtin
from corpora.naming import suggested_name
from corpora.read_report import ReadReport
from corpora.reading import MAX_SIZE
from corpora.record_detection import detected
from corpora.records import RecordCounter, RecordCutter, RecordFormat
from corpora.sources import Source, open_source, open_stream

__all__ = [
    "BUILTINS",
    "MAX_SIZE",
    "ReadReport",
    "RecordCounter",
    "RecordCutter",
    "RecordFormat",
    "Source",
    "detected",
    "is_builtin",
    "open_source",
    "open_stream",
    "suggested_name",
]
