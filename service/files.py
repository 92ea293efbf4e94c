"""Files that appear when they are whole."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from model.errors import FileTaken, FileUnwritable


def write_whole(file: Path, data: bytes, *, overwrite: bool = False) -> None:
    """Write a file under another name first, so that nobody ever sees a part of it. Raises `FileTaken` and `FileUnwritable`."""
    check_writable(file, overwrite=overwrite)
    part = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        part.write_bytes(data)
        part.replace(file)
    except OSError as error:
        raise FileUnwritable(str(file), error.strerror or str(error)) from None
    finally:
        with contextlib.suppress(OSError):  # there may not even be a folder
            part.unlink()


def check_writable(file: Path, *, overwrite: bool = False) -> None:
    """What `write_whole` would refuse at once: for whoever has long work to do before. Raises as it."""
    if file.is_dir():
        raise FileUnwritable(str(file), "it is a folder")
    if file.exists() and not overwrite:
        raise FileTaken(str(file))
