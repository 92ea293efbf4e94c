"""A real service on a real socket, and what clients do to it.

Whether keys are asked for at an address, and what the owner is told.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from model.errors import InvalidSetting, SourceNotFound
from service.store import Run, Store
from service.store.api_keys import FIRST, Keyring, hashed
from service.system.errors import AddressUnusable
from service.training import default_model, jobs
from service.training.jobs import JobSpec
from service.web.server import Access, ServerSettings, _order_first_model, admitted, announcement, listen, url_of
from service.web.service_config import ServiceConfig

# ── admission ────────────────────────────────────────────────────────────────────────────────────────────────────────

Server = Any  # of conftest.py

LOCAL = ["127.0.0.1", "127.0.0.2", "::1"]
OPEN = ["0.0.0.0", "::", "192.0.2.7", "fe80::1%eth0"]


@pytest.mark.parametrize("address", LOCAL)
def test_this_machine_alone_needs_no_key(path: Path, address: str) -> None:
    config, access = admitted(ServiceConfig(db=path, max_rows=7), address)
    assert config == ServiceConfig(db=path, max_rows=7, loopback=True)
    assert access == Access(asks=False)
    with Store(path) as store:
        assert store.keys.list() == ()


@pytest.mark.parametrize("address", OPEN)
def test_where_others_can_reach_it_a_key_is_made_once(path: Path, address: str) -> None:
    config, access = admitted(ServiceConfig(db=path), address)
    assert not config.loopback
    assert access.asks
    assert access.key
    with Store(path) as store:
        found = Keyring(store.keys, config.keys).find(access.key)
        assert found is not None
        assert (found.name, found.scope) == (FIRST, "admin")
        again = admitted(ServiceConfig(db=path), address)
        assert again == (config, Access(asks=True))
        assert len(store.keys.list()) == 1


@pytest.mark.parametrize("address", [LOCAL[0], OPEN[0]])
def test_none_is_made_where_some_are_set(path: Path, address: str) -> None:
    given = ServiceConfig(db=path, keys=(hashed("0123456789abcdef"),))
    config, access = admitted(given, address)
    assert config.keys == given.keys
    assert access == Access(asks=True)
    with Store(path) as store:
        assert store.keys.list() == ()
        store.keys.add(hashed("another"), "laptop")
    assert admitted(ServiceConfig(db=path), address)[1] == Access(asks=True)


def test_a_service_that_others_can_reach(launch: Callable[..., Server], add_model: Callable[..., Run]) -> None:
    add_model()
    server = launch(host="0.0.0.0")
    found = re.search(r"^Charloom is at (http://127\.0\.0\.1:\d+)/#key=(cl-[\w-]{43})$", server.greeting, re.MULTILINE)
    assert found
    assert f"curl {found[1]}/generate -H 'Authorization: Bearer {found[2]}'" in server.greeting

    def status(path: str, **headers: str) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        connection.request("GET", path, headers={"Host": "loom.example.org", **headers})
        answer = connection.getresponse()
        answer.read()
        connection.close()
        return answer.status

    assert [status(path) for path in ("/", "/health", "/static/page.js", "/v1/models", "/metrics")] == [200, 200, 200, 401, 401]
    assert [status(path, Authorization=f"Bearer {found[2]}") for path in ("/v1/models", "/metrics")] == [200, 200]
    assert server.stop() == (0, "")
    again = launch(host="0.0.0.0")
    assert "#key=" not in again.greeting
    assert "it asks for a key" in again.greeting
    server = again
    assert status("/v1/models", Authorization=f"Bearer {found[2]}") == 200
    assert again.stop() == (0, "")


def said(capsys: pytest.CaptureFixture[str], access: Access, db: str = "charloom.db") -> list[str]:
    announcement("http://127.0.0.1:8000", access, Path(db))
    return [line for line in capsys.readouterr().out.splitlines() if line]


def test_what_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    curl = '  curl http://127.0.0.1:8000/generate -H \'Content-Type: application/json\' -d \'{"prompt": "def ", "length": 300}\''
    assert said(capsys, Access(asks=False)) == ["Charloom is at http://127.0.0.1:8000", curl]
    assert said(capsys, Access(asks=True, key="cl-x")) == [
        "Charloom is at http://127.0.0.1:8000/#key=cl-x",
        "  (this key is shown once; for another: charloom key new)",
        curl.replace(" -H 'C", " -H 'Authorization: Bearer cl-x' -H 'C"),
    ]
    assert said(capsys, Access(asks=True), "a b.db") == [
        "Charloom is at http://127.0.0.1:8000",
        "  (it asks for a key: one that was set, or made with charloom key new --db 'a b.db')",
        curl.replace(" -H 'C", " -H 'Authorization: Bearer KEY' -H 'C"),
    ]


# ── server ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
    return port


ROOT = Path(__file__).resolve().parents[3]


def post(body: str, *headers: str) -> bytes:
    """A request for /generate as bytes; without `headers` its length is told."""
    head = "\r\n".join(["Host: localhost", "Content-Type: application/json", *(headers or [f"Content-Length: {len(body)}"])])
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


LONG = '{"stream": true, "length": 100000, "seed": 1}'


def test_it_says_where_it_is_and_how_to_try_it(server: Server) -> None:
    curl = re.search(r"curl (http://\S+)(/generate) -H 'Content-Type: application/json' -d '(.*)'", server.greeting)
    assert curl
    assert curl[1] == f"http://127.0.0.1:{server.port}"
    status, body = server.ask("POST", curl[2], json.loads(curl[3]))
    assert (status, len(body["text"])) == (200, 300)
    assert server.health()["status"] == "ok"
    assert server.ask("GET", "/nothing")[0] == 404


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


def test_64_streams_all_end_on_sigterm_and_new_connections_are_refused(
    launch: Callable[..., Server], add_model: Callable[..., Run]
) -> None:
    add_model()
    server = launch(GRACE=0.5, log_level="info", max_seconds=60)
    body = json.dumps({"stream": True, "length": 100000, "seed": 1, "temperature": 0.5, "max_copy": None})
    connections = [server.connect(post(body)) for _ in range(64)]
    for connection in connections:
        assert connection.recv(12) == b"HTTP/1.1 200"
    server.process.send_signal(signal.SIGTERM)

    def refused() -> bool:
        try:
            server.connect().close()
        except ConnectionError:
            return True
        return False

    eventually(refused)
    ends = [everything(connection)[-600:] for connection in connections]
    assert all(b"[DONE]" in end or b'"code":"service_stopping"' in end for end in ends)
    assert all(end.endswith(b"\r\n0\r\n\r\n") for end in ends)
    status, log = server.stop()
    assert status == 0
    assert log.count("POST /generate 200") == 64
    assert "the service stops; requests that are being answered have 0 seconds" in log or "have 1 seconds" in log


def test_a_second_signal_hurries(launch: Callable[..., Server], add_model: Callable[..., Run]) -> None:
    add_model(hidden_size=256)
    server = launch(GRACE=600.0, max_seconds=600)
    connection = server.connect(post(json.dumps({"stream": True, "length": 100000, "n": 16})))
    assert connection.recv(12) == b"HTTP/1.1 200"
    found: list[bytes] = []
    reader = threading.Thread(target=lambda: found.append(everything(connection)))
    reader.start()
    server.process.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    assert reader.is_alive()  # it has ten minutes
    assert server.stop() == (0, "")
    reader.join()
    assert b'"code":"service_stopping"' in found[0][-600:]


def test_requests_that_outlive_their_time_are_told_so(launch: Callable[..., Server], store: Store, tale: str) -> None:
    """Also those that wait for no text, and that nothing else could end."""
    store.corpora.add("long", [tale * 3000], "long.txt")
    server = launch(GRACE=0.2, LAST_WORDS=0.2)
    connection = server.connect(
        b"POST /v1/files HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=x\r\n"
        b"Content-Length: 900000\r\n\r\n--x\r\n"
    )
    time.sleep(0.3)
    assert server.stop() == (0, "")
    answer = everything(connection)
    assert answer.split()[1] in (b"503", b"408")
    assert json.loads(answer.split(b"\r\n\r\n")[1])["error"]["message"]


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_it_starts_leaves_no_traceback(path: Path, how: int) -> None:
    command = [sys.executable, "cli.py", "serve", "--port", str(free_port()), "--workers", "0", "--db", str(path)]
    for delay in (0.15, 0.3, 0.45, 0.6, 0.9):
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(delay)
        process.send_signal(how)
        _, errors = process.communicate(timeout=30)
        assert "Traceback" not in errors or "import_site" in errors or "site.py" in errors  # the interpreter itself was not ready


def test_ctrl_c_ends_open_streams_with_an_error(launch: Callable[..., Server], add_model: Callable[..., Run]) -> None:
    add_model()
    server = launch()
    connection = server.connect(post(LONG))
    first = connection.recv(1000)
    assert server.stop(signal.SIGINT) == (0, "")
    assert b'"code":"service_stopping"' in first + everything(connection)


def test_clients_that_leave_in_mid_stream_free_their_rows(server: Server) -> None:
    for body in (LONG, LONG.replace("true", "false")):
        connections = [server.connect(post(body)) for _ in range(50)]
        eventually(lambda: server.health()["rows"] == 50)
        for connection in connections:
            connection.close()
        eventually(lambda: server.health()["rows"] == 0)


def test_a_request_that_arrives_byte_by_byte_is_cut_off(launch: Callable[..., Server], add_model: Callable[..., Run]) -> None:
    add_model()
    server = launch(WHOLE_REQUEST=0.5)
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
def test_chunked_bodies(server: Server, chunks: bytes, status: bytes) -> None:
    answer = everything(server.connect(post("", *CHUNKED) + chunks))
    assert answer.split()[1] == status
    assert json.loads(answer.split(b"\r\n\r\n")[1])


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET / HTTP/9.9\r\n\r\n", b"400"),
        (b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", b"414"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 40000 + b"\r\n\r\n", b"431"),
        (post("{}", "Content-Length: 2", "Content-Length: 3"), b"400"),
        (post("{}", "Content-Length: -1"), b"400"),
        (post("{}", "Content-Length: 2", "Transfer-Encoding: chunked"), b"400"),
        (post("{}", "Transfer-Encoding: gzip"), b"400"),
    ],
)
def test_what_is_not_http(server: Server, request_: bytes, status: bytes) -> None:
    answer = everything(server.connect(request_))
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


def processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_one_that_hangs_is_replaced_and_the_supervisor_rests_meanwhile(
    launch: Callable[..., Server], add_model: Callable[..., Run]
) -> None:
    add_model()
    server = launch(SILENT=2.0)
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children")
    if not children.exists():
        pytest.skip("this system does not list children")
    [answering] = map(int, children.read_text().split())
    before = processor_seconds(server.process.pid)
    os.kill(answering, signal.SIGSTOP)
    assert server.ask("POST", "/generate", {"length": 3})[0] == 200  # it waited for the next one
    time.sleep(1)
    assert processor_seconds(server.process.pid) - before < 0.5  # it is woken by signals, and does not look all the time
    status, errors = server.stop()
    assert status == 0
    assert "has not shown a beat for 2 seconds; it is killed, and another is started" in errors


# ── jobs ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def put_job(store: Store, name: str, steps: int, **extra: bool) -> None:
    settings = {"steps": steps, "batch_size": 2, "seq_length": 8, "validation_interval": 10**8}
    jobs.submit(store, JobSpec(corpus="tale", name=name, model={"hidden_size": 4}, training=settings, extra=extra))


@pytest.mark.usefixtures("corpus")
def test_a_job_is_trained_meanwhile_saved_with_the_service_and_goes_on(launch: Callable[..., Server], store: Store) -> None:
    put_job(store, "default", 2000)
    server = launch(workers=1)
    health = server.health()
    assert (health["status"], health["training"]["run"]) == ("training", "default")
    status, body = server.ask("POST", "/generate")
    assert status == 503
    assert "the model default is being trained" in body["error"]["message"]
    eventually(lambda: any(each.message.startswith("begins") for each in jobs.events(store, "default")))
    assert server.stop() == (0, "")
    run = store.runs.get("default")
    assert (run.state, run.message) == ("queued", "its worker was stopped")
    assert 0 < store.checkpoints.load_state(run)[0].step < 2000

    server = launch(workers=1)
    eventually(lambda: server.health()["training"] is None)
    assert server.health()["status"] == "ok"
    assert server.ask("POST", "/generate", {"length": 5})[0] == 200
    assert store.runs.get("default").state == "succeeded"
    assert server.stop() == (0, "")


@pytest.mark.usefixtures("corpus")
def test_when_the_service_is_killed_its_jobs_save_and_go_on_with_the_next_one(launch: Callable[..., Server], store: Store) -> None:
    put_job(store, "run", 3000)
    server = launch(workers=1)
    eventually(lambda: any(each.message.startswith("begins") for each in jobs.events(store, "run")))
    server.process.kill()
    server.process.communicate()
    eventually(lambda: store.runs.get("run").state == "queued")
    assert store.runs.get("run").step > 0
    server = launch(workers=1)
    eventually(lambda: store.runs.get("run").state == "succeeded")
    assert server.stop() == (0, "")


def test_the_training_worker_ends_with_a_killed_service_though_another_process_of_it_is_left(launch: Callable[..., Server]) -> None:
    server = launch(workers=1)
    assert server.health()
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children")
    if not children.exists():
        pytest.skip("this system does not list children")
    pids = list(map(int, children.read_text().split()))
    [trainer] = [pid for pid in pids if b"service.training.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    [other] = set(pids) - {trainer}
    os.kill(other, signal.SIGSTOP)  # it cannot notice that it is left
    try:
        server.process.kill()
        server.process.wait()
        eventually(lambda: not Path(f"/proc/{trainer}").exists() or not Path(f"/proc/{trainer}/cmdline").read_bytes())
    finally:
        with contextlib.suppress(ProcessLookupError):  # the system lets orphans go on (setpgid(2)), and it ends
            os.kill(other, signal.SIGKILL)
        server.process.communicate()


def test_the_first_model_is_queued_once(launch: Callable[..., Server], store: Store, tale: str) -> None:
    store.corpora.add(default_model.CORPUS, [tale], "test")
    for _ in range(2):
        server = launch(train_default=True)
        assert server.health()["status"] == "training"
        assert server.health()["training"] == {"run": "default", "share": 0.0, "step": 0, "epoch": 0.0, "validation_loss": None}
        assert server.stop() == (0, "")
    [run] = store.runs.list()
    assert (run.name, run.state, run.training_config["budget"]) == ("default", "queued", default_model.BUDGET)


def test_no_first_model_where_there_is_one(launch: Callable[..., Server], add_model: Callable[..., Run], store: Store) -> None:
    add_model()
    server = launch(train_default=True)
    assert server.health()["training"] is None
    assert server.stop() == (0, "")
    assert len(store.runs.list()) == 1


def test_a_first_model_that_cannot_be_made_is_no_reason_not_to_serve(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(default_model, "order", lambda store: (_ for _ in ()).throw(SourceNotFound("python")))
    _order_first_model(ServerSettings(db=path))
    assert "the first model cannot be trained: 'python' is no stored corpus" in caplog.text


# ── where to listen ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("port", [-1, 65536, 10**9])
def test_a_port_that_is_none(port: int) -> None:
    with pytest.raises(InvalidSetting, match="it must be a whole number from 0 to 65,535"):
        listen("127.0.0.1", port)


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a..b", "x" * 300, "127.0.0.1\0", "1.2.3.4.5"])
def test_a_host_that_is_none(host: str) -> None:
    with pytest.raises(AddressUnusable, match=r"give an address of this machine"):
        listen(host, 0)


def test_small_answers_do_not_wait_for_an_acknowledgement() -> None:
    """Asyncio switches Nagle's algorithm off only if the socket knows its protocol."""
    with listen("127.0.0.1", 0) as listener:
        assert listener.proto == socket.IPPROTO_TCP


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
from service.web.server import ServerSettings, serve
try:
    serve(ServerSettings(db=Path({str(tmp_path / "none" / "x.db")!r}), port=0))
except CharloomError as error:
    raise SystemExit(str(error))
"""
    answer = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert answer.returncode == 1
    assert "its folder" in answer.stderr
    assert "Traceback" not in answer.stderr
