"""Lists are told from prose: files as people have them, made by other programs where there is one, and made up at random."""

from __future__ import annotations

import csv
import io
import json
import random
import textwrap
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpora.record_detection import HEAD, detected

ROOT = Path(__file__).parents[2]
RNG = random.Random(7)
NAMES = "Anna Bert Clara Dörte Emil Frieda Greta Hugo Ida Jonas Klara Lena Mads Nora Olaf Paula Quentin Rosa Sven Tilda Ulla Vera".split()
SHUFFLED = RNG.sample(NAMES, len(NAMES))
CITIES = "Aachen;Bad Homburg;Castrop-Rauxel;Delft;Eindhoven;Frankfurt am Main;Graz;Hof;Innsbruck;Jena;Kiel;Lund;Metz;Nice".split(";")
SENTENCES = [
    "The sea was calm and nobody spoke.",
    "It had rained all night, and the road was deep in mud.",
    "He lit the lamp; the room was empty.",
    '"Who is there?" she asked.',
    "Nothing answered but the wind, which had turned to the north.",
    "In the morning they found the boat a mile from where they had left it, upside down, without its oars.",
]


def prose(rng: random.Random, sentences: int = 400) -> str:
    return " ".join(rng.choice(SENTENCES) for _ in range(sentences))


def wrapped(rng: random.Random, width: int = 72) -> str:
    return "\n\n".join(textwrap.fill(prose(rng, rng.randrange(3, 9)), width) for _ in range(40)) + "\n"


def table(delimiter: str = ",", header: bool = True, **how: object) -> str:
    file = io.StringIO()
    writer = csv.writer(file, delimiter=delimiter, lineterminator="\n", **how)  # type: ignore[arg-type]
    if header:
        writer.writerow(["id", "name", "price", "note"])
    for number in range(120):
        note = RNG.choice(["", "in stock", "two, or\nthree lines", 'the "best"'])
        writer.writerow([number, RNG.choice(NAMES), f"{RNG.random() * 90:.2f}", note])
    return file.getvalue()


def recipe() -> str:
    parts = "\n".join(f"- {RNG.randrange(1, 9)} {RNG.choice(['eggs', 'g of flour', 'onions'])}" for _ in range(RNG.randrange(2, 6)))
    return f"{RNG.choice(NAMES)}'s {RNG.choice(['soup', 'pie'])}\nIngredients:\n{parts}\nMethod: mix all of it. Bake."


def tune(number: int) -> str:
    bars = " | ".join("".join(RNG.choices("ABcdef2", k=6)) for _ in range(8))
    return f"X:{number}\nT:The {RNG.choice(NAMES)} Reel\nM:4/4\nK:{RNG.choice('ADG')}\n|:{bars}:|"


def game() -> str:
    moves = ["".join(RNG.choices("abcdefgh", k=1) + RNG.choices("12345678", k=1)) for _ in range(20)]
    return " ".join(f"{number}. {moves[2 * number - 2]} {moves[2 * number - 1]}" for number in range(1, 11)) + " 1-0"


RECORDS: dict[str, tuple[str, str, bool]] = {
    "names": ("\n".join(RNG.choices(NAMES, k=300)), "lines", False),
    "full names": ("\n".join(f"{a} {b}" for a in NAMES for b in NAMES) + "\n", "lines", False),
    "cities, sorted": ("\n".join(CITIES), "lines", False),
    "Korean names": ("\n".join(a + b + c for a in "김이박최" for b in "민서지현" for c in "준우아은호"), "lines", False),
    "Chinese words": ("\n".join(a + b for a in "天地人大小山水" for b in "火木金土日月"), "lines", False),
    "titles": ("War and Peace;A Tale of Two;Of Mice and Men;The Great Gatsby;Brave New World;East of Eden;Lord of the Flies;"
               "To the Lighthouse;The Old Man;Pride and Prejudice".replace(";", "\n"), "lines", False),
    "names with particles": ("\n".join(f"{a} van der {b}" for a in NAMES for b in NAMES), "lines", False),
    "dishes": ("\n".join(f"{a} {b}{c}" for a in ("pea", "egg", "fig") for b in ("pie", "dip") for c in ("", " with rye")), "lines", False),
    "a dictionary": ("\n".join(f"{a.lower()}{b.lower()}" for a in NAMES for b in NAMES), "lines", False),
    "headlines, sorted": ("\n".join(sorted(f"{a} wins the {b.lower()} prize of the whole northern region" for a in NAMES for b in NAMES)),
                          "lines", False),
    "a log": ("\n".join(f"2026-07-{day:02d}T10:{RNG.randrange(60):02d}:00Z INFO request {day} took {RNG.random():.3f} s"
                        for day in range(1, 29)), "lines", False),
    "chess games": ("\n".join(game() for _ in range(60)), "lines", False),
    "CSV": (table(), "csv", True),
    "CSV without a header": (table(header=False), "csv", False),
    "CSV with semicolons": (table(";"), "csv", True),
    "TSV": (table("\t", quoting=csv.QUOTE_MINIMAL), "tsv", True),
    "CSV, all quoted": (table(quoting=csv.QUOTE_ALL), "csv", True),
    "JSON lines": ("\n".join(json.dumps({"n": name, "k": [k, {"a": None}]}) for k, name in enumerate(NAMES)), "jsonl", False),
    "recipes": ("\n\n".join(recipe() for _ in range(30)), "blocks", False),
    "tunes": ("\n\n".join(map(tune, range(1, 40))) + "\n", "blocks", False),
    "fortunes": ("\n%\n".join(RNG.choice(SENTENCES) + f"\n    -- {name}" for name in NAMES) + "\n%\n", "fortune", False),
}  # fmt: skip

PLAY = "\n\n".join(f"{RNG.choice(NAMES).upper()}:\n{textwrap.fill(RNG.choice(SENTENCES) * 2, 40)}" for _ in range(80))
MARKDOWN = "\n".join((ROOT / name).read_text() for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md"))
PROSE: dict[str, str] = {
    "one line": prose(RNG),
    "hard-wrapped": wrapped(RNG),
    "wrapped without blank lines": textwrap.fill(prose(RNG), 72),
    "a paragraph a line": "\n".join(prose(RNG, 9) for _ in range(60)),
    "short sentences, one a line": "\n".join(RNG.choice(SENTENCES) + str(k) + "." for k in range(60)),
    "a play": PLAY,
    "verse": "\n\n".join("\n".join(f"the {RNG.choice(NAMES).lower()} of the morning goes\nand where it went no other knows,"
                                    for _ in range(4)) for _ in range(20)),
    "verse of short lines": "\n".join(f"the {a.lower()} {b}" for a in SHUFFLED for b in ("of snow", "sang low", "went on")),
    "German verse": "Wie ist die Welt;so stille und klar;in der Dämmrung Hülle;so traulich und hold;als eine stille Kammer;"
                    "der Wald steht schwarz;verlassen und so still;"
                    "wo ihr so lange;verschlafen und vergessen sollt;und schweiget still;und aus den Wiesen".replace(";", "\n"),
    "verse with a comma in each line": "\n".join(f"roses are red, violets are {name.lower()}" for name in SHUFFLED),
    "markdown": MARKDOWN,
    "a markdown table": "| name | what |\n|---|---|\n" + "\n".join(f"| {a} | a person |" for a in SHUFFLED),
    "Python": (ROOT / "model/vocabulary.py").read_text(),
    "C": (ROOT / "model/kernels/training.c").read_text(),
    "JavaScript": (ROOT / "service/web/static/page.js").read_text(),
    "CSS": (ROOT / "service/web/static/page.css").read_text(),
    "HTML": (ROOT / "service/web/templates/index.html").read_text(),
    "TOML": (ROOT / "pyproject.toml").read_text(),
    "a makefile": (ROOT / "Makefile").read_text(),
    "BASIC": "\n".join(f'{number} PRINT "{RNG.choice(SENTENCES)}"' for number in range(10, 900, 10)),
    "TeX": "%\n% a comment\n%\n".join(f"\\section{{{name}}}\n{prose(RNG, 4)}\n%\n" for name in NAMES),
    "JSON": json.dumps([{"name": name} for name in NAMES], indent=1),
    "Chinese prose": "\n".join(RNG.choice("天地人我你他") + "地玄黄，宇宙洪荒。日月盈昃，辰宿列张。" * k for k in range(1, 30)),
    "Korean prose": "\n".join(f"{name} 옛적에 호랑이가 담배를 피우던 시절에 한 나무꾼이 살았다." for name in SHUFFLED),
    "a line again and again": "All work and no play makes Jack\n" * 500,
    "few lines": "\n".join(NAMES[:9]),
    "nothing": "",
    "subtitles": "\n\n".join(f"{k}\n00:00:{k:02d},000 --> 00:00:{k + 1:02d},000\n{RNG.choice(SENTENCES)}" for k in range(1, 50)),
    "dialogue": "\n".join(f"— {RNG.choice(SENTENCES)}" for _ in range(20)) + "\n\n" + wrapped(RNG),
}  # fmt: skip


@pytest.mark.parametrize("name", RECORDS)
def test_records_are_found(name: str) -> None:
    text, kind, header = RECORDS[name]
    form = detected(text)
    assert form is not None
    assert (form.kind, form.header) == (kind, header)


@pytest.mark.parametrize("name", PROSE)
def test_prose_stays_prose(name: str) -> None:
    assert detected(PROSE[name]) is None


def test_the_source_of_this_project_is_prose() -> None:
    found = {str(path.relative_to(ROOT)): form for path in ROOT.glob("[!.]*/**/*.py") if (form := detected(path.read_text())) is not None}
    assert found == {}


@pytest.mark.parametrize("name", RECORDS)
def test_only_the_head_of_a_long_text_is_looked_at_and_its_last_record_may_be_cut(name: str) -> None:
    text, kind, _ = RECORDS[name]
    separator = {"blocks": "\n\n", "fortune": "%\n"}.get(kind, "" if text.endswith("\n") else "\n")
    long = text + separator
    _, _, body = text.partition("\n")
    while len(long) < HEAD + 1000 and "sorted" not in name:
        long += (body if kind in ("csv", "tsv") else text) + separator
    form = detected(long)
    assert form is not None
    assert form.kind == kind


@settings(max_examples=40)
@given(st.integers(0, 10**9))
def test_prose_of_any_width_and_order_stays_prose(seed: int) -> None:
    rng = random.Random(seed)
    text = wrapped(rng, rng.randrange(30, 120))
    if rng.random() < 0.3:
        text = text.replace("\n\n", "\n")
    if rng.random() < 0.3:
        text = textwrap.indent(text, " " * rng.randrange(1, 5))
    assert detected(text) is None


@settings(max_examples=40)
@given(st.lists(st.text(alphabet="abcdefgh é-'", min_size=1, max_size=20).filter(lambda s: s == s.strip() != ""), min_size=20, unique=True))
def test_any_list_of_short_words_is_a_list(entries: list[str]) -> None:
    form = detected("\n".join(entries))
    assert form is None or form.kind == "lines"
    if all(len(entry.split()) <= 4 for entry in entries) and not any(entry.endswith(("-", "'")) for entry in entries):
        assert form is not None
