"""The shell: navigation, appearance, language, the key, and what a first visit weighs."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from typing import Any

import pytest

from service.store.api_keys import hashed

KEY = "a-key-of-this-test"
# Text and what it stands on; WCAG asks for 4.5 to 1, and for 3 to 1 for the edges of what can be filled in.
TEXTS = [*itertools.product(("ink", "quiet", "accent", "bad"), ("ground", "sheet")), ("quiet", "sunken"), ("ink", "accent-soft")]
TEXTS += [
    ("on-accent", "accent"),
    ("on-accent", "accent-strong"),
    ("bad", "bad-soft"),
    ("warn", "warn-soft"),
    ("ground", "ink"),
    ("ground", "bad"),
]
TEXTS += [("ink", f"surprise-{level}") for level in range(1, 9)]
EDGES = [("edge", "sheet"), ("edge", "ground"), ("accent", "sheet"), ("accent", "ground"), ("second", "sheet")]


def luminance(colour: str) -> float:
    """WCAG's, of `rgb(r, g, b)`."""
    parts = [int(each) / 255 for each in re.findall(r"\d+", colour)[:3]]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_have_contrast(site: Any, visit: Callable[..., Any], scheme: str) -> None:
    page = visit(site, scheme=scheme)
    names = sorted({name for pair in TEXTS + EDGES for name in pair})
    code = """async (names) => {
        const { colour } = await import("/static/lib/theme.js");
        return Object.fromEntries(names.map((name) => [name, colour(name)]));
    }"""
    light = {name: luminance(colour) for name, colour in page.evaluate(code, names).items()}

    def contrast(one: str, other: str) -> float:
        low, high = sorted((light[one], light[other]))
        return (high + 0.05) / (low + 0.05)

    assert {pair: contrast(*pair) for pair in TEXTS if contrast(*pair) < 4.5} == {}
    assert {pair: contrast(*pair) for pair in EDGES if contrast(*pair) < 3} == {}


def test_the_first_visit_is_light_and_quick(site: Any, visit: Callable[..., Any]) -> None:
    page = visit(site)
    page.wait_for_selector(".sheet")
    code = """() => [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")]
        .filter((each) => !each.name.includes("/v1/") && !each.name.includes("/health")).map((each) => [each.name, each.transferSize])"""
    files = page.evaluate(code)
    assert len(files) > 5
    assert sum(size for _, size in files) < 100_000
    paint = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    assert paint < 5000  # milliseconds, on any machine; a second on a quiet one


def test_views_have_addresses(site: Any, visit: Callable[..., Any]) -> None:
    page = visit(site)
    assert page.title() == "Write · Charloom"
    page.get_by_label("Prompt").fill("kept")
    page.get_by_role("link", name="Look inside").click()
    page.until("document.title === 'Look inside · Charloom'")
    assert page.locator(".tabs [aria-current]").text_content() == "Look inside"
    assert page.evaluate("document.activeElement.tagName") == "H1"
    page.go_back()
    page.until("document.title === 'Write · Charloom'")
    assert page.get_by_label("Prompt").input_value() == "kept"
    page.evaluate("location.hash = '#nonsense/x'")
    page.wait_for_selector(".write:not([hidden])")


def test_the_appearance_is_kept(site: Any, visit: Callable[..., Any]) -> None:
    page = visit(site, scheme="light")
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    light = page.evaluate(ground)
    button = page.locator("#theme")
    button.click()
    assert (button.get_attribute("aria-label"), page.evaluate(ground)) == ("Theme: light", light)
    button.click()
    assert button.get_attribute("aria-label") == "Theme: dark"
    dark = page.evaluate(ground)
    assert dark != light
    page.reload()
    page.wait_for_selector("main h1")
    assert page.evaluate(ground) == dark
    page.locator("#theme").click()
    assert page.evaluate(ground) == light


def test_both_languages_are_whole(site: Any, visit: Callable[..., Any]) -> None:
    page = visit(site, locale="ko-KR")
    assert page.get_by_role("link", name="쓰기").is_visible()
    page.get_by_label("시작 글").fill("kept")
    page.get_by_role("button", name="English").click()
    page.wait_for_selector("a:has-text('Teach')")
    assert page.get_by_label("Prompt").input_value() == "kept"
    assert page.evaluate("document.documentElement.lang") == "en"
    source = page.evaluate("fetch('/static/i18n/common.js').then((answer) => answer.text())")
    rows = re.findall(r'^  "?([\w.]+)"?: \[\s*"((?:[^"\\]|\\.)*)",\s*"((?:[^"\\]|\\.)*)",?\s*\],$', source, re.MULTILINE)
    assert len(rows) > 60
    assert len(rows) == len(re.findall(r'^  "?[\w.]+"?: \[', source, re.MULTILINE))
    for name, english, korean in rows:
        assert set(re.findall(r"\{(\w+)", english)) == set(re.findall(r"\{(\w+)", korean)), name


def test_a_key_is_asked_for(launch: Callable[..., Any], visit: Callable[..., Any], accessible: Callable[..., None]) -> None:
    page = visit(launch(keys=[hashed(KEY)]))
    page.watch.allowed.append("401")
    page.get_by_label("Key", exact=True).fill("another")
    accessible(page)
    page.get_by_role("button", name="Enter").click()
    page.until("document.querySelector('.dialog .wrong')?.textContent.length > 10")
    page.keyboard.press("Escape")
    page.get_by_label("Key", exact=True).fill(KEY)
    page.keyboard.press("Enter")
    page.get_by_label("Prompt").fill("the ")
    page.get_by_role("button", name="Write", exact=True).click()
    page.wait_for_selector(".sheet-facts b")
    page.reload()
    page.wait_for_selector(".sheet")
    assert page.locator("dialog").count() == 0


def test_a_page_behind_the_door(launch: Callable[..., Any], visit: Callable[..., Any], accessible: Callable[..., None]) -> None:
    """Addresses that need a key show a page that asks for one, and then what is there; the tab keeps the key."""
    site = launch(keys=[hashed(KEY)])
    page = visit(site)
    page.watch.allowed.append("401")
    page.goto(f"{site.url}/docs")
    assert page.get_by_role("heading", name="Charloom").is_visible()
    accessible(page)
    page.get_by_label("Key").fill("another")
    page.get_by_role("button", name="Enter").click()
    page.until("document.querySelector('[role=status]').textContent.includes('charloom key')")
    page.get_by_label("Key").fill(KEY)
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="The API").wait_for()
    accessible(page)
    page.goto(f"{site.url}/openapi.json")
    page.until("document.querySelector('pre')?.textContent.includes('\"openapi\"')")


def test_a_key_that_no_header_can_carry_is_a_wrong_key(launch: Callable[..., Any], visit: Callable[..., Any]) -> None:
    """As it is typed where the keyboard is set to Korean."""
    page = visit(launch(keys=[hashed(KEY)]))
    page.watch.allowed.append("401")
    for _ in range(2):
        page.get_by_label("Key", exact=True).fill("키 é")
        page.keyboard.press("Enter")
        page.until("document.querySelector('.dialog .wrong')?.textContent.includes('Latin letters')")
        page.reload()
        page.wait_for_selector(".dialog")
    page.get_by_label("Key", exact=True).fill(KEY)
    page.keyboard.press("Enter")
    page.wait_for_selector(".sheet")
    assert page.locator("dialog").count() == 0


def test_a_view_that_cannot_be_loaded_can_be_tried_again(launch: Callable[..., Any], visit: Callable[..., Any]) -> None:
    site = launch()
    page = visit(site)
    page.wait_for_selector(".sheet")
    page.watch.allowed += ["ERR_FAILED", "net::"]
    page.route("**/views/teach/teach.js", lambda route: route.abort())
    page.get_by_role("link", name="Teach").click()
    page.get_by_text("could not be loaded").wait_for()
    assert page.locator("[aria-current=page]").text_content() == "Write"
    page.unroute("**/views/teach/teach.js")
    page.get_by_role("link", name="Teach").click()
    page.wait_for_selector(".view.teach h1")
    assert page.locator("[aria-current=page]").text_content() == "Teach"


def test_a_key_in_the_address(launch: Callable[..., Any], visit: Callable[..., Any]) -> None:
    page = visit(launch(keys=[hashed(KEY)]), f"#key={KEY}")
    page.wait_for_selector(".sheet")
    assert "key" not in page.url
    assert page.evaluate("sessionStorage.getItem('key')") == KEY
    assert page.evaluate("history.length") <= 2


def test_a_service_that_is_gone(launch: Callable[..., Any], visit: Callable[..., Any]) -> None:
    site = launch()
    page = visit(site)
    page.wait_for_selector(".sheet")
    page.watch.allowed.append("ERR_CONNECTION")
    site.stop()
    page.get_by_role("button", name="Write", exact=True).click()
    page.wait_for_selector(".sheet .notice.bad:has-text('does not answer')")
    page.evaluate("void import('/static/lib/service.js').then(({ refreshService }) => refreshService())")
    page.wait_for_selector("#banner .notice.bad:has-text('does not answer')")


def test_a_phone_shows_what_is_written(site: Any, visit: Callable[..., Any]) -> None:
    page = visit(site, width=360, has_touch=True)
    page.get_by_role("button", name="Write", exact=True).click()
    page.wait_for_selector(".sheet-facts b")
    page.until("document.querySelector('.sheet').getBoundingClientRect().top < 200")
