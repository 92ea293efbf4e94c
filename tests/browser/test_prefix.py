"""The page below a path, through a real nginx: every view, the key, and the other pages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from service.store.api_keys import hashed
from tests.proxied import Proxied, proxied
from tests.served import Server

KEY = "a-key-of-this-test"


@pytest.fixture
def site(launch: Callable[..., Server], tmp_path: Path) -> Iterator[Proxied]:
    """A service with models, a worker and a key behind nginx. A request outside the prefix gets 404, which fails the test."""
    service = launch(workers=1, trusted_proxies=["127.0.0.1"], keys=[hashed(KEY)])
    with proxied("nginx", tmp_path, service.port) as found:
        yield found


def test_all_of_the_page_works_below_a_path(site: Proxied, visit: Callable[..., Any], tmp_path: Path) -> None:
    asked: list[str] = []
    page = visit(site, f"#key={KEY}")
    page.context.on("request", lambda request: asked.append(request.url))
    page.reload()
    page.get_by_label("Prompt").fill("the ")
    page.get_by_role("button", name="Write", exact=True).click()
    page.wait_for_selector(".sheet-facts b")

    page.get_by_role("link", name="Teach").click()
    (tmp_path / "yarn.txt").write_text("".join(f"{number} the loom weaves a thread of red and gold\n" for number in range(300)))
    page.locator("input[type=file]:not([webkitdirectory])").set_input_files(tmp_path / "yarn.txt")
    page.wait_for_selector(".summary:not([hidden])")
    page.get_by_label("Other", exact=True).check()
    page.get_by_label("Length", exact=True).fill("1000000")
    page.get_by_label("Unit of the length").select_option("steps")
    page.get_by_text("All settings").click()
    for name, value in {"hidden_size": 12, "batch_size": 4, "seq_length": 16, "validation_interval": 100, "name": "yarn"}.items():
        page.get_by_label(name, exact=True).fill(str(value))
    page.get_by_role("button", name="Start").click()
    page.until("document.querySelectorAll('.plot-box').length > 0", 60)  # the events of the run have come
    page.get_by_role("button", name="Cancel", exact=True).click()
    page.get_by_role("button", name="Cancel the run").click()
    page.wait_for_selector(".badge.cancelled")

    page.get_by_role("link", name="Look inside").click()
    page.get_by_label("A text", exact=True).fill("the loom weaves")
    page.get_by_role("button", name="Let it read").click()
    page.wait_for_selector(".gates svg")

    page.watch.allowed.append("401")  # a browser that opens an address sends no key; the page that answers fetches it with the key
    for link, heading in (("API documentation", "The API"), ("the page", "Write")):
        page.get_by_role("link", name=link).click()
        page.get_by_role("heading", name=heading).wait_for(state="attached")
    page.goto(f"{site.url}/openapi.json")
    page.until('document.querySelector(\'pre\')?.textContent.includes(\'"servers": [{"url": "/charloom"}]\')')
    assert len(asked) > 50
    assert [url for url in asked if not url.startswith((f"{site.url}/", "blob:"))] == []
