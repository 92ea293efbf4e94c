"""Files that appear when they are whole, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.errors import FileTaken, FileUnwritable
from service.files import check_writable, write_whole


def test_a_file_is_written_and_nothing_else_stays(tmp_path: Path) -> None:
    write_whole(tmp_path / "a.svg", b"one")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a.svg", b"one")]


def test_what_exists_is_overwritten_only_where_that_is_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "a.svg"
    write_whole(file, b"one")
    with pytest.raises(FileTaken, match=r"a\.svg"):
        write_whole(file, b"two")
    assert file.read_bytes() == b"one"
    write_whole(file, b"two", overwrite=True)
    assert file.read_bytes() == b"two"


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_is_no_file(tmp_path: Path, overwrite: bool) -> None:
    for refuse in (lambda: write_whole(tmp_path, b"", overwrite=overwrite), lambda: check_writable(tmp_path, overwrite=overwrite)):
        with pytest.raises(FileUnwritable, match="it is a folder"):
            refuse()


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileUnwritable, match="No such file or directory"):
        write_whole(tmp_path / "none" / "a.svg", b"one")
    assert list(tmp_path.iterdir()) == []
