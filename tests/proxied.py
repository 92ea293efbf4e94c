"""Real reverse proxies in front of a service, with the recipes of docs/serving.md, in processes of their own."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.served import ROOT

PREFIX = "/charloom"  # of the recipes
LANGUAGES = {"nginx": "nginx", "caddy": "caddyfile"}  # proxy -> the language of its code block


class Proxied(NamedTuple):
    """A service as clients of its proxy see it."""

    port: int
    prefix: str

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}{self.prefix}"


def recipe(language: str) -> str:
    """The one block of a language in docs/serving.md."""
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", (ROOT / "docs" / "serving.md").read_text(), re.MULTILINE | re.DOTALL)
    return str(found)


def program(name: str) -> str:
    """The proxy's program. Without it the test is skipped, or fails if CHARLOOM_NO_SKIP is set."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if found is None:
        reason = f"no {name} is installed (Debian: apt install {name})"
        if os.environ.get("CHARLOOM_NO_SKIP"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found


@contextmanager
def proxied(name: str, folder: Path, service: int) -> Iterator[Proxied]:
    """Run a proxy with its recipe, which leads to the port `service`."""
    with socket.socket() as kept:  # so that no other process takes the port
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        kept.bind(("127.0.0.1", 0))
        port = kept.getsockname()[1]
        block = recipe(LANGUAGES[name]).replace("127.0.0.1:8000", f"127.0.0.1:{service}")
        command = [program(name), *(as_nginx if name == "nginx" else as_caddy)(folder, port, block)]
        environment = {**os.environ, "HOME": str(folder), "XDG_CONFIG_HOME": str(folder), "XDG_DATA_HOME": str(folder)}
        with (folder / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log, env=environment) as process:
            try:
                wait_for(port, process, folder / "log")
                yield Proxied(port, PREFIX)
            finally:
                process.terminate()


def as_nginx(folder: Path, port: int, block: str) -> list[str]:
    """Write the configuration around the recipe; the arguments of the program."""
    paths = "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    server = f"server {{ listen 127.0.0.1:{port} reuseport; {block} }}"
    http = f"access_log off;\n{paths}types {{ }}\n{server}"
    (folder / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {folder}/pid; error_log stderr;\nevents {{ }}\nhttp {{\n{http}\n}}\n"
    )
    return ["-p", str(folder), "-e", "stderr", "-c", str(folder / "nginx.conf")]


def as_caddy(folder: Path, port: int, block: str) -> list[str]:
    """Write the configuration around the recipe; the arguments of the program."""
    (folder / "Caddyfile").write_text(f"{{\nadmin off\nauto_https off\n}}\nhttp://127.0.0.1:{port} {{\nbind 127.0.0.1\n{block}\n}}\n")
    return ["run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]


def wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until the port is answered."""
    deadline = time.monotonic() + 30
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
            return
        except OSError:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.02)
