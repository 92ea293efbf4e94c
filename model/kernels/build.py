"""Compiles the C library, once per instruction set: ``python -m model.kernels.build``.

The compiler is the first of ``CC``, ``cc``, ``gcc`` and ``clang`` that compiles the sources. If none does, it is the clang of the PyPI
package `ziglang`, which pip fetches into a temporary folder. Without either, numpy computes everything. A missing compiler is therefore a
message with the exit status 0, unless ``--require`` is given.

This module imports only the standard library, because it also runs before the dependencies are installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from model.kernels.record import flaw, record, record_of

FOLDER = Path(__file__).resolve().parent
LOCK = FOLDER / "requirements-compiler.txt"
# What is rounded, and when, is the same with every compiler: no contraction into fused multiply-adds that the source does not write, and
# nothing of -ffast-math that changes a number. -march=native would fit the library to the building machine alone.
FLAGS = ("-std=gnu11", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-fPIC", "-shared", "-pthread", "-fvisibility=hidden")
OPTIMIZED = ("-O3", "-g0")  # zig adds debugging information unless it is told not to
SANITIZED = ("-O1", "-g", "-fno-omit-frame-pointer", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined")
# architecture -> instruction set -> flags
INSTRUCTION_SETS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "x86_64": {
        "avx2": ("-mavx2", "-mfma"),
        "avx512": ("-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl", "-mfma", "-mprefer-vector-width=512"),
    },
    "aarch64": {"neon": ()},
}
SYNONYMS = {"amd64": "x86_64", "arm64": "aarch64"}
LOCAL = ("cc", "gcc", "clang")
MOST_LINES = 20  # of a compiler's errors, if another compiler is tried next
COST = "training and sampling are several times slower, done by numpy"


@dataclass(frozen=True)
class CCompiler:
    """A compiler of C: its name in messages, and how it is called."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)  # in addition to the process's own

    def run(self, *arguments: str) -> tuple[bool, str]:
        """Returns whether the call succeeded, and what it printed."""
        return call([*self.command, *arguments], self.environment)

    def version(self) -> str:
        """The first line of what ``--version`` prints, such as ``clang version 19.1.7``."""
        return (self.run("--version")[1].splitlines() or ["unknown version"])[0]


def call(command: Sequence[str], environment: Mapping[str, str]) -> tuple[bool, str]:
    """Returns whether a command succeeded, and what it printed, or why it could not be started."""
    try:
        done = subprocess.run(
            command,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
    except OSError as error:
        return False, f"it cannot be started: {error.strerror}"
    return done.returncode == 0, done.stdout.strip()


def architecture() -> str:
    """The architecture that this interpreter runs on; "" if there are no kernels for it."""
    machine = platform.machine().lower()
    machine = SYNONYMS.get(machine, machine)
    return machine if machine in INSTRUCTION_SETS and sys.maxsize > 2**32 else ""


def library_name(instruction_set: str) -> str:
    """The file of one instruction set's library."""
    return f"charloom-{instruction_set}.{'dylib' if platform.system() == 'Darwin' else 'so'}"


def sources() -> list[Path]:
    """The files that the compiler is given."""
    return sorted(FOLDER.glob("*.c"))


# ── compilers ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def local_compilers() -> Iterator[CCompiler]:
    """The compilers of this machine, the user's choice first; two names of one program are one compiler."""
    if chosen := shlex.split(os.environ.get("CC", "")):
        yield CCompiler(f"CC={shlex.join(chosen)}", tuple(chosen))
    seen = set()
    for name in LOCAL:
        program = shutil.which(name)
        if program and (real := os.path.realpath(program)) not in seen:
            seen.add(real)
            yield CCompiler(name, (program,))


def installed_zig() -> Path | None:
    """The program `zig` of an installed package `ziglang`."""
    spec = importlib.util.find_spec("ziglang")
    return Path(next(iter(spec.submodule_search_locations)), "zig") if spec and spec.submodule_search_locations else None


def fetched_zig(folder: Path) -> Path | None:
    """The program `zig` of the package `ziglang`, which pip (or uv) installs into `folder`; None if that fails."""
    options = ("--quiet", "--no-deps", "--only-binary=:all:", "--require-hashes", "--target", str(folder), "-r", str(LOCK))
    # -E: pip hides the environment that it runs in from the builds that it starts, by PYTHONPATH.
    pip = (sys.executable, "-E", "-P", "-m", "pip", "install", "--no-input", "--no-user", "--no-compile", "--retries=1", *options)
    for command in (pip, ("uv", "pip", "install", "--python", sys.executable, *options)):
        if call(command, {})[0]:
            return folder / "ziglang" / "zig"
    return None


def zig_compiler(zig: Path, target: str, cache: Path) -> CCompiler:
    """clang as `zig` calls it. With a target, it looks at nothing of this machine: neither its processor nor its C library."""
    if platform.system() == "Darwin":
        triple = f"{target}-macos"
    elif "musl" in str(sysconfig.get_config_var("HOST_GNU_TYPE")):
        triple = f"{target}-linux-musl"
    else:
        triple = f"{target}-linux-gnu.2.17"  # the oldest glibc that zig's and numpy's wheels run on (manylinux2014)
    caches = {"ZIG_GLOBAL_CACHE_DIR": str(cache), "ZIG_LOCAL_CACHE_DIR": str(cache)}
    return CCompiler("zig cc", (str(zig), "cc", "-target", triple), caches)


def zig_compilers(target: str, stack: ExitStack) -> Iterator[CCompiler]:
    """The compiler of `ziglang`: the installed one, else one in a folder that goes with the `stack`."""
    if platform.system() not in {"Linux", "Darwin"}:
        return
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="charloom-zig-")))
    zig = installed_zig()
    if zig is None:
        print("fetching the compiler of the package ziglang (100 MB) into a temporary folder", flush=True)
        zig = fetched_zig(folder)
    if zig is not None:
        yield zig_compiler(zig, target, folder / "cache")


def compilers(choice: str | None, target: str, stack: ExitStack) -> Iterator[CCompiler]:
    """The compilers to try, in order; later ones are looked for only if earlier ones fail."""
    if choice is not None and choice != "zig":
        yield CCompiler(choice, tuple(shlex.split(choice)))
        return
    if choice is None and target == architecture():
        yield from local_compilers()
    yield from zig_compilers(target, stack)


# ── building ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def compile_library(compiler: CCompiler, library: Path, flags: Sequence[str], sanitize: bool) -> tuple[bool, str]:
    """Compiles all sources into one library, which appears whole or not at all; returns what the compiler printed, too.

    Raises `OSError`.
    """
    with tempfile.TemporaryDirectory(prefix=".building-", dir=library.parent) as folder:
        made = Path(folder, library.name)
        options = (*FLAGS, *flags, *(SANITIZED if sanitize else OPTIMIZED))
        succeeded, output = compiler.run(*options, *map(str, sources()), "-lm", "-o", str(made))
        if succeeded:
            hashes = record(made, FOLDER)
            made.replace(library)
            record_of(library).write_text(hashes, encoding="ascii")
        return succeeded, output


def listed(names: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def tell(text: str) -> None:
    """Prints what failed."""
    print(text, file=sys.stderr, flush=True)


def build(output: Path = FOLDER, choice: str | None = None, sanitize: bool = False, target: str | None = None) -> list[Path]:
    """Compiles the libraries that are not up to date, and returns all that are then.

    With a chosen compiler or the sanitizers, each is compiled, because nothing in a library says how it was made.
    """
    machine = target or architecture()
    if not machine or platform.system() == "Windows":
        where = "Windows" if platform.system() == "Windows" else f"{platform.machine()} with a {sys.maxsize.bit_length() + 1}-bit Python"
        tell(f"the C library is not built: it has no version for {where}; {COST}")
        return []
    wanted = {output / library_name(name): flags for name, flags in INSTRUCTION_SETS[machine].items()}
    made = [] if choice or sanitize else [library for library in wanted if flaw(library, FOLDER) is None]
    if len(made) == len(wanted):
        return made
    output.mkdir(parents=True, exist_ok=True)
    tried = []
    with ExitStack() as stack:
        for compiler in compilers(choice, machine, stack):
            tried.append(compiler.name)
            missing = [library for library in wanted if library not in made]
            with ThreadPoolExecutor() as pool:
                results = list(pool.map(lambda library, by=compiler: compile_library(by, library, wanted[library], sanitize), missing))
            errors = {library: printed for library, (succeeded, printed) in zip(missing, results, strict=True) if not succeeded}
            for printed in dict.fromkeys(errors.values()):
                lines = printed.splitlines()[: None if choice else MOST_LINES]
                failed = names([library for library in errors if errors[library] == printed])
                tell("\n  ".join([f"{compiler.name} does not compile {failed}:", *lines]))
            if now := [library for library in missing if library not in errors]:
                print(f"made {names(now)} with {compiler.name}: {compiler.version()}", flush=True)
            made += now
            if len(made) == len(wanted):
                return made
    missing = [library for library in wanted if library not in made]
    verb = "is" if len(missing) == 1 else "are"
    tell(f"{names(missing)} {verb} not built: {reason(choice, tried)}; {COST}; {remedy(choice)}")
    return made


def names(libraries: Sequence[Path]) -> str:
    """The names of libraries, for a message."""
    return listed([library.name for library in libraries])


def reason(choice: str | None, tried: Sequence[str]) -> str:
    """Why no compiler made a library."""
    if choice is not None and tried:
        return f"{listed(tried)} does not compile the sources"
    if "zig cc" in tried:
        return f"no compiler compiles the sources (tried {listed(tried)})"
    verb = "does" if len(tried) == 1 else "do"
    found = f"{listed(tried)} {verb} not compile the sources" if tried else f"there is no C compiler ({', '.join(LOCAL)})"
    return f"{found}, and pip cannot fetch the package ziglang, which has one"


def remedy(choice: str | None) -> str:
    """What the user can do, with the command as it is typed in the current folder."""
    python, here = Path(sys.executable), Path.cwd()
    command = shlex.join([str(python.relative_to(here) if python.is_relative_to(here) else python), "-m", "model.kernels.build"])
    return f"{'name another compiler, or none' if choice else 'install gcc or clang'}, and run: {command}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Builds as the command line says, and returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m model.kernels.build", description="Compile the C library, if a source is newer.")
    parser.add_argument("--require", action="store_true", help="exit with status 1 if a library cannot be built")
    parser.add_argument("--compiler", metavar="COMMAND", help="gcc, clang, a path, or zig (ziglang from PyPI); no other is tried")
    parser.add_argument("--output", metavar="FOLDER", type=Path, default=FOLDER, help="where the libraries go, if not beside the sources")
    parser.add_argument("--sanitize", action="store_true", help="with AddressSanitizer and UndefinedBehaviorSanitizer; needs --output")
    parser.add_argument("--target", choices=sorted(INSTRUCTION_SETS), help="compile for this architecture, with zig")
    chosen = parser.parse_args(arguments)
    if chosen.sanitize and chosen.output.resolve() == FOLDER:
        parser.error("--sanitize needs --output, so that the slow libraries do not replace the fast ones")
    try:
        made = build(chosen.output, choice=chosen.compiler, sanitize=chosen.sanitize, target=chosen.target)
    except OSError as error:
        why = (
            f"{chosen.output} cannot be written; build it as the owner of that folder" if isinstance(error, PermissionError) else str(error)
        )
        tell(f"the C library is not built: {why}; {COST}")
        made = []
    wanted = INSTRUCTION_SETS.get(chosen.target or architecture(), {"none": ()})
    return int(len(made) < len(wanted) and bool(chosen.require or chosen.compiler or chosen.sanitize or chosen.target))


if __name__ == "__main__":
    sys.exit(main())
