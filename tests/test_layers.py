"""Imports go one way and never in a circle; a class name and a module name mean one thing. Parsed, so that no module needs to run."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PRODUCT = ("corpora", "model", "service")
# Imports only to the right; the rooms between braces do not import each other.
DIRECTION = "cli -> terminal -> web -> inspection -> training -> {generation, novelty} -> store -> system -> model"
BESIDE = "novelty -> corpora"  # what novelty and the rooms to the left of it may import, too
# Names that two modules or packages share, and why.
SHARED = {
    "errors": "each package draws its own tree of exceptions (model, service.system); service.web turns them into answers",
    "corpora": "the package gets text, the table of the store keeps it",
    "inspection": "model has its mathematics, service its results",
    "training": "model has the loop, service the run around it",
    "sampling": "model.kernels does in C what model defines in numpy",
    "optimizer": "model.kernels does in C what model defines in numpy",
}
# What would let the mathematics reach a file, the network, a clock, another process or a global random state.
OUTSIDE_WORLD = frozenset(
    "asyncio builtins ctypes datetime fileinput glob http io logging mmap multiprocessing os pathlib random secrets select shutil signal"
    " socket socketserver sqlite3 ssl subprocess tempfile threading time urllib uuid".split()
)
# The modules that find, load, call and build the kernels in C.
KERNELS = (
    "model/kernels/library.py",
    "model/kernels/network.py",
    "model/kernels/optimizer.py",
    "model/kernels/sampling.py",
    "model/kernels/build.py",
    "model/kernels/record.py",
)
# Runs as a command when Charloom is installed, before its dependencies are, and prints.
BUILDING = "model/kernels/build.py"
# What runs code that stands in the data. MPI's methods for objects (in small letters) pickle them.
PICKLING = frozenset("cloudpickle dill joblib jsonpickle marshal pickle pickletools shelve torch yaml _pickle".split())
PICKLING_CALLS = frozenset("bcast ibcast scatter allgather alltoall allreduce sendrecv".split())
REACHING_OUT = frozenset({"open", "print", "input", "exec", "eval"})
WITHOUT_NUMPY = (
    "model/__init__.py",
    "model/config.py",
    "model/errors.py",
    "model/kernels/__init__.py",
    "model/kernels/record.py",
    BUILDING,
)
THIRD_PARTY = {
    "service": {
        "flask",
        "h11",
        "uvicorn",
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
    "corpora": {"chardet", "openpyxl", "pypdf", "striprtf"},
}
# The only part of the service that knows of click.
WITH_CLICK = {
    f"service/terminal/{name}.py"
    for name in (
        "click_support",
        "console",
        *(f"{part}_commands" for part in ("corpus", "database", "model", "service", "text", "training")),
    )
}
# What the command line needs before it knows which command is meant.
AT_ONCE = (
    "service.web.service_config",
    "service.system.formatting",
    "service.system.errors",
    *(path.removesuffix(".py").replace("/", ".") for path in sorted(WITH_CLICK)),
)
LAZY_IN_CLI = frozenset({"flask", "uvicorn", "numpy", "safetensors", "service", "sqlite_utils", "werkzeug"})


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
        return path in KERNELS or not (layer == "model" and top in OUTSIDE_WORLD)
    if top in PRODUCT:
        return to_the_right(room_of(path), room_of(name.replace(".", "/")))
    if path == "model/checkpoint.py" and (name == "safetensors.SafetensorError" or name.startswith("safetensors.numpy")):
        return True
    if top == "click":
        return path in WITH_CLICK
    return top in THIRD_PARTY.get(layer, ()) and path not in WITHOUT_NUMPY


def room_of(path: str) -> str:
    """The room of a module: ``cli``, ``corpora``, ``model``, or a folder of service/; "" for the package `service` itself."""
    parts = path.removesuffix(".py").split("/")
    if parts[0] != "service":
        return parts[0]
    return parts[1] if len(parts) > 1 and parts[1] != "__init__" else ""


LEVELS = {room: level for level, rooms in enumerate(DIRECTION.split(" -> ")) for room in re.findall(r"\w+", rooms)}


def to_the_right(one: str, other: str) -> bool:
    """Whether a module of the room `one` may import from the room `other`."""
    if one == other:
        return True
    if other == "corpora":
        return one in LEVELS and (one == BESIDE.split(" -> ")[0] or LEVELS[one] < LEVELS[BESIDE.split(" -> ")[0]])
    return one in LEVELS and other in LEVELS and LEVELS[one] < LEVELS[other]


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
    if layer == "model" and path != BUILDING:
        calls = (node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name))
        found += [f"{path} calls {name}()" for name in calls if name in REACHING_OUT]
    if path == "cli.py" or needed_at_once(path.removesuffix(".py").replace("/", ".")):
        first = {name.split(".")[0] for statement in at_import(tree) for name in imports(statement, path) if not needed_at_once(name)}
        found += [f"{path} imports {name} before it is needed" for name in sorted(first & LAZY_IN_CLI)]
    return found


def module_name(path: str) -> str:
    """``service.store`` for service/store/__init__.py."""
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def graph(modules: dict[str, str]) -> dict[str, set[str]]:
    """From each module (its path and its source) to the modules that it imports, inside of functions and for a type checker, too."""
    names = {module_name(path) for path in modules}
    found: dict[str, set[str]] = {}
    for path, source in modules.items():
        edges = set()
        for name in imports(ast.parse(source), path):
            edges.add(name if name in names else name.rpartition(".")[0])
        found[module_name(path)] = (edges & names) - {module_name(path)}
    return found


def circle(edges: dict[str, set[str]]) -> list[str]:
    """Modules that import each other in a circle, the first again at the end; none if there is no circle."""
    done: set[str] = set()

    def visit(name: str, way: list[str]) -> list[str]:
        if name in way:
            return [*way[way.index(name) :], name]
        if name not in done:
            for each in sorted(edges[name]):
                if found := visit(each, [*way, name]):
                    return found
            done.add(name)
        return []

    return next((found for name in sorted(edges) if (found := visit(name, []))), [])


def product() -> dict[str, str]:
    """Path and source of every module of the product."""
    return {path: (ROOT / path).read_text(encoding="utf-8") for path in sources() if path.split("/")[0] in (*PRODUCT, "cli.py")}


def sources() -> list[str]:
    """Every module of the project."""
    folders = (*PRODUCT, "bench", "tools", "tests")
    return ["cli.py", *sorted(str(path.relative_to(ROOT)) for folder in folders for path in (ROOT / folder).rglob("*.py"))]


@pytest.mark.parametrize("path", sources())
def test_imports_go_one_way(path: str) -> None:
    assert faults(path, (ROOT / path).read_text(encoding="utf-8")) == []


def test_no_import_circle() -> None:
    assert circle(graph(product())) == []


def test_only_an_installation_builds() -> None:
    assert [name for name, edges in graph(product()).items() if module_name(BUILDING) in edges] == []


def test_a_circle_is_found() -> None:
    modules = {"model/a.py": "from model import b", "model/b.py": "def f():\n    from model.c import x", "model/c.py": "import model.a"}
    assert circle(graph(modules)) == ["model.a", "model.b", "model.c", "model.a"]
    assert circle(graph(modules | {"model/c.py": ""})) == []


def repeated(names: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Names that stand in several places, with the places, from pairs of both."""
    places: dict[str, list[str]] = {}
    for name, place in names:
        places.setdefault(name, []).append(place)
    return {name: found for name, found in places.items() if len(found) > 1}


def test_a_class_name_means_one_thing() -> None:
    classes = (
        (node.name, path) for path, source in product().items() for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ClassDef)
    )
    assert repeated(classes) == {}


def test_a_module_name_means_one_thing() -> None:
    """Packages count as modules, and so do the rooms of service/."""
    names = ((module_name(path).rpartition(".")[2], path) for path in product())
    assert repeated(names).keys() == SHARED.keys()


def bindings(source: str) -> Iterator[tuple[str, str]]:
    """The names that a module binds in its own body, each with its line; not those that it imports."""
    for node in ast.parse(source).body:
        targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        names = [name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)]
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.append(node.name)
        yield from ((name, str(node.lineno)) for name in names)


def test_no_module_binds_a_name_twice() -> None:
    """The second constant of the same name would silently win over the first."""
    assert {path: found for path, source in product().items() if (found := repeated(bindings(source)))} == {}


def test_a_name_that_is_bound_twice_is_found() -> None:
    assert repeated(bindings("LOOK = 0.5\ndef f(): LOOK = 1\nLOOK: float = 0.1\nclass f: pass")) == {"LOOK": ["1", "3"], "f": ["2", "4"]}


def test_the_service_is_small_enough_to_be_seen_at_once() -> None:
    listed = [path.name for path in (ROOT / "service").iterdir() if path.name != "__pycache__"]
    assert len(listed) <= 10
    assert len([path for path in product() if path.startswith("service/")]) < 110


def test_every_room_stands_in_the_direction() -> None:
    rooms = {room_of(path) for path in product()} - {"", "corpora"}
    assert rooms == LEVELS.keys()


def test_every_part_is_seen() -> None:
    assert {path.split("/")[0] for path in sources()} >= {"cli.py", "corpora", "model", "service"}


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("corpora/reading.py", "import numpy"),
        ("corpora/reading.py", "import model"),
        ("corpora/reading.py", "from model import config"),
        ("corpora/reading.py", "from service.store import database"),
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
        ("service/training/trainer.py", "import cli"),
        ("service/training/trainer.py", "from cli import main"),
        ("service/training/trainer.py", "import click"),
        ("service/training/hyperparameters.py", "from service.terminal.text import wrapped"),
        ("service/training/trainer.py", "from service.web.state import Service"),
        ("service/generation/engine.py", "from service.novelty import Index"),
        ("service/novelty/report.py", "from service import generation"),
        ("service/store/runs.py", "def f():\n    from service.training import trainer"),
        ("service/store/runs.py", "from corpora.naming import suggested_name"),
        ("service/system/disk.py", "if TYPE_CHECKING:\n    from service.store import Store"),
        ("model/training.py", "from service.system import hardware"),
        ("service/terminal/training_display.py", "import click"),
        ("service/terminal/click_support.py", "import numpy"),
        ("service/terminal/click_support.py", "from service.terminal import training_display"),
        ("service/training/trainer.py", "import importlib\nimportlib.import_module('torch')"),
        ("service/generation/model_cache.py", "import pickle"),
        ("service/generation/model_cache.py", "from pickle import loads"),
        ("model/checkpoint.py", "def read():\n    import marshal"),
        ("corpora/reading.py", "import shelve"),
        ("cli.py", "import pickle"),
        ("service/system/array_cache.py", "np.load(path, allow_pickle=True)"),
        ("service/training/mpi.py", "world.comm.bcast(plan)"),
        ("service/store/database.py", "import sqlite3"),
        ("service/store/database.py", "from sqlite3 import dbapi2"),
        ("tools/tree.py", "__import__('sqlite3')"),
        ("tests/service/test_store.py", "def test():\n    import sqlite3"),
        ("cli.py", "import numpy"),
        ("cli.py", "try:\n    from service.training import trainer\nexcept ImportError:\n    pass"),
        ("cli.py", "if True:\n    import flask"),
        ("cli.py", "class Group:\n    import service.web.app"),
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
        ("service/web/app.py", "import flask, os, threading\nfrom corpora import reading\nfrom model import config"),
        ("service/store/database.py", "from sqlite_utils.utils import sqlite3"),
        ("service/system/array_cache.py", "np.load(path, mmap_mode='r', allow_pickle=False)"),
        ("cli.py", "import click\nfrom model.config import ModelConfig\ndef serve():\n    import numpy\n    from service.web import app"),
        ("cli.py", "from service.terminal.click_support import database"),
        ("service/terminal/click_support.py", "import click\nfrom service.system.formatting import parse_size"),
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
    parents = {".".join(name.split(".")[: n + 1]) for name in AT_ONCE for n in range(3)}
    loaded = {name.split(".")[0] for name in names if name not in parents}
    assert "click" in loaded
    assert not loaded & LAZY_IN_CLI
    assert "Usage:" in answer.stdout
