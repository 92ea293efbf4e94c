"""A real service over a database, in a process of its own."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]

SERVE = """
import json, os, resource, sys
from pathlib import Path
from service.web import http_connection, http_server, supervisor, wsgi_bridge
from service.web.server import ServerSettings, serve

limits = json.loads(sys.argv[2])
if files := os.environ.get("CHARLOOM_TEST_FILES"):
    resource.setrlimit(resource.RLIMIT_NOFILE, (int(files), int(files)))
for module in (http_connection, http_server, supervisor, wsgi_bridge):
    for name in [name for name in limits if hasattr(module, name)]:
        setattr(module, name, limits[name])
limits = {name: value for name, value in limits.items() if not name.isupper()}
serve(ServerSettings(db=Path(sys.argv[1]), **{"port": 0, **limits}))
"""


class Server(NamedTuple):
    """A service in another process."""

    process: subprocess.Popen[str]
    port: int
    greeting: str
    db: Path

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}"

    def ask(self, method: str, path: str, body: Any = None, key: str | None = None) -> tuple[int, Any]:
        """(status, JSON)"""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        data = json.loads(answer.read())
        connection.close()
        return answer.status, data

    def answer(self, method: str, path: str, body: Any = None, key: str | None = None) -> Any:
        """The JSON alone."""
        return self.ask(method, path, body, key)[1]

    def health(self) -> Any:
        """What /health says."""
        return self.answer("GET", "/health")

    def connect(self, data: bytes = b"") -> socket.socket:
        """A connection over which `data` was sent."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        connection.sendall(data)
        return connection

    def stop(self, how: int = signal.SIGTERM) -> tuple[int, str]:
        """(exit status, what it wrote on stderr)"""
        self.process.send_signal(how)
        _, errors = self.process.communicate(timeout=60)
        return self.process.returncode, errors


def start(path: Path, environment: Mapping[str, str] | None = None, **limits: Any) -> Server:
    """A service over a database, without workers; `limits` are fields of its `ServerSettings`, or constants of its server."""
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, str(path), json.dumps({"log_level": "warning", "workers": 0, **limits})],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    greeting = "".join(process.stdout.readline() for _ in range(5))
    found = re.search(r"http://127\.0\.0\.1:(\d+)", greeting)
    if found is None:
        process.kill()
        raise AssertionError(process.communicate()[1])
    return Server(process, int(found[1]), greeting, path)


def end(server: Server) -> None:
    """Kill a service that still runs."""
    if server.process.poll() is None:
        server.process.kill()
        server.process.communicate()
