"""A run: it learns before one's eyes, can be paused, left and come back to; time travel; comparing; and the plot."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from service.training.learning_curve import DIVERGED

DRAWN = "Number(document.querySelector('.plot-box').dataset.drawn)"
SAMPLES = "[...document.querySelectorAll('.sample-head b')].map((each) => each.textContent)"
BADGE = "document.querySelector('.run-state .badge').textContent"
POINTS = 10_000


def text(count: int = 500) -> str:
    """So many lines of a few words."""
    rng = random.Random(5)
    return "".join(" ".join(rng.choices("the loom weaves red gold thread night after night".split(), k=6)) + "\n" for _ in range(count))


def opened(visit: Callable[..., Any], site: Any, name: str = "tale", **options: Any) -> Any:
    """The page of a run, with everything on it."""
    page = visit(site, f"#run/{name}", **options)
    page.until(f"{DRAWN} > 0")
    page.wait_for_selector(".checkpoints-text[data-step]:not([aria-busy])")
    return page


@pytest.fixture(scope="module")
def tale(site: Any, visit_for_all: Callable[..., Any]) -> Any:
    """The page of a run that is over, for all tests that leave it as it is."""
    return opened(visit_for_all, site)


def numbers(page: Any) -> list[str]:
    """The plot as a table, row by row."""
    if not page.locator(".plot details").evaluate("node => node.open"):
        page.get_by_text("As a table").click()
    page.wait_for_selector(".plot-table tbody tr")
    cells = "node => [...node.querySelectorAll('th, td')].map((each) => each.textContent).join(' | ')"
    return [str(each.evaluate(cells)) for each in page.locator(".plot-table tbody tr").all()]


def travel_to(page: Any, index: int) -> str:
    """Move the slider to a checkpoint; its text."""
    page.locator(".checkpoints .slider").evaluate(
        "(node, value) => { node.value = value; node.dispatchEvent(new Event('input', { bubbles: true })); }", index
    )
    page.wait_for_selector(".checkpoints-text:not([aria-busy])")
    return str(page.locator(".checkpoints-text").text_content())


@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (1600, "light")])
def test_it_is_accessible(site: Any, visit: Callable[..., Any], accessible: Callable[..., None], width: int, scheme: str) -> None:
    page = opened(visit, site, width=width, scheme=scheme)
    numbers(page)
    page.get_by_text("Event log").click()
    page.get_by_text("Settings of this run").click()
    page.locator(".plot-box").focus()
    page.keyboard.press("End")
    accessible(page)
    page = visit(site, "#compare/tale,hangul", width=width, scheme=scheme)
    page.until(f"{DRAWN} > 0")
    accessible(page)


def test_from_a_text_to_a_model(school: Any, visit: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "weaver.txt").write_text(text())
    page = visit(school, "#teach")
    page.watch.allowed.append("404 (NOT FOUND)")  # of a checkpoint that had gone when its text was asked for
    page.locator("input[type=file]:not([webkitdirectory])").set_input_files(tmp_path / "weaver.txt")
    page.wait_for_selector(".summary:not([hidden])")
    page.get_by_label("Other", exact=True).check()
    page.get_by_label("Length", exact=True).fill("1000000")
    page.get_by_label("Unit of the length").select_option("steps")
    page.get_by_text("All settings").click()
    for name, value in {"hidden_size": 12, "batch_size": 4, "seq_length": 16, "validation_interval": 100, "name": "weaver"}.items():
        page.get_by_label(name, exact=True).fill(str(value))
    page.get_by_role("button", name="Start").click()
    page.until("location.hash === '#run/weaver'")
    page.wait_for_selector("h1:text-is('weaver')")

    # It learns before one's eyes.
    page.until(f"document.querySelector('.plot-box') && {DRAWN} > 3 && {SAMPLES}.length > 2", 60)
    before = page.evaluate(DRAWN)
    page.until(f"{DRAWN} > {before}", 30)
    assert page.evaluate(BADGE) == "learning"
    assert "left" in page.locator(".run-time").text_content()
    assert page.locator("#training").is_visible()

    # Where nobody looks, nothing is asked for; what happened meanwhile is there again when somebody does.
    look = """hidden => {
        Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
        document.dispatchEvent(new Event("visibilitychange"));
    }"""
    page.evaluate(look, True)
    page.wait_for_timeout(500)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    before = page.evaluate(DRAWN)
    page.wait_for_timeout(1200)
    assert (page.evaluate(DRAWN), asked) == (before, [])
    page.evaluate(look, False)
    page.until(f"{DRAWN} > {before}", 30)

    # It is paused, left, and come back to.
    page.get_by_role("button", name="Pause").click()
    page.until(f"{BADGE} === 'paused' && document.activeElement.textContent === 'Resume'")
    page.wait_for_timeout(800)  # until the last events have come
    kept, samples = numbers(page), page.evaluate(SAMPLES)
    page.reload()
    page.until(f"document.querySelector('.plot-box') && {DRAWN} > 0")
    assert numbers(page) == kept
    assert page.evaluate(SAMPLES) == samples
    assert page.evaluate(BADGE) == "paused"
    assert page.get_by_role("button", name="Pause").is_hidden()

    # It goes on where it was.
    page.get_by_role("button", name="Resume").click()
    page.until(f"{SAMPLES}.length > {len(samples)}", 60)
    assert page.evaluate(SAMPLES)[-len(samples) :] == samples

    # It is cancelled, but not by mistake.
    page.get_by_role("button", name="Cancel", exact=True).click()
    page.get_by_role("button", name="Keep learning").click()
    assert page.evaluate(BADGE) == "learning"
    page.get_by_role("button", name="Cancel", exact=True).click()
    page.get_by_role("button", name="Cancel the run").click()
    page.until(f"{BADGE} === 'cancelled'")
    assert school.answer("GET", "/v1/fine_tuning/jobs/weaver")["status"] == "cancelled"
    assert page.evaluate("document.activeElement.tagName") != "BODY"

    # Its checkpoints stay, and write.
    page.get_by_role("link", name="Write with it").click()
    page.until("document.querySelector('.sheet-facts b')?.textContent.startsWith('weaver@')", 30)
    page.get_by_role("link", name="Teach").click()
    page.wait_for_selector(".runs li:has-text('weaver') .badge.cancelled")


def test_time_travel(site: Any, visit: Callable[..., Any]) -> None:
    page = opened(visit, site)
    page.locator(".checkpoints").get_by_label("Prompt").fill("the ")
    steps = [each["step_number"] for each in site.answer("GET", "/v1/fine_tuning/jobs/tale/checkpoints")["data"]][::-1]
    assert len(steps) >= 4
    texts = [travel_to(page, index) for index in range(len(steps))]
    assert len(set(texts)) == len(steps)
    for step, found in zip(steps, texts, strict=True):
        body = {"model": f"tale@{step}", "prompt": "the ", "temperature": 0.8, "seed": 1, "max_tokens": 400}
        assert found == "the " + site.answer("POST", "/v1/completions", body)["choices"][0]["text"]
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    assert [travel_to(page, index) for index in range(len(steps))] == texts
    assert [each for each in asked if "completions" in each] == []
    assert f"step {steps[-1]:,}" in page.locator(".checkpoints output").text_content()
    page.get_by_role("link", name="Open this text in Write").click()
    page.until("document.querySelector('.sheet-facts b')")
    assert page.locator(".text-flow").text_content() == texts[-1]


def test_time_is_played(site: Any, tale: Any) -> None:
    steps = [each["step_number"] for each in site.answer("GET", "/v1/fine_tuning/jobs/tale/checkpoints")["data"]][::-1]
    tale.get_by_role("button", name="Play").click()
    tale.until(f"document.querySelector('.checkpoints-text').dataset.step === '{steps[0]}'")  # from the last one it begins again
    tale.locator(".checkpoints").get_by_role("button", name="Stop").click()
    travel_to(tale, len(steps) - 2)
    tale.get_by_role("button", name="Play").click()
    tale.until(f"document.querySelector('.checkpoints-text').dataset.step === '{steps[-1]}'")
    tale.get_by_role("button", name="Play").wait_for()


def test_the_plot_tells_what_it_shows(tale: Any) -> None:
    rows = numbers(tale)
    losses = [float(each) for each in re.findall(r"([\d.]+) bits", rows[0] + rows[-1])]
    assert losses[0] > losses[2] > 0  # validation, from the first to the last row
    assert re.search(r"unigram: [\d.]+ bits.*5-gram: [\d.]+ bits", tale.locator(".plot-table").text_content())
    box = tale.locator(".plot-box").bounding_box()
    tale.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + box["height"] / 2)
    tale.wait_for_selector(".plot-card:not([hidden])")
    assert tale.locator(".plot-card p").count() == 3
    tale.mouse.move(0, 0)
    tale.wait_for_selector(".plot-card", state="hidden")
    tale.locator(".plot-box").focus()
    tale.keyboard.press("Home")
    first = tale.locator(".plot [aria-live]").text_content()
    tale.keyboard.press("End")
    last = tale.locator(".plot [aria-live]").text_content()
    assert rows[-1].startswith(last.split(" ")[0])
    assert first != last
    drawn = tale.evaluate(DRAWN)
    tale.get_by_label("Logarithmic").check()
    tale.until(f"{DRAWN} !== 0")
    assert abs(tale.evaluate(DRAWN) - drawn) <= drawn


def test_a_checkpoint_that_has_gone_makes_room(site: Any, visit: Callable[..., Any]) -> None:
    page = opened(visit, site)
    steps = [each["step_number"] for each in site.answer("GET", "/v1/fine_tuning/jobs/tale/checkpoints")["data"]][::-1]
    gone = steps[1]

    def without(route: Any) -> None:
        listed = site.answer("GET", "/v1/fine_tuning/jobs/tale/checkpoints?limit=1000")
        route.fulfill(json={**listed, "data": [each for each in listed["data"] if each["step_number"] != gone]})

    def answer(route: Any) -> None:
        route.fulfill(status=404, json={})

    page.watch.allowed.append("404 (Not Found)")
    page.route("**/checkpoints?limit=1000", without)
    page.route("**/v1/completions", lambda route: answer(route) if f"@{gone}" in route.request.post_data else route.continue_())
    travel_to(page, 1)
    page.until(f"document.querySelector('.checkpoints .slider').max === '{len(steps) - 2}'")
    page.until(f"document.querySelector('.checkpoints-text').dataset.step === '{steps[0]}'")
    assert page.locator(".checkpoints .notice").is_hidden()


def test_a_run_is_followed_further_when_the_service_is_there_again(launch: Callable[..., Any], visit: Callable[..., Any]) -> None:
    first = launch()
    first.answer("POST", "/v1/fine_tuning/jobs", {"model": "lstm", "training_file": "tale", "name": "waiting"})
    page = visit(first, "#run/waiting")
    page.until(f"document.querySelector('.badge') && {BADGE} === 'queued'")
    page.watch.allowed.append("ERR_")
    first.stop()
    page.wait_for_selector(".run-state:has-text('Connection lost')")
    again = launch(again=first)
    page.until(f"document.querySelector('.run-state').textContent === {BADGE}")
    again.answer("POST", "/v1/fine_tuning/jobs/waiting/pause")
    page.until(f"{BADGE} === 'paused'")


def test_a_run_that_fails_says_why(school: Any, visit: Callable[..., Any]) -> None:
    order = {"model": "rnn", "activation": "relu", "optimizer": "sgd", "learning_rate": 1000, "momentum": 0.9, "clip_norm": 0}
    school.answer("POST", "/v1/fine_tuning/jobs", {**order, "training_file": "tale", "hidden_size": 16, "steps": 100, "name": "hopeless"})
    page = visit(school, "#run/hopeless")
    page.wait_for_selector(".run .notice.bad:has-text('learning_rate')", timeout=30_000)
    assert page.evaluate(BADGE) == "failed"
    assert page.get_by_role("button", name="Resume").is_visible()


def test_a_run_that_is_not_there(site: Any, visit: Callable[..., Any]) -> None:
    page = visit(site, "#run/nobody")
    page.watch.allowed.append("404")
    page.wait_for_selector(".run .notice.bad:not([hidden])")
    assert "nobody" in page.locator(".run .notice.bad:not([hidden])").text_content()


def test_runs_are_compared(site: Any, visit: Callable[..., Any]) -> None:
    page = visit(site, "#teach")
    page.get_by_label("Compare tale").check()
    assert page.get_by_role("button", name="Compare").is_disabled()
    page.get_by_label("Compare hangul").check()
    page.get_by_role("button", name="Compare").click()
    page.until(f"document.querySelector('.plot-box') && {DRAWN} > 0")
    assert sorted(page.locator(".compared a").all_text_contents()) == ["hangul", "tale"]
    assert page.locator(".plot-legend li").all_text_contents() == page.locator(".compared a").all_text_contents()
    assert "different texts" in page.locator(".compare .notice.warn").text_content()
    drawn = page.evaluate(DRAWN)
    page.get_by_label("Also training losses").uncheck()
    page.until(f"{DRAWN} < {drawn}")
    page.get_by_label("training time", exact=True).check()
    assert "s" in numbers(page)[-1]
    page.get_by_role("button", name="Remove hangul").click()
    page.until("location.hash === '#compare/tale'")
    page.until("document.querySelectorAll('.compared li').length === 1")
    assert page.locator(".compare .notice.warn").is_hidden()
    page.get_by_label("Add a run").select_option("hangul")
    page.until("location.hash === '#compare/tale,hangul' && document.querySelectorAll('.compared li').length === 2")


# ── with many points ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def bare(browser: Any, site: Any) -> Iterator[Any]:
    """A page without a view, for modules that need none."""
    page = browser.new_page()
    page.goto(f"{site.url}/health")
    yield page
    page.close()


MOUNT = """async count => {
    const { Plot } = await import("/static/components/plot.js");
    const axis = { label: "x", tick: String, format: String };
    const plot = (window.plot = new Plot({ label: "many", x: axis, y: axis }));
    document.querySelector("main").replaceChildren(plot.element);
    const line = (shift) => ({ name: `line ${shift}`, xs: [], ys: [], colour: "accent" });
    window.series = [line(0), line(1), line(2)];
    window.grow = (more) => {
        for (const [shift, { xs, ys }] of series.entries())
            for (let left = more; left--; ) (xs.push(xs.length + 1), ys.push(shift + Math.sin(xs.length / 50) + Math.random() / 4));
        plot.set({ series });
    };
    grow(count);
    await new Promise((resolve) => setTimeout(resolve, 200));
}"""
FRAMES = """async ({ frames, calls }) => {
    const before = plot.draws;
    for (let frame = 0; frame < frames; frame++) {
        for (let call = 0; call < calls; call++) grow(1);
        await new Promise(requestAnimationFrame);
    }
    return plot.draws - before;
}"""


def test_ten_thousand_points_are_little_work(site: Any, visit: Callable[..., Any]) -> None:
    page = visit(site, "#compare/tale")
    page.evaluate(MOUNT, POINTS)
    width = page.evaluate("document.querySelector('.plot-box').clientWidth")
    drawn = page.evaluate("plot.drawn")
    assert 3 * width < drawn <= 3 * 2 * width  # of 30,000
    assert page.evaluate(FRAMES, {"frames": 40, "calls": 25}) <= 41  # of 1,000 changes
    assert page.evaluate("plot.drawn") <= 3 * 2 * width
    draws = page.evaluate("plot.draws")
    box = page.locator(".plot-box").bounding_box()
    for step in range(20):
        page.mouse.move(box["x"] + 60 + 10 * step, box["y"] + 50)
    page.wait_for_selector(".plot-card:not([hidden])")
    assert page.evaluate("plot.draws") == draws  # what follows the pointer draws no line again


def test_nothing_that_can_be_seen_is_left_out(bare: Any) -> None:
    found = bare.evaluate(
        """async count => {
            const { decimated } = await import("/static/components/plot-canvas.js");
            const xs = Array.from({ length: count }, (_, index) => index);
            const ys = xs.map((x) => Math.sin(x) * ((x * 7919) % 101));
            return [decimated(xs, ys, (x) => x / 37, (y) => y), ys];
        }""",
        3000,
    )
    points, ys = found
    xs, heights = points[::2], points[1::2]
    assert xs == sorted(xs)
    assert (xs[0], heights[0], xs[-1], heights[-1]) == (0, ys[0], 2999 / 37, ys[-1])
    columns: dict[int, list[float]] = {}
    for x, y in zip(xs[1:-1], heights[1:-1], strict=True):
        columns.setdefault(int(x), []).append(y)
    for column in range(3000 // 37 + 1):
        inside = [y for x, y in enumerate(ys) if int(x / 37) == column and 0 < x < 2999]
        assert sorted(columns[column]) == [min(inside), max(inside)]


def test_steps_that_are_done_again_count_once(bare: Any) -> None:
    found = bare.evaluate(
        """async () => {
            const { LearningCurve } = await import("/static/views/run/learning-curve.js");
            const curve = new LearningCurve();
            const event = (characters, train_loss, valid_loss, sample = null) =>
                curve.add({ id: `e${characters}`, type: "metrics", data: {
                    characters, train_loss, valid_loss, sample, step: characters,
                    seconds: characters, symbols_per_char: Math.LN2, baselines: { unigram: 3 } } });
            event(100, 5, null); event(200, 4, 3.5, { text: "a" }); event(300, 3, null); event(400, 3, 3, { text: "b" });
            event(300, 2.5, null); event(400, 2, 2.5, { text: "c" });
            const { training, validation, samples } = curve;
            return [training.xs, training.ys, validation.xs, validation.ys, samples.map((each) => each.text),
                curve.neighbours.behind.name];
        }"""
    )
    assert found == [[100, 300], [5, 2.5], [200, 400], [3.5, 2.5], ["a", "c"], "unigram"]


def test_a_loss_far_above_guessing_is_told_in_both_languages(site: Any, visit: Callable[..., Any]) -> None:
    """The last validation of a run that went well, as if it had ended far above the loss of guessing, and just below that."""
    worst: dict[str, float] = {}

    def worsened(route: Any) -> None:
        answer = route.fetch()
        events = answer.json()
        last = next(event["data"] for event in events["data"] if event["type"] == "metrics" and event["data"]["valid_loss"] is not None)
        last["valid_loss"] = worst["times"] * DIVERGED * last["baselines"]["uniform"]
        worst["bits"] = last["baselines"]["uniform"] * last["symbols_per_char"] / math.log(2)
        route.fulfill(response=answer, json=events)

    for locale, said in (("en-US", "It has diverged"), ("ko-KR", "발산했습니다")):
        page = visit(site, locale=locale)
        page.route("**/tale/events?*", worsened)
        for times in (1.01, 0.99):
            worst["times"] = times
            page.evaluate("location.hash = '#write'")
            page.evaluate("location.hash = '#run/tale'")
            page.until("document.querySelector('.run-standing')?.textContent")
            text = page.locator(".run-standing").text_content()
            assert (said in text) == (times > 1)
            assert f"{worst['bits']:.2f}" in text  # of guessing
