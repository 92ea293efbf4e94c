"""Keeps a process from living longer than the one that has started it.

Whoever starts it holds a pipe to its standard input.
"""

from __future__ import annotations

import os
import sys
import threading
from typing import NoReturn


def end_with_starter() -> None:
    """End this process when its standard input does. What it does must need no tidying up that the next one does not do."""
    threading.Thread(target=_wait, daemon=True).start()


def _wait() -> NoReturn:
    while os.read(sys.stdin.fileno(), 64):  # not buffered: Python cannot end while a thread holds that buffer
        pass
    os._exit(1)
