"""Attacks the memory and the processor of a real service, and sends each route its largest allowed request: ``python -m tools.attacks``.

The service is started through the command line. A line is printed for each attack: how long it took, the peak of memory meanwhile, the
slowest and the median answer of ``/health``, and the statuses. The status is 1 if an attack costs more than `--most` MB, if ``/health``
takes longer than `--health` seconds, or if the service ends. `--only WORD` chooses attacks by name. A test sends them all, smaller.
"""

from __future__ import annotations

import argparse
import gzip
import http.client
import io
import json
import lzma
import random
import re
import socket
import statistics
import struct
import sys
import tarfile
import tempfile
import threading
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from service.store import Store
from tools.watched_service import MB, HealthWatch, WatchedService, put_model, watched_service

TEXT = "the loom weaves a thread of red and gold, night after night; who counts its knots?\n"
MODEL = "small"
Sent = Callable[[WatchedService], Iterable[int]]  # returns statuses
JOBS = "/v1/fine_tuning/jobs"
COMPLETION = "/v1/completions"
Attack = Callable[[float], Sent]  # prepares what is sent, for a size from 0 to 1


class Cost(NamedTuple):
    """What an attack came to. Memory is in bytes, beyond what was taken before."""

    name: str
    seconds: float
    peak: int
    slowest: float  # answer of /health, in seconds
    median: float
    statuses: dict[int, int]
    failures: list[str]  # of /health


# ── attacks ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def at_once(count: int, ask: Callable[[int], int]) -> list[int]:
    """Return the statuses that `ask` returns in as many threads; 0 for one without an answer."""
    found: list[int] = []

    def tell(number: int) -> None:
        try:
            found.append(ask(number))
        except (OSError, http.client.HTTPException):
            found.append(0)

    threads = [threading.Thread(target=tell, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def glob_and_a_long_name(size: float) -> Sent:
    """A pattern of many stars against a member's name of a million letters, packed into some kilobytes."""
    data = zipped({"a" * int(10_000 + 50_000 * size) + "/b.txt": "text"})
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(tarfile.TarInfo("a" * int(1_000_000 * size) + ".txt"))
    glob = "*a" * 60 + "*b"
    packed = gzip.compress(tar.getvalue())
    return lambda service: [service.upload("a.zip", data, glob=glob)[0], service.upload("a.tar.gz", packed, glob=glob)[0]]


def many_globs(size: float) -> Sent:
    """Uploads that each have new patterns."""
    data, bodies = zipped({f"{name}/file.txt": TEXT * 3 for name in range(20)}), []
    for number in range(6):
        globs = "".join(
            f'--b\r\nContent-Disposition: form-data; name="glob"\r\n\r\n{number}-{each}-*{"ab?" * 50}*\r\n'
            for each in range(int(120 * size))
        )
        head = '--b\r\nContent-Disposition: form-data; name="file"; filename="a.zip"\r\n\r\n'
        bodies.append((globs + head).encode() + data + b"\r\n--b--\r\n")
    return lambda service: [service.ask("POST", "/v1/files", body, "multipart/form-data; boundary=b")[0] for body in bodies]


def xz_of_great_dictionaries(size: float) -> Sent:
    """14 at once, each of which asks for 64 MiB, and one that asks for a gigabyte."""
    usual = lzma.compress(random.Random(1).randbytes(100) * int(400_000 * size), preset=9)
    great = lzma.compress(b"text", filters=[{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 2**30}])
    return lambda service: at_once(14, lambda number: service.upload(f"{number}.xz", great if number == 0 else usual)[0])


def many_characters(size: float) -> Sent:
    """14 texts at once of half a million different characters each."""
    rng = random.Random(1)
    data = "".join(chr(rng.randrange(0x10000, 0x10FFFF)) for _ in range(int(1_000_000 * size))).encode()
    return lambda service: at_once(14, lambda number: service.upload(f"{number}.txt", data)[0])


def a_great_table_of_contents(size: float) -> Sent:
    """A zip whose table says that it has millions of members."""
    count = int(1_500_000 * size)
    entry = struct.pack("<4s6H3L5H2L", b"PK\x01\x02", 20, 20, 0, 0, 0, 33, 0, 1, 1, 8, 0, 0, 0, 0, 0, 0) + b"aaaaaaaa"
    table = entry * count
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, count & 0xFFFF, count & 0xFFFF, len(table), 4, 0)
    return lambda service: [service.upload("a.zip", b"PK\x03\x04" + table + end)[0]]


def tiny_members(size: float) -> Sent:
    """A tar of 600,000 empty members, which takes 3 MB."""
    data = gzip.compress(tarfile.TarInfo("a").tobuf() * int(600_000 * size))
    return lambda service: [service.upload("a.tar.gz", data)[0]]


def bombs(size: float) -> Sent:
    """Files that expand a thousand times, four at once."""
    data = gzip.compress(bytes([97]) * int(600_000_000 * size), 9)
    return lambda service: at_once(4, lambda number: service.upload(f"{number}.gz", data)[0])


def many_prompts(size: float) -> Sent:
    """Bodies of a megabyte that become very many objects, eight at once."""
    bodies = (
        b'{"prompt": [%s]}' % b",".join([b"[1]"] * int(250_000 * size)),
        b'{"prompt": [%s]}' % b",".join([b'""'] * int(300_000 * size)),
        b'{"prompt": [%s]}' % b",".join([b"7"] * int(500_000 * size)),
        b'{"logit_bias": {%s}}' % b",".join(b'"%d":1' % number for number in range(int(90_000 * size))),
        b'{"prompt": ' + b"[" * int(900_000 * size) + b"]" * int(900_000 * size) + b"}",
        b'{"prompt": "' + "\U0001f600".encode() * int(250_000 * size) + b'"}',
    )
    return lambda service: at_once(8, lambda number: service.ask("POST", COMPLETION, bodies[number % len(bodies)])[0])


def endless_logprobs(size: float) -> Sent:
    """Log-probabilities without end: of 64 long texts, and of 64 long prompts."""
    asked: list[dict[str, Any]] = [
        {"n": 64, "max_tokens": 100_000, "logprobs": 20},
        {"prompt": [TEXT * 100] * 64, "max_tokens": 1, "echo": True, "logprobs": 20},
    ]
    return lambda service: [service.ask("POST", COMPLETION, {"model": MODEL, **each})[0] for each in asked]


def readers_that_do_not_read(size: float) -> Sent:
    """Streams of 64 long texts whose clients take nothing for some seconds."""

    def send(service: WatchedService) -> list[int]:
        connections = [service.connection() for _ in range(4)]
        for connection in connections:
            body = {"model": MODEL, "n": 16, "max_tokens": 100_000, "stream": True}
            connection.request("POST", COMPLETION, json.dumps(body), {"Content-Type": "application/json"})
        found = [connection.getresponse().status for connection in connections]
        time.sleep(15 * size)
        for connection in connections:
            connection.close()
        return found

    return send


def unfinished_requests(size: float) -> Sent:
    """Two hundred requests whose headers or bodies end in the middle."""
    head = b"POST /generate HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    beginnings = [b"GET /hea", head, head + b"Content-Length: 50\r\n\r\n{", head + b"Content-Length: 1000000\r\n\r\n{"]
    beginnings.append(head + b"Content-Length: 50\r\nExpect: 100-continue\r\n\r\n")

    def send(service: WatchedService) -> list[int]:
        sockets = [socket.create_connection(("127.0.0.1", service.port)) for _ in range(200)]
        for number, sock in enumerate(sockets):
            sock.sendall(beginnings[number % len(beginnings)])
        time.sleep(5 * size)
        found = [service.ask("POST", "/generate", {"model": MODEL, "length": 10})[0]]
        for sock in sockets:
            sock.close()
        return found

    return send


def a_thousand_at_once(size: float) -> Sent:
    """A thousand clients that ask for a short text at the same moment, each over a connection of its own."""

    def send(service: WatchedService) -> list[int]:
        head = b"POST /generate HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n"
        request = head + b'Content-Length: 14\r\n\r\n{"length": 20}'
        sockets = [socket.create_connection(("127.0.0.1", service.port)) for _ in range(int(1000 * size))]
        for sock in sockets:
            sock.sendall(request)
        found = []
        for sock in sockets:
            with sock, sock.makefile("rb") as answer:
                found.append(int([*answer.readline().split(), b"", b"0"][1]))
        return found

    return send


def clients_that_poll(size: float) -> Sent:
    """Two hundred clients that ask every two seconds over connections that they keep, for ten minutes."""

    def send(service: WatchedService) -> list[int]:
        over, found = time.monotonic() + 600 * size**2, []  # a test has not so much time

        def poll(number: int) -> int:
            connection = service.connection()
            time.sleep(2 * number / 200)
            while time.monotonic() < over:
                connection.request("GET", "/health")
                answer = connection.getresponse()
                answer.read()
                found.append(answer.status)
                connection.auto_open = 0  # a connection that ended is an error
                time.sleep(2)
            connection.close()
            return 200

        return at_once(200, poll) + found

    return send


def wide_requests(size: float) -> Sent:
    """Forty requests at once that each hold a megabyte of prompt while they wait for rows."""
    body = {"model": MODEL, "prompt": "\U0001f600" + "a" * int(1_000_000 * size), "max_tokens": 2000, "n": 8}
    data = json.dumps(body).encode()
    return lambda service: at_once(40, lambda number: service.ask("POST", COMPLETION, data, timeout=120)[0])


ATTACKS: dict[str, Attack] = {
    found.__name__.replace("_", " "): found
    for found in (
        glob_and_a_long_name,
        many_globs,
        xz_of_great_dictionaries,
        many_characters,
        a_great_table_of_contents,
        tiny_members,
        bombs,
        many_prompts,
        endless_logprobs,
        readers_that_do_not_read,
        unfinished_requests,
        a_thousand_at_once,
        clients_that_poll,
        wide_requests,
    )
}


def zipped(files: dict[str, str]) -> bytes:
    """Return a zip."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return file.getvalue()


# ── the largest request of each route ────────────────────────────────────────────────────────────────────────────────


def _json(method: str, path: str, bodies: Callable[[float], list[dict[str, Any]]]) -> Attack:
    return lambda size: lambda service: [service.ask(method, path, body, timeout=600)[0] for body in bodies(size)]


def _long(size: float) -> str:
    return (TEXT * 13_000)[: int(1_000_000 * size)]


def _upload(size: float) -> Sent:
    rng = random.Random(1)
    lines = (" ".join(rng.choices(TEXT.split(), k=9)) for _ in range(int(3_000_000 * size)))
    data = gzip.compress("\n".join(lines).encode(), 1)
    return lambda service: [service.upload("large.txt.gz", data)[0]]


def _content(size: float) -> Sent:
    """A model that describes itself at length; 20 MB of nothing else."""
    header = json.dumps({"__metadata__": {"charloom": json.dumps({"format": 1, "facts": {"z": [[]] * int(5_000_000 * size)}})}}).encode()
    data = len(header).to_bytes(8, "little") + header
    return lambda service: [service.ask("PUT", "/v1/models/described/content", data)[0]]


def _nothing(size: float) -> Sent:
    return lambda service: []


# Of each route that does more than read. Those that only change something that is stored cost nothing.
LARGEST: dict[tuple[str, str], Attack] = {
    ("POST", "/generate"): _json(
        "POST", "/generate", lambda size: [{"model": MODEL, "n": 64, "length": int(100_000 * size), "prompt": _long(size)}]
    ),
    ("POST", COMPLETION): _json(
        "POST",
        COMPLETION,
        lambda size: [
            {"model": MODEL, "n": 64, "max_tokens": int(740 * size), "logprobs": 20},
            {"model": MODEL, "prompt": [TEXT * 35] * 16, "max_tokens": 1, "echo": True, "logprobs": int(20 * size)},
            {"model": MODEL, "n": 64, "max_tokens": int(100_000 * size), "stream": True},
            {"model": MODEL, "n": 1, "best_of": 64, "max_tokens": int(15_000 * size)},
            {"model": MODEL, "prompt": [[0] * int(3_000 * size)] * 64, "max_tokens": 10},
        ],
    ),
    ("PATCH", f"{COMPLETION}/<completion>"): _json(
        "PATCH", f"{COMPLETION}/none", lambda size: [{"temperature": [[step, 1.0] for step in range(int(40_000 * size))]}]
    ),
    ("POST", "/v1/score"): _json(
        "POST",
        "/v1/score",
        lambda size: [
            {"model": [MODEL] * 16, "text": _long(size), "logprobs": None},
            {"model": MODEL, "text": _long(size / 21), "logprobs": 20},
        ],
    ),
    ("POST", "/tokenize"): _json("POST", "/tokenize", lambda size: [{"model": MODEL, "prompt": _long(size)}]),
    ("POST", "/detokenize"): _json("POST", "/detokenize", lambda size: [{"model": MODEL, "tokens": [1] * int(300_000 * size)}]),
    ("POST", "/v1/novelty"): _json(
        "POST", "/v1/novelty", lambda size: [{"model": "trained", "text": _long(size / 10), "prompt": _long(size / 2)}]
    ),
    ("POST", "/v1/inspect"): _json(
        "POST",
        "/v1/inspect",
        lambda size: [
            {"model": MODEL, "text": _long(size / 10), **each}
            for each in ({"units": [f"0:{unit}" for unit in range(5)]}, {"alternatives": 5}, {"units": [], "include": ["gates"]})
        ],
    ),
    ("POST", "/v1/inspect/cells"): _json("POST", "/v1/inspect/cells", lambda size: [{"model": "trained", "corpus": "tale"}]),
    ("POST", "/v1/files"): _upload,
    ("PATCH", "/v1/files/<file>"): _json("PATCH", "/v1/files/tale", lambda size: [{"records": "lines"}, {"records": "none"}]),
    ("PUT", "/v1/models/<model>/content"): _content,
    ("PATCH", "/v1/models/<model>"): _nothing,
    ("POST", JOBS): _json(
        "POST",
        JOBS,
        lambda size: [
            {
                "model": "lstm",
                "training_file": "tale",
                "steps": 1,
                "suffix": "a" * 64,
                "metadata": {f"key-{number}": "value" * 100 for number in range(16)},
            }
        ],
    ),
    **{("POST", f"{JOBS}/<job>/{change}"): _nothing for change in ("cancel", "pause", "resume")},
    **{(method, "/v1/models/<model>/pin"): _nothing for method in ("POST", "DELETE")},
    **{("DELETE", rule): _nothing for rule in ("/v1/models/<model>", "/v1/files/<file>")},
}
PLACES = {"model": "trained", "file": "tale", "job": "trained", "filename": "style.css"}  # of the parts of a path


def reading(rule: str) -> Attack:
    """Return the largest request for a route that only reads."""
    path = re.sub(r"<(?:\w+:)?(\w+)>", lambda found: PLACES.get(found[1], "none"), rule)
    query = "?limit=10000" if rule in ("/v1/models", "/v1/files", JOBS, f"{JOBS}/<job>/events", f"{JOBS}/<job>/checkpoints") else ""
    return lambda size: lambda service: at_once(8, lambda number: service.ask("GET", path + query)[0])


# ── figures ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def fill(db: Path) -> None:
    """Store a text, a model that was never trained, and one that says it was trained on the text."""
    with Store(db) as store:
        store.corpora.add("tale", [TEXT * 500], "tale.txt")
        put_model(store, MODEL, TEXT, hidden_size=16)
        put_model(store, "trained", TEXT, hidden_size=16, corpus="tale")


def measure(service: WatchedService, name: str, attack: Attack, size: float) -> Cost:
    """Carry out an attack, and watch the service meanwhile."""
    send = attack(size)
    service.forget_peak()
    before, began = service.figures().rss, time.monotonic()
    with HealthWatch(service) as health:
        statuses = Counter(send(service))
        seconds = time.monotonic() - began
    peak = service.figures().peak - before
    return Cost(name, seconds, peak, max(health.seconds), statistics.median(health.seconds), dict(statuses), health.failures)


def line(cost: Cost) -> str:
    """Return a line of the table."""
    statuses = " ".join(f"{status}x{count}" for status, count in sorted(cost.statuses.items()))
    times = f"{cost.seconds:7.2f} s {cost.peak / MB:+7.0f} MB {1000 * cost.slowest:8.0f} ms {1000 * cost.median:7.1f} ms"
    return f"{cost.name:32}{times}  {statuses}"


def main() -> None:
    """Read the arguments, attack, print the table."""
    parser = argparse.ArgumentParser(prog="python -m tools.attacks", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", default="", help="attacks whose names contain this")
    parser.add_argument("--size", type=float, default=1, help="of the attacks, up to 1 (default 1)")
    parser.add_argument("--most", type=float, default=400, help="MB that an attack may cost (default 400)")
    parser.add_argument("--health", type=float, default=1, help="seconds that /health may take (default 1)")
    parser.add_argument("options", nargs="*", help="options of `charloom serve`, behind --")
    given = parser.parse_args()
    wrong: list[str] = []
    attacks = ATTACKS | {f"{method} {rule}": attack for (method, rule), attack in LARGEST.items() if attack is not _nothing}
    with tempfile.TemporaryDirectory(prefix="charloom-attacks-") as folder:
        db = Path(folder) / "attacked.db"
        fill(db)
        with watched_service(db, "--workers", "0", *given.options) as service:
            service.upload("warm.txt", TEXT.encode() * 3)
            for name, attack in attacks.items():
                if given.only in name:
                    cost = measure(service, name, attack, given.size)
                    print(line(cost), flush=True)
                    wrong += cost.failures + ([f"{name}: no answer"] if 0 in cost.statuses else [])
                    if cost.peak > given.most * MB or cost.slowest > given.health:
                        wrong.append(f"{name} costs too much")
    print("\n".join(wrong) or "all within the limits")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
