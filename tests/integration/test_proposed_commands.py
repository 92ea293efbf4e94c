"""The commands that messages propose work as they are printed, with a database whose path a shell would misread."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result
from sqlite_utils import Database

import cli
from service.store import Store
from service.system import errors
from service.system.errors import (
    BackupDamaged,
    BackupNeeded,
    CorpusNotFound,
    DamagedText,
    DatabaseDamaged,
    DatabaseReplaced,
    ForeignLog,
    KeyNotFound,
    NoModelYet,
    NoWorker,
    RunNotFound,
)

ODD = "an odd; place/it's.db"
TINY = "--hidden-size 4 --batch-size 4 --seq-length 16 --steps 4"
GIVEN = {"BACKUP": "backup.db", "CORPUS": "tale.txt", "SOURCE": "tale.txt", "python": "tale.txt"}


def proposals(message: str) -> list[list[str]]:
    """The commands in a message, as a shell splits them; each must name the database."""
    option = f"--db {shlex.quote(ODD)}"
    found = re.findall(rf"charloom ((?:(?!charloom|--db).)+{re.escape(option)})", message, re.DOTALL)
    assert len(found) == len(re.findall(r"\bcharloom [a-z]", message)) > 0, message
    return [[GIVEN.get(word, word) for word in shlex.split(command)] for command in found]


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(cli.main, arguments, prog_name="charloom")
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def said(*arguments: str) -> str:
    """All that a command prints."""
    return run(*arguments, "--db", ODD).output


def carry_out(command: list[str], status: int = 0) -> None:
    result = run(*command, *(shlex.split(TINY) if command[:2] == ["train", "tale.txt"] else ()))
    assert result.exit_code == status, (command, result.output)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tale: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path(ODD).parent.mkdir()
    Path("tale.txt").write_text(tale)


def test_from_no_file_to_a_repair() -> None:
    [train] = proposals(said("sample"))
    Store(ODD).close()
    for message in (said("key", "list"), said("runs", "list"), said("corpus", "show", "tale"), said("sample"), said("runs", "show", "x")):
        [command] = proposals(message)
        if command[0] != "train":
            carry_out(command)
    carry_out(train)
    [go_on] = proposals(said("import", str(exported())))
    carry_out(go_on)
    carry_out(["backup", "backup.db", "--db", ODD])
    damaged = Path("damaged.db")
    with Database(ODD) as other:
        other.execute("UPDATE blobs SET data = zeroblob(size)")
    shutil.copyfile(ODD, damaged)
    for message in (said("sample", "tale-lstm"), said("check"), said("check", "--repair")):
        for command in proposals(message):
            shutil.copyfile(damaged, ODD)
            carry_out(command, 1 if "--without-backup" in command else 0)


def exported() -> Path:
    carry_out(["export", "tale-lstm", "model.safetensors", "--db", ODD])
    return Path("model.safetensors")


@pytest.mark.parametrize(
    "error",
    [
        DatabaseDamaged(ODD),
        DamagedText(ODD, "tale", "it changed"),
        BackupDamaged(ODD, ["a thing"]),
        BackupNeeded(ODD, ["a thing"]),
        DatabaseReplaced(ODD, "it was moved"),
        ForeignLog(ODD),
        NoModelYet(ODD),
        RunNotFound("x", database=ODD),
        CorpusNotFound("x", database=ODD),
        KeyNotFound("x", database=ODD),
        NoWorker("x", ODD),
    ],
    ids=lambda error: type(error).__name__,
)
def test_each_error_about_a_database(error: errors.CharloomError) -> None:
    for words in proposals(str(error)):
        command: click.Command = cli.main
        while isinstance(command, click.Group):
            command = command.commands[words.pop(0)]
        assert command.make_context("it", words).params["db"] == Path(ODD)
