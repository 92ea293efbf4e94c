"""Who is making the index of a corpus, and how far it is: one process at a time, which all others can ask.

The claim is a lock (flock(2)) on a small file beside the index, so it ends with the process that has it, however that ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from service.cache import Key

WIDTH = 64  # bytes of the file: each report overwrites the one before


class Progress(NamedTuple):
    """How far an index is."""

    doing: str  # "starting", "reading", "sorting" or "writing"
    share: float  # of the whole, 0 to 1; a guess


STARTING = Progress("starting", 0.0)


def _path(folder: Path, key: Key) -> Path:
    return folder / f"{key.file_name}.claim"


class Claim:
    """The right to make an index; entering waits for whoever has it. Raises `OSError` where its file cannot be made."""

    def __init__(self, folder: Path, key: Key) -> None:
        self._folder, self._path = folder, _path(folder, key)

    def __enter__(self) -> Self:
        self._folder.mkdir(mode=0o700, exist_ok=True)
        while True:
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            with contextlib.suppress(OSError):  # some network file systems have no locks; there an index may be made twice
                fcntl.flock(self._file, fcntl.LOCK_EX)
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(self._file), os.stat(self._path)):
                    break
            os.close(self._file)  # its owner has removed it
        self.tell(*STARTING)
        return self

    def tell(self, doing: str, share: float) -> None:
        """Say how far it is."""
        os.pwrite(self._file, json.dumps([doing, round(share, 3)]).ljust(WIDTH).encode(), 0)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with contextlib.suppress(OSError):
            os.unlink(self._path)
        os.close(self._file)


def progress(folder: Path, key: Key) -> Progress | None:
    """How far the index of that key is, None where nobody makes it."""
    try:
        file = os.open(_path(folder, key), os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        with contextlib.suppress(ValueError, TypeError):
            return Progress(*json.loads(os.read(file, WIDTH)))
        return STARTING
    else:
        return None
    finally:
        os.close(file)
