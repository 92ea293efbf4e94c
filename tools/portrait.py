"""Takes the pictures of the page that the README shows: ``python -m tools.portrait charloom.db RUN``.

A service is started over the database, and the system's Chromium looks at it: at a text that RUN writes (`docs/page.png`), and at how it
learned (`docs/run.png`).
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import ViewportSize, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
SIZE: ViewportSize = {"width": 1280, "height": 840}
MOST = 200_000  # bytes of a picture
SERVE = """
import sys
from pathlib import Path
from service.web.server import ServerSettings, serve
serve(ServerSettings(db=Path(sys.argv[1]), port=0, workers=0, log_level="warning"))
"""


@contextmanager
def serving(db: Path) -> Iterator[str]:
    """The URL of a service over a database."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, "-c", SERVE, str(db)], env=environment, text=True, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            found = next(match for line in process.stdout if (match := re.search(r"http://127\.0\.0\.1:\d+", line)))
            yield found[0]
        finally:
            process.terminate()


def write(page: Any, url: str, run: str, prompt: str) -> None:
    """A text at two temperatures."""
    page.goto(f"{url}/#write")
    page.get_by_label("Model", exact=True).select_option(run)
    page.get_by_label("Prompt").fill(prompt)
    page.get_by_text("More settings").click()
    page.get_by_label("Length, in characters").fill("420")
    page.get_by_label("Seed", exact=True).fill("7")
    page.get_by_text("More settings").click()
    page.get_by_role("button", name="Another temperature").click()
    page.get_by_role("button", name="Write", exact=True).click()
    for sheet in (0, 1):
        page.locator(".sheet-facts b").nth(sheet).wait_for()
        page.locator(".sheet").nth(sheet).get_by_text(re.compile("in common|copied from")).wait_for()
    pane = page.locator(".text-pane").first
    pane.focus()
    page.keyboard.press("Home")
    for _ in range(len(prompt) + 12):
        page.keyboard.press("ArrowRight")


def learned(page: Any, url: str, run: str) -> None:
    """How a run went."""
    page.goto(f"{url}/#run/{run}")
    page.locator("canvas").first.wait_for()
    page.wait_for_timeout(1000)


def take(page: Any, name: str) -> None:
    """What the window shows, as a picture."""
    data = page.screenshot(path=ROOT / "docs" / f"{name}.png")
    print(f"docs/{name}.png: {len(data):,} bytes" + (", which is too much" if len(data) > MOST else ""))


def main() -> None:
    """Read the arguments, take the pictures."""
    parser = argparse.ArgumentParser(prog="python -m tools.portrait", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("db", type=Path)
    parser.add_argument("run")
    parser.add_argument("--prompt", default="ROMEO:\n")
    given = parser.parse_args()
    chromium = shutil.which("chromium") or sys.exit("no Chromium is installed (Debian: apt install chromium)")
    with serving(given.db) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport=SIZE, color_scheme="light", reduced_motion="reduce", locale="en-US")
        write(page, url, given.run, given.prompt)
        take(page, "page")
        learned(page, url, given.run)
        take(page, "run")
        browser.close()


if __name__ == "__main__":
    main()
