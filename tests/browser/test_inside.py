"""Look inside: a text that is read, units that are walked through, cells that are found, the map, and links."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs

import pytest

TEXT = 'the loom weaves a thread of red and gold, night\n"I do," said (the) spider.\n'


@pytest.fixture(scope="module")
def inside(browser: Any, site: Any) -> Iterator[Any]:
    """One page for the tests that only look: it has read TEXT."""
    context = browser.new_context(viewport={"width": 1600, "height": 950}, reduced_motion="reduce")
    page = context.new_page()
    faults: list[str] = []
    page.on("console", lambda message: message.type in ("error", "warning") and faults.append(message.text))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("request", lambda request: request.url.startswith((site.url, "blob:", "data:")) or faults.append(request.url))
    page.goto(site.url + "/#inside")
    read(page)
    yield page
    context.close()
    assert faults == []


def read(page: Any, text: str = TEXT) -> None:
    """Let the model read a text."""
    paste(page, text)
    page.get_by_role("button", name="Let it read").click()
    page.wait_for_selector(".reader-foot b")
    page.wait_for_selector(".gates svg")


def paste(page: Any, text: str) -> None:
    """Fill the field of the text; Playwright's own way takes a minute for 100,000 characters, a browser's paste a moment."""
    page.get_by_label("A text", exact=True).evaluate("(node, text) => { node.value = text; }", text)


def answer(site: Any, **body: Any) -> Any:
    """What the service says of TEXT."""
    return site.answer("POST", "/v1/inspect", {"model": "tale", "text": TEXT, **body})


def tints(page: Any, pane: str = ".reader .text-flow") -> dict[int, str]:
    """The name of the highlight of each character that has one, by what CSS.highlights holds."""
    code = """(pane) => {
        const flow = document.querySelector(pane), found = {};
        for (const [name, ranges] of CSS.highlights) for (const range of ranges) {
            if (!flow.contains(range.startContainer) || !/^(surprise|warm|cold)/.test(name)) continue;
            for (let at = range.startOffset; at < range.endOffset; at++) found[at] = name;
        }
        return found;
    }"""
    return {int(at): name for at, name in page.evaluate(code, pane).items()}


def show(page: Any, mode: str) -> None:
    """Choose what is shown."""
    page.locator(".reader .segmented label", has_text=mode).click()
    page.wait_for_timeout(100)


def heat(values: list[float]) -> dict[int, str]:
    """The tints of activations, each an eighth of the way from nothing to 1."""
    levels = {at: (round(abs(value) * 8 + 1e-9), value) for at, value in enumerate(values)}
    return {at: f"{'cold' if value < 0 else 'warm'}-{min(8, level)}" for at, (level, value) in levels.items() if level}


def near(one: dict[int, str], other: dict[int, str]) -> bool:
    """The same but for a level, where rounding decides."""

    def level(name: str | None) -> int:
        return 0 if name is None else int(name[5:]) * (-1 if name.startswith("cold") else 1)

    return all(abs(level(one.get(at)) - level(other.get(at))) <= 1 for at in {*one, *other})


def test_surprise_is_what_the_service_says(inside: Any, site: Any) -> None:
    page = inside
    show(page, "Surprise")
    found = answer(site)
    assert page.locator(".reader .text-flow").text_content() == TEXT
    bits = found["bits"]
    expected = {at: f"surprise-{min(8, int(each) + 1)}" for at, each in enumerate(bits) if each >= 0.5}
    assert tints(page) == expected
    told = page.locator(".reader-foot .sheet-facts").text_content()
    assert found["model"] in told
    assert f"{len(TEXT)} characters" in told
    assert f"{found['bits_per_char']:.2f} bits per character" in told
    page.locator(".reader .text-pane").focus()
    for _ in range(2):
        page.keyboard.press("ArrowRight")
    card = page.locator(".text-card").text_content()
    assert card.startswith(f"{TEXT[1]}{bits[1]:.1f} bits")
    assert all(("space" if symbol == " " else symbol) or symbol in card for symbol, _ in found["alternatives"][1])
    assert re.search(r"h, \d+\.\d bits; alternatives:", page.locator(".reader .text-view .unseen").text_content())
    page.keyboard.press("Escape")
    assert page.locator(".text-card").is_hidden()


def test_units_are_walked_through_by_keyboard(inside: Any, site: Any) -> None:
    page = inside
    show(page, "A unit")
    number = page.get_by_label("Unit", exact=True)
    assert f"0:{number.input_value()}" == answer(site)["liveliest"]
    number.fill("46")
    number.press("Enter")
    page.wait_for_selector(".reader-about b:has-text('Unit 0:46')")

    def shown() -> dict[int, str]:
        page.wait_for_timeout(100)
        return tints(page)

    def expected(unit: str) -> dict[int, str]:
        return heat(answer(site, include=[], units=[unit])["units"][0]["activations"])

    assert near(shown(), expected("0:46"))
    page.get_by_role("button", name="Next unit").focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_selector(".reader-about b:has-text('Unit 0:47')")
    assert near(shown(), expected("0:47"))
    page.locator(".reader .text-pane").focus()
    page.keyboard.press("Home")
    page.keyboard.press("Shift+ArrowRight")  # behind the last comes the first
    page.wait_for_selector(".reader-about b:has-text('Unit 0:0')")
    assert near(shown(), expected("0:0"))
    value = answer(site, include=[], units=["0:0"])["units"][0]["activations"][0]
    assert f"unit 0:0: {'−' if value < 0 else '+'}{abs(value):.2f}"[:-1] in page.locator(".text-card").text_content()
    page.keyboard.press("Shift+ArrowLeft")
    page.wait_for_selector(".reader-about b:has-text('Unit 0:47')")
    assert number.input_value() == "47"
    number.fill("48")
    number.press("Enter")
    assert page.locator(".unit-picker .wrong:not([hidden])").text_content() == "Units are numbered from 0 to 47."


def test_a_walk_asks_for_units_alone_and_for_few(inside: Any) -> None:
    page = inside
    show(page, "A unit")
    page.get_by_label("Unit", exact=True).fill("0")
    page.get_by_label("Unit", exact=True).press("Enter")
    page.wait_for_selector(".reader-about b:has-text('Unit 0:0')")
    asked: list[Any] = []
    page.on("request", lambda request: "/v1/inspect" in request.url and asked.append(json.loads(request.post_data)))
    page.get_by_role("button", name="Next unit").focus()
    for unit in range(1, 33):
        page.keyboard.press("ArrowRight")
        page.wait_for_selector(f".reader-about b:text-is('Unit 0:{unit}')")
    assert {tuple(body["include"]) for body in asked} <= {()}
    assert len(asked) <= 3, "sixteen at a time"


def test_the_map_is_walked_through(inside: Any, site: Any) -> None:
    page = inside
    found = answer(site)["neighbours"]
    nodes = page.locator(".map-node")
    assert nodes.count() == len(found)
    page.locator(".map-node[tabindex='0']").focus()
    assert page.locator(".map-node.near").count() == len(found[0]["nearest"])
    seen = set()
    for key in ("ArrowRight", "ArrowDown", "ArrowLeft", "ArrowUp", "End", "Home"):
        page.keyboard.press(key)
        seen.add(page.evaluate("document.activeElement.getAttribute('aria-label')"))
        assert page.locator(".map-node[aria-selected='true']").count() == 1
    assert len(seen) >= 3
    assert all(": nearest are " in label for label in seen)


@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (1600, "dark")])
def test_cells_are_found_and_all_is_accessible(
    site: Any, visit: Callable[..., Any], accessible: Callable[..., None], width: int, scheme: str
) -> None:
    page = visit(site, "#inside", width=width, scheme=scheme)
    if width == 360:
        accessible(page)
    read(page)
    page.locator(".reader .text-pane").focus()
    page.keyboard.press("End")
    page.get_by_role("button", name="Find cells").click()
    page.wait_for_selector(".cell-rows")
    report = site.answer("POST", "/v1/inspect/cells", {"model": "tale"})
    good = [cell for cell in report["cells"] if cell["found"] and cell["learned"]]
    told = page.locator(".cells-list > p").first.text_content()
    assert report["model"] in told
    assert f"{report['characters']:,}" in told
    shown = [cell["meaning"] for cell in good or report["cells"][:3]]
    assert page.locator(".cells-list > .cell-rows .cell-meaning").all_text_contents() == shown
    first = page.locator(".cell-head").first
    first.click()
    cell = (good or report["cells"])[0]
    page.wait_for_selector(f".reader-about b:text-is('Unit {cell['unit']}')")
    assert page.locator(".cell-body .text-flow").first.text_content() == cell["excerpt"]["text"]
    page.locator(".cell-body .text-pane").first.scroll_into_view_if_needed()
    page.wait_for_timeout(150)
    underlined = page.evaluate(
        "[...CSS.highlights.get('holds')].map((range) => range.endOffset - range.startOffset).reduce((sum, each) => sum + each, 0)"
    )
    assert 0 < underlined <= sum(cell["excerpt"]["holds"])
    assert page.locator(f"[data-unit='{cell['unit']}'].shown").count() >= 1
    page.locator(".map-node").first.focus()
    accessible(page)


def test_what_is_shown_has_an_address(site: Any, visit: Callable[..., Any]) -> None:
    page = visit(site, "#inside")
    page.get_by_role("button", name="Let it write one").click()
    page.wait_for_selector(".gates svg")
    text = page.locator(".reader .text-flow").text_content()
    assert len(text) > 100
    show(page, "A unit")
    page.get_by_label("Unit", exact=True).fill("7")
    page.get_by_label("Unit", exact=True).press("Enter")
    page.wait_for_selector(".reader-about b:has-text('Unit 0:7')")
    query = parse_qs(page.evaluate("location.hash").partition("?")[2])
    assert query == {"model": ["tale"], "unit": ["0:7"], "text": [text]}
    page.reload()
    page.wait_for_selector(".reader-about b:has-text('Unit 0:7')")
    assert page.locator(".reader .text-flow").text_content() == text
    # Another model reads the same text; a unit that it lacks is another.
    page.evaluate("location.hash = '#inside?model=hangul&unit=0:40'")
    page.wait_for_selector(".reader-foot b:has-text('hangul@')")
    assert page.locator(".reader .text-flow").text_content() == text


def test_what_goes_wrong_is_said(site: Any, visit: Callable[..., Any]) -> None:
    page = visit(site, "#inside")
    page.watch.allowed.append("400")
    paste(page, "a" * 100_001)
    page.get_by_role("button", name="Let it read").click()
    page.wait_for_selector(".reader .notice.bad:has-text('at most 100,000 characters')")
    read(page, "the loom")
    assert page.locator(".reader .notice.bad").is_hidden()


def test_a_long_text_stays_smooth(site: Any, visit: Callable[..., Any]) -> None:
    page = visit(site, "#inside")
    read(page, TEXT * 120)
    show(page, "A unit")
    page.get_by_role("button", name="Next unit").click()
    page.wait_for_timeout(100)
    code = """() => [...document.querySelectorAll(".reader .text-block")].map((block) =>
        [...CSS.highlights.values()].some((ranges) => [...ranges].some((range) => block.contains(range.startContainer))))"""
    tinted = page.evaluate(code)
    assert 0 < sum(tinted) < len(tinted), "only what is near the window is tinted"
    page.locator(".reader .text-pane").evaluate("node => { node.scrollTop = node.scrollHeight; }")
    page.wait_for_timeout(100)
    assert tints(page, ".reader .text-block:last-child")


def test_ink_is_legible_on_every_tint(inside: Any) -> None:
    names = ["ink", *(f"{side}-{level}" for side in ("cold", "warm") for level in range(1, 9))]
    code = "async (names) => { const { colour } = await import('/static/lib/theme.js'); return names.map((name) => colour(name)); }"
    for scheme in ("light", "dark"):
        inside.emulate_media(color_scheme=scheme)
        ink, *grounds = (luminance(each) for each in inside.evaluate(code, names))
        for ground in grounds:
            low, high = sorted((ink, ground))
            assert (high + 0.05) / (low + 0.05) > 4.5


def luminance(colour: str) -> float:
    """WCAG's, of `rgb(r, g, b)`."""
    parts = [int(each) / 255 for each in re.findall(r"\d+", colour)[:3]]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_both_languages_are_whole(site: Any, visit: Callable[..., Any], accessible: Callable[..., None]) -> None:
    page = visit(site, "#inside", locale="ko-KR")
    assert page.locator("h1").text_content() == "들여다보기"
    page.get_by_role("button", name="찾기").click()
    page.wait_for_selector(".cell-rows")
    assert not any(re.search("[a-z]{3}", each) for each in page.locator(".cell-meaning").all_text_contents())
    source = page.evaluate("fetch('/static/i18n/inside.js').then((answer) => answer.text())")
    rows = re.findall(
        r"""^  (?:"[^"]+"|'[^']+'): \[\s*("(?:[^"\\]|\\.)*"|'[^']*'),\s*("(?:[^"\\]|\\.)*"|'[^']*'),?\s*\],$""", source, re.MULTILINE
    )
    assert len(rows) > 80
    assert len(rows) == len(re.findall(r"""^  (?:"[^"]+"|'[^']+'): \[""", source, re.MULTILINE))
    for english, korean in rows:
        assert set(re.findall(r"\{(\w+)", english)) == set(re.findall(r"\{(\w+)", korean)), english
