"""The documentation is true: its generated blocks equal the code, its commands and its Python run, its links lead somewhere.

Every command, setting and route is documented, and every function that the documentation names exists.
"""

from __future__ import annotations

import ast
import doctest
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import click
import pytest
import yaml

from cli import main
from model.settings import settings_of
from service.store import api_keys
from service.web.app import create_app
from tools import documentation, readme_runs
from tools.help_pages import WIDTH, command_table, contexts, help_pages
from tools.settings_tables import CONFIGURATIONS
from tools.tree import LONGEST, packages, phrase, rows

ROOT = documentation.ROOT
README = ROOT / "README.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").glob("*.md"))]
MOST_LINES = 250  # of the README
TOPS = ("bench", "cli", "corpora", "model", "service", "tests", "tools")


def pages() -> str:
    """All of the documentation in one text."""
    return "\n".join(file.read_text(encoding="utf-8") for file in PAGES)


def targets(text: str) -> list[str]:
    """Where the links and pictures of a page lead, as written; code blocks have none."""
    return re.findall(r"\]\(([^()\s]+)\)", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL))


def anchors(text: str) -> set[str]:
    """The anchors that a Markdown page has, as GitHub makes them: one for each heading."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken(file: Path) -> list[str]:
    """The links of a page that lead to no file, or to no heading of it."""
    found = []
    for target in targets(file.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        goal = (file.parent / path).resolve() if path else file
        if not goal.exists() or (anchor and anchor not in anchors(goal.read_text(encoding="utf-8"))):
            found.append(target)
    return found


def dotted_names(text: str) -> list[str]:
    """The dotted names of the project that stand in backticks, such as `model.sampling.generate`; calls without their arguments."""
    return re.findall(rf"`((?:{'|'.join(TOPS)})(?:\.\w+)+)(?:\([^`]*\))?`", text)


def exists(name: str, root: Path = ROOT) -> bool:
    """Whether a dotted name is a package, a module, or something that a module or one of its classes defines or imports."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        path = root.joinpath(*parts[:length])
        file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        if file.is_file():
            return defined(ast.parse(file.read_text(encoding="utf-8")).body, parts[length:])
    return False


def defined(body: list[ast.stmt], names: list[str]) -> bool:
    """Whether the statements define the first name, and its body the next one, to the last."""
    if not names:
        return True
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) and node.name == names[0]:
            return len(names) == 1 or (isinstance(node, ast.ClassDef) and defined(node.body, names[1:]))
        if len(names) == 1 and names[0] in bound(node):
            return True
    return False


def bound(node: ast.stmt) -> Iterator[str]:
    """The names that an assignment or an import gives values to."""
    if isinstance(node, (ast.Assign, ast.AnnAssign)):
        of = node.targets if isinstance(node, ast.Assign) else [node.target]
        yield from (found.id for target in of for found in ast.walk(target) if isinstance(found, ast.Name))
    elif isinstance(node, (ast.Import, ast.ImportFrom)):
        yield from (alias.asname or alias.name for alias in node.names)


def unnamed(names: Iterable[str], text: str) -> list[str]:
    """Those that `text` does not hold as a whole word."""
    return [name for name in names if not re.search(rf"(?<![\w/-]){re.escape(name)}(?![\w/-])", text)]


def in_words(rule: str) -> str:
    """A route as the documentation writes it: ``/runs/<string:name>`` is ``/runs/{name}``."""
    return re.sub(r"<(?:[^<>:]+:)?(\w+)>", r"{\1}", rule)


def python_blocks(text: str) -> list[tuple[int, str]]:
    """(number of the line before it, source) of each fenced Python block that shows a session."""
    found = re.finditer(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [(text[: block.start()].count("\n") + 1, block[1]) for block in found if ">>>" in block[1]]


def figures(text: str) -> set[str]:
    """The numbers of the rows of a page's tables that begin with a word of the field and not with a head or a line."""
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    return {number for row in rows for cell in row.split("|")[1:-2] for number in re.findall(r"\d[\d,.]*\d", cell)}


def failures(text: str) -> tuple[int, int]:
    """(failed, tried) examples of a page; later blocks see the names of earlier ones."""
    runner, names = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE), {"__name__": "__main__"}
    for line, source in python_blocks(text):
        test = doctest.DocTestParser().get_doctest(source, names, "README.md", "README.md", line)
        runner.run(test, clear_globs=False)
        names = test.globs
    return runner.failures, runner.tries


# ── the truth ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("path", documentation.BLOCKS)
def test_generated_blocks_equal_the_truth(path: str) -> None:
    text = (ROOT / path).read_text(encoding="utf-8")
    assert text == documentation.renewed(path, text), "renew it with: make format"


@pytest.mark.parametrize("path", [str(file.relative_to(ROOT)) for file in PAGES if python_blocks(file.read_text(encoding="utf-8"))])
def test_the_python_of_a_page_runs(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CHARLOOM_DB", raising=False)
    failed, tried = failures((ROOT / path).read_text(encoding="utf-8"))
    assert tried > 0
    assert failed == 0


def test_the_readme_has_an_example_in_python() -> None:
    assert python_blocks(README.read_text(encoding="utf-8"))


@pytest.mark.skipif(not shutil.which("bash") or not shutil.which("curl"), reason="the commands of the README need bash and curl")
def test_the_commands_of_the_readme_print_what_stands_there() -> None:
    page = README.read_text(encoding="utf-8")
    assert len(readme_runs.blocks(page)) >= 4  # train, sample, serve, container
    outputs, arithmetic = readme_runs.perform(page)
    assert readme_runs.differences(page, outputs, arithmetic) == [], "renew it with: python -m tools.readme_runs write"


def test_the_readme_is_short() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= MOST_LINES


def test_the_numbers_of_the_readme_are_those_of_the_measurements() -> None:
    measured = README.read_text(encoding="utf-8").split("\n## Measured\n")[1].split("\n## ")[0]
    full = (ROOT / "docs/measurements.md").read_text(encoding="utf-8")
    assert figures(measured)
    assert [number for number in figures(measured) if not re.search(rf"(?<![\d.,]){re.escape(number)}(?![\d,])", full)] == []


@pytest.mark.parametrize("path", [str(file.relative_to(ROOT)) for file in PAGES])
def test_links_lead_somewhere(path: str) -> None:
    assert broken(ROOT / path) == []


def test_the_index_names_every_page() -> None:
    named = targets((ROOT / "docs/README.md").read_text(encoding="utf-8"))
    assert [file.name for file in (ROOT / "docs").glob("*.md") if file.name not in {"README.md", *named}] == []


def test_the_architecture_names_functions() -> None:
    assert len(dotted_names((ROOT / "docs/architecture.md").read_text(encoding="utf-8"))) > 50


@pytest.mark.parametrize("path", [str(file.relative_to(ROOT)) for file in PAGES])
def test_names_in_backticks_exist(path: str) -> None:
    assert [name for name in dotted_names((ROOT / path).read_text(encoding="utf-8")) if not exists(name) and not is_file(name)] == []


def is_file(name: str) -> bool:
    """Whether it is a file's name, such as `cli.py`."""
    return (ROOT / name).is_file()


def test_every_command_is_documented() -> None:
    assert unnamed((context.command_path for context in contexts(main)), pages()) == []


def test_every_setting_is_documented() -> None:
    names = [f"`{field.name}`" for configuration in CONFIGURATIONS for field, _ in settings_of(configuration)]
    assert unnamed(names, pages()) == []


def test_every_route_is_documented(tmp_path: Path) -> None:
    routes = [
        f"{method} {in_words(rule.rule)}"
        for rule in create_app(tmp_path / "charloom.db").url_map.iter_rules()
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"})
        if rule.endpoint != "static"
    ]
    assert routes
    assert unnamed(routes, pages()) == []


def test_every_option_says_what_it_does() -> None:
    options = [
        (context.command_path, option)
        for context in contexts(main)
        for option in context.command.params
        if isinstance(option, click.Option) and not option.hidden
    ]
    assert [(path, option.name) for path, option in options if not option.help] == []


# ── the machinery ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("names", "text", "missing"),
    [
        (["POST /generate"], "`POST /generate` answers", []),
        (["POST /generate"], "`GET /generate` answers", ["POST /generate"]),
        (["GET /v1/models"], "`GET /v1/models/{name}`", ["GET /v1/models"]),
        (["charloom run"], "`charloom runs`, `charloom run-all`", ["charloom run"]),
        (["`seed`"], "the `seed` and `seeds`", []),
        (["`seed`"], "the seed and `seeds`", ["`seed`"]),
    ],
)
def test_what_is_missing_from_the_pages_is_found(names: list[str], text: str, missing: list[str]) -> None:
    assert unnamed(names, text) == missing


@pytest.mark.parametrize(
    ("rule", "expected"),
    [("/health", "/health"), ("/runs/<name>/<int:step>", "/runs/{name}/{step}"), ("/f/<any(a, b):kind>", "/f/{kind}")],
)
def test_routes_are_written_with_braces(rule: str, expected: str) -> None:
    assert in_words(rule) == expected


@pytest.mark.parametrize(
    ("name", "there"),
    [
        ("model.cells.lstm", True),
        ("model.cells.lstm.forward", True),
        ("model.cells.lstm.backwards", False),
        ("model.cells.gone", False),
        ("service.store.Store", True),
        ("service.store.Store.db", True),
        ("service.store.Store.nothing", False),
        ("service.store.Run", True),  # imported there
        ("tools.documentation.ROOT", True),
        ("tools.documentation.ROOT.parent", False),
    ],
)
def test_names_that_do_not_exist_are_found(name: str, there: bool) -> None:
    assert exists(name) is there


def test_dotted_names_are_those_of_the_project() -> None:
    text = "`model.sampling.generate(model)`, `cli.main`, `numpy.dot`, `modeling.x`, model.sampling, `model`, `service.store.Store`"
    assert dotted_names(text) == ["model.sampling.generate", "cli.main", "service.store.Store"]


def test_broken_links_are_found(tmp_path: Path) -> None:
    (tmp_path / "there.md").write_text("# A page: `code`\n", encoding="utf-8")
    page = tmp_path / "page.md"
    links = ("there.md", "gone.md", "there.md#a-page-code", "there.md#no-heading", "#here", "#nowhere", "https://example.org/gone")
    page.write_text("# Here\n" + " ".join(f"[x]({link})" for link in links) + "\n```\n[x](in-code.md)\n```\n", encoding="utf-8")
    assert broken(page) == ["gone.md", "there.md#no-heading", "#nowhere"]


def test_figures_are_those_of_a_tables_rows() -> None:
    text = "| what | n | command |\n|---|---|---|\n| 3 minutes of 1x256 | 1.454 | `run 99.9` |\n| more | 12,345 to 13 | |\n17.5 outside\n"
    assert figures(text) == {"256", "1.454", "12,345", "13"}


def test_python_blocks_are_really_run() -> None:
    page = "```python\n>>> x = 0.5\n```\n\n```python\n>>> x + 0.25\n0.7...\n>>> x\n0.6\n```\n\n```python\nraise SystemExit\n```\n"
    assert failures(page) == (1, 3)


def test_blocks_are_replaced_and_nothing_else() -> None:
    text = "before\n<!-- tree -->\nold\n\nold\n<!-- /tree -->\nafter <!-- tree -->\n"
    assert documentation.with_block(text, "tree", "new") == "before\n<!-- tree -->\nnew\n<!-- /tree -->\nafter <!-- tree -->\n"
    assert documentation.with_block("<!-- tree -->\n<!-- /tree -->", "tree", "new") == "<!-- tree -->\nnew\n<!-- /tree -->"


@pytest.mark.parametrize("text", ["", "<!-- tree -->\nno end", "<!-- tree -->\n<!-- /tree -->\n" * 2])
def test_a_block_without_its_place_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="one must stand between"):
        documentation.with_block(text, "tree", "new")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ('"""What it is. More."""', "What it is"),
        ('"""What\nit is.\n\nMore."""', "What it is"),
        ('"""What it is, e.g. this: short."""', "What it is, e.g. this: short"),
        (f'"""What it is: {"long " * 30}."""', "What it is"),
    ],
)
def test_the_phrase_of_a_module_is_its_first_sentence(source: str, expected: str) -> None:
    assert phrase(source) == expected


def test_a_module_without_a_docstring_is_refused() -> None:
    with pytest.raises(ValueError, match="no docstring"):
        phrase("import os")


def test_the_phrases_of_the_tree_fit_a_line() -> None:
    assert [row for row in rows(ROOT) if len(row[1]) > LONGEST] == []


def test_the_house_has_the_packages_alone() -> None:
    names = [name for name, _ in packages(ROOT)]
    rooms = {f"service/{path.parent.name}/" for path in ROOT.glob("service/*/__init__.py")}
    assert len(names) == len(set(names))
    assert set(names) == rooms | {"cli.py", "model/", "corpora/", "tests/", "bench/", "tools/", "docs/"}


def test_help_pages_do_not_depend_on_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    @click.group(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
    def charloom() -> None:
        """Weaves text."""

    @charloom.command()
    @click.argument("corpus")
    @click.option("--length", default=500, help="Symbols to write at most, " + "which is said at length " * 5)
    def train(corpus: str, length: int) -> None:
        """Train on CORPUS."""

    @charloom.command(hidden=True)
    def worker() -> None:
        """Not for people."""

    found = []
    for columns in ("40", "200"):
        monkeypatch.setenv("COLUMNS", columns)
        found.append(help_pages(charloom))
    assert found[0] == found[1]
    assert max(map(len, found[0].splitlines())) <= WIDTH
    assert "Usage: charloom train [OPTIONS] CORPUS" in found[0]
    assert "[default: 500]" in found[0]
    assert "worker" not in found[0]
    assert command_table(charloom) == "| command | |\n|---|---|\n| `charloom train CORPUS` | Train on CORPUS |"


def test_the_recipe_for_kubernetes_names_routes_and_settings_that_exist(tmp_path: Path) -> None:
    (block,) = re.findall(r"^```yaml\n(.*?)^```$", (ROOT / "docs" / "serving.md").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    pod = yaml.safe_load(block)["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    client = create_app(tmp_path / "charloom.db").test_client()
    probes = [container[name]["httpGet"] for name in ("startupProbe", "livenessProbe", "readinessProbe")]
    assert [client.get(probe["path"]).status_code for probe in probes] == [200] * 3
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert {f"EXPOSE {probe['port']}" for probe in probes} <= set(dockerfile.splitlines())
    assert f"USER {pod['securityContext']['fsGroup']}:" in dockerfile
    variables = {option.envvar for option in main.commands["serve"].params if isinstance(option, click.Option)}
    assert {each["name"] for each in container["env"]} <= variables | {api_keys.VARIABLE}
    assert {each["name"] for each in container["volumeMounts"]} == {each["name"] for each in pod["volumes"]}
