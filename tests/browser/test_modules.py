"""The JavaScript modules: what imports what, held without a browser. DESIGN section 1 has the same rules for Python."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from service.web.pages import imports

STATIC = Path(__file__).resolve().parents[2] / "service" / "web" / "static"
SOURCES = {str(path.relative_to(STATIC)): path.read_text() for path in sorted(STATIC.rglob("*.js"))}
ROOMS = ("page", "views", "components", "lib", "i18n")  # a module imports from its own room and from those to the right
EXPORT = re.compile(r"^export (?:async )?(?:const|let|class|function\*?) (\w+)", re.MULTILINE)
IMPORT = re.compile(r'^import \{ ([^}]+) \} from "([^"]+)";', re.MULTILINE)
CODE = re.compile(r"^\s*//.*|\s//\s.*", re.MULTILINE)


def room(module: str) -> str:
    return module.split("/")[0] if "/" in module else "page"


def graph(sources: Mapping[str, str]) -> dict[str, list[str]]:
    """What each module imports, at once (`import`) or later (`import()`)."""
    return {module: imports(module, source, later=True) for module, source in sources.items()}


def against_the_direction(sources: Mapping[str, str]) -> Iterator[str]:
    """Imports of a room to the left, of another view's folder, or of anything but its own folder in i18n."""
    for module, imported in graph(sources).items():
        for other in imported:
            here, there = room(module), room(other)
            private = here == there == "views" and module.split("/")[1] != other.split("/")[1]
            texts = here == "lib" and there == "i18n" and other != "i18n/i18n.js"
            if ROOMS.index(there) < ROOMS.index(here) or private or texts:
                yield f"{module} imports {other}"


def circle(sources: Mapping[str, str]) -> list[str]:
    """A circle of imports, its first module once more at the end; empty if there is none."""
    edges, done = graph(sources), set()

    def walk(module: str, path: list[str]) -> list[str]:
        if module in path:
            return [*path[path.index(module) :], module]
        if module in done:
            return []
        found = next((each for other in edges[module] if (each := walk(other, [*path, module]))), [])
        done.add(module)
        return found

    return next((found for module in edges if (found := walk(module, []))), [])


def test_imports_follow_the_direction() -> None:
    assert list(against_the_direction(SOURCES)) == []


def test_there_is_no_circle() -> None:
    assert circle(SOURCES) == []


@pytest.mark.parametrize(
    ("module", "other", "check"),
    [
        ("lib/dom.js", "../components/fields.js", against_the_direction),
        ("components/plot.js", "../views/run/learning-curve.js", against_the_direction),
        ("views/teach/run-list.js", "../run/live-run.js", against_the_direction),
        ("i18n/i18n.js", "../lib/format.js", against_the_direction),
        ("lib/address.js", "../page.js", against_the_direction),
        ("lib/address.js", "./router.js", circle),
        ("views/write/logprobs.js", "./write.js", circle),
    ],
)
@pytest.mark.parametrize("statement", ['import { x } from "{}";', 'import "{}";', 'const x = await import("{}");'])
def test_an_import_that_is_turned_round_is_found(module: str, other: str, check: Callable[..., object], statement: str) -> None:
    changed = SOURCES | {module: SOURCES[module] + statement.replace("{}", other)}
    assert list(check(changed))  # type: ignore[call-overload]


def test_names_are_exported_where_they_are_imported_from_and_used() -> None:
    exported = {module: set(EXPORT.findall(source)) for module, source in SOURCES.items()}
    used: dict[str, set[str]] = {module: set() for module in SOURCES}
    for module, source in SOURCES.items():
        code = CODE.sub("", source)
        for names, path in IMPORT.findall(source):
            other = str((STATIC / module).parent.joinpath(path).resolve().relative_to(STATIC))
            for name in names.split(", "):
                assert name in exported[other], f"{module} imports {name} from {other}"
                assert len(re.findall(rf"(?:(?<![\w.])|(?<=\.\.\.)){name}\b", code)) > 1, f"{module}: {name} is unused"
                used[other].add(name)
    unused = {f"{module}: {name}" for module, names in exported.items() for name in names - used[module] if name != "mount"}
    assert unused == {"components/plot-canvas.js: decimated"}  # for its test


def test_the_top_has_at_most_ten_entries() -> None:
    assert len(list(STATIC.iterdir())) <= 10
