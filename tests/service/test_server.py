"""A real gunicorn on a real socket, and what clients do to it."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from model.errors import AddressUnusable, InvalidSetting
from service.server import listen, url_of
from service.store import Run, Store

ROOT = Path(__file__).resolve().parents[2]

SERVE = """
import json, sys
from pathlib import Path
from service import connections
from service.server import ServerSettings, serve

limits = json.loads(sys.argv[2])
connections.NEXT_BYTES, connections.WHOLE_REQUEST = limits.pop("next_bytes", 4.0), limits.pop("whole_request", 30.0)
serve(ServerSettings(db=Path(sys.argv[1]), port=0, **limits))
"""


class Server(NamedTuple):
    """A service in another process."""

    process: subprocess.Popen[str]
    port: int
    greeting: str

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """(status, JSON)"""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request(method, path, None if body is None else json.dumps(body), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        data = json.loads(answer.read())
        connection.close()
        return answer.status, data

    def health(self) -> Any:
        """What /health says."""
        return self.ask("GET", "/health")[1]

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


def post(body: str, *headers: str) -> bytes:
    """A request for /generate as bytes; without `headers` its length is told."""
    head = "\r\n".join(["Host: x", "Content-Type: application/json", *(headers or [f"Content-Length: {len(body)}"])])
    return f"POST /generate HTTP/1.1\r\n{head}\r\n\r\n{body}".encode()


CHUNKED = ("Transfer-Encoding: chunked", "Connection: close")


def everything(connection: socket.socket) -> bytes:
    """What arrives until the other side closes."""
    parts = []
    try:
        while data := connection.recv(65536):
            parts.append(data)
    except ConnectionError:
        pass
    connection.close()
    return b"".join(parts)


def eventually(condition: Callable[[], bool]) -> None:
    """Wait for what another process does; the limit only keeps a broken service from hanging the tests."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


def start(path: Path, **limits: Any) -> Server:
    """A service over a database."""
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, str(path), json.dumps(limits)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
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
    return Server(process, int(found[1]), greeting)


def end(server: Server) -> None:
    """Kill a service that still runs."""
    if server.process.poll() is None:
        server.process.kill()
        server.process.communicate()


@pytest.fixture
def launch(path: Path) -> Iterator[Callable[..., Server]]:
    """Start services over the test's own database; what still runs at its end is killed."""
    with ExitStack() as stack:

        def launched(**limits: Any) -> Server:
            server = start(path, **limits)
            stack.callback(end, server)
            return server

        yield launched


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, put_model: Callable[..., Run]) -> Iterator[Server]:
    """One service for the tests that leave it as it was; it must not have reported anything at the end."""
    path = tmp_path_factory.mktemp("shared") / "charloom.db"
    with Store(path) as store:
        put_model(store)
    server = start(path)
    yield server
    left = server.health()["rows"], server.stop()
    end(server)
    assert left == (0, (0, ""))


LONG = '{"stream": true, "length": 100000, "seed": 1}'


def test_it_says_where_it_is_and_how_to_try_it(shared: Server) -> None:
    curl = re.search(r"curl (http://\S+)(/generate) -H 'Content-Type: application/json' -d '(.*)'", shared.greeting)
    assert curl
    assert curl[1] == f"http://127.0.0.1:{shared.port}"
    status, body = shared.ask("POST", curl[2], json.loads(curl[3]))
    assert (status, len(body["text"])) == (200, 300)
    assert shared.health()["status"] == "ok"
    assert shared.ask("GET", "/nothing")[0] == 404


def test_open_streams_finish_on_sigterm(launch: Callable[..., Server], add_model: Callable[..., Run]) -> None:
    add_model()
    server = launch()
    _, expected = server.ask("POST", "/generate", {"length": 8000, "seed": 1})
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.request("POST", "/generate", '{"stream": true, "length": 8000, "seed": 1}', {"Content-Type": "application/json"})
    answer = connection.getresponse()
    first = answer.readline()
    server.process.send_signal(signal.SIGTERM)
    *pieces, _, done, end = (first + answer.read()).decode().split("\n\n")
    assert (done, end) == ("data: [DONE]", "")
    assert "".join(json.loads(piece[6:])["text"] for piece in pieces) == expected["text"]
    connection.close()
    assert server.stop() == (0, "")


def test_ctrl_c_ends_open_streams_with_an_error(launch: Callable[..., Server], add_model: Callable[..., Run]) -> None:
    add_model()
    server = launch()
    connection = server.connect(post(LONG))
    first = connection.recv(1000)
    assert server.stop(signal.SIGINT) == (0, "")
    assert b'"code": "service_stopping"' in first + everything(connection)


def test_clients_that_leave_in_mid_stream_free_their_rows(shared: Server) -> None:
    for body in (LONG, LONG.replace("true", "false")):
        connections = [shared.connect(post(body)) for _ in range(50)]
        eventually(lambda: shared.health()["rows"] == 50)
        for connection in connections:
            connection.close()
        eventually(lambda: shared.health()["rows"] == 0)


def test_half_sent_requests_do_not_silence_it(launch: Callable[..., Server], add_model: Callable[..., Run]) -> None:
    add_model()
    server = launch(next_bytes=0.3)
    halves = [
        b"",
        b"GET /hea",
        b"POST /generate HTTP/1.1\r\nHost: x\r\n",
        post('{"length": 1}')[:-4],
        post("7\r\n{", *CHUNKED),
    ]
    with ExitStack() as stack:
        for number in range(200):
            stack.enter_context(server.connect(halves[number % 5]))
        assert server.health()["status"] == "ok"
        assert server.ask("POST", "/generate", {"length": 1})[0] == 200
    assert server.stop() == (0, "")


def test_a_request_that_arrives_byte_by_byte_is_cut_off(launch: Callable[..., Server], add_model: Callable[..., Run]) -> None:
    add_model()
    server = launch(whole_request=0.5)
    for sent in (b"GET /health HTTP/1.1\r\nX: ", post(" " * 5000)[:-4990]):
        connection = server.connect(sent)
        stopped = threading.Event()

        def drip(connection: socket.socket = connection, stopped: threading.Event = stopped) -> None:
            while not stopped.wait(0.1):
                try:
                    connection.send(b" ")
                except OSError:
                    return

        thread = threading.Thread(target=drip)
        thread.start()
        answer = everything(connection)
        stopped.set()
        thread.join()
        assert answer == b"" or b" 408 " in answer
    # A request that has arrived may take longer than that.
    assert server.ask("POST", "/generate", {"length": 8000})[0] == 200
    assert server.stop() == (0, "")


@pytest.mark.parametrize(
    ("chunks", "status"),
    [
        (b'd\r\n{"length": 3}\r\n0\r\n\r\n', b"200"),
        (b'5\r\n{"len\r\n8\r\ngth": 3}\r\n0\r\n\r\n', b"200"),
        (b"0\r\n\r\n", b"200"),
        (b'5\r\n{"len\r\nzz\r\n', b"400"),
        (b"100001\r\n" + b" " * 0x100001 + b"\r\n0\r\n\r\n", b"413"),
    ],
)
def test_chunked_bodies(shared: Server, chunks: bytes, status: bytes) -> None:
    answer = everything(shared.connect(post("", *CHUNKED) + chunks))
    assert answer.split()[1] == status
    assert json.loads(answer.split(b"\r\n\r\n")[1])


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET / HTTP/9.9\r\n\r\n", b"400"),
        (b"GET /" + b"x" * 5000 + b" HTTP/1.1\r\n\r\n", b"414"),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 9000 + b"\r\n\r\n", b"431"),
        (post("{}", "Content-Length: 2", "Content-Length: 3"), b"400"),
        (post("{}", "Content-Length: -1"), b"400"),
    ],
)
def test_what_is_not_http(shared: Server, request_: bytes, status: bytes) -> None:
    answer = everything(shared.connect(request_))
    assert answer.split()[1] == status
    assert json.loads(answer.split(b"\r\n\r\n")[1])["error"]["message"]


def test_a_worker_that_is_killed_is_replaced(launch: Callable[..., Server], add_model: Callable[..., Run]) -> None:
    add_model()
    server = launch()
    assert server.health()
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children")
    if not children.exists():
        pytest.skip("this system does not list children")
    [worker] = map(int, children.read_text().split())
    os.kill(worker, signal.SIGKILL)
    assert server.ask("POST", "/generate", {"length": 3})[0] == 200
    assert server.stop()[0] == 0


# ── the first model ───────────────────────────────────────────────────────────────────────────────────────────────────

TRAIN = textwrap.dedent("""
    import signal, sys
    from model.config import ModelConfig, TrainingConfig
    from service import first, trainer
    from service.store import Store

    with Store(sys.argv[1]) as store:
        if store.runs.list():
            work = trainer.resume(store, "default", steps=3)
        else:
            training = TrainingConfig(steps=10**8, validation_interval=10**8)
            run = trainer.create(store, "tale", ModelConfig(hidden_size=4), training, name="default")
            work = trainer.Trainer(store, first.marked(store, run))
        signal.signal(signal.SIGTERM, lambda *_: work.stop("SIGTERM"))
        for event in work.events():
            pass
    print("the trainer has ended")
""")


@pytest.mark.usefixtures("corpus")
def test_the_first_model_is_trained_meanwhile_paused_with_the_service_and_goes_on(
    launch: Callable[..., Server], path: Path, store: Store
) -> None:
    command = [sys.executable, "-c", TRAIN, str(path)]
    server = launch(train_command=command)
    assert server.health()["status"] == "training"
    status, body = server.ask("POST", "/generate")
    assert status == 503
    assert "is being trained" in body["error"]["message"]
    eventually(lambda: server.health()["training"]["run"] == "default")
    assert server.stop() == (0, "the trainer has ended\n")
    assert store.runs.get("default").state == "paused"

    server = launch(train_command=command)
    eventually(lambda: server.health()["training"] is None)
    assert server.health()["status"] == "ok"
    assert server.ask("POST", "/generate", {"length": 5})[0] == 200
    assert store.runs.get("default").state == "succeeded"
    assert server.stop() == (0, "the trainer has ended\n")


@pytest.mark.parametrize(
    ("command", "said"), [([sys.executable, "-c", "exit(3)"], "ended with exit status 3"), (["/no/such/program"], "cannot be trained")]
)
def test_a_trainer_that_fails_or_does_not_exist_is_reported(launch: Callable[..., Server], command: list[str], said: str) -> None:
    server = launch(train_command=command)
    eventually(lambda: server.health()["status"] == "ok")
    assert server.ask("POST", "/generate")[0] == 404
    status, errors = server.stop()
    assert status == 0
    assert said in errors


def test_no_first_model_where_there_is_one(launch: Callable[..., Server], add_model: Callable[..., Run], tmp_path: Path) -> None:
    add_model()
    server = launch(train_command=[sys.executable, "-c", f"open({str(tmp_path / 'ran')!r}, 'w')"])
    assert server.health()["training"] is None
    assert server.stop() == (0, "")
    assert not (tmp_path / "ran").exists()


# ── where to listen ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("port", [-1, 65536, 10**9])
def test_a_port_that_is_none(port: int) -> None:
    with pytest.raises(InvalidSetting, match="it must be a whole number from 0 to 65,535"):
        listen("127.0.0.1", port)


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a..b", "x" * 300, "127.0.0.1\0", "1.2.3.4.5"])
def test_a_host_that_is_none(host: str) -> None:
    with pytest.raises(AddressUnusable, match=r"give an address of this machine"):
        listen(host, 0)


def test_a_port_that_is_taken() -> None:
    with listen("127.0.0.1", 0) as taken, pytest.raises(AddressUnusable, match="the port is taken by another program"):
        listen("127.0.0.1", taken.getsockname()[1])


def test_an_address_of_another_machine() -> None:
    with pytest.raises(AddressUnusable, match="this machine has no such address"):
        listen("192.0.2.1", 0)


@pytest.mark.parametrize(
    ("host", "shown"), [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("localhost", "127.0.0.1"), ("", "127.0.0.1")]
)
def test_the_url(host: str, shown: str) -> None:
    with listen(host, 0) as listener:
        assert url_of(listener) == f"http://{shown}:{listener.getsockname()[1]}"


def test_the_url_of_an_ipv6_address() -> None:
    try:
        listener = listen("[::1]", 0)
    except AddressUnusable:
        pytest.skip("this machine has no IPv6")
    with listener:
        assert url_of(listener) == f"http://[::1]:{listener.getsockname()[1]}"


def test_serving_an_unusable_database_ends_with_a_sentence(tmp_path: Path) -> None:
    script = f"""
from pathlib import Path
from model.errors import CharloomError
from service.server import ServerSettings, serve
try:
    serve(ServerSettings(db=Path({str(tmp_path / "none" / "x.db")!r}), port=0))
except CharloomError as error:
    raise SystemExit(str(error))
"""
    answer = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert answer.returncode == 1
    assert "its folder" in answer.stderr
    assert "Traceback" not in answer.stderr
