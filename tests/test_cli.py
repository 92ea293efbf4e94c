"""The command line as its users meet it: what it prints, how it ends, and that bad input is never a traceback."""

from __future__ import annotations

import codecs
import contextlib
import hashlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import fields
from datetime import datetime
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from sqlite_utils import Database

import cli
from model.config import ModelConfig, SamplingConfig, TrainingConfig
from service.store import Store
from service.store.api_keys import SCOPES
from service.system import processes
from service.system.errors import DatabaseUnusable
from service.system.processes import THREAD_VARIABLES
from service.terminal import click_support, info, service_commands, training_commands, training_display
from service.training import corpus_import, default_model, hyperparameters, jobs, trainer, worker
from service.training.throughput import Speed
from service.web import server

ROOT = Path(__file__).resolve().parent.parent

TINY = ["--hidden-size", "4", "--batch-size", "4", "--seq-length", "16", "--steps", "4"]

Charloom = Callable[..., Result]


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of its own, a clock that starts now, and an environment that is given back."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CHARLOOM_DB", str(tmp_path / "charloom.db"))
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr(training_commands, "BEGAN", time.monotonic())
    for name in THREAD_VARIABLES:
        monkeypatch.setenv(name, "1")
    rng = random.Random(2)
    words = "warp weft shuttle thread loom heddle reed".split()
    Path("tale.txt").write_text("".join(" ".join(rng.choices(words, k=5)) + "\n" for _ in range(60)))


@pytest.fixture
def charloom() -> Charloom:
    """Run a command; whatever it is given, it ends with a status and never with a traceback."""

    def run(*arguments: str | Path, input: bytes | None = None) -> Result:
        result = CliRunner().invoke(cli.main, [str(argument) for argument in arguments], input=input, prog_name="charloom")
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        assert "Traceback" not in result.output
        return result

    return run


@pytest.fixture
def trained(charloom: Charloom) -> str:
    """A run of four steps."""
    assert charloom("train", "tale.txt", *TINY, "--name", "first").exit_code == 0
    return "first"


def process(*arguments: str, **options: Any) -> subprocess.Popen[bytes]:
    command = [sys.executable, str(ROOT / "cli.py"), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)


# ── options ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("command", "config"), [("train", ModelConfig), ("train", TrainingConfig), ("sample", SamplingConfig)], ids=str)
def test_every_field_is_an_option_with_its_default(command: str, config: type) -> None:
    found = {option.name: option for option in cli.main.commands[command].params if isinstance(option, click.Option)}
    defaults = config()
    for field in fields(config):
        if not field.metadata["setting"].option:  # only a program can give it: by HTTP
            assert field.name not in found
            continue
        option = found[field.name]
        assert option.opts == ["--" + field.name.replace("_", "-")]
        assert option.default == getattr(defaults, field.name) or (option.multiple and option.default in (None, (), click.core.UNSET))
        assert option.help


def test_defaults_are_shown(charloom: Charloom) -> None:
    text = charloom("train", "--help").output
    for part in ("--hidden-size INTEGER", "[default: 256]", "[lstm|gru|rnn]", "CHARLOOM_DB", "default: charloom.db]"):
        assert part in text


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], [], ["train", "--help"], ["runs"], ["corpus", "-h"]], ids=" ".join)
def test_help_is_given(charloom: Charloom, arguments: list[str]) -> None:
    assert "Usage: charloom" in charloom(*arguments).output


def test_durations_and_sizes_are_words() -> None:
    assert click_support.DurationType().convert("1m30s", None, None) == 90
    assert click_support.DurationType().convert(2.5, None, None) == 2.5
    assert click_support.SizeType().convert("20MB", None, None) == 20_000_000
    with pytest.raises(click.BadParameter, match="'soon' is no duration"):
        click_support.DurationType().convert("soon", None, None)
    with pytest.raises(click.BadParameter, match="'many' is no size"):
        click_support.SizeType().convert("many", None, None)


# ── texts of every kind train and write ───────────────────────────────────────────────────────────────────────────────

KOREAN = "한글은 소리를 적는 글자이다. 서리서리 넣었다가 구비구비 펴리라.\n" * 12
EMOJI = "I ❤️ 👩‍👩‍👧 and 🇰🇷, 😀😁 tea!\n" * 20
ENGLISH = "warp and weft\nand reed\n" * 20


@pytest.mark.parametrize(
    ("data", "options", "alphabet"),
    [
        (KOREAN.encode(), [], set(KOREAN)),
        (KOREAN.encode(), ["--normalization", "nfd"], set(KOREAN)),
        (KOREAN.encode(), ["--level", "byte"], None),
        (EMOJI.encode(), [], set(EMOJI)),
        (EMOJI.encode(), ["--level", "byte"], None),
        (EMOJI.encode(), ["--normalization", "none"], set(EMOJI)),
        (ENGLISH.replace("\n", "\r\n").encode(), [], set(ENGLISH)),
        (codecs.BOM_UTF8 + ENGLISH.encode(), [], set(ENGLISH)),
        (ENGLISH.encode("utf-16"), [], set(ENGLISH)),
        (codecs.BOM_UTF16_BE + KOREAN.encode("utf-16-be"), [], set(KOREAN)),
        ("grün süß\n".encode("latin-1") * 30, ["--encoding", "latin-1"], set("grün süß\n")),
        (b"ab" * 200, ["--cell", "rnn"], set("ab")),
        ("\n".join(["Zoë", "Jürgen", "Søren", "Łukasz"] * 30).encode(), ["--cell", "gru"], set("ZoëJürgenSøenŁukasz\n")),
    ],
    ids=[
        "korean",
        "nfd",
        "korean bytes",
        "emoji",
        "emoji bytes",
        "none",
        "crlf",
        "bom",
        "utf-16",
        "utf-16-be",
        "latin-1",
        "a line",
        "names",
    ],
)
def test_a_text_trains_and_writes(charloom: Charloom, data: bytes, options: list[str], alphabet: set[str] | None) -> None:
    Path("text").write_bytes(data)
    result = charloom("train", "text", *TINY, "--name", "run", *options)
    assert result.exit_code == 0, result.output
    assert "run run is trained: step 4" in result.output
    result = charloom("sample", "run", "--length", "80", "--seed", "1", "--temperature", "1")
    assert result.exit_code == 0
    assert len(result.stdout) > 20
    assert result.stdout.encode().decode() == result.stdout
    assert "\ufffd" not in result.stdout
    assert "\r" not in result.stdout
    if alphabet is not None and "nfd" not in options:
        assert set(result.stdout) <= alphabet | {"\n"}
    if "nfd" in options:  # jamo are composed to syllables
        assert any("가" <= c <= "힣" for c in result.stdout)


def test_unknown_characters_of_a_prompt_are_told(charloom: Charloom, trained: str) -> None:
    result = charloom("sample", trained, "--prompt", "wärp Ω\udcff", "--length", "10", "--seed", "1")
    assert result.exit_code == 0
    assert result.stdout.startswith("wärp Ω?")
    replaced = "'a' for 'ä', the unknown symbol for 'Ω', '\\udcff'"
    assert f"note: 3 characters of the prompt are not in the model's alphabet; read instead: {replaced}\n" in result.stderr


def test_a_prompt_of_many_unknown_characters_is_told_in_one_note(charloom: Charloom, trained: str) -> None:
    result = charloom("sample", trained, "--prompt", "Съешь же ещё этих мягких булок", "--length", "5", "--seed", "1")
    assert result.stderr.count("note: ") == 1
    assert re.search(
        r"note: 25 characters of the prompt are not in the model's alphabet; read instead:"
        r" the unknown symbol for 'С', 'ъ', 'е', 'ш', 'ь' and \d+ more\n",
        result.stderr,
    )


def test_prompts_and_stop_strings_understand_escapes(charloom: Charloom, trained: str) -> None:
    asked = ["--length", "60", "--seed", "1"]
    plain = charloom("sample", trained, "--prompt", "warp\nwe", *asked).stdout
    assert plain.startswith("warp\nwe")
    assert charloom("sample", trained, "--prompt", r"warp\x0awe", *asked).stdout == plain
    assert charloom("sample", trained, "--prompt", r"warp\nwe", *asked).stdout == plain
    assert charloom("sample", trained, "--prompt", r"warp\\n", *asked).stdout.startswith(r"warp\n")
    stopped = charloom("sample", trained, "--prompt", "warp", "--stop", r"\n", *asked).stdout
    assert stopped.count("\n") == 1
    assert plain != stopped
    refused = charloom("sample", trained, "--stop", r"C:\dir", *asked)
    assert refused.exit_code == 2
    assert r"C:\dir has \d, which is no character; write \\ for a backslash" in refused.stderr


def test_a_text_that_is_given_understands_the_same_escapes(charloom: Charloom, trained: str) -> None:
    for command in (["score"], ["novelty", "--min-length", "3"], ["inspect"]):
        plain, written = (charloom(*command, trained, "--json", "--text", text).stdout for text in ("warp\nwe", r"warp\nwe"))
        assert plain == written
        assert charloom(*command, trained, "--text", r"C:\dir").exit_code == 2


def test_a_prompt_comes_from_a_file_or_standard_input(charloom: Charloom, trained: str) -> None:
    asked = ["--length", "20", "--seed", "1"]
    expected = charloom("sample", trained, "--prompt", "warp\nwe", *asked).stdout
    Path("prompt.txt").write_bytes(b"warp\r\nwe")
    assert charloom("sample", trained, "--prompt-file", "prompt.txt", *asked).stdout == expected
    assert charloom("sample", trained, "--prompt", "-", *asked, input=b"warp\nwe").stdout == expected
    Path("prompt.txt").write_bytes("caf\xe9, d\xe9j\xe0 vu\n".encode("cp1252"))
    read = charloom("sample", trained, "--prompt-file", "prompt.txt", *asked)
    assert read.stdout.startswith("café, déjà vu\n")
    assert "note: it was read in the likeliest encoding, cp1252" in read.stderr
    assert charloom("sample", trained, "--prompt-file", "prompt.txt", "--prompt", "a").exit_code == 2
    assert "no file or folder" in charloom("sample", trained, "--prompt-file", "none.txt").stderr


def test_every_line_end_of_a_prompt_and_a_stop_string_is_lf(charloom: Charloom, trained: str) -> None:
    asked = [trained, "--length", "80", "--seed", "3"]
    for end in ("\r\n", "\r"):
        for options in (["--prompt", "warp{}we"], ["--prompt", "warp", "--stop", "{}"]):
            given, expected = ([option.format(sign) for option in options] for sign in (end, "\n"))
            assert charloom("sample", *asked, *given).stdout == charloom("sample", *asked, *expected).stdout


def test_characters_that_the_output_cannot_show_are_counted(trained: str) -> None:
    command = [sys.executable, str(ROOT / "cli.py"), "sample", trained, "--prompt", "wärp Ω", "--length", "5"]
    for encoding, printed, told in (
        ("ascii", b"w?rp ?", "2 characters of the output are"),
        ("latin-1", b"w\xe4rp ?", "1 character of the output is"),
    ):
        result = subprocess.run(command, capture_output=True, env={**os.environ, "PYTHONIOENCODING": encoding}, check=True)
        assert result.stdout.startswith(printed)
        assert f"note: {told} not in its encoding, " in result.stderr.decode("latin-1")


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="there are no pseudo-terminals here")
@pytest.mark.parametrize("variable", [None, "TERM=dumb", "NO_COLOR=1"])
def test_a_plain_terminal_gets_no_colours_and_no_redrawn_lines(variable: str | None) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "NO_COLOR"} | {"TERM": "xterm", "PYTHONIOENCODING": "utf-8"}
    if variable:
        name, _, value = variable.partition("=")
        environment[name] = value
    ours, theirs = os.openpty()
    command = [sys.executable, str(ROOT / "cli.py"), "train", "tale.txt", *TINY]
    with subprocess.Popen(command, stdout=theirs, stderr=theirs, stdin=subprocess.DEVNULL, env=environment) as process:
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # the other end is closed
            while data := os.read(ours, 4096):
                shown += data
    os.close(ours)
    assert process.returncode == 0
    assert b"is trained: step 4" in shown
    drawn = b"\x1b" in shown or b"\r" in shown.replace(b"\r\n", b"\n")
    assert drawn == (variable is None)


# ── training ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_corpus_is_a_path_a_name_or_standard_input(charloom: Charloom) -> None:
    assert charloom("train", "tale.txt", *TINY).exit_code == 0
    assert charloom("train", "tale", *TINY).exit_code == 0
    assert charloom("train", "-", *TINY, input=ENGLISH.encode()).exit_code == 0
    Path("folder").mkdir()
    for name, data in (("a.txt", ENGLISH.encode()), ("b.bin", b"\0" * 50), ("c.md", b"more\n" * 50)):
        (Path("folder") / name).write_bytes(data)
    result = charloom("train", "folder", *TINY, "--glob", "*.txt")
    assert result.exit_code == 0
    with Store("charloom.db") as store:
        assert {run.name: run.corpus for run in store.runs.list()} == {
            "tale-lstm": "tale",
            "tale-lstm-2": "tale",
            "stdin-lstm": "stdin",
            "folder-lstm": "folder",
        }
        assert "".join(store.corpora.pieces("folder")).rstrip("\n") == ENGLISH.rstrip("\n")


def test_the_same_command_gives_the_same_text(charloom: Charloom) -> None:
    for name in ("one", "two"):
        charloom("train", "tale.txt", *TINY, "--name", name)
    texts = {charloom("sample", name, "--length", "50", "--seed", "9").stdout for name in ("one", "two", "two@4", "two@best", "latest")}
    assert len(texts) == 1


def test_a_finished_run_is_trained_further(charloom: Charloom, trained: str) -> None:
    assert charloom("train", "--resume", trained).exit_code == 1
    result = charloom("train", "--resume", trained, "--steps", "3")
    assert result.exit_code == 0
    assert "run first is trained: step 7" in result.output
    assert charloom("train", "--resume", trained, "--epochs", "0.5").exit_code == 0


def test_a_budget_is_kept(charloom: Charloom) -> None:
    began = time.monotonic()
    result = charloom("train", "tale.txt", "--hidden-size", "4", "--budget", "1.5s", "--name", "run")
    assert result.exit_code == 0
    assert time.monotonic() - began < 1.5 + 3
    with Store("charloom.db") as store:
        run = store.runs.get("run")
        assert (run.training_config["budget"], run.state) == (1.5, "succeeded")
        assert run.step >= 1


def test_programs_get_json(charloom: Charloom) -> None:
    result = charloom("train", "tale.txt", *TINY, "--json", "--name", "run")
    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert [each["event"] for each in found] == ["corpus", "prepared", "step", "validation", "end"]
    assert found[3].keys() >= {"step", "epoch", "loss", "validation_loss", "bits_per_char", "characters_per_second", "sample", "best"}
    assert found[3]["standing"].keys() >= {"loss", "bits_per_char", "better_than", "worse_than", "words", "outlook"}
    assert (found[4]["state"], found[4]["best_step"]) == ("succeeded", 4)


def test_the_end_says_where_the_best_loss_stands(charloom: Charloom) -> None:
    lines = charloom("train", "tale.txt", *TINY, "--name", "run").stdout.splitlines()
    assert "model (" in next(line for line in lines if line.startswith("step 4  validation loss "))
    assert lines[-2].startswith("best at step 4: ")
    assert lines[-2].endswith(" of this corpus")


def test_json_tells_what_was_guessed_and_skipped(charloom: Charloom) -> None:
    Path("folder").mkdir()
    (Path("folder") / "a.txt").write_bytes(("Élodie n’était pas là.\n" * 50).encode("cp1252"))
    (Path("folder") / "b.bin").write_bytes(b"\0\1\2" * 20)
    result = charloom("train", "folder", "--encoding", "auto", "--json", *TINY)
    event, *others = map(json.loads, result.stdout.splitlines())
    assert (event["event"], event["corpus"], event["lines"]) == ("corpus", "folder", 50)
    guess, skipped = event["notes"]
    assert guess.startswith("it was read in the likeliest encoding, cp1252")
    assert skipped == "one binary file was skipped: b.bin"
    assert others[0]["event"] == "prepared"
    first, *_ = map(json.loads, charloom("train", "folder", "--json", *TINY).stdout.splitlines())
    assert first["event"] == "prepared"  # the text was stored already


def test_what_was_skipped_is_told(charloom: Charloom) -> None:
    Path("folder").mkdir()
    (Path("folder") / "a.txt").write_text(ENGLISH)
    (Path("folder") / "b.bin").write_bytes(b"\0" * 50)
    assert "note: one binary file was skipped: b.bin" in charloom("corpus", "add", "folder").stderr


# ── the machine ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def _quick_products(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(info, "SIDE", 8)
    monkeypatch.setattr(info, "MEASURING", 0.0)
    for name in THREAD_VARIABLES:
        monkeypatch.delenv(name)


@pytest.mark.usefixtures("_quick_products")
def test_info_tells_what_it_runs_on(charloom: Charloom, trained: str) -> None:
    result = charloom("info")
    assert result.exit_code == 0
    assert [line.split("  ")[0] for line in result.stdout.splitlines() if not line.startswith(" ")] == [
        "processor",
        "cores",
        "memory",
        "arithmetic",
        "BLAS",
        "products",
        "versions",
        "SQLite",
        "database",
    ]
    assert "1 corpus, 1 run, 1 checkpoint" in result.stdout
    found = json.loads(charloom("info", "--json").stdout)
    assert found["database"]["runs"] == 1
    assert not any(name in os.environ for name in THREAD_VARIABLES)


@pytest.mark.usefixtures("_quick_products")
def test_info_needs_no_database_and_makes_none(charloom: Charloom, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "there is no such file yet" in charloom("info", "--db", "named.db").stdout
    monkeypatch.delenv("CHARLOOM_DB")
    assert json.loads(charloom("info", "--json").stdout)["database"] is None
    assert list(Path().glob("*.db")) == []


# ── interruptions ─────────────────────────────────────────────────────────────────────────────────────────────────────


def signalled(monkeypatch: pytest.MonkeyPatch, *signals: int) -> None:
    """The signals arrive with the second step."""

    class Interrupted(training_display.LineDisplay):
        def show(self, event: Any) -> str:
            if isinstance(event, training_display.Stepped) and event.progress.step == 2:
                for number in signals:
                    signal.raise_signal(number)
            return super().show(event)

    monkeypatch.setattr(training_display, "LineDisplay", Interrupted)


@pytest.mark.parametrize(
    ("number", "status", "message"),
    [(signal.SIGINT, 130, "paused by Ctrl-C"), (signal.SIGTERM, 143, "paused by SIGTERM")],
    ids=["ctrl-c", "sigterm"],
)
def test_a_signal_saves_and_says_how_to_go_on(
    charloom: Charloom, monkeypatch: pytest.MonkeyPatch, number: int, status: int, message: str
) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patch:
        signalled(patch, number)
        result = charloom("train", "tale.txt", *TINY, "--name", "run")
    assert result.exit_code == status
    assert f"{message}: run run is saved at step 2; go on with: charloom train --resume run" in result.output
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    result = charloom("train", "--resume", "run")
    assert result.exit_code == 0
    assert "run run is trained: step 4" in result.output


def test_a_second_ctrl_c_does_not_wait(charloom: Charloom, monkeypatch: pytest.MonkeyPatch) -> None:
    signalled(monkeypatch, signal.SIGINT, signal.SIGINT)
    result = charloom("train", "tale.txt", *TINY, "--name", "run")
    assert result.exit_code == 130
    assert "stopped before the last steps were saved: run run is saved at step 0; go on with: charloom train --resume run" in result.output


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["ctrl-c", "sigterm"])
def test_a_signal_while_reading_leaves_nothing(charloom: Charloom, monkeypatch: pytest.MonkeyPatch, number: int, status: int) -> None:
    def arriving(*_: Any) -> Any:
        yield "some text " * 20
        signal.raise_signal(number)

    monkeypatch.setattr(corpus_import, "_watched", arriving)
    assert charloom("train", "tale.txt", *TINY).exit_code == status
    with Store("charloom.db") as store:
        assert store.corpora.list() == ()
        assert store.runs.list() == ()
        assert store.db.execute("SELECT count(*) FROM texts").fetchone()[0] == 0


def test_a_full_disk_is_told_with_what_is_kept(charloom: Charloom, monkeypatch: pytest.MonkeyPatch) -> None:
    real = trainer.Trainer._save

    def save(self: Any, model: Any, state: Any, *rest: Any) -> None:
        if state.step == 4:
            raise DatabaseUnusable("charloom.db", "the disk is full")
        real(self, model, state, *rest)

    monkeypatch.setattr(trainer.Trainer, "_save", save)
    result = charloom("train", "tale.txt", *TINY, "--name", "run", "--validation-interval", "3")
    assert result.exit_code == 1
    assert "run run is stored up to step 3; go on with: charloom train --resume run" in result.stderr
    assert "the disk is full" in result.stderr


@pytest.mark.parametrize(("failure", "sentence"), [(MemoryError("no"), "there is not enough memory (no)"), (OSError(28, "full"), "full")])
def test_what_the_system_refuses_is_a_sentence(
    charloom: Charloom, monkeypatch: pytest.MonkeyPatch, failure: Exception, sentence: str
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise failure

    monkeypatch.setattr(corpus_import, "corpus_for", fail)
    result = charloom("train", "tale.txt")
    assert result.exit_code == 1
    assert sentence in result.stderr


def test_a_reader_who_leaves_ends_it_quietly(charloom: Charloom, trained: str) -> None:
    writing = process("sample", trained, "--length", "1000000")
    training = process("train", "tale", *TINY[:-1], "100000", "--validation-interval", "5", "--name", "left")
    for each in (writing, training):
        assert each.stdout is not None
        assert each.stdout.read(5)
        each.stdout.close()
    for each in (writing, training):
        assert each.stderr is not None
        with each:
            assert each.stderr.read() == b""
            assert each.wait() == 0
    with Store("charloom.db") as store:
        run = store.runs.get("left")
        assert (run.state, run.message) == ("paused", "paused because its output is no longer read")
        assert run.step > 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a file that is always full")
def test_output_that_cannot_be_written_is_a_sentence(trained: str) -> None:
    with open("/dev/full", "wb") as full:
        result = subprocess.run(
            [sys.executable, str(ROOT / "cli.py"), "runs", "list"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert result.returncode == 1
    assert result.stderr == "Error: the output or a file cannot be used: No space left on device\n"


# ── writing ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_is_copied_is_told_and_can_be_forbidden(charloom: Charloom, trained: str) -> None:
    tale = Path("tale.txt").read_text()
    plain = charloom("sample", trained, "--length", "60", "--seed", "5", "--n", "2")
    told = charloom("sample", trained, "--length", "60", "--seed", "5", "--n", "2", "--novelty")
    assert told.stdout == plain.stdout
    said = told.stderr.replace("making the index of corpus tale\n", "")  # on a busy machine
    assert said.count("corpus tale") == said.count("lines are new") == 2
    guarded = charloom("sample", trained, "--length", "60", "--seed", "5", "--max-copy", "1").stdout.rstrip("\n")
    assert not any(guarded[at : at + 2] in tale for at in range(len(guarded) - 1))
    charloom("export", trained, "m.safetensors")
    charloom("import", "m.safetensors", "--name", "elsewhere")
    for option in (["--novelty"], ["--max-copy", "3"]):
        refused = charloom("sample", "elsewhere", *option)
        assert (refused.exit_code, refused.stdout) == (1, "")
        assert "the corpus of model elsewhere is not stored here" in refused.stderr


def test_texts_are_written_with_what_was_asked_for(charloom: Charloom, trained: str) -> None:
    one = charloom("sample", trained, "--length", "40", "--seed", "5", "--prompt", "warp ").stdout
    assert one.startswith("warp ")
    assert len(one) == 5 + 40 + 1
    assert charloom("sample", "--length", "40", "--seed", "5", "--prompt", "warp ").stdout == one
    two = charloom("sample", trained, "--length", "40", "--seed", "4", "--n", "2", "--prompt", "warp ").stdout
    assert two.endswith(one)
    cut = charloom("sample", trained, "--length", "40", "--seed", "5", "--prompt", "warp ", "--stop", one[12], "--stop", "zz").stdout
    assert cut == "warp " + one[5:].partition(one[12])[0] + "\n"
    cold = ["--length", "30", "--temperature", "0"]
    assert charloom("sample", trained, *cold, "--seed", "1").stdout == charloom("sample", trained, *cold, "--seed", "2").stdout
    assert charloom("sample", trained, "--top-k", "1", "--length", "30").stdout == charloom("sample", trained, *cold).stdout


def test_a_model_can_leave_and_come_back(charloom: Charloom, trained: str) -> None:
    assert charloom("export", trained, "m.safetensors").exit_code == 0
    assert charloom("export", trained, "m.safetensors").exit_code == 1
    assert charloom("export", trained, "m.safetensors", "--overwrite").exit_code == 0
    assert "run m: step 4; write with: charloom sample m" in charloom("import", "m.safetensors").output
    same = {charloom("sample", name, "--length", "60", "--seed", "3").stdout for name in (trained, "m")}
    assert len(same) == 1
    assert "imported" in charloom("train", "--resume", "m", "--steps", "3").stderr


# ── what is stored ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_corpora_are_added_shown_and_removed(charloom: Charloom) -> None:
    assert "corpus tale: " in charloom("corpus", "add", "tale.txt").stderr
    assert charloom("corpus", "add", "tale.txt", "--name", "second").exit_code == 0
    shown = charloom("corpus", "show", "tale", "--lines", "2").output
    with Store("charloom.db") as store:
        corpus = store.corpora.get("tale")
    for fact in (
        corpus.sha256,
        str(Path("tale.txt").absolute()),
        f"{corpus.characters:,} characters",
        f"{corpus.alphabet_size} characters",
    ):
        assert fact in shown
    assert len(shown.partition("first lines\n")[2].splitlines()) == 2
    listed = charloom("corpus", "list").output
    for name in ("tale", "second", "python", "shakespeare", "linux"):
        assert name in listed
    assert charloom("corpus", "remove", "second").exit_code == 0
    charloom("train", "tale", *TINY, "--name", "run")
    refused = charloom("corpus", "remove", "tale")
    assert refused.exit_code == 1
    assert "corpus tale is needed by: run" in refused.stderr


def test_runs_are_listed_shown_and_removed(charloom: Charloom, trained: str) -> None:
    assert re.search(
        r"^first  succeeded  20\d\d-\d\d-\d\d \d\d:\d\d  lstm 1x4     4 .* tale$", charloom("runs", "list").output, re.MULTILINE
    )
    assert "sample at step 4" in charloom("runs", "show", "first").output
    assert "first@4" in charloom("checkpoints").output
    assert charloom("runs", "remove", "first").exit_code == 0
    assert charloom("runs", "list").output == f"no run yet; make one with: charloom train CORPUS --db {Path('charloom.db').absolute()}\n"
    assert charloom("runs", "show", "first").exit_code == 1


def test_a_run_of_another_machine_that_is_silent_is_watched_before_it_is_taken(
    charloom: Charloom, trained: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "LEASE", 1.0)
    with Store("charloom.db") as store:
        store.runs.claim("first", '{"host": "elsewhere", "pid": 4711}')
        store.db.execute("UPDATE runs SET heartbeat_at = '2022-01-01T00:00:00.000Z'")
    removed = charloom("runs", "remove", "first")
    assert removed.exit_code == 0
    assert re.search(r"^Run first belongs to process 4711 on elsewhere, whose last sign of life differs by \d+:\d\d:\d\d", removed.stderr)
    assert removed.stderr.endswith("watching for up to 0:01 whether it lives.\n")


def test_a_backup_is_a_database(charloom: Charloom, trained: str) -> None:
    assert charloom("backup", "copy.db").exit_code == 0
    assert charloom("backup", "copy.db").exit_code == 1
    same = {charloom("sample", "--length", "30", "--seed", "3", "--db", db).stdout for db in ("copy.db", "charloom.db")}
    assert len(same) == 1


# ── refusals ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (["train"], 2, "give a CORPUS to train on, or --resume RUN"),
        (["train", "tale", "--resume", "first"], 2, "not both"),
        (["train", "nosuch"], 1, "'nosuch' is no stored corpus (stored are: tale), no built-in one"),
        (["train", ""], 1, "'' is no stored corpus"),
        (["train", "empty"], 1, "holds no text"),
        (["train", "five"], 1, "has 5 characters; at least 100 are needed"),
        (["corpus", "add", "five"], 1, "has 5 characters; at least 100 are needed"),
        (["train", "binary"], 1, "is binary: a zero byte stands at offset 2"),
        (["train", "latin"], 1, "byte 0xe9 in line 1 (offset 1) cannot be decoded; it may be cp1252 ("),
        (["train", "tale", "--encoding", "latin-1"], 1, "encoding is 'latin-1'; it must be left out for tale"),
        (["train", "tale", "--hidden-size", "0"], 1, "--hidden-size is 0; it must be a whole number from 1 to 16,384"),
        (["train", "tale", "--hidden-size", "1.5"], 2, "'1.5' is not a valid integer"),
        (["train", "tale", "--hidden-size", "16384"], 1, "in one part of a checkpoint"),
        (["train", "tale", "--learning-rate", "nan"], 1, "--learning-rate is nan; it must be a number above 0"),
        (["train", "tale", "--cell", "transformer"], 2, "'transformer' is not one of"),
        (["train", "tale", "--steps", "5", "--epochs", "1"], 1, "a run has one length"),
        (["train", "tale", "--budget", "soon"], 2, "'soon' is no duration; write 90s, 3m or 1h30m"),
        (["train", "tale", "--budget", "0"], 1, "budget is 0.0; it must be a number above 0"),
        (["train", "tale", "--seed", "9" * 5000], 2, "is not a valid integer"),
        (["train", "tale", "--min-count", "1000000"], 1, "no symbol occurs more often"),
        (["train", "tale", "--name", "latest"], 1, "the run name 'latest' is reserved"),
        (["train", "tale", "--name", "a b"], 1, "the run name 'a b' cannot be used"),
        (["train", "tale", "--name", "first"], 1, "a run named 'first' exists already"),
        (["train", "--resume", "nobody"], 1, "there is no run 'nobody'; stored are: first"),
        (["train", "--resume", "first"], 1, "it has finished; say how much longer"),
        (["train", "--resume", "first", "--hidden-size", "9"], 2, "--hidden-size cannot be changed when a run is resumed"),
        (["train", "--resume", "first", "--from", "x"], 2, "--from cannot be changed"),
        (["sample", "nobody"], 1, "there is no run 'nobody'"),
        (["sample", "first@3"], 1, "run first has no checkpoint of step 3; it has: 4"),
        (["sample", "first@soon"], 1, "checkpoint is 'soon'; it must be a step, best or last"),
        (["sample", "--temperature", "-1"], 1, "--temperature is -1.0; it must be a number from 0 to 100"),
        (["sample", "--stop", ""], 1, "made of strings that are not empty"),
        (["sample", "--length", "many"], 2, "'many' is not a valid integer"),
        (["corpus", "show", "nobody"], 1, "there is no corpus 'nobody'; stored are: tale"),
        (["corpus", "add", "tale.txt", "--name", ""], 1, "the corpus name '' cannot be used"),
        (["corpus", "add", "tale.txt", "--max-size", "much"], 2, "'much' is no size"),
        (["export", "first", "no/where"], 1, "no/where cannot be written"),
        (["import", "tale.txt"], 1, "tale.txt is not a sound checkpoint"),
        (["import", "nosuch"], 1, "nosuch cannot be read"),
        (["backup", "no/where"], 1, "no/where"),
        (["runs", "show", "x" * 1000], 1, "there is no run"),
        (["frobnicate"], 2, "No such command 'frobnicate'"),
        (["sample", "--frobnicate"], 2, "No such option"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_what_cannot_be_is_refused_with_a_sentence(
    charloom: Charloom, trained: str, arguments: list[str], status: int, sentence: str
) -> None:
    for name, data in (("empty", b""), ("five", b"abcde"), ("binary", b"ab\0" * 99), ("latin", b"h\xe9 " * 99)):
        Path(name).write_bytes(data)
    result = charloom(*arguments)
    assert result.exit_code == status, result.output
    assert sentence in result.stderr
    assert result.stdout == ""
    with Store("charloom.db") as store:
        assert [run.name for run in store.runs.list()] == ["first"]
        assert [corpus.name for corpus in store.corpora.list()] == ["tale"]


@pytest.mark.parametrize("command", [["sample"], ["runs", "show", "latest"], ["checkpoints"], ["export", "latest", "x"]], ids=" ".join)
def test_without_a_model_the_first_command_is_named(charloom: Charloom, command: list[str]) -> None:
    result = charloom(*command)
    assert result.exit_code == 1
    assert "there is no such file yet; train a model first, for example with: charloom train python" in result.stderr
    assert not Path("charloom.db").exists()  # a command that only looks makes none
    Store("charloom.db").close()
    assert charloom(*command).stderr.startswith("Error: no model is trained yet; train one with: charloom train python --db ")


@pytest.mark.parametrize("db", ["tale.txt", ".", "no/such/folder/x.db"])
def test_what_is_no_database_is_refused(charloom: Charloom, db: str) -> None:
    result = charloom("runs", "list", "--db", db)
    assert result.exit_code == 1
    assert f"Error: {db} cannot be used as the database" in result.stderr


# ── beginning, serving ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def small_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first model is small, and is trained on the tale."""
    monkeypatch.setattr(default_model, "CORPUS", "tale.txt")
    monkeypatch.setattr(default_model, "BUDGET", 1.0)
    monkeypatch.setattr(hyperparameters, "SIZES", (4,))
    monkeypatch.setattr(hyperparameters, "speed", lambda *_: Speed(1e9, 1))


@pytest.mark.usefixtures("small_first")
def test_the_first_model_is_trained_once_and_served(charloom: Charloom, monkeypatch: pytest.MonkeyPatch) -> None:
    result = charloom("start", "--no-serve")
    assert result.exit_code == 0
    assert "No model is stored yet" in result.output
    assert "A sample of it:\n\ndef " in result.output
    started: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda program, arguments: started.append(arguments))
    result = charloom("start", "--port", "8123")
    assert result.output == ""
    assert started[0][0] == sys.executable
    assert started[0][2:] == ["serve", "--db", str(Path("charloom.db").absolute()), "--host", "127.0.0.1", "--port", "8123"]


@pytest.mark.usefixtures("small_first")
def test_the_first_model_is_resumed(charloom: Charloom, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        signalled(patch, signal.SIGINT)
        assert charloom("start", "--no-serve").exit_code == 130
    assert "run default is trained" in charloom("start", "--no-serve").output


def test_a_run_of_ones_own_called_default_is_left_alone(charloom: Charloom, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        signalled(patch, signal.SIGINT)
        assert charloom("train", "tale.txt", "--name", "default", "--hidden-size", "4", "--steps", "100000000").exit_code == 130
    result = charloom("start", "--no-serve")
    assert (result.exit_code, result.output) == (0, "")
    with Store("charloom.db") as store:
        assert [(run.name, run.state) for run in store.runs.list()] == [("default", "paused")]


@pytest.mark.parametrize("train_default", [False, True])
def test_serve_is_told_where(charloom: Charloom, monkeypatch: pytest.MonkeyPatch, train_default: bool) -> None:
    given: list[server.ServerSettings] = []
    monkeypatch.setattr(server, "serve", given.append)
    assert charloom("serve", "--host", "::1", "--port", "8001", *["--train-default"] * train_default).exit_code == 0
    settings = given[0]
    assert (settings.host, settings.port, str(settings.db)) == ("::1", 8001, str(Path("charloom.db").absolute()))
    assert (settings.train_default, settings.workers) == (train_default, 1)


def test_a_service_has_as_many_workers_as_are_asked_for(charloom: Charloom, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[server.ServerSettings] = []
    monkeypatch.setattr(server, "serve", given.append)
    assert charloom("serve", "--workers", "0").exit_code == 0
    monkeypatch.setenv("CHARLOOM_WORKERS", "3")
    assert charloom("serve").exit_code == 0
    assert [settings.workers for settings in given] == [0, 3]
    result = charloom("serve", "--workers", "-1")
    assert result.exit_code == 1
    assert "workers is -1; it must be a whole number from 0 to 256" in result.output


def test_a_worker_is_told_its_database_and_what_to_leave_on_the_disk(charloom: Charloom, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[tuple[Path, int, int]] = []
    monkeypatch.setattr(worker, "carry_out", lambda db, jobs, min_disk: given.append((db, jobs, min_disk)))
    assert charloom("worker").exit_code == 0
    monkeypatch.setenv("CHARLOOM_MIN_DISK", "5MB")
    assert charloom("worker", "--workers", "3").exit_code == 0
    assert given == [(Path("charloom.db").absolute(), 1, 200_000_000), (Path("charloom.db").absolute(), 3, 5_000_000)]
    monkeypatch.setenv("CHARLOOM_MIN_DISK", "some")
    assert "CHARLOOM_MIN_DISK is 'some'; it must be a size, for example 500MB" in charloom("worker").output
    monkeypatch.delenv("CHARLOOM_MIN_DISK")
    assert charloom("worker", "--workers", "0").exit_code == 2


def test_a_job_that_waits_can_be_trained_here(charloom: Charloom) -> None:
    assert charloom("corpus", "add", "tale.txt", "--name", "tale").exit_code == 0
    with Store("charloom.db") as store:
        jobs.submit(store, jobs.JobSpec(corpus="tale", name="waiting", model={"hidden_size": 4}, training={"steps": 5}))
    assert charloom("train", "--resume", "waiting").exit_code == 0
    with Store("charloom.db") as store:
        run = store.runs.get("waiting")
        assert (run.state, run.step, run.queued) == ("succeeded", 5, False)
    shown = charloom("runs", "show", "waiting").output
    assert "steps 5," in shown
    assert "order" not in shown


# ── keys ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_key_is_printed_once_listed_and_revoked(charloom: Charloom) -> None:
    result = charloom("key", "new", "laptop")
    key = result.stdout.strip()
    assert re.fullmatch(r"cl-[A-Za-z0-9_-]{43}", key)
    assert "key laptop is made" in result.stderr
    assert key not in charloom("key", "list").output
    with Store("charloom.db") as store:
        assert list(store.keys.by_hash()) == [hashlib.sha256(key.encode()).hexdigest()]
        store.keys.used("laptop")
    row = r"^laptop +admin +\d{4}-\d\d-\d\d +until it is revoked +\d{4}-\d\d-\d\d \d\d:\d\d$"
    assert re.search(row, charloom("key", "list").output, re.MULTILINE)
    assert charloom("key", "revoke", "laptop").exit_code == 0
    assert charloom("key", "list").output.startswith("no key yet; make one with: charloom key new --db ")
    result = charloom("key", "revoke", "laptop")
    assert result.exit_code == 1
    assert "there is no key 'laptop'" in result.output


def test_a_key_with_a_scope_and_a_lifetime(charloom: Charloom) -> None:
    made = charloom("key", "new", "guest", "--scope", "write", "--expires", "30d")
    assert re.search(r"^key guest is made \(scope write, until \d{4}-\d\d-\d\d \d\d:\d\d\)$", made.stderr, re.MULTILINE)
    assert charloom("key", "new", "moment", "--scope", "train", "--expires", "0.001s").exit_code == 0
    listed = charloom("key", "list").output
    assert re.search(r"^guest +write +\S+ +until \S+ \S+ +never$", listed, re.MULTILINE)
    assert re.search(r"^moment +train +\S+ +expired at \S+ \S+ +never$", listed, re.MULTILINE)
    facts = [json.loads(line) for line in charloom("key", "list", "--json").stdout.splitlines()]
    assert [(each["name"], each["scope"], each["expired"], each["used_at"]) for each in facts] == [
        ("guest", "write", False, None),
        ("moment", "train", True, None),
    ]
    made_at, expires_at = (datetime.fromisoformat(facts[0][name]) for name in ("created_at", "expires_at"))
    assert abs((expires_at - made_at).total_seconds() - 30 * 86400) < 1
    assert "expires is 0 seconds; it must be more than 0 and at most 36,500d" in charloom("key", "new", "--expires", "0s").stderr
    result = charloom("key", "new", "--expires", "3")
    assert (result.exit_code, "'3' has no unit; write 3d for days, 3h for hours" in result.stderr) == (2, True)
    assert charloom("key", "new", "--scope", "root").exit_code == 2
    assert tuple(service_commands.SCOPE.choices) == SCOPES


def test_a_service_is_told_its_limits_and_keys(charloom: Charloom, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[server.ServerSettings] = []
    monkeypatch.setattr(server, "serve", given.append)
    Path("keys").write_text("0123456789abcdef\n")
    monkeypatch.setenv("CHARLOOM_API_KEYS", "fedcba9876543210,another-key-of-mine")
    monkeypatch.setenv("CHARLOOM_MAX_UPLOAD", "20MB")
    monkeypatch.setenv("CHARLOOM_LOG_FORMAT", "json")
    result = charloom("serve", "--api-keys-file", "keys", "--max-rows", "7", "--max-seconds", "2m", "--max-body", "3MB")
    assert result.exit_code == 0, result.output
    [settings] = given
    assert (settings.max_upload, settings.max_rows, settings.max_seconds, settings.max_body) == (20_000_000, 7, 120.0, 3_000_000)
    assert (settings.log_format, settings.max_waiting) == ("json", 32)
    expected = ("fedcba9876543210", "another-key-of-mine", "0123456789abcdef")
    assert settings.keys == tuple(hashlib.sha256(key.encode()).hexdigest() for key in expected)


@pytest.mark.parametrize(
    ("arguments", "variables", "said"),
    [
        (["--max-rows", "0"], {}, "max_rows is 0; it must be a whole number from 1 to 1,024"),
        ([], {"CHARLOOM_MAX_TEXTS": "9999"}, "max_texts is 9999; it must be a whole number from 1 to 1,024"),
        ([], {"CHARLOOM_API_KEYS": "secret"}, "a key in CHARLOOM_API_KEYS cannot be used; a key has at least 16"),
        (["--api-keys-file", "none"], {}, "none cannot be read: No such file or directory"),
    ],
)
def test_wrong_limits_and_keys(
    charloom: Charloom, monkeypatch: pytest.MonkeyPatch, arguments: list[str], variables: dict[str, str], said: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    result = charloom("serve", *arguments)
    assert result.exit_code == 1
    assert said in result.output
    assert "secret" not in result.output


# ── damage and return ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_check_repair_and_restore(charloom: Charloom, trained: str, tmp_path: Path) -> None:
    db = tmp_path / "charloom.db"
    assert charloom("backup", "backup.db").exit_code == 0
    result = charloom("check")
    assert (result.exit_code, result.stdout) == (0, f"{db} is sound: 1 corpus, 1 run and 1 checkpoint\n")
    assert json.loads(charloom("check", "--json").stdout) == {
        "sound": True, "database": str(db), "corpora": 1, "runs": 1, "checkpoints": 1, "findings": [], "failed_once": 0
    }  # fmt: skip
    with Database(db) as other:
        other.execute("UPDATE blobs SET data = zeroblob(size) WHERE sha256 = (SELECT model_sha256 FROM checkpoints)")
    result = charloom("check")
    assert result.exit_code == 1
    assert result.stdout.splitlines()[1:4] == [
        "model of checkpoint first@4",
        "  found   its bytes changed after they were stored",
        "  lost    this checkpoint, unless it was exported",
    ]
    damaged = charloom("backup", "damaged.db")
    assert damaged.exit_code == 1
    assert "damaged.db is damaged in 1 place" in damaged.stderr.replace("\n", " ")
    assert charloom("restore", "damaged.db").exit_code == 1
    assert charloom("check", "--from", "backup.db").exit_code == 2
    result = charloom("check", "--repair")
    assert result.exit_code == 1
    assert "model of checkpoint first@4 can only be mended from a good copy" in " ".join(result.stderr.split())
    assert charloom("check").exit_code == 1  # as it was
    result = charloom("check", "--repair", "--from", "backup.db", "--json")
    assert result.exit_code == 0
    repaired = json.loads(result.stdout)
    assert (repaired["sound"], repaired["repaired"]) == (True, ["the model of checkpoint first@4 is taken from a copy"])
    assert charloom("check", "--db", repaired["kept"]).exit_code == 1
    result = charloom("restore", "backup.db")
    assert result.exit_code == 0
    assert f"{db} is now as backup.db; what was there before is kept as {db}.replaced-" in result.stdout
    assert charloom("sample", "first", "--length", "5").exit_code == 0
