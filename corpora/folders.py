"""The files of a folder, in an order that is the same on every machine."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from typing import BinaryIO

from corpora.naming import order
from corpora.read_report import ReadReport
from corpora.reading import Document, How
from model.errors import UnreadableSource


def documents_of(folder: str, how: How, report: ReadReport) -> Iterator[Document]:
    """All regular files below `folder` that are selected, sorted by their path.

    Links to files are read, links to folders are not followed, so that no loop can arise; pipes and devices are left out.
    """
    for path in sorted(_paths(folder, how, report), key=order):
        full = os.path.join(folder, *path.split("/"))
        yield Document(path, functools.partial(_opened, full))


def _opened(path: str) -> BinaryIO:
    return open(path, "rb")


def _paths(folder: str, how: How, report: ReadReport) -> Iterator[str]:
    waiting = [""]
    while waiting:
        base = waiting.pop()
        try:
            with os.scandir(os.path.join(folder, base)) as entries:
                for entry in entries:
                    path = f"{base}/{entry.name}" if base else entry.name
                    if entry.is_dir(follow_symlinks=False):
                        if how.selection.enters(entry.name):
                            waiting.append(path)
                    elif how.selection.takes(path):
                        if _is_regular(entry):
                            yield path
                        else:
                            report.links.add(path)
        except OSError as error:
            if not base:
                raise UnreadableSource(how.origin, error.strerror or str(error)) from None
            report.unreadable.add(base)


def _is_regular(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:  # a link that leads to itself
        return False
