"""The commands of the README are found, run in a folder of their own, and compared with what stands below them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import readme_runs
from tools.readme_runs import Command, Session, alike, blocks, commands, differences, same, with_outputs

PAGE = """# A page

<!-- printed with numpy 1 -->
```console
$ printf 'one\\ntwo\\n'
one
two
$ echo \\
    three
four
```

```sh
$ not run
```
"""


def test_commands_are_found_with_what_they_print() -> None:
    assert blocks(PAGE) == [[Command("printf 'one\\ntwo\\n'", "one\ntwo\n"), Command("echo \\\n    three", "four\n")]]


def test_a_block_that_does_not_begin_with_a_command_is_refused() -> None:
    with pytest.raises(ValueError, match="must begin with a command"):
        commands("one\n$ echo one\none\n")


def test_commands_run_and_differences_are_told(tmp_path: Path) -> None:
    outputs = Session(tmp_path).outputs(PAGE)
    assert outputs == [["one\ntwo\n", "three\n"]]
    assert differences(PAGE, outputs, "numpy 1") == ["$ echo \\\n    three\nthree\n"]
    renewed = with_outputs(PAGE, outputs)
    assert renewed == PAGE.replace("four", "three")
    assert differences(renewed, outputs, "numpy 1") == []


def test_a_command_that_fails_is_told_with_what_it_printed(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"status 3:\nwhy"):
        Session(tmp_path).run("echo why; exit 3")


def test_a_service_that_ends_before_it_answers_is_told(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="does not serve"):
        Session(tmp_path).outputs("```console\n$ charloom serve --port nowhere\n```\n")


def test_the_container_runs_what_its_image_starts(tmp_path: Path) -> None:
    line = Session(tmp_path).shell("docker run -p 8000:8000 charloom")[-1]
    assert line.endswith("/cli.py serve --host 0.0.0.0 --train-default")


@pytest.mark.parametrize(
    ("written", "printed", "equal"),
    [
        ("one\n", "one\n", True),
        ("one\n", "two\n", False),
        ("one\n", "one\ntwo\n", False),
        ("loss 1.605\n", "loss 1.604\n", False),
        ("about 0.3 nats more in the next 8 seconds\n", "about 0.3 nats more in the 2 minutes left\n", True),
        ("about 0.3 nats more in the next 8 seconds\n", "about 0.4 nats more in the next 8 seconds\n", False),
        ('{"characters_per_second": 1.5}\n', '{"characters_per_second": 200.0}\n', True),
        ('{"seed": 1, …\n', '{"seed": 1, "more": 2}\n', True),
        ('{"seed": 1, …\n', '{"seed": 2, "more": 2}\n', False),
    ],
)
def test_only_what_depends_on_the_speed_is_masked(written: str, printed: str, equal: bool) -> None:
    assert same(written, printed) is equal


@pytest.mark.parametrize(
    ("written", "printed", "equal"),
    [
        ("run a: gru 1x128\nloss 1.605\nabc\n", "run a: gru 1x128\nloss 1.607\nxyz\nuvw\n", True),
        ("run a: gru 1x256\n", "run a: lstm 1x256\n", False),
        ("ROMEO:\nabc\n", "ROMEO:\nxyz\n", True),
        ("ROMEO:\n", "JULIET:\n", False),
        ("", "", True),
    ],
)
def test_another_arithmetic_changes_losses_and_texts_only(written: str, printed: str, equal: bool) -> None:
    assert alike(written, printed) is equal


def test_what_is_shown_names_no_machine(tmp_path: Path) -> None:
    session = Session(tmp_path)
    key = "cl-" + "a1-_" * 10
    printed = (
        f"\nfrom {tmp_path}/docs/a.txt  \nat http://127.0.0.1:{session.port}/#key={key}\nstep 1,024  epoch 1.00  loss 2.0  0:01 left\n\n"
    )
    assert session.shown(printed) == "from …/docs/a.txt\nat http://127.0.0.1:8000/#key=cl-...\n"


def test_the_environment_of_the_caller_does_not_reach_the_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHARLOOM_DB", "another.db")
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    environment = Session(tmp_path).environment
    assert "CHARLOOM_DB" not in environment
    assert "OPENBLAS_CORETYPE" not in environment


def test_the_remark_names_the_arithmetic() -> None:
    assert readme_runs.REMARK.search(PAGE)
    assert differences(PAGE, [["one\nelse\n", "four\n"]], "numpy 2") == []  # another arithmetic: the first word is the same
    assert differences(PAGE, [["one\nelse\n", "four\n"]], "numpy 1") != []
