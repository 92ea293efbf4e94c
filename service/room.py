"""Room on the disk: what may grow is refused before the last of it is gone, since a database on a full disk can take nothing back."""

from __future__ import annotations

import shutil
from pathlib import Path

from model.errors import NoRoomLeft


def check_room(db: Path, least: int, extra: int = 0) -> None:
    """Raise `NoRoomLeft` where less than `least` bytes would be left on the disk of `db`, once `extra` more are written."""
    left = shutil.disk_usage(db.absolute().parent).free
    if left - extra < least:
        raise NoRoomLeft(db.name, left, least)
