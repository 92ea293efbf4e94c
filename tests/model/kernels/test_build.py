"""The C library is built with the compiler that there is, and an installation never fails for want of one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from model.kernels import build, library

ROOT = Path(__file__).resolve().parents[3]
HERE = build.INSTRUCTION_SETS.get(build.architecture(), {})
# Small, because most of the time would go into the headers of the intrinsics; it needs the flags of its instruction set all the same.
SOURCE = """
#include "vector.h"
#if !defined(__FMA__) && !defined(__aarch64__)
#error "no fused multiply-add"
#endif
EXPORTED float charloom_fma(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
"""
HEADER = '#define EXPORTED __attribute__((visibility("default")))\n'
AARCH64 = (183).to_bytes(2, "little")  # the machine in an ELF header (ELF for the Arm 64-bit architecture, 5.3)

needs_kernels = pytest.mark.skipif(not HERE, reason="there are no kernels for this processor")
needs_compiler = pytest.mark.skipif(not HERE or not any(map(shutil.which, build.LOCAL)), reason="there is no C compiler (cc, gcc, clang)")


@pytest.fixture(autouse=True)
def no_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CC", raising=False)


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one small source and a header, in place of the kernels."""
    folder = tmp_path / "sources"
    folder.mkdir()
    (folder / "fma.c").write_text(SOURCE)
    (folder / "vector.h").write_text(HEADER)
    monkeypatch.setattr(build, "FOLDER", folder)
    return folder


@pytest.fixture
def no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without a compiler and without a network."""
    monkeypatch.setattr(build, "LOCAL", ())
    monkeypatch.setattr(build, "installed_zig", lambda: None)
    monkeypatch.setattr(build, "fetched_zig", lambda folder: None)


def built(output: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in output.iterdir()}


@needs_compiler
@pytest.mark.usefixtures("sources")
def test_there_is_a_library_for_each_instruction_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert build.main(["--output", str(tmp_path / "made")]) == 0
    made = {build.library_name(name) for name in HERE}
    assert built(tmp_path / "made").keys() == made | {Path(name).with_suffix(".sha256").name for name in made}
    assert all(b"charloom_fma" in built(tmp_path / "made")[name] for name in made)
    printed = capsys.readouterr()
    assert printed.out.startswith(f"made charloom-{next(iter(HERE))}")
    assert len(printed.out.splitlines()) == 1
    assert printed.err == ""


@needs_compiler
@pytest.mark.parametrize("changed", ["fma.c", "vector.h"])
def test_only_a_change_is_built_again(sources: Path, changed: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = tmp_path / "made"
    files = build.build(made)
    times = [file.stat().st_mtime_ns for file in files]
    assert build.build(made) == files
    assert [file.stat().st_mtime_ns for file in files] == times
    assert len(capsys.readouterr().out.splitlines()) == 1, "what is up to date is not told"
    (sources / changed).write_text((sources / changed).read_text() + "\n")
    build.build(made)
    assert all(file.stat().st_mtime_ns not in times for file in files)


@needs_compiler
@pytest.mark.usefixtures("sources")
@pytest.mark.parametrize("broken", ["false", "no-such-compiler -O2"])
def test_a_broken_choice_is_told_and_another_compiler_taken(
    broken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CC", broken)
    assert len(build.build(tmp_path / "made")) == len(HERE)
    printed = capsys.readouterr()
    assert f"CC={broken} does not compile charloom-" in printed.err
    assert "made charloom-" in printed.out
    assert "CC=" not in printed.out


@needs_compiler
@pytest.mark.usefixtures("no_compiler")
def test_a_source_that_does_not_compile_leaves_the_old_library(
    sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(build, "LOCAL", ("cc", "gcc", "clang"))
    made = tmp_path / "made"
    build.build(made)
    before = built(made)
    (sources / "fma.c").write_text(SOURCE + "int broken(;\n")
    assert build.main(["--output", str(made)]) == 0
    assert built(made) == before
    assert "broken" in capsys.readouterr().err  # what the compiler says is shown


@needs_kernels
@pytest.mark.usefixtures("sources", "no_compiler")
def test_without_a_compiler_one_sentence_says_what_it_costs_and_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert build.main(["--output", str(tmp_path)]) == 0
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    for part in ("are not built" if len(HERE) > 1 else "is not built", "no C compiler", "ziglang", build.COST, "install gcc or clang"):
        assert part in said
    assert said.endswith("-m model.kernels.build\n")


@needs_kernels
@pytest.mark.usefixtures("sources", "no_compiler")
@pytest.mark.parametrize("option", [["--require"], ["--compiler", "no-such-compiler"], ["--compiler", "zig"]])
def test_what_is_demanded_must_be_built(option: list[str], tmp_path: Path) -> None:
    assert build.main(["--output", str(tmp_path), *option]) == 1


@needs_kernels
def test_pip_without_a_network_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))  # without uv
    monkeypatch.setattr(build, "installed_zig", lambda: None)
    assert build.build(tmp_path / "made", "zig") == []
    assert list((tmp_path / "made").iterdir()) == []


@pytest.mark.parametrize(("machine", "system"), [("ppc64le", "Linux"), ("AMD64", "Windows")])
def test_other_machines_are_named(machine: str, system: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("platform.machine", lambda: machine)
    monkeypatch.setattr("platform.system", lambda: system)
    assert build.main([]) == 0
    assert f"no version for {'Windows' if system == 'Windows' else machine}" in capsys.readouterr().err
    assert build.main(["--require"]) == 1


@needs_compiler
@pytest.mark.usefixtures("sources")
def test_the_sanitizers_are_compiled_in(tmp_path: Path) -> None:
    made = tmp_path / "made"
    if not build.build(made, sanitize=True):
        pytest.skip("the compiler has no AddressSanitizer")
    assert all(b"__asan_init" in content for name, content in built(made).items() if not name.endswith(".sha256"))


def test_libraries_with_sanitizers_do_not_replace_the_others() -> None:
    with pytest.raises(SystemExit):
        build.main(["--sanitize"])


@pytest.mark.usefixtures("sources")
def test_zig_compiles_for_another_processor(tmp_path: Path) -> None:
    if build.installed_zig() is None:
        reason = "the package ziglang is not installed (make .venv/.compiler)"
        if os.environ.get("CHARLOOM_NO_SKIP"):
            pytest.fail(reason)
        pytest.skip(reason)
    assert build.main(["--output", str(tmp_path / "made"), "--target", "aarch64"]) == 0
    made = built(tmp_path / "made")
    assert list(made) == ["charloom-neon.sha256", "charloom-neon.so"]
    assert made["charloom-neon.so"][18:20] == AARCH64


def test_the_loader_and_the_builder_agree() -> None:
    """On names, and on what a processor must have before a library is loaded."""
    flags = {name: options for sets in build.INSTRUCTION_SETS.values() for name, options in sets.items()}
    assert [build.library_name(name) for name in flags] == [library.path_of(name).name for name in flags]
    for name, options in flags.items():
        assert {option.removeprefix("-m") for option in options if "=" not in option} <= library.FEATURES.get(name, set())


def test_nothing_must_be_installed_to_build() -> None:
    command = [sys.executable, "-S", "-m", "model.kernels.build", "--help"]  # -S: no installed packages
    assert "--require" in subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def packed(work: Path) -> Path:
    """A copy of what is packed, with C sources that compile at once and with a library that somebody left there."""
    copy = work / "copy"
    for folder in ("corpora", "model", "service"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__", "*.so", "*.dylib", ".building-*"))
    for file in ("cli.py", "pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, copy)
    for source in (copy / "model/kernels").glob("*.c"):
        source.write_text("typedef int nothing;\n")
    (copy / "model/kernels/charloom-left.so").write_text("not a library")
    return copy


def call_backend(folder: Path, call: str, wish: str = "") -> None:
    """Calls setuptools as pip does, in a process of its own."""
    environment = {**os.environ, "CHARLOOM_BUILD_KERNELS": wish}
    command = [sys.executable, "-c", f"from setuptools import build_meta; build_meta.{call}"]
    subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)


@needs_compiler
def test_a_wheel_has_the_library_and_its_platform(tmp_path: Path) -> None:
    """Built from the source distribution, which therefore has all that is needed."""
    call_backend(packed(tmp_path), f"build_sdist({str(tmp_path)!r})")
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as file:
        file.extractall(tmp_path, filter="data")
    unpacked = tmp_path / archive.name.removesuffix(".tar.gz")
    for wish, names in (("require", {build.library_name(name) for name in HERE}), ("no", set())):
        shutil.rmtree(unpacked / "build", ignore_errors=True)
        call_backend(unpacked, f"build_wheel({str(tmp_path)!r})", wish)
        (wheel,) = tmp_path.glob("*.whl")
        kernels = {Path(name).name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("model/kernels/")}
        assert {name for name in kernels if name.endswith((".so", ".dylib"))} == names
        assert kernels > {file.name for file in (*build.sources(), build.LOCK)}
        assert ("-py3-none-any" in wheel.name) == (not names)
        assert "-py3-none-" in wheel.name
        wheel.unlink()
