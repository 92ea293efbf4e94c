"""Lists the files of a folder in an order that is the same on every machine."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from typing import BinaryIO

from corpora.naming import order
from corpora.read_report import ReadReport
from corpora.reading import Document, ReadOptions
from model.errors import UnreadableSource


def documents_of(folder: str, options: ReadOptions, report: ReadReport) -> Iterator[Document]:
    """Yields all selected regular files below `folder`, sorted by path.

    Links to files are read. Links to folders are not followed, so that no loop can arise. Pipes and devices are skipped.
    """
    for path in sorted(_paths(folder, options, report), key=order):
        full = os.path.join(folder, *path.split("/"))
        yield Document(path, functools.partial(_opened, full))


def _opened(path: str) -> BinaryIO:
    return open(path, "rb")


def _paths(folder: str, options: ReadOptions, report: ReadReport) -> Iterator[str]:
    waiting = [""]
    while waiting:
        base = waiting.pop()
        try:
            with os.scandir(os.path.join(folder, base)) as entries:
                for entry in entries:
                    path = f"{base}/{entry.name}" if base else entry.name
                    if entry.is_dir(follow_symlinks=False):
                        if options.selection.enters(entry.name):
                            waiting.append(path)
                    elif options.selection.takes(path):
                        if _is_regular(entry):
                            yield path
                        else:
                            report.links.add(path)
        except OSError as error:
            if not base:
                raise UnreadableSource(options.origin, error.strerror or str(error)) from None
            report.unreadable.add(base)


def _is_regular(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:  # a link that leads to itself
        return False
