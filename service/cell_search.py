"""Looks for interpretable cells of a model in a process of its own, which streams hardly notice::

    python -m service.cell_search DATABASE MODEL CORPUS

It writes the `CellReport` as JSON to standard output, and ends when its standard input does: whoever has started it holds the other
end. Where it ends with status `REFUSED`, standard error says why.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from pathlib import Path

import msgspec

from model.errors import CharloomError
from service.exchange import load
from service.inspecting import find_cells
from service.store import Store
from service.tether import end_with_starter

REFUSED = 3  # the status with which the process ends where it has said why
NICENESS = 10  # beside a process at 0, about a tenth of a core


def main(path: str, model: str, corpus: str) -> None:
    """What the process does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is meant for whoever has started this
    end_with_starter()
    with contextlib.suppress(OSError):
        os.nice(NICENESS)
    try:
        with Store(Path(path), create=False) as store:
            report = find_cells(store, load(store, model), corpus)
    except CharloomError as error:
        sys.stderr.write(str(error))
        sys.exit(REFUSED)
    sys.stdout.buffer.write(msgspec.json.encode(report))


if __name__ == "__main__":
    main(*sys.argv[1:])
