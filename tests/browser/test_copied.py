"""Is it new? What Write tells of texts that copy their corpus, and of those that must not."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

NOTES = "document.querySelector('.sheet-notes')"
# How many characters are underlined, as the browser has them
UNDERLINED = "[...(CSS.highlights.get('copied') ?? [])].reduce((sum, range) => sum + range.endOffset - range.startOffset, 0)"
FIELDS = {"length": "Length, in characters", "seed": "Seed", "most": "Copy at most"}


def write(page: Any, model: str, **values: object) -> str:
    """Write a text with some settings, and wait for what is told of it."""
    page.get_by_label("Model", exact=True).select_option(model)
    if not page.locator("details.more").first.evaluate("node => node.open"):
        page.get_by_text("More settings").click()
    for name, value in values.items():
        page.get_by_label(FIELDS[name], exact=True).fill(str(value))
    page.get_by_role("button", name="Write", exact=True).click()
    page.wait_for_selector(".sheet-facts b")
    page.until(f"{NOTES}.textContent && !/Comparing/.test({NOTES}.textContent)")
    return str(page.locator(".text-flow").text_content())


def test_what_is_copied_is_underlined_and_told(site: Any, visit: Callable[..., Any], accessible: Callable[..., None]) -> None:
    page = visit(site)
    text = write(page, "parrot", length=200, seed=3)
    told = site.answer("POST", "/v1/novelty", {"model": "parrot", "text": text})
    assert told["copied"] > 100  # it says what it has read
    assert f"the longest has {told['longest']['length']} (line {told['longest']['line']}," in page.locator(".sheet-notes").inner_text()
    page.until(f"{UNDERLINED} === {sum(stop - start for start, stop in joined(told['spans']))}")
    span = max(told["spans"], key=lambda span: span["length"])
    page.get_by_text(re.compile("copied spans?$")).click()
    accessible(page)
    page.locator(".copied-list button").first.click()
    page.until("document.querySelector('.text-card:not([hidden])') !== null")
    assert f"copied: {span['length']} characters, line {span['line']}" in page.locator(".text-card").inner_text()
    page.keyboard.press("ArrowRight")
    assert "copied: " in page.locator(".text-view [aria-live]").inner_text()

    page.get_by_text("Underline copied text").click()
    page.until(f"{UNDERLINED} === 0 && !{NOTES}.textContent")
    page.reload()
    assert not page.get_by_label("Underline copied text").is_checked()
    write_off = page.get_by_role("button", name="Write", exact=True)
    write_off.click()
    page.wait_for_selector(".sheet-facts b")
    assert page.locator(".sheet-notes").inner_text() == ""
    page.get_by_text("Underline copied text").click()
    page.until(f"{UNDERLINED} > 0")


def joined(spans: list[dict[str, Any]]) -> list[tuple[int, int]]:
    """What spans cover together."""
    found: list[tuple[int, int]] = []
    for span in spans:
        if found and span["start"] <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], span["stop"]))
        else:
            found.append((span["start"], span["stop"]))
    return found


def test_a_text_that_must_not_copy_does_not(site: Any, visit: Callable[..., Any]) -> None:
    page = visit(site)
    text = write(page, "parrot", length=150, seed=3, most=5)
    told = site.answer("POST", "/v1/novelty", {"model": "parrot", "text": text})
    assert told["longest"]["length"] == 5
    assert "New: no 30 characters in a row" in page.locator(".sheet-notes").inner_text()
    assert parse_qs(page.evaluate("location.hash").partition("?")[2])["max_copy"] == ["5"]
    other = visit(site, page.evaluate("location.hash"), beside=page)
    other.wait_for_selector(".sheet-facts b")
    assert other.locator(".text-flow").text_content() == text


def test_of_a_list_its_lines_are_told(site: Any, visit: Callable[..., Any]) -> None:
    page = visit(site)
    text = write(page, "tale", length=300, seed=3)
    told = site.answer("POST", "/v1/novelty", {"model": "tale", "text": text, "ended": False})
    new = sum(record["new"] for record in told["records"])
    assert f"{new} of {len(told['records'])} lines are new" in page.locator(".sheet-notes").inner_text()
