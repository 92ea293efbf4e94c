"""The clients that a service is measured with."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from bench.clients import ask

STREAM = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    b'20\r\ndata: {"choices": [{"text": "ab"}]}\n\n\r\n'
    b'20\r\ndata: {"text": "c"}\n\ndata: {"choices": []}\n\n\r\n'
    b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"
)
Answering = Callable[[socket.socket], None]


@pytest.fixture
def listen() -> Iterator[Callable[[Answering], int]]:
    """Answer every connection in a way; the port."""
    threads: list[threading.Thread] = []
    servers: list[socket.socket] = []

    def serve(answer: Answering) -> int:
        server = socket.create_server(("127.0.0.1", 0))
        servers.append(server)

        def accept() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    answer(connection)

        threads.append(threading.Thread(target=accept))
        threads[-1].start()
        return int(server.getsockname()[1])

    yield serve
    for server in servers:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
    for thread in threads:
        thread.join()


def test_streams_are_read_to_their_ends(listen: Callable[[Answering], int]) -> None:
    requests: list[bytes] = []

    def answer(connection: socket.socket) -> None:
        requests.append(connection.recv(1000))
        for byte in range(0, len(STREAM), 7):
            connection.sendall(STREAM[byte : byte + 7])

    answers = ask(listen(answer), "/path", [{"number": number} for number in range(3)])
    assert [each.status for each in answers] == [200] * 3
    assert [each.text for each in answers] == ["abc"] * 3
    assert all(each.whole and each.first and 0 < each.first <= each.last for each in answers)
    assert sorted(request.partition(b"\r\n\r\n")[2] for request in requests) == [b'{"number": 0}', b'{"number": 1}', b'{"number": 2}']
    assert requests[0].startswith(b"POST /path HTTP/1.1\r\nHost: 127.0.0.1\r\n")


def test_refusals_and_broken_connections(listen: Callable[[Answering], int]) -> None:
    def refuse(connection: socket.socket) -> None:
        connection.recv(1000)
        connection.sendall(b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n")

    def hang_up(connection: socket.socket) -> None:
        connection.recv(1000)

    [refused] = ask(listen(refuse), "/", [{}])
    assert (refused.status, refused.text, refused.first, refused.whole) == (429, "", None, False)
    [broken] = ask(listen(hang_up), "/", [{}])
    assert (broken.status, broken.whole) == (0, False)


def test_patience_has_an_end(listen: Callable[[Answering], int]) -> None:
    over = threading.Event()
    [answer] = ask(listen(lambda connection: (over.wait(30), None)[1]), "/", [{}], seconds=0.1)
    over.set()
    assert answer.status == 0
