"""Runs the commands that README.md shows and compares what they print with what stands there.

``python -m tools.readme_runs check`` names the commands that print something else and fails; ``write`` puts in what they print.

Each block fenced as ``console`` is run in order, in one empty folder that has the clone's ``docs``: a line that begins with ``$ `` is a
command (a backslash continues it), the lines below it are what it prints. Commands that serve run until their block ends, at a free
port. ``docker run`` is replaced by the command that the image starts (see `Dockerfile`), ``docker build`` by nothing.

Some output depends on the machine. `PATTERNS` lists what is masked before the comparison. A line that ends with `` …`` stands for
every line that begins so. The remark above the first block names the arithmetic that printed the results. With any other one, texts and
losses differ; each command must then succeed and print what does not depend on it: its first word, and the lines of `FACTS`.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
REMARK = re.compile(r"^<!-- printed with (.*) -->$", re.MULTILINE)
PORT = 8000
SERVING = re.compile(r"(charloom serve|docker run)\b")
READY = "Charloom is at "
LONGEST = 120.0  # seconds for one command
# The line by which a training run tells how far it is: it comes after a time, so it is left out.
PROGRESS = re.compile(r"^step [\d,]+  epoch .* left\n", re.MULTILINE)
KEY = re.compile(r"\bcl-[\w-]{20,}")
# What depends on the speed of the machine, and what it is compared as.
PATTERNS = (
    (re.compile(r"in the (next \d+ \w+|\d+ \w+ left)"), "in the next _ seconds"),
    (re.compile(r'"characters_per_second": [\d.]+'), '"characters_per_second": _'),
)
# Lines that are the same with every arithmetic: sizes of texts and networks, and how a run ended.
FACTS = re.compile(r"^(?:corpus|run) .*$", re.MULTILINE)


class Command(NamedTuple):
    """A command of the page and what it prints."""

    line: str
    output: str


def blocks(page: str) -> list[list[Command]]:
    """The commands of each console block. Raises `ValueError` if a block does not begin with a command."""
    return [commands(found[1]) for found in BLOCK.finditer(page)]


def commands(block: str) -> list[Command]:
    """The commands of one block."""
    found: list[Command] = []
    if not block.startswith("$ "):
        raise ValueError(f"a console block begins with {block[:40]!r}; it must begin with a command: $ ...")
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        lines = part.splitlines(keepends=True)
        end = next(position for position, line in enumerate(lines, 1) if not line.endswith("\\\n"))
        found.append(Command("".join(lines[:end]).removesuffix("\n"), "".join(lines[end:])))
    return found


def with_outputs(page: str, outputs: Sequence[Sequence[str]]) -> str:
    """The page with what its commands print replaced; an output that is as good as the written one leaves it as it is."""
    waiting = iter(outputs)

    def renewed(found: re.Match[str]) -> str:
        pairs = zip(commands(found[1]), next(waiting), strict=True)
        parts = (f"$ {command.line}\n{command.output if same(command.output, printed) else printed}" for command, printed in pairs)
        return f"```console\n{''.join(parts)}```"

    return BLOCK.sub(renewed, page)


def masked(output: str) -> str:
    """`output` without what depends on the speed of the machine."""
    for pattern, stands_for in PATTERNS:
        output = pattern.sub(stands_for, output)
    return output.rstrip()


def same(written: str, printed: str) -> bool:
    """Whether a page shows what a command printed."""
    left, right = masked(written).splitlines(), masked(printed).splitlines()
    return len(left) == len(right) and all(
        one == other or (one.endswith(" …") and other.startswith(one.removesuffix(" …"))) for one, other in zip(left, right, strict=True)
    )


def alike(written: str, printed: str) -> bool:
    """Whether a page shows what a command printed, as far as that does not depend on the arithmetic."""
    return written.split()[:1] == printed.split()[:1] and FACTS.findall(written) == FACTS.findall(printed)


class Session:
    """The folder, the environment and the port that the commands share."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "docs").symlink_to(ROOT / "docs", target_is_directory=True)
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            self.port = listener.getsockname()[1]
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("CHARLOOM_", "OPENBLAS_", "OMP_"))}
        self.environment = {**kept, "CHARLOOM_PORT": str(self.port), "COLUMNS": "100", "PYTHONWARNINGS": "ignore"}

    def shell(self, line: str) -> list[str]:
        """The arguments that run a command of the page with this clone."""
        image = dict(re.findall(r"^(ENTRYPOINT|CMD) (\[.*\])$", (ROOT / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE))
        starts = shlex.join(re.findall(r'"([^"]+)"', image["ENTRYPOINT"] + image["CMD"]))
        charloom = shlex.join([sys.executable, str(ROOT / "cli.py")])
        line = re.sub(r"^docker run\b.*", starts, line)
        line = re.sub(r"^charloom\b", f"exec {charloom}" if line.startswith("charloom serve") else charloom, line)
        return ["bash", "-c", re.sub(rf"\b127\.0\.0\.1:{PORT}\b", f"127.0.0.1:{self.port}", line)]

    def shown(self, output: str) -> str:
        """What was printed, as the page shows it: without this folder, this port, keys, and lines that come after a time."""
        output = output.replace(f"{self.folder.resolve()}/", "…/").replace(f"{ROOT}/", "…/")
        output = KEY.sub("cl-...", PROGRESS.sub("", output.replace(f"127.0.0.1:{self.port}", f"127.0.0.1:{PORT}")))
        lines = [line.rstrip() for line in output.strip().splitlines()]
        return "\n".join(lines) + "\n" if lines else ""

    def run(self, line: str) -> str:
        """Run one command to its end. Raises `RuntimeError` if it fails, with what it printed."""
        done = subprocess.run(
            self.shell(line), cwd=self.folder, env=self.environment, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, encoding="utf-8", timeout=LONGEST, check=False,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"$ {line}\nended with status {done.returncode}:\n{done.stdout}")
        return self.shown(done.stdout)

    def serve(self, line: str, stack: ExitStack) -> str:
        """Start a service that ends with `stack`; what it prints until it answers. Raises `RuntimeError` if it ends before."""
        log, printed = (self.folder / "service.log").open("w"), self.folder / "service.out"
        stack.callback(log.close)
        with printed.open("w") as out:
            process = subprocess.Popen(self.shell(line), cwd=self.folder, env=self.environment, stdout=out, stderr=log)
        stack.callback(process.wait, LONGEST)
        stack.callback(process.send_signal, signal.SIGTERM)
        end = time.monotonic() + LONGEST
        while not (text := printed.read_text(encoding="utf-8")).endswith("\n\n") or READY not in text:
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"$ {line}\ndoes not serve:\n{(self.folder / 'service.log').read_text(encoding='utf-8')}")
            time.sleep(0.05)
        return self.shown(text)

    def outputs(self, page: str) -> list[list[str]]:
        """What each command of the page prints, block by block."""
        found = []
        for block in blocks(page):
            with ExitStack() as stack:
                found.append([self.output(command.line, stack) for command in block])
        return found

    def output(self, line: str, stack: ExitStack) -> str:
        """What one command prints."""
        if line.startswith("docker build"):
            return ""
        return self.serve(line, stack) if SERVING.match(line) else self.run(line)

    def arithmetic(self) -> str:
        """What the bits of the first run depend on."""
        from service.store import Store

        with Store(self.folder / "charloom.db") as store:
            arithmetic: str = store.runs.list()[0].environment["arithmetic"]
        return "the kernels" if arithmetic.startswith("kernels ") else arithmetic  # all of them give the same bits


def perform(page: str) -> tuple[list[list[str]], str]:
    """(what each command of the page prints, the arithmetic that printed it)."""
    with tempfile.TemporaryDirectory() as folder:
        session = Session(Path(folder))
        return session.outputs(page), session.arithmetic()


def differences(page: str, outputs: Sequence[Sequence[str]], arithmetic: str) -> list[str]:
    """The commands whose written output is not true, each with what it printed."""
    remark = REMARK.search(page)
    equal = same if remark and remark[1] == arithmetic else alike
    pairs = [pair for block, printed in zip(blocks(page), outputs, strict=True) for pair in zip(block, printed, strict=True)]
    return [f"$ {command.line}\n{printed}" for command, printed in pairs if not equal(command.output, printed)]


def main() -> None:
    """Check or write; exits 1 if a check finds a difference."""
    parser = argparse.ArgumentParser(prog="python -m tools.readme_runs", description=__doc__)
    parser.add_argument("action", choices=("check", "write"))
    action, path = parser.parse_args().action, ROOT / "README.md"
    page = path.read_text(encoding="utf-8")
    outputs, arithmetic = perform(page)
    if action == "write":
        path.write_text(REMARK.sub(f"<!-- printed with {arithmetic} -->", with_outputs(page, outputs)), encoding="utf-8")
        return
    found = differences(page, outputs, arithmetic)
    for one in found:
        print(f"README.md shows something else than this; renew it with: python -m tools.readme_runs write\n{one}")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
