"""The tree that is drawn is the tree there is, and every message is a sentence with the facts in it."""

from __future__ import annotations

import inspect
import subprocess
import sys
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

import model.errors
import service.system.errors
from model.errors import CharloomError, InvalidSetting, TrainingDiverged, UnknownSetting, listed, shown
from service.system.errors import InvalidName

Classes = dict[str, type[CharloomError]]


def classes_of(module: ModuleType) -> Classes:
    """The errors that a module defines or derives from."""
    return {name: cls for name, cls in vars(module).items() if inspect.isclass(cls) and issubclass(cls, CharloomError)}


def drawn(module: ModuleType, classes: Classes) -> dict[str, str | None]:
    """Class -> the class above it, as the docstring draws them."""
    tree: dict[str, str | None] = {}
    path: list[tuple[int, str]] = []
    for line in (module.__doc__ or "").splitlines():
        bare = line.lstrip(" │├└─")
        name = bare.split(" ")[0]
        if name not in classes:
            continue
        depth = len(line) - len(bare)
        path = [(d, n) for d, n in path if d < depth]
        tree[name] = path[-1][1] if path else None
        path.append((depth, name))
    return tree


@pytest.mark.parametrize("module", [model.errors, service.system.errors])
def test_the_drawn_tree_is_the_tree(module: ModuleType) -> None:
    classes = classes_of(module)
    parents = {name: next((b.__name__ for b in cls.__bases__ if b.__name__ in classes), None) for name, cls in classes.items()}
    assert drawn(module, classes) == parents


@pytest.mark.parametrize(
    ("error", "message", "param"),
    [
        (InvalidSetting("n", 0, "a whole number from 1 to 9", "a hint"), "n is 0; it must be a whole number from 1 to 9 (a hint)", "n"),
        (UnknownSetting("x", ["b", "a"]), "x is not a known setting; known are: a, b", "x"),
        (InvalidName("run", "latest", reserved=True), "the run name 'latest' is reserved; choose another", "name"),
        (
            TrainingDiverged(1234, "loss", float("nan")),
            (
                "the loss of step 1,234 is nan, not a finite number, and training stopped;"
                " what was stored before is kept: try a lower learning_rate, and a clip_norm of 1 or less"
            ),
            None,
        ),
    ],
)
def test_messages_word_for_word(error: CharloomError, message: str, param: str | None) -> None:
    assert (str(error), error.param) == (message, param)


def test_names_are_listed_as_a_phrase() -> None:
    assert listed(iter("abc")) == "a, b, c"
    assert listed("abcdefg") == "a, b, c, d, e and 2 more"
    assert listed([]) == ""


@given(st.one_of(st.text(), st.integers(), st.lists(st.text()), st.binary()), st.integers(5, 80))
def test_a_shown_value_is_its_repr_cut_to_the_limit(value: object, limit: int) -> None:
    text = shown(value, limit)
    assert len(text) <= limit
    assert text == repr(value) or (text[-1] == "…" and repr(value).startswith(text[:-1]))


def test_a_number_too_long_to_be_written_out_is_shown_all_the_same() -> None:
    assert shown(10**5000) == "a number of thousands of digits"


def test_errors_import_nothing_but_the_standard_library() -> None:
    code = "import sys, model.errors; sys.exit(any(m.split('.')[0] in ('numpy', 'flask') or m.startswith('model.c') for m in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
