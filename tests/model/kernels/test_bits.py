"""The kernels give the same bits whatever compiles them and whatever runs them.

`bits.c` prints what the functions, products, gradients, optimizers and cells give, for some small networks. Its lines are compared
between instruction sets and numbers of threads, and with those of an emulated arm64 processor. The libraries of gcc and of zig are
compared by what they train.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.kernels import build
from model.kernels.library import Library, instruction_sets
from model.kernels.network import KernelNetwork
from tests.model.kernels.test_network import CELLS, Case

X86 = build.INSTRUCTION_SETS["x86_64"]
PROGRAM = Path(__file__).with_name("bits.c")
FLAGS = [*(flag for flag in build.FLAGS if flag != "-shared"), *build.OPTIMIZED]
EMULATOR = "qemu-aarch64"

needs_compiler = pytest.mark.skipif(not any(map(shutil.which, build.LOCAL)), reason="there is no C compiler (cc, gcc, clang)")
needs_x86 = pytest.mark.skipif(not set(X86) & set(instruction_sets()), reason="the processor has neither AVX2 nor AVX-512")


def compiled(compiler: build.CCompiler, flags: tuple[str, ...], to: Path) -> Path:
    """The program `bits` for one instruction set."""
    succeeded, output = compiler.run(*FLAGS, *flags, f"-I{build.FOLDER}", str(PROGRAM), *map(str, build.sources()), "-lm", "-o", str(to))
    assert succeeded, output
    return to


def lines(*command: str | Path) -> list[str]:
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert len(printed) > 100_000
    assert sum(line.endswith("nan") for line in printed) == 3  # exp, tanh and sigmoid of NaN
    return printed


def different(found: list[str], expected: list[str]) -> list[str]:
    """The first lines that differ; a comparison of all of them would print them all."""
    assert len(found) == len(expected)
    return [f"{one}, not {other}" for one, other in zip(found, expected, strict=True) if one != other][:5]


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The program for an instruction set of x86-64, by the machine's own compiler; compiled once."""
    folder = tmp_path_factory.mktemp("bits")

    def made(name: str) -> Path:
        path = folder / name
        return path if path.exists() else compiled(next(build.local_compilers()), X86[name], path)

    return made


@pytest.fixture(scope="session")
def reference(program: Callable[[str], Path]) -> list[str]:
    """What AVX2 gives in one thread."""
    return lines(program("avx2"))


@needs_compiler
@needs_x86
@pytest.mark.parametrize(("name", "threads"), [each for each in product(X86, (1, 3)) if each != ("avx2", 1)])
def test_instruction_sets_and_threads_give_the_same_bits(
    program: Callable[[str], Path], reference: list[str], name: str, threads: int
) -> None:
    if name not in instruction_sets():
        pytest.skip(f"the processor does not have {name}")
    assert different(lines(program(name), str(threads)), reference) == []


@needs_compiler
@needs_x86
def test_arm64_gives_the_same_bits(reference: list[str], zig: Path, zig_cache: dict[str, str], tmp_path: Path, missing: Any) -> None:
    if not shutil.which(EMULATOR):
        missing(f"no {EMULATOR} is installed (Debian: apt install qemu-user)")
    # musl, linked statically: the emulator then needs no C library for arm64.
    clang = build.CCompiler("zig cc", (str(zig), "cc", "-target", "aarch64-linux-musl", "-static"), zig_cache)
    made = compiled(clang, build.INSTRUCTION_SETS["aarch64"]["neon"], tmp_path / "neon")
    assert different(lines(EMULATOR, made, "2"), reference) == []


@needs_compiler
@pytest.mark.usefixtures("zig")
def test_gcc_and_zig_give_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CC", raising=False)
    assert build.build(tmp_path / "own")
    assert build.build(tmp_path / "zig", "zig")
    for name, (cell, activation), seed in product(instruction_sets(), CELLS, (1, 2, 3)):
        case, found = Case(cell, activation, seed), []
        for compiler in ("own", "zig"):
            library = Library(tmp_path / compiler / build.library_name(name), name)
            network, gradients = KernelNetwork(library, case.model, threads=2, trains=True), case.model.parameters.zeros_like()
            loss, state = network.loss_and_gradients(case.ids, case.targets, case.state, gradients, masks=case.masks)
            assert np.isfinite(loss)
            found.append((loss, state.tobytes(), gradients.flat.tobytes()))
        assert found[0] == found[1], (name, cell, seed)
