"""Teach: texts that are uploaded, dropped and pasted, what the reader saw of them, and all settings."""

from __future__ import annotations

import csv
import io
import json
import random
import re
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from corpora import open_source
from corpora.documents.markup import read_html
from tests.corpora.documents.test_office import docx, paragraph
from tests.corpora.documents.test_tables import workbook

STATIC = Path(__file__).resolve().parents[2] / "service" / "web" / "static"
FILES = "input[type=file]:not([webkitdirectory])"
FOLDER = "input[type=file][webkitdirectory]"
TOLD = ".corpus-input > .notice:not([hidden])"
SHOWN = ".summary:not([hidden]) h3"
# Settings that have a place of their own, and those that only other services' clients send
UNSHOWN = {"cell", "training_file", "epochs", "steps", "budget", "hyperparameters", "method", "suffix", "metadata", "integrations"}
PAGE = """<!doctype html><meta charset=utf-8><title>T</title><style>b { color: red }</style>
<h1>A  <em>title</em></h1><p>The loom
stood <b>still</b>.<p>Nobody<!-- not shown --> had &lt;asked&gt; it&nbsp;why.</p>loose <span>words</span>
<ul><li>one<li>two<ul><li>three</ul></ul><ol><li>four</ol><dl><dt>term<dd>meaning</dl>
<div>a<div>b<br>c</div>d</div><section><p>in a section</section>
<table><thead><tr><th>name<th>city</tr></thead><tbody><tr><td>Anna<td>Köln<tr><td>보라<td><b>Ürümqi</b></table>
<blockquote><p>said</blockquote><pre>  for i in range(3):
    print(i)</pre><p hidden>not shown<script>'<p>not shown'</script><p>after</p>
<figure><img alt=x><figcaption>a caption</figcaption></figure>
<p>last 😀 line"""
SAID = [f"{number} naïve <knots> & 한국어 😀" for number in range(30)]
FIRST_LINES = "The loom stood still.\nNobody had asked it why.\n"


def lines(seed: int, count: int = 400) -> str:
    """So many lines, of which no two are alike."""
    rng = random.Random(seed)
    return "".join(f"{number} " + " ".join(rng.choices("red gold thread loom night knots".split(), k=6)) + "\n" for number in range(count))


@pytest.fixture(scope="module")
def shared(school: Any, visit_for_all: Callable[..., Any]) -> Any:
    """One page for all tests that give a text."""
    return visit_for_all(school, "#teach")


@pytest.fixture
def desk(shared: Any) -> Iterator[Any]:
    """That page, where no text is given yet."""
    other = shared.get_by_role("button", name="Another text")
    if other.is_visible():
        other.click()
    shared.wait_for_selector(".zone", state="visible")
    yield shared
    assert shared.watch.faults == []
    shared.watch.forget()


def give(page: Any, path: Path, selector: str = FILES) -> str:
    """Choose a file or folder; the name that it gets."""
    page.locator(selector).set_input_files(path)
    page.wait_for_selector(SHOWN)
    return str(page.locator(SHOWN).text_content())


def content(site: Any, name: str) -> str:
    """The text as the service has it."""
    import urllib.request

    with urllib.request.urlopen(f"{site.url}/v1/files/{name}/content") as answer:
        return str(answer.read().decode())


def records(site: Any, name: str) -> Any:
    """How the service cuts a text."""
    import urllib.request

    with urllib.request.urlopen(f"{site.url}/v1/files/{name}") as answer:
        return json.load(answer)["meta"]["records"]


def settings(page: Any) -> None:
    """Open all settings."""
    page.get_by_text("All settings").click()
    page.wait_for_selector(".settings fieldset")


@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (1600, "light")])
def test_it_is_accessible(site: Any, visit: Callable[..., Any], accessible: Callable[..., None], width: int, scheme: str) -> None:
    page = visit(site, "#teach", width=width, scheme=scheme)
    page.get_by_text("Or paste a text").click()
    page.get_by_label("Other", exact=True).check()
    settings(page)
    page.wait_for_selector(".runs li")
    accessible(page)
    page.get_by_label("Or use a stored text").select_option("tale")
    page.wait_for_selector(SHOWN)
    accessible(page)


def test_what_the_reader_saw(school: Any, desk: Any, tmp_path: Path) -> None:
    start = desk.get_by_role("button", name="Start")
    assert start.is_disabled()
    text = FIRST_LINES + lines(1)
    (tmp_path / "loom.txt").write_text(text)
    assert give(desk, tmp_path / "loom.txt") == "loom"
    facts = dict(
        zip(desk.locator(".summary dt").all_text_contents(), desk.locator(".summary dd").all_text_contents(), strict=True)
    )  # name -> value
    assert facts["Characters"] == f"{len(text):,}"
    assert facts["Lines"] == f"{text.count(chr(10)):,}"
    assert facts["Distinct characters"] == str(len(set(text)))
    assert desk.locator(".summary-sample").text_content().startswith(FIRST_LINES)
    shown = desk.locator(".signs li > :first-child").all_text_contents()
    assert len(shown) == len(set(text))
    assert shown[0] == "␣"
    assert start.is_enabled()
    desk.reload()
    desk.wait_for_selector(SHOWN)
    assert desk.locator(SHOWN).text_content() == "loom"
    desk.get_by_role("button", name="Another text").click()
    assert desk.get_by_role("button", name="Start").is_disabled()
    desk.get_by_label("Or use a stored text").select_option("hangul")
    desk.wait_for_selector(SHOWN)
    assert desk.locator(SHOWN).text_content() == "hangul"
    assert content(school, "loom") == text


def test_an_upload_tells_how_far_it_is_and_can_be_cancelled(school: Any, visit: Callable[..., Any], tmp_path: Path) -> None:
    page = visit(school, "#teach")
    (tmp_path / "large.txt").write_text(lines(2, 60_000))
    network = page.context.new_cdp_session(page)
    slow = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 200_000}
    network.send("Network.emulateNetworkConditions", slow)
    page.locator(FILES).set_input_files(tmp_path / "large.txt")
    page.until("document.querySelector('.sending progress').value > 0")
    assert page.evaluate("document.querySelector('.sending progress').value") < 1
    assert re.fullmatch(r"large\.txt: [\d.]+ [kM]?B of [\d.]+ MB sent", page.locator(".sending .hint").text_content())
    page.locator(".sending button").click()
    page.wait_for_selector(".zone", state="visible")
    assert page.locator(".corpus-input .notice").is_hidden()
    assert "large" not in [each["id"] for each in school.answer("GET", "/v1/files?limit=100")["data"]]


def folder(at: Path) -> Path:
    """A folder with what folders have: an order of their own, deep and long names, hidden files, and files that are no text."""
    root = at / "a tale of looms"
    deep = root / "b" / "베틀 이야기" / ("long " * 20 + "name")
    deep.mkdir(parents=True)
    (root / "b" / "2.txt").write_text("second " * 100)
    (root / "b" / "10.txt").write_text("tenth " * 100)
    (root / "a.txt").write_text("first, with é and 베틀 " * 100)
    (deep / "z.txt").write_text("the deepest " * 100)
    (root / "empty.txt").write_text("")
    (root / "image.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0" + bytes(2000))
    (root / ".git").mkdir()
    (root / ".git" / "config").write_text("hidden")
    (root / ".hidden.txt").write_text("hidden")
    return root


def test_a_folder_is_read_as_the_command_line_reads_it(school: Any, desk: Any, tmp_path: Path) -> None:
    root = folder(tmp_path)
    with desk.expect_request(lambda request: request.method == "POST") as sent:
        name = give(desk, root, FOLDER)
    assert name == "a-tale-of-looms"
    assert content(school, name) == "".join(open_source(str(root)).pieces())
    assert desk.locator(".summary .notice").all_text_contents() == [
        "one file was skipped, a PNG picture: image.png; it holds no characters; recognise them first (OCR), for example with tesseract"
    ]
    assert b"hidden" not in (sent.value.post_data_buffer or b"")


def test_several_files_are_one_text(school: Any, desk: Any, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}.txt").write_text(f"{name} " * 200)
    desk.locator(FILES).set_input_files([tmp_path / "two.txt", tmp_path / "one.txt"])
    desk.wait_for_selector(SHOWN)
    name = desk.locator(SHOWN).text_content()
    assert content(school, name) == "".join(open_source(str(tmp_path)).pieces())


def test_a_file_or_a_piece_of_text_is_dropped(school: Any, desk: Any) -> None:
    drop = """([text, asFile]) => {
        const data = new DataTransfer();
        if (asFile) data.items.add(new File([text], "dropped.txt", { type: "text/plain" }));
        else data.setData("text/plain", text);
        const zone = document.querySelector(".zone");
        for (const name of ["dragenter", "dragover", "drop"])
            zone.dispatchEvent(new DragEvent(name, { dataTransfer: data, bubbles: true, cancelable: true }));
    }"""
    for seed, as_file in ((3, True), (5, False)):
        desk.evaluate(drop, [lines(seed), as_file])
        desk.wait_for_selector(SHOWN)
        name = str(desk.locator(SHOWN).text_content())
        assert (name == "dropped") == as_file
        assert content(school, name) == lines(seed)
        desk.get_by_role("button", name="Another text").click()


# Folders as browsers hand them over when they are dropped: entries are read in batches, until one is empty. Scripts cannot drop real ones.
DROPPED = """async () => {
    const file = (name, text) => ({ isFile: true, name, file: (resolve) => resolve(new File([text], name)) });
    const folder = (name, ...batches) => ({
        isDirectory: true, name,
        createReader: () => { const left = [...batches, []]; return { readEntries: (resolve) => resolve(left.shift()) }; },
    });
    const given = folder("looms", [file("b.txt", "second"), folder("deep", [file("c.txt", "third")])], [file("a.txt", "first")],
        [file(".hidden", "no"), folder(".git", [file("config", "no")])]);
    const { filesOf, packed } = await import("/static/lib/tar.js");
    const { data, name } = packed(await filesOf({ items: [{ webkitGetAsEntry: () => given }], files: [] }));
    return [name, [...new Uint8Array(await data.arrayBuffer())]];
}"""


def test_a_dropped_folder_is_a_tar(site: Any, visit: Callable[..., Any]) -> None:
    name, data = visit(site, "#teach").evaluate(DROPPED)
    assert name == "looms.tar"
    with tarfile.open(fileobj=io.BytesIO(bytes(data))) as archive:
        found = {member.name: archive.extractfile(member).read() for member in archive.getmembers()}
    assert found == {"a.txt": b"first", "b.txt": b"second", "deep/c.txt": b"third"}


def test_a_pasted_text(school: Any, desk: Any) -> None:
    desk.get_by_text("Or paste a text").click()
    use = desk.get_by_role("button", name="Use this text")
    assert use.is_disabled()
    desk.get_by_label("The text", exact=True).fill(lines(4))
    desk.get_by_label("Name", exact=True).fill("From my desk")
    use.click()
    desk.wait_for_selector(SHOWN)
    assert desk.locator(SHOWN).text_content() == "From-my-desk"
    assert content(school, "From-my-desk") == lines(4)


def test_what_cannot_be_read_is_told(school: Any, desk: Any, tmp_path: Path) -> None:
    desk.watch.allowed.append("400 (Bad Request)")
    (tmp_path / "image.png").write_bytes(b"\x89PNG\0" + bytes(2000))
    desk.locator(FILES).set_input_files(tmp_path / "image.png")
    desk.wait_for_selector(TOLD)
    assert "image.png" in desk.locator(TOLD).text_content()
    assert desk.locator(".zone").is_visible()
    (tmp_path / "empty.txt").write_text("")
    desk.locator(FILES).set_input_files(tmp_path / "empty.txt")
    desk.wait_for_selector(f"{TOLD}:has-text('There is nothing to read')")


def test_a_text_in_another_encoding(school: Any, desk: Any, tmp_path: Path) -> None:
    desk.watch.allowed.append("400 (Bad Request)")
    text = "베틀은 밤마다 붉은 실과 금빛 실을 엮는다.\n" * 20
    (tmp_path / "korean.txt").write_bytes(text.encode("cp949"))
    desk.locator(FILES).set_input_files(tmp_path / "korean.txt")
    desk.wait_for_selector(f"{TOLD}:has-text('korean.txt is not in UTF-8')")
    readings = desk.locator(".reading")
    assert "Korean (CP949, EUC-KR)" in readings.first.text_content()
    assert readings.first.locator("q").text_content() == "베틀은 밤마다 붉은 실과 금빛 실을 엮는다."
    assert readings.first.get_by_role("radio").is_checked()
    assert not desk.get_by_label("Encoding", exact=True).is_visible()
    desk.get_by_label("Another encoding").check()
    desk.get_by_label("Encoding", exact=True).select_option("cp932")
    desk.get_by_role("button", name="Use this encoding").click()
    desk.wait_for_selector(f"{TOLD}:has-text('korean.txt is not cp932')")
    desk.locator(".reading", has_text="Korean").get_by_role("radio").check()
    desk.get_by_role("button", name="Use this encoding").click()
    desk.wait_for_selector(SHOWN)
    assert content(school, desk.locator(SHOWN).text_content()) == text
    assert desk.locator(TOLD).count() == 0


def test_a_text_with_a_bad_byte(school: Any, desk: Any, tmp_path: Path) -> None:
    desk.watch.allowed.append("400 (Bad Request)")
    text = "Été, déjà vu, à la carte.\n" * 20
    (tmp_path / "bad.txt").write_bytes(text.encode() + b"caf\xff\n")
    desk.locator(FILES).set_input_files(tmp_path / "bad.txt")
    desk.wait_for_selector(f"{TOLD}:has-text('bad.txt is utf-8, but not throughout: byte 0xff in line 21')")
    desk.get_by_role("button", name="Read it with \ufffd for bad bytes").click()
    desk.wait_for_selector(SHOWN)
    assert content(school, desk.locator(SHOWN).text_content()) == text + "caf\ufffd\n"
    assert "one place that cannot be decoded was read as U+FFFD: line 21" in desk.locator(".summary").text_content()


def test_documents_become_text(school: Any, desk: Any, tmp_path: Path) -> None:
    told = {
        "tale.docx": docx("".join(map(paragraph, SAID))).getvalue(),
        "page.html": PAGE.encode(),
        "c.txt": FIRST_LINES.encode(),
    }
    (tmp_path / "mixed").mkdir()
    for name, content_ in told.items():
        (tmp_path / "mixed" / name).write_bytes(content_)
    assert content(school, give(desk, tmp_path / "mixed" / "tale.docx")) == "\n".join(SAID) + "\n"
    assert f"tale.docx: {len(SAID)} paragraphs of a Word document" in desk.locator(".summary").text_content()
    desk.get_by_role("button", name="Another text").click()
    text = content(school, give(desk, tmp_path / "mixed", FOLDER))
    assert text.startswith(FIRST_LINES)
    assert text.endswith("\n".join(SAID) + "\n")


def test_a_column_of_a_workbook(school: Any, desk: Any, tmp_path: Path) -> None:
    desk.watch.allowed.append("400 (Bad Request)")
    rows = [["name", "city"], *([f"Anna {number}", "Köln"] for number in range(30))]
    desk.locator(FILES).set_input_files(workbook(tmp_path / "people.xlsx", rows))
    desk.wait_for_selector(f"{TOLD}:has-text('people.xlsx has several columns')")
    assert desk.get_by_label("Column").evaluate("each => [...each.options].map((option) => option.value)") == ["name", "city"]
    desk.get_by_role("button", name="Read this column only").click()
    desk.wait_for_selector(SHOWN)
    assert content(school, desk.locator(SHOWN).text_content()) == "".join(f"Anna {number}\n" for number in range(30))
    assert "people.xlsx: 30 values of an Excel workbook" in desk.locator(".summary").text_content()


def test_a_column_of_a_table_and_a_field_of_json_lines(school: Any, desk: Any, tmp_path: Path) -> None:
    people = [(f"Anna {number}", f'Köln, "{number}"' * 30, str(number)) for number in range(30)]  # a longer line than the summary shows
    told = io.StringIO()
    csv.writer(told, lineterminator="\n").writerows([("name", "city, country", "age"), *people])
    (tmp_path / "guests.csv").write_bytes(told.getvalue().encode("cp1252"))
    (tmp_path / "guests.jsonl").write_text("".join(json.dumps({"city": city, "name": name}) + "\n" for name, city, _ in people))
    desk.watch.allowed.append("400 (Bad Request)")
    desk.locator(FILES).set_input_files(tmp_path / "guests.csv")
    desk.get_by_label("Western European (Windows-1252)").check()
    desk.get_by_role("button", name="Use this encoding").click()  # which is kept as the column is read
    for part, names in (("Column", ["name", "city, country", "age"]), ("Field", ["city", "name"])):
        choice = desk.get_by_label(part, exact=True)
        choice.wait_for()
        assert choice.evaluate("each => [...each.options].map((option) => option.value)") == names
        choice.select_option(names[1])
        desk.get_by_role("button", name=f"Read this {part.lower()} only").click()
        choice.wait_for(state="hidden")
        desk.wait_for_selector(SHOWN)
        expected = [city for _, city, _ in people] if part == "Column" else [name for name, *_ in people]
        assert content(school, desk.locator(SHOWN).text_content()) == "".join(f"{each}\n" for each in expected)
        if part == "Column":
            desk.get_by_role("button", name="Another text").click()
            desk.locator(FILES).set_input_files(tmp_path / "guests.jsonl")


def test_a_page_reads_as_in_a_browser(desk: Any) -> None:
    """Each element on its own, beside what this browser calls its `innerText`."""
    page = desk.context.new_page()
    page.set_content(PAGE)
    shown = page.evaluate("document.body.innerText")
    page.close()
    assert "\n".join(read_html(io.BytesIO(PAGE.encode()))) == shown.strip("\n")


def test_a_text_that_is_too_large(launch: Callable[..., Any], visit: Callable[..., Any], tmp_path: Path) -> None:
    page = visit(launch(empty=True, max_upload=10_000), "#teach")
    page.wait_for_selector("text=There are no runs yet")
    page.watch.allowed.append("413")
    (tmp_path / "large.txt").write_text(lines(6))
    page.locator(FILES).set_input_files(tmp_path / "large.txt")
    page.wait_for_selector(f"{TOLD}:has-text('10,000 bytes')")


def test_all_settings_are_those_of_the_service(site: Any, visit: Callable[..., Any]) -> None:
    page = visit(site, "#teach")
    settings(page)
    properties = site.answer("GET", "/openapi.json")["components"]["schemas"]["JobOrder"]["properties"]
    shown = page.locator(".settings .field").all()
    names = [each.locator("label").text_content() for each in shown]
    assert sorted(names) == sorted(set(properties) - UNSHOWN)
    for name, each in zip(names, shown, strict=True):
        assert properties[name]["description"] in each.locator(".hint").text_content()
    field = page.get_by_label("dropout", exact=True)
    assert (field.get_attribute("min"), field.get_attribute("max")) == ("0", "1")
    assert page.get_by_label("optimizer").locator("option").all_text_contents()[1:] == ["adagrad", "adam", "rmsprop", "sgd"]


def test_what_is_wrong_is_told_beside_it(site: Any, visit: Callable[..., Any]) -> None:
    page = visit(site, "#teach")
    page.watch.allowed += ["400 (Bad Request)", "409 (Conflict)"]
    runs = site.answer("GET", "/v1/fine_tuning/jobs")["data"]
    page.get_by_label("Or use a stored text").select_option("tale")
    page.wait_for_selector(SHOWN)
    settings(page)
    page.get_by_label("hidden_size").fill("16")
    page.get_by_label("learning_rate", exact=True).fill("0")
    page.get_by_role("button", name="Start").click()
    wrong = page.locator(".field:has([aria-invalid])")
    wrong.wait_for()
    assert wrong.locator("label").text_content() == "learning_rate"
    assert "learning_rate is 0" in wrong.locator(".wrong").text_content()
    page.get_by_label("learning_rate", exact=True).fill("0.01")
    page.get_by_label("name", exact=True).fill("tale")
    page.get_by_role("button", name="Start").click()
    page.wait_for_selector(".field:has(.wrong:has-text('exists already')) code:text-is('name')")
    page.get_by_label("name", exact=True).fill("")
    page.get_by_label("Other", exact=True).check()
    page.get_by_label("Length", exact=True).fill("0")
    page.get_by_role("button", name="Start").click()
    assert page.get_by_label("Length", exact=True).evaluate("node => node.validity.rangeUnderflow")
    page.get_by_label("Length", exact=True).fill("600000")  # minutes, more than a year
    page.get_by_role("button", name="Start").click()
    assert page.get_by_label("Length", exact=True).evaluate("node => node.validity.rangeOverflow")
    assert site.answer("GET", "/v1/fine_tuning/jobs")["data"] == runs


def test_every_setting_has_a_meaning_in_korean(site: Any) -> None:
    translated = re.findall(r'^  "setting\.(\w+)"', (STATIC / "i18n" / "teach.js").read_text(), re.MULTILINE)
    assert sorted(translated) == sorted(
        set(site.answer("GET", "/openapi.json")["components"]["schemas"]["JobOrder"]["properties"]) - UNSHOWN
    )


def test_a_list_is_shown_as_records_and_can_be_read_otherwise(school: Any, desk: Any, tmp_path: Path) -> None:
    names = [f"{a}{b}" for a in "ABCDEFGH" for b in ("nna", "ert", "lio")] * 2
    (tmp_path / "first-names.txt").write_text("\n".join(names) + "\n")
    name = give(desk, tmp_path / "first-names.txt")
    part, kind = desk.locator(".summary"), desk.get_by_label("Read as")
    assert kind.input_value() == "lines"
    assert "48 records, 24 different ones; the one in the middle has 4 characters." in part.text_content()
    assert part.locator(".summary-records li").all_text_contents() == ["Anna", "Fert", "Clio"]
    with desk.expect_response(lambda answer: answer.request.method == "PATCH"):
        desk.get_by_label("Learn from equal ones only once").check()
    desk.wait_for_function("document.querySelector('.summary [role=switch]')?.checked")
    assert records(school, name)["unique"] is True
    with desk.expect_response(lambda answer: answer.request.method == "PATCH"):
        kind.select_option("none")
    desk.get_by_text("One text from beginning to end.").wait_for()
    assert records(school, name) is None
    kind.select_option("fortune")
    desk.wait_for_selector(TOLD)
    assert "has 1 different record if it is cut into texts between lines of %" in desk.locator(TOLD).text_content()
    desk.watch.forget()  # the refusal
    assert kind.input_value() == "none"
