"""The built-in corpora."""

from __future__ import annotations

import dataclasses
import hashlib
import platform
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from corpora import BUILTINS, builtin, is_builtin, open_source
from model.errors import ChecksumMismatch, InvalidSetting, NothingToRead

Text = Callable[..., str]
KERNEL = {
    "linux-6.12/kernel/fork.c": b"fork",
    "linux-6.12/kernel/sched/sched.h": b"sched",
    "linux-6.12/kernel/Makefile": b"make",
    "linux-6.12/arch/x86/kernel/head.c": b"arch",
    "linux-6.12/drivers/a.c": b"driver",
}


def test_names() -> None:
    assert list(BUILTINS) == ["python", "shakespeare", "linux"]
    assert is_builtin("python")
    assert not is_builtin("./python")
    assert all(BUILTINS.values())


def test_python_is_the_standard_library(text_of: Text) -> None:
    source = open_source("python")
    text = "".join(source.pieces())
    assert source.origin == f"built-in python ({platform.python_implementation()} {platform.python_version()})"
    assert source.name == "python"
    assert 8_000_000 < len(text) < 16_000_000
    library = Path(sysconfig.get_path("stdlib"))
    for name in ("argparse.py", "json/decoder.py", "asyncio/tasks.py"):
        assert (library / name).read_text(encoding="utf-8") in text
    for left_out in (*library.glob("idlelib/run.py"), *library.glob("test/test_argparse.py"), *library.glob("site-packages/*/__init__.py")):
        assert not (content := left_out.read_text(encoding="utf-8")) or content not in text
    assert source.report.warnings == []
    assert source.report.characters == len(text)


def test_python_leaves_out(tmp_path: Path, text_of: Text, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("site-packages", "dist-packages", "test", "json/tests", "idlelib", "lib2to3", "__pycache__"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "a.py").write_text("no")
    (tmp_path / "a.py").write_text("yes")
    (tmp_path / "a.txt").write_text("no")
    (tmp_path / "_sysconfigdata__linux.py").write_text("no")
    monkeypatch.setitem(builtin.TABLE, "python", dataclasses.replace(builtin.TABLE["python"], place=str(tmp_path)))  # type: ignore[arg-type]
    assert text_of("python") == "yes\n"


def test_shakespeare_is_checked(tmp_path: Path, text_of: Text, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "input.txt"
    path.write_text("First Citizen:")
    with pytest.raises(ChecksumMismatch, match="86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed was expected"):
        text_of("shakespeare", mirror=str(path))
    source = open_source("shakespeare", mirror=str(path), sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    assert "".join(source.pieces()) == "First Citizen:"
    assert (source.name, source.origin) == ("shakespeare", f"built-in shakespeare (from {path})")
    assert open_source("shakespeare").origin == "built-in shakespeare"


@pytest.mark.parametrize("kind", ["folder", "above", "tar.xz", "zip"])
def test_linux_from_a_tree_or_archive(kind: str, tmp_path: Path, tar_of: Any, zip_of: Any) -> None:
    if kind in ("folder", "above"):
        for name, content in KERNEL.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(content)
        path = tmp_path / "linux-6.12" if kind == "folder" else tmp_path
    else:
        path = tmp_path / f"linux.{kind}"
        path.write_bytes(zip_of(KERNEL) if kind == "zip" else tar_of(KERNEL, "w:xz"))
    source = open_source("linux", mirror=str(path))
    assert "".join(source.pieces()) == "fork\nsched\n"
    assert (source.name, source.origin) == ("linux", f"built-in linux (from {path})")


def test_linux_from_a_url(serve: Any, answer: Any, tar_of: Any, text_of: Text) -> None:
    url = serve({"/linux.tar.gz": answer(tar_of(KERNEL, "w:gz"))}) + "/linux.tar.gz"
    assert text_of("linux", mirror=url) == "fork\nsched\n"
    assert text_of("linux", mirror=url, glob="*/drivers/*.c") == "driver\n"


def test_linux_from_the_wrong_folder(tmp_path: Path, text_of: Text) -> None:
    (tmp_path / "a.c").write_text("a")
    with pytest.raises(NothingToRead, match="kernel/"):
        text_of("linux", mirror=str(tmp_path))


def test_from_needs_a_corpus_that_lies_elsewhere(tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match="left out for python"):
        open_source("python", mirror=str(tmp_path))
    with pytest.raises(InvalidSetting, match="linux or shakespeare"):
        open_source(str(tmp_path), mirror=str(tmp_path))
