"""Who reads slowly is given up, however he does it; who is sent little is not."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from service.web import slow_clients
from service.web.slow_clients import Outgoing

LARGE = b"warp and weft\n" * 2**18


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Outgoing, socket.socket]]:
    """(the sender's, the reader's), connected by TCP; 0.4 seconds of waiting are the limit."""
    monkeypatch.setattr(slow_clients, "READING", 0.4)
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as theirs:
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        theirs.connect(listener.getsockname())
        with Outgoing(listener.accept()[0]) as ours:
            yield ours, theirs


def reading(theirs: socket.socket, step: Callable[[int], bool]) -> threading.Thread:
    """A thread that reads while `step` of what it has read so far is true."""

    def read() -> None:
        size = 0
        while step(size) and (data := theirs.recv(2**16)):
            size += len(data)

    thread = threading.Thread(target=read)
    thread.start()
    return thread


def test_all_of_it_arrives(ends: tuple[Outgoing, socket.socket]) -> None:
    ours, theirs = ends
    found = bytearray()

    def read() -> None:
        while data := theirs.recv(2**16):
            found.extend(data)

    thread = threading.Thread(target=read)
    thread.start()
    for data in (LARGE, b"", memoryview(b"selvedge")):
        ours.sendall(data)
    ours.shutdown(socket.SHUT_WR)
    thread.join()
    assert bytes(found) == LARGE + b"selvedge"


def test_nobody_reads(ends: tuple[Outgoing, socket.socket]) -> None:
    with pytest.raises(BlockingIOError):
        ends[0].sendall(LARGE)
    now = time.monotonic()
    assert ends[0].behind(now) == ends[0].waited(now) >= 0.4


def test_a_byte_now_and_then_is_not_enough(ends: tuple[Outgoing, socket.socket]) -> None:
    ours, theirs = ends
    stopped = threading.Event()

    def read() -> None:
        while not stopped.wait(0.02):
            theirs.recv(100)

    thread = threading.Thread(target=read)
    thread.start()
    with pytest.raises(BlockingIOError):
        ours.sendall(LARGE)
    stopped.set()
    thread.join()


def test_who_was_quick_may_not_be_slow_for_it(ends: tuple[Outgoing, socket.socket]) -> None:
    thread = reading(ends[1], lambda size: size < len(LARGE) // 2)  # at the least rate that would last two minutes
    with pytest.raises(BlockingIOError):
        ends[0].sendall(LARGE)
    thread.join()


def test_what_is_written_slowly_is_not_read_slowly(ends: tuple[Outgoing, socket.socket]) -> None:
    thread = reading(ends[1], lambda size: size < 5)
    for _ in range(5):
        ends[0].sendall(b"x")
        time.sleep(0.15)
    thread.join()
    assert ends[0].waited(time.monotonic()) == 0


def test_a_wait_counts_while_it_lasts_and_not_for_the_next_answer(
    ends: tuple[Outgoing, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slow_clients, "READING", 60.0)
    ours, theirs = ends
    thread = threading.Thread(target=ours.sendall, args=(LARGE,))
    thread.start()
    while not ours.behind(time.monotonic()) > 0.1:
        time.sleep(0.01)
    reader = reading(theirs, lambda size: size < len(LARGE))
    thread.join()
    reader.join()
    now = time.monotonic()
    assert ours.behind(now) < 0.1 < ours.waited(now)
    ours.begin()
    assert ours.waited(now) == 0


def test_a_connection_that_is_ended_meanwhile(ends: tuple[Outgoing, socket.socket], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slow_clients, "READING", 60.0)
    ours, _ = ends
    timer = threading.Timer(0.1, ours.shutdown, (socket.SHUT_RDWR,))
    timer.start()
    with pytest.raises(BrokenPipeError):
        ours.sendall(LARGE)
    timer.join()
