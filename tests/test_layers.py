"""Imports go one way: cli -> service -> model -> numpy, and cli, service -> corpora. Parsed, so that no module needs to run."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PRODUCT = ("corpora", "model", "service")
# What would let the mathematics reach a file, the network, a clock, another process or a global random state.
OUTSIDE_WORLD = frozenset(
    "asyncio builtins ctypes datetime fileinput glob http io logging mmap multiprocessing os pathlib random secrets select shutil signal"
    " socket socketserver sqlite3 ssl subprocess tempfile threading time urllib uuid".split()
)
# What runs code that stands in the data. MPI's methods for objects (in small letters) pickle them.
PICKLING = frozenset("cloudpickle dill joblib jsonpickle marshal pickle pickletools shelve torch yaml _pickle".split())
PICKLING_CALLS = frozenset("bcast ibcast scatter allgather alltoall allreduce sendrecv".split())
REACHING_OUT = frozenset({"open", "print", "input", "exec", "eval"})
WITHOUT_NUMPY = ("model/__init__.py", "model/config.py", "model/errors.py")
THIRD_PARTY = {
    "service": {
        "flask",
        "gunicorn",
        "markupsafe",
        "mpi4py",
        "msgspec",
        "numpy",
        "prometheus_client",
        "pydivsufsort",
        "sqlite_utils",
        "threadpoolctl",
        "werkzeug",
    },
    "model": {"numpy"},
}
# What the command line needs before it knows which command is meant: the only part of the service that knows of click.
AT_ONCE = ("service.config", "service.terminal.commands", "service.terminal.options", "service.units")
WITH_CLICK = {"service/terminal/commands.py", "service/terminal/options.py"}
LAZY_IN_CLI = frozenset({"flask", "gunicorn", "numpy", "safetensors", "service", "sqlite_utils", "werkzeug"})


def imports(tree: ast.AST, path: str) -> Iterator[str]:
    """The dotted names that a module imports, wherever it does; ``from a import b`` gives ``a.b``."""
    package = path.removesuffix(".py").split("/")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) + 1 - node.level] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant) and isinstance(node.args[0].value, str):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in {"__import__", "import_module"}:
                yield node.args[0].value


def at_import(tree: ast.Module) -> Iterator[ast.stmt]:
    """The statements that run when a module is imported: none inside a function, none that only a type checker reads."""
    waiting: list[ast.stmt] = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield node
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting += node.orelse
            continue
        waiting += [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt)]
        for handler in getattr(node, "handlers", []):
            waiting += handler.body


def allowed(path: str, name: str) -> bool:
    """Whether the product's module `path` may import `name`."""
    top, layer = name.split(".")[0], path.split("/")[0]
    if name == "model.errors" or name.startswith("model.errors."):
        return True
    if top in sys.stdlib_module_names:
        return not (layer == "model" and top in OUTSIDE_WORLD)
    if name.startswith("service.terminal"):
        return path.startswith("service/terminal/")
    if top in PRODUCT:
        return top == layer or layer == "service"
    if path == "model/checkpoint.py" and (name == "safetensors.SafetensorError" or name.startswith("safetensors.numpy")):
        return True
    if top == "click":
        return path in WITH_CLICK
    return top in THIRD_PARTY.get(layer, ()) and path not in WITHOUT_NUMPY


def pickles(call: ast.Call) -> bool:
    """Whether a call may pickle or unpickle objects."""
    if isinstance(call.func, ast.Attribute) and call.func.attr in PICKLING_CALLS:
        return True
    return any(keyword.arg == "allow_pickle" and ast.unparse(keyword.value) != "False" for keyword in call.keywords)


def needed_at_once(name: str) -> bool:
    """Whether a dotted name is one of the modules that the command line begins with, or stands in one."""
    return any(name == module or name.startswith(f"{module}.") for module in AT_ONCE)


def faults(path: str, source: str) -> list[str]:
    """What a module does that its place forbids; `path` is relative to the project and says which place that is."""
    tree = ast.parse(source)
    names = list(imports(tree, path))
    layer = path.split("/")[0]
    found = [f"{path} imports {name}: its SQLite is another" for name in names if name.split(".")[0] == "sqlite3"]
    if layer in PRODUCT:
        found += [f"{path} imports {name}" for name in names if not allowed(path, name) and name.split(".")[0] != "sqlite3"]
    if layer in (*PRODUCT, "cli.py"):
        found += [f"{path} imports {name}, which can run what it reads" for name in names if name.split(".")[0] in PICKLING]
        found += [f"{path} pickles with {ast.unparse(call)}" for call in ast.walk(tree) if isinstance(call, ast.Call) and pickles(call)]
    if layer == "model":
        calls = (node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name))
        found += [f"{path} calls {name}()" for name in calls if name in REACHING_OUT]
    if path == "cli.py" or needed_at_once(path.removesuffix(".py").replace("/", ".")):
        first = {name.split(".")[0] for statement in at_import(tree) for name in imports(statement, path) if not needed_at_once(name)}
        found += [f"{path} imports {name} before it is needed" for name in sorted(first & LAZY_IN_CLI)]
    return found


def sources() -> list[str]:
    """Every module of the project."""
    folders = (*PRODUCT, "bench", "tools", "tests")
    return ["cli.py", *sorted(str(path.relative_to(ROOT)) for folder in folders for path in (ROOT / folder).rglob("*.py"))]


@pytest.mark.parametrize("path", sources())
def test_imports_go_one_way(path: str) -> None:
    assert faults(path, (ROOT / path).read_text(encoding="utf-8")) == []


def test_every_part_is_seen() -> None:
    assert {path.split("/")[0] for path in sources()} >= {"cli.py", "corpora", "model", "service"}


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("corpora/reading.py", "import numpy"),
        ("corpora/reading.py", "import model"),
        ("corpora/reading.py", "from model import config"),
        ("corpora/reading.py", "from service.store import connection"),
        ("corpora/reading.py", "def read():\n    import requests"),
        ("model/cells/lstm.py", "import os.path"),
        ("model/cells/lstm.py", "from pathlib import Path"),
        ("model/cells/lstm.py", "import time as clock"),
        ("model/cells/lstm.py", "from random import random"),
        ("model/cells/lstm.py", "import threading"),
        ("model/cells/lstm.py", "from corpora import reading"),
        ("model/cells/lstm.py", "from ...service import app"),
        ("model/cells/lstm.py", "import scipy"),
        ("model/cells/lstm.py", "import safetensors.numpy"),
        ("model/cells/lstm.py", "open('weights')"),
        ("model/cells/lstm.py", "def step():\n    print('loss')"),
        ("model/checkpoint.py", "import safetensors.torch"),
        ("model/checkpoint.py", "from safetensors import safe_open"),
        ("model/config.py", "import numpy as np"),
        ("model/errors.py", "from numpy import ndarray"),
        ("service/trainer.py", "import cli"),
        ("service/trainer.py", "from cli import main"),
        ("service/trainer.py", "import click"),
        ("service/recipe.py", "from service.terminal.text import wrapped"),
        ("service/terminal/display.py", "import click"),
        ("service/terminal/options.py", "import numpy"),
        ("service/terminal/options.py", "from service.terminal import display"),
        ("service/trainer.py", "import importlib\nimportlib.import_module('torch')"),
        ("service/exchange.py", "import pickle"),
        ("service/exchange.py", "from pickle import loads"),
        ("model/checkpoint.py", "def read():\n    import marshal"),
        ("corpora/reading.py", "import shelve"),
        ("cli.py", "import pickle"),
        ("service/cache.py", "np.load(path, allow_pickle=True)"),
        ("service/parallel/mpi.py", "world.comm.bcast(plan)"),
        ("service/store/connection.py", "import sqlite3"),
        ("service/store/connection.py", "from sqlite3 import dbapi2"),
        ("tools/tree.py", "__import__('sqlite3')"),
        ("tests/service/test_store.py", "def test():\n    import sqlite3"),
        ("cli.py", "import numpy"),
        ("cli.py", "try:\n    from service import trainer\nexcept ImportError:\n    pass"),
        ("cli.py", "if True:\n    import flask"),
        ("cli.py", "class Group:\n    import service.app"),
        ("cli.py", "try:\n    pass\nexcept ImportError:\n    import flask"),
    ],
)
def test_what_is_forbidden_is_found(path: str, source: str) -> None:
    assert faults(path, source)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("corpora/reading.py", "import io, os, gzip\nfrom model.errors import EmptyText\nfrom corpora.decoding import decode"),
        ("model/cells/lstm.py", "import numpy as np\nfrom model.functions import sigmoid\nfrom . import rnn\nfrom .. import config"),
        ("model/checkpoint.py", "from safetensors import SafetensorError\nfrom safetensors.numpy import load\nimport json, hashlib"),
        ("model/sampling.py", "stream.open()\nlog.print()"),
        ("service/app.py", "import flask, os, threading\nfrom corpora import reading\nfrom model import config"),
        ("service/store/connection.py", "from sqlite_utils.utils import sqlite3"),
        ("service/cache.py", "np.load(path, mmap_mode='r', allow_pickle=False)"),
        ("cli.py", "import click\nfrom model.config import ModelConfig\ndef serve():\n    import numpy\n    from service import app"),
        ("cli.py", "from service.terminal.options import database"),
        ("service/terminal/options.py", "import click\nfrom service.units import parse_size"),
        ("cli.py", "if TYPE_CHECKING:\n    from service.store import Store"),
    ],
)
def test_what_is_allowed_is_not(path: str, source: str) -> None:
    assert faults(path, source) == []


def test_help_needs_neither_numpy_nor_flask() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("_CHARLOOM")}
    answer = subprocess.run(
        [sys.executable, "-X", "importtime", "cli.py", "--help"], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    names = re.findall(r"^import time:.*\| +(\S+)$", answer.stderr, re.MULTILINE)
    loaded = {name.split(".")[0] for name in names if name not in {"service", "service.terminal", *AT_ONCE}}
    assert "click" in loaded
    assert not loaded & LAZY_IN_CLI
    assert "Usage:" in answer.stdout
