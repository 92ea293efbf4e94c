"""Lists the built-in corpora: those that are known by name."""

from __future__ import annotations

import platform
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Builtin:
    """The source of a built-in corpus: a folder of this machine, or a URL with the sha256 of its file."""

    description: str
    origin: str
    place: str  # a folder or a URL
    globs: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    sha256: str | None = None
    packed: bool = False  # the hash is of an archive; a local tree or another release has a different one


_PYTHON = f"{platform.python_implementation()} {platform.python_version()}"
_LINUX = "6.12"  # a long-term release, from November 2024; a fixed one, so that everyone gets the same corpus

TABLE: Mapping[str, Builtin] = {
    "python": Builtin(
        description="the source of this interpreter's standard library (about 11 MB; it is on every machine)",
        origin=f"built-in python ({_PYTHON})",
        place=sysconfig.get_path("stdlib"),
        globs=("*.py",),
        # Tests contain odd encodings and odd code; _sysconfigdata describes the machine that built the interpreter.
        without=("site-packages", "dist-packages", "test", "tests", "idlelib", "lib2to3", "__pycache__", "_sysconfigdata*"),
    ),
    "shakespeare": Builtin(
        description="scenes of Shakespeare's plays (1.1 MB, fetched from github.com)",
        origin="built-in shakespeare",
        place="https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
        sha256="86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
    ),
    "linux": Builtin(
        description=f"the C source of the Linux {_LINUX} kernel's core, kernel/ (about 11 MB of a 148 MB archive fetched from kernel.org)",
        origin=f"built-in linux (Linux {_LINUX})",
        place=f"https://cdn.kernel.org/pub/linux/kernel/v6.x/linux-{_LINUX}.tar.xz",
        # In an archive the tree lies in a folder of its own: linux-6.12/kernel/fork.c.
        globs=("kernel/**/*.[ch]", "linux*/kernel/**/*.[ch]"),
        sha256="b1a2562be56e42afb3f8489d4c2a7ac472ac23098f1ef1c1e40da601f54625eb",
        packed=True,
    ),
}

BUILTINS: Mapping[str, str] = {name: builtin.description for name, builtin in TABLE.items()}


def is_builtin(name: str) -> bool:
    """Whether a built-in corpus has this name."""
    return name in TABLE
