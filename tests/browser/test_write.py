"""Write: texts that stream, the temperature that moves, links that write the same again."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.browser.conftest import ENVIRONMENT
from tests.served import ROOT

PROMPT = "the loom "


def text_of(page: Any, sheet: int = 0) -> str:
    """What is on a sheet: the prompt and the text."""
    return str(page.locator(".text-flow").nth(sheet).text_content())


def done(page: Any) -> None:
    """Wait until every sheet, and a page that is loaded anew has none at first, tells the facts of a text that has ended."""
    page.wait_for_selector(".sheet", state="attached")
    page.until("document.querySelectorAll('.sheet-facts b').length === document.querySelectorAll('.sheet').length", 120)  # without kernels
    page.wait_for_selector("button:has-text('Write')", state="visible")


def write(page: Any, prompt: str = PROMPT) -> str:
    """Write a text and wait for its end."""
    page.get_by_label("Prompt").fill(prompt)
    page.get_by_role("button", name="Write", exact=True).click()
    done(page)
    return text_of(page)


def more(page: Any, **values: object) -> None:
    """Fill fields behind `More settings`."""
    if not page.locator("details.more").evaluate("node => node.open"):
        page.get_by_text("More settings").click()
    for label, value in values.items():
        page.get_by_label(label.replace("_", "-") if label != "Length" else "Length, in characters", exact=True).fill(str(value))


def temperature(page: Any, value: float, sheet: int = 0) -> None:
    """Move a slider, as a hand does."""
    page.get_by_role("slider").nth(sheet).evaluate(
        "(node, value) => { node.value = value; node.dispatchEvent(new Event('input', { bubbles: true })); }", value
    )


def tap(page: Any) -> None:
    """Keep what the page's streams say, for `last_event`."""
    page.evaluate(
        """() => {
          window.streams = [];
          const fetched = window.fetch;
          window.fetch = async (path, options) => {
            const answer = await fetched(path, options);
            if (path.endsWith("/v1/completions")) answer.clone().text().then((text) => window.streams.push(text), () => {});
            return answer;
          };
        }"""
    )


def last_event(page: Any, stream: int) -> dict[str, Any]:
    """What the last event of a stream told of it."""
    page.until(f"streams.length > {stream}")
    events = [line[6:] for line in page.evaluate(f"streams[{stream}]").splitlines() if line.startswith("data: {")]
    found: dict[str, Any] = json.loads(events[-1])["charloom"]
    return found


@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (1600, "dark")])
def test_it_is_accessible(site: Any, visit: Callable[..., Any], accessible: Callable[..., None], width: int, scheme: str) -> None:
    page = visit(site, width=width, scheme=scheme)
    accessible(page)
    more(page, Length=120)
    write(page)
    accessible(page)
    page.get_by_role("button", name="Another temperature").click()
    done(page)
    page.locator(".text-pane").first.focus()
    page.keyboard.press("End")
    accessible(page)


def test_a_text_comes_with_its_facts(site: Any, visit: Callable[..., Any]) -> None:
    page = visit(site)
    more(page, Length=300, Seed=7)
    text = write(page)
    expected = site.answer("POST", "/generate", {"model": "tale", "prompt": PROMPT, "length": 300, "seed": 7})
    assert text == PROMPT + expected["text"]
    told = page.locator(".sheet-facts").text_content()
    assert expected["checkpoint"] in told
    assert "seed 7" in told
    assert "300 characters" in told
    assert re.search(r"\d\.\d\d bits per character", told)
    again = page.evaluate("location.hash")
    assert parse_qs(again.partition("?")[2])["model"] == [expected["checkpoint"]]


def test_it_streams(site: Any, visit: Callable[..., Any]) -> None:
    page = visit(site)
    page.get_by_role("button", name="Keep writing").click()
    page.until("document.querySelector('.text-flow').textContent.length > 200")
    first = len(text_of(page))
    page.until(f"document.querySelector('.text-flow').textContent.length > {first + 200}")
    assert site.answer("GET", "/health")["rows"] == 1
    page.get_by_role("button", name="Stop", exact=True).click()
    done(page)
    deadline = time.monotonic() + 5
    while site.answer("GET", "/health")["rows"] and time.monotonic() < deadline:
        time.sleep(0.05)
    assert site.answer("GET", "/health")["rows"] == 0
    assert "stopped" in page.locator(".sheet-facts").text_content()
    assert 400 < len(text_of(page)) < 100_000


def test_a_move_in_mid_stream_is_in_the_last_event(site: Any, visit: Callable[..., Any]) -> None:
    page = visit(site)
    more(page, Length=60_000, Seed=3)  # long enough for two moves on a fast machine
    tap(page)
    page.get_by_role("button", name="Write", exact=True).click()
    page.until("document.querySelector('.text-flow').textContent.length > 300")
    with page.expect_response(lambda response: response.request.method == "PATCH"):
        temperature(page, 1.5)
    temperature(page, 0.2)
    done(page)
    course = last_event(page, 0)["temperature"]
    assert [value for _, value in course] == [0.8, 1.5, 0.2]
    assert course[0][0] == 0 < course[1][0] < course[2][0] < 60_000
    assert "temperature changed 2 times" in page.locator(".sheet-facts").text_content()
    # And the address is a link with that course, which writes the same again.
    query = parse_qs(page.evaluate("location.hash").partition("?")[2])
    assert query["t"] == [",".join(f"{position}:{value:g}" for position, value in course)]
    text = text_of(page)
    page.reload()
    done(page)
    assert text_of(page) == text


def test_what_is_told_slowly_is_steered_where_it_is(site: Any, visit: Callable[..., Any]) -> None:
    page = visit(site)
    more(page, Length=400, Seed=5)
    page.get_by_label("Slowly").check()
    tap(page)
    page.get_by_role("button", name="Write", exact=True).click()
    page.until("document.querySelector('.text-flow').textContent.length > 60")
    temperature(page, 0)
    done(page)
    course = last_event(page, 1)["temperature"]
    assert [value for _, value in course] == [0.8, 0]
    assert 60 <= course[1][0] < 300
    expected = site.answer("POST", "/generate", {"model": "tale", "length": 400, "seed": 5, "temperature": course})
    assert text_of(page) == expected["text"]


def test_the_link_writes_exactly_this_text_and_keeps_its_checkpoint(launch: Callable[..., Any], visit: Callable[..., Any]) -> None:
    site = launch()
    page = visit(site, permissions=["clipboard-read", "clipboard-write"])
    page.get_by_label("Checkpoint").select_option("120")
    more(page, Length=50_000, top_k=9, min_p=0.01)
    page.get_by_role("button", name="Write", exact=True).click()
    page.until("document.querySelector('.text-flow').textContent.length > 500")
    temperature(page, 1.3)
    page.until("document.querySelector('.text-flow').textContent.length > 3000")
    page.get_by_role("button", name="Stop", exact=True).click()
    done(page)
    text = text_of(page)
    page.get_by_role("button", name="Link", exact=True).click()
    page.wait_for_selector(".toast:has-text('tale@120')")
    link = page.evaluate("navigator.clipboard.readText()")
    other = visit(site, "#" + urlsplit(link).fragment)
    done(other)
    assert text_of(other) == text
    with Path(site.db).open("rb"):
        from service.store import Store

        with Store(site.db) as store:
            assert [each.step for each in store.checkpoints.list(store.runs.get("tale")) if each.pinned] == [120]


def test_again_with_this_seed_writes_one_sheet_with_its_moves(site: Any, visit: Callable[..., Any]) -> None:
    page = visit(site)
    more(page, Length=40_000, Seed=3)  # as above
    page.get_by_role("button", name="Another temperature").click()
    page.get_by_role("button", name="Write", exact=True).click()
    page.until("document.querySelector('.text-flow').textContent.length > 100")
    temperature(page, 1.6)
    done(page)
    texts = [text_of(page, index) for index in range(2)]
    page.locator(".sheet").first.get_by_role("button", name="Again with this seed").click()
    page.wait_for_timeout(50)
    done(page)
    assert [text_of(page, index) for index in range(2)] == texts


def test_a_link_that_is_not_whole(site: Any, visit: Callable[..., Any]) -> None:
    page = visit(site, "#write?model=tale&seed=3&t=5:x,0:9&length=abc")
    page.get_by_text("This link is incomplete").wait_for()


def test_again_with_this_seed(site: Any, visit: Callable[..., Any]) -> None:
    page = visit(site)
    text = write(page)
    assert write(page) != text  # another seed each time
    seed = re.search(r"seed (\d+)", page.locator(".sheet-facts").text_content())
    text = text_of(page)
    page.get_by_role("button", name="Again with this seed").click()
    page.wait_for_timeout(50)
    done(page)
    assert text_of(page) == text
    assert seed is not None
    assert page.get_by_label("Seed").input_value() == seed[1]


def test_several_temperatures_side_by_side(site: Any, visit: Callable[..., Any]) -> None:
    page = visit(site)
    more(page, Length=200, Seed=11)
    write(page)
    for _ in range(3):
        page.get_by_role("button", name="Another temperature").click()
    done(page)
    assert page.get_by_role("button", name="Another temperature").is_disabled()
    values = [float(each) for each in page.locator(".sheet output").all_text_contents()]
    assert len(set(values)) == 4
    for index, value in enumerate(values):
        body = {"model": "tale", "prompt": PROMPT, "length": 200, "seed": 11, "temperature": value}
        assert text_of(page, index) == PROMPT + site.answer("POST", "/generate", body)["text"]
    texts = [text_of(page, index) for index in range(4)]
    page.reload()
    done(page)
    assert [text_of(page, index) for index in range(4)] == texts
    page.get_by_role("button", name="Remove this text").first.click()
    assert page.locator(".sheet").count() == 3


def test_tints_and_alternatives(site: Any, visit: Callable[..., Any]) -> None:
    page = visit(site)
    more(page, Length=200, Seed=2)
    write(page)
    tinted = "[...CSS.highlights].filter(([name]) => name.startsWith('surprise')).reduce((sum, [, each]) => sum + each.size, 0)"
    page.until(f"{tinted} > 10")
    answer = site.answer(
        "POST", "/v1/completions", {"model": "tale", "prompt": PROMPT, "max_tokens": 200, "seed": 2, "temperature": 0.8, "logprobs": 5}
    )
    scores = answer["choices"][0]["logprobs"]
    # A tint for each bit, none below half a bit, and none for the prompt.
    painted = page.evaluate(
        """[...CSS.highlights].filter(([name]) => name.startsWith("surprise")).flatMap(([name, ranges]) =>
        [...ranges].map((range) => [Number(name.slice(9)), range.startOffset, range.endOffset]))"""
    )
    levels = [0] * (len(PROMPT) + 200)
    for level, start, stop in painted:
        levels[start:stop] = [level] * (stop - start)
    surprises = [-score / 0.6931471805599453 for score in scores["token_logprobs"]]
    assert levels == [0] * len(PROMPT) + [0 if bits < 0.5 else min(8, int(bits) + 1) for bits in surprises]
    # Under the pointer: the first character of the text.
    box = page.evaluate(
        """start => { const range = document.createRange(); const node = document.querySelector('.text-block').firstChild;
        range.setStart(node, start); range.setEnd(node, start + 1); return range.getBoundingClientRect().toJSON(); }""",
        len(PROMPT),
    )
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    card = page.locator(".text-card")
    assert f"{-scores['token_logprobs'][0] / 0.6931471805599453:.1f} bits" in card.text_content()
    shown = [each.replace("␣", " ").replace("↵", "\n") for each in card.locator("code").all_text_contents()]
    top = scores["top_logprobs"][0]
    assert shown == sorted(top, key=lambda each: -top[each])
    # By keyboard: the last one.
    page.mouse.move(0, 0)
    page.locator(".text-pane").focus()
    page.keyboard.press("End")
    page.keyboard.press("ArrowLeft")
    assert f"{-scores['token_logprobs'][-2] / 0.6931471805599453:.1f} bits" in card.text_content()
    assert "alternatives" in page.locator(".text-view [aria-live]").text_content()
    page.keyboard.press("Escape")
    assert card.is_hidden()
    page.get_by_label("Tint by surprise").uncheck()
    page.until(f"{tinted} === 0")


def test_by_keyboard_alone(site: Any, visit: Callable[..., Any]) -> None:
    page = visit(site)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    for _ in range(3):
        page.keyboard.press("Tab")
    page.keyboard.type("night ")
    page.keyboard.press("Control+Enter")
    done(page)
    assert text_of(page).startswith("night ")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Write"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Keep writing"
    page.keyboard.press("Enter")
    page.wait_for_selector("button:has-text('Stop')", state="visible")
    assert page.evaluate("document.activeElement.textContent") == "Stop"
    page.until("document.querySelector('.text-flow').textContent.length > 700")
    page.keyboard.press("Escape")
    done(page)
    assert page.evaluate("document.activeElement.textContent") == "Write"


def test_korean_in_jamo(site: Any, visit: Callable[..., Any]) -> None:
    page = visit(site, locale="ko-KR")
    assert page.evaluate("document.documentElement.lang") == "ko"
    page.get_by_label("모델", exact=True).select_option("hangul")
    page.get_by_label("시작 글").fill("베틀은 ")
    page.get_by_text("더 많은 설정").click()
    page.get_by_label("시드").fill("1")
    page.get_by_role("button", name="쓰기", exact=True).click()
    page.wait_for_selector(".sheet-facts b")
    expected = site.answer("POST", "/generate", {"model": "hangul", "prompt": "베틀은 ", "length": 600, "seed": 1})["text"]
    assert text_of(page) == "베틀은 " + expected
    syllable = next(index for index, each in enumerate(expected) if "가" <= each <= "힣")
    page.locator(".text-pane").focus()
    page.keyboard.press("Home")
    for _ in range(len("베틀은 ") + syllable):
        page.keyboard.press("ArrowRight")
    card = page.locator(".text-card")
    assert card.locator("b").text_content() == expected[syllable]
    assert card.locator("ol").count() >= 2  # a syllable has two or three jamo


def test_what_the_alphabet_lacks_is_told(site: Any, visit: Callable[..., Any]) -> None:
    page = visit(site)
    write(page, "thé 베 ")
    told = page.locator(".sheet-facts").text_content()
    assert "é was read as e" in told
    assert "베: 1 character is unknown to the model" in told


def test_stop_strings(site: Any, visit: Callable[..., Any]) -> None:
    page = visit(site)
    more(page, Seed=4)
    page.get_by_label("Stop strings").fill("\\n\nknots")
    text = write(page)
    assert "\n" not in text
    assert "ended before a stop string" in page.locator(".sheet-facts").text_content()
    stop = parse_qs(page.evaluate("location.hash").partition("?")[2])["stop"]
    assert stop == ["\n", "knots"]


def test_any_prompt_fits_into_an_address(site: Any, visit: Callable[..., Any]) -> None:
    page = visit(site)
    prompt = '50% & "#1"=+?/\\ \n\tthe 🕷 '
    text = write(page, prompt)
    assert text.startswith(prompt)
    page.reload()
    done(page)
    assert text_of(page) == text
    assert page.get_by_label("Prompt").input_value() == prompt


def test_a_refusal_is_told_where_it_belongs(site: Any, visit: Callable[..., Any]) -> None:
    page = visit(site, "#write?model=nobody%4012&prompt=a&seed=1&t=0:1&length=20")
    page.watch.allowed.append("404")
    page.wait_for_selector(".sheet .notice.bad:not([hidden])")
    assert "nobody" in page.locator(".sheet .notice.bad").text_content()
    page.get_by_label("Length, in characters").evaluate("node => node.max = ''")
    more(page, Length=200_000)
    page.watch.allowed.append("400")
    page.get_by_label("Model", exact=True).select_option("tale")
    page.get_by_role("button", name="Write", exact=True).click()
    page.wait_for_selector(".sheet .notice.bad:has-text('100,000')")


def test_copy_and_download(site: Any, visit: Callable[..., Any]) -> None:
    page = visit(site, permissions=["clipboard-read", "clipboard-write"])
    text = write(page)
    page.get_by_role("button", name="Copy", exact=True).click()
    page.wait_for_selector(".toast")
    assert page.evaluate("navigator.clipboard.readText()") == text
    with page.expect_download() as download:
        page.get_by_role("button", name="Download").click()
    assert Path(download.value.path()).read_text(encoding="utf-8") == text
    assert download.value.suggested_filename.startswith("tale-")


def test_whole_records(launch: Callable[..., Any], visit: Callable[..., Any], accessible: Callable[..., None]) -> None:
    """A list of them, held against the names themselves, and a text of several, whose separator is one symbol of three characters."""
    names = [a + b + c for a in ("An", "Ber", "Ca") for b in ("na", "li", "to") for c in ("", "la", "ni")]
    site = launch()
    (site.db.parent / "names.txt").write_text("\n%\n".join(names) + "\n")
    arguments = ["train", str(site.db.parent / "names.txt"), "--name", "names", "--steps", "120", "--hidden-size", "24"]
    command = [sys.executable, "cli.py", *arguments, "--batch-size", "8", "--learning-rate", "0.02", "--db", str(site.db)]
    subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, check=True, capture_output=True, timeout=120)
    page = visit(site, permissions=["clipboard-read", "clipboard-write"])
    page.get_by_label("Model", exact=True).select_option("tale")
    assert page.locator(".records").is_hidden()
    page.get_by_label("Model", exact=True).select_option("names")

    def listed(count: int) -> list[str]:
        page.get_by_label("How many").fill(str(count))
        page.get_by_role("button", name="Write the list").click()
        page.until(f"document.querySelector('.records-said').textContent.startsWith('{count} records from')")
        texts: list[str] = page.locator(".records-text").all_text_contents()
        marked = page.locator(".records-list li").evaluate_all("items => items.map((item) => item.querySelector('.records-new') !== null)")
        assert marked == [text not in names for text in texts]
        return texts

    more(page, Seed=5)
    page.get_by_label("Stop strings").fill("n")  # which a list is written without
    page.get_by_label("Only new ones").uncheck()
    page.get_by_label("No repeats").uncheck()
    some = listed(60)
    assert len(some) == 60 > len(set(some))
    assert sum(text in names for text in some) > 0
    known = sum(text in names for text in some)
    assert f"{known} stand in names; {len(set(some))} are different." in page.locator(".records-said").text_content()
    page.get_by_label("No repeats").check()
    assert len(set(listed(12))) == 12
    page.get_by_label("Only new ones").check()
    temperature(page, 1.6)
    new = listed(7)
    assert len(set(new) - set(names)) == 7
    page.get_by_role("button", name="Copy all").click()
    page.wait_for_selector(".toast")
    assert page.evaluate("navigator.clipboard.readText()") == "\n%\n".join(new)
    accessible(page)
    page.get_by_label("Stop strings").fill("")

    # Each character of a separator is shown as all of it.
    more(page, Length=80)
    temperature(page, 0.8)
    assert_separators_are_whole(page, ".sheet", write(page, ""))
    page.evaluate("location.hash = '#inside?model=names'")
    text = "Anna\n%\nBerli\n%\nCa"
    page.get_by_label("A text", exact=True).fill(text)
    page.get_by_role("button", name="Let it read").click()
    page.wait_for_selector(".reader-foot b")
    assert_separators_are_whole(page, ".reader", text)


def assert_separators_are_whole(page: Any, place: str, text: str) -> None:
    """The cards from the beginning to behind the first separator, and the tints of all separators."""
    first = text.index("\n%\n")
    page.locator(f"{place} .text-pane").focus()
    page.keyboard.press("Home")
    heads = []
    for _ in range(first + 4):
        heads.append(page.locator(".text-card b").text_content())
        page.keyboard.press("ArrowRight")
    assert heads == [*text[:first], *["line end, %, line end"] * 3, text[first + 3]]
    tinted = page.evaluate(
        """(flow) => [...CSS.highlights].flatMap(([name, ranges]) => [...ranges].filter((range) => name.startsWith("surprise") &&
            document.querySelector(flow).contains(range.startContainer)).map((range) => [name, range.startOffset, range.endOffset]))""",
        f"{place} .text-flow",
    )
    tints = {at: name for name, start, stop in tinted for at in range(start, stop)}
    separators = [{tints.get(at) for at in range(*each.span())} for each in re.finditer("\n%\n", text)]
    assert all(len(names) == 1 for names in separators)
    assert set.union(*separators) != {None}


def test_nothing_is_there_yet(launch: Callable[..., Any], visit: Callable[..., Any], accessible: Callable[..., None]) -> None:
    page = visit(launch(empty=True))
    page.wait_for_selector("h2:has-text('There is no model yet')")
    accessible(page)
    assert page.get_by_role("link", name="Teach a model").get_attribute("href") == "#teach"


def test_a_long_text_stays_smooth(site: Any, visit: Callable[..., Any]) -> None:
    page = visit(site)
    found = page.evaluate(
        """async () => {
          const { TextView } = await import("/static/components/text-view.js");
          const view = new TextView({ label: "long", describe: (index) => String(index) });
          view.pane.style.height = "500px";
          document.querySelector("main").replaceChildren(view.element);
          const line = "the loom weaves a thread of red and gold, night after night\\n";
          view.set(line.repeat(1 + 100000 / line.length).slice(0, 100000));
          view.layer("surprise", (index) => (index % 9 ? `surprise-${index % 9}` : null));
          const gaps = [];
          let last = performance.now();
          for (let frame = 0; frame < 60; frame++) {
            view.pane.scrollTop += 800;
            await new Promise(requestAnimationFrame);
            gaps.push(performance.now() - last);
            last = performance.now();
          }
          const ranges = [...CSS.highlights.values()].reduce((sum, each) => sum + each.size, 0);
          getSelection().selectAllChildren(view.flow);
          const copied = new DataTransfer();
          view.pane.dispatchEvent(new ClipboardEvent("copy", { clipboardData: copied, bubbles: true, cancelable: true }));
          const same = (copied.getData("text/plain") || getSelection().toString()) === view.text;
          return { length: view.length, median: gaps.sort((one, other) => one - other)[30], ranges, same };
        }"""
    )
    assert found["length"] == 100_000
    assert found["same"]  # what is selected and copied has no line ends of its own
    assert 500 < found["ranges"] < 20_000  # what is near the window, and not all of it
    assert found["median"] < 100  # milliseconds a frame, on any machine
