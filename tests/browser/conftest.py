"""Fixtures: a real service over a database with small trained models, and pages of the system's Chromium that watch themselves.

A page fails its test where the console had an error, where a script threw, or where anything was asked of another host.
Without a Chromium the tests are skipped, or fail where CHARLOOM_NO_SKIP is set.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.served import ROOT, Server, end, start

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
SIZES = {360: 740, 800: 1000, 1600: 950}  # CSS pixels: width and height
WORDS = 'the loom weaves a thread of red and gold, night after night; who counts its knots? "I do," said (the) spider.'.split()
SYLLABLES = "베틀은 밤마다 붉은 실과 금빛 실을 엮는다. 누가 그 매듭을 세는가? 거미가 대답했다.".split()
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)


def lines(words: list[str], seed: int, count: int) -> str:
    """So many lines of a few words, each drawn at random."""
    rng = random.Random(seed)
    return "".join(" ".join(rng.choices(words, k=rng.randint(3, 9))) + "\n" for _ in range(count))


# ── the service ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="session")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with small trained models: `tale`, of English lines, `hangul`, of Korean ones in jamo, and `parrot`, which has read
    one line again and again. Copy it before use."""
    folder = tmp_path_factory.mktemp("stored")
    (folder / "tale.txt").write_text(lines(WORDS, 1, 600), encoding="utf-8")
    (folder / "hangul.txt").write_text(lines(SYLLABLES, 2, 300), encoding="utf-8")
    (folder / "parrot.txt").write_text("abcdefghijklmnopqrstuvwxyz\n\n" * 60, encoding="utf-8")
    models = (
        ("parrot", "32", "160", ["--learning-rate", "0.02"]),
        ("hangul", "32", "240", ["--normalization", "nfd"]),
        ("tale", "48", "240", []),
    )
    for name, size, steps, options in models:
        settings = ["--name", name, "--steps", steps, "--validation-interval", "60", "--batch-size", "8", "--hidden-size", size]
        arguments = ["train", str(folder / f"{name}.txt"), *settings, *options, "--db", str(folder / "charloom.db")]
        subprocess.run([sys.executable, "cli.py", *arguments], cwd=ROOT, env=ENVIRONMENT, check=True, capture_output=True, timeout=120)
    return folder / "charloom.db"


@pytest.fixture(scope="session")
def site(stored: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One service over those models, without a worker, for all tests that only read and write texts."""
    db = tmp_path_factory.mktemp("site") / "charloom.db"
    shutil.copy(stored, db)
    started = start(db)
    yield started
    started.stop()


@pytest.fixture(scope="session")
def school(stored: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One service over those models, with a worker, for all tests that train."""
    db = tmp_path_factory.mktemp("school") / "charloom.db"
    shutil.copy(stored, db)
    started = start(db, workers=1)
    yield started
    started.stop()


@pytest.fixture
def launch(stored: Path, tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Start a service of the test's own: `launch(empty=True, workers=1, environment={...}, **settings)`.

    `launch(again=site)` starts one that was stopped once more, at the same address.
    """
    started: list[Server] = []

    def launched(*, empty: bool = False, again: Server | None = None, environment: dict[str, str] | None = None, **settings: Any) -> Server:
        if again:
            started.append(start(again.db, environment, port=again.port, **settings))
            return started[-1]
        db = tmp_path / f"{len(started)}.db"
        if not empty:
            shutil.copy(stored, db)
        started.append(start(db, environment, **settings))
        return started[-1]

    yield launched
    for each in started:
        end(each)


# ── the browser ───────────────────────────────────────────────────────────────────────────────────────────────────────


def chromium() -> str | None:
    """The system's Chromium."""
    return next((found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A running Chromium."""
    found = chromium()
    if found is None:
        reason = "no Chromium is installed (Debian: apt install chromium)"
        if os.environ.get("CHARLOOM_NO_SKIP"):
            pytest.fail(reason)
        pytest.skip(reason)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=found, args=list(FLAGS))
        yield started
        started.close()


class Watch:
    """What a page did that it should not have done. A test that provokes an error puts a part of its words into `allowed`."""

    def __init__(self, page: Any, url: str) -> None:
        self.allowed: list[str] = []
        self._found: list[str] = []
        host = urlsplit(url).netloc
        page.on(
            "console", lambda message: message.type in ("error", "warning") and self._found.append(f"{message.text} {message.location}")
        )
        page.on("pageerror", lambda error: self._found.append(str(error)))
        page.on("request", lambda request: self._request(request.url, host))

    def _request(self, url: str, host: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("blob", "data") and parts.netloc != host:
            self._found.append(f"a request to {url}")

    def forget(self) -> None:
        """Begin anew, as for another test with the same page."""
        self.allowed.clear()
        self._found.clear()

    @property
    def faults(self) -> list[str]:
        """Everything that is not allowed."""
        return [each for each in self._found if not any(part in each for part in self.allowed)]


def until(page: Any, expression: str, seconds: float = 20) -> None:
    """Wait until an expression is true in a page. Playwright's own way needs eval, which the page forbids."""
    deadline = time.monotonic() + seconds
    while not page.evaluate(expression):
        assert time.monotonic() < deadline, f"never true: {expression}"
        page.wait_for_timeout(25)


def visits(browser: Any) -> Iterator[Callable[..., Any]]:
    """What `visit` gives."""
    contexts: list[Any] = []
    watches: list[Watch] = []

    def opened(
        site: Server, hash: str = "", *, width: int = 1600, scheme: str = "light", locale: str = "en-US", beside: Any = None, **options: Any
    ) -> Any:
        if beside is None:
            size = {"width": width, "height": SIZES.get(width, 900)}
            context = browser.new_context(viewport=size, color_scheme=scheme, locale=locale, reduced_motion="reduce", **options)
            context.set_default_timeout(15_000)
            contexts.append(context)
        else:
            context = beside.context
        page = context.new_page()
        page.watch = Watch(page, site.url)
        page.until = partial(until, page)
        watches.append(page.watch)
        page.goto(site.url + "/" + hash)
        page.wait_for_selector("main h1")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert [fault for watch in watches for fault in watch.faults] == []


@pytest.fixture
def visit(browser: Any) -> Iterator[Callable[..., Any]]:
    """Open a page: `visit(site, "#write", width=360, scheme="dark", locale="ko-KR")`; `page.watch.allowed` forgives errors;
    `page.until("an expression")` waits.

    A second page of the same context, with the same storage, is `visit(site, hash, beside=page)`.
    """
    yield from visits(browser)


@pytest.fixture(scope="module")
def visit_for_all(browser: Any) -> Iterator[Callable[..., Any]]:
    """The same, for a page that all tests of a module use one after the other."""
    yield from visits(browser)


@pytest.fixture(scope="session")
def accessible() -> Callable[..., None]:
    """Assert that axe finds nothing wrong with a page as it is now, and that nothing is wider than the window."""
    from axe_playwright_python.sync_playwright import Axe

    def check(page: Any) -> None:
        found = Axe().run(page).response["violations"]
        told = [f"{each['id']}: {node['html'][:200]} {node['failureSummary']}" for each in found for node in each["nodes"]]
        assert told == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")

    return check
