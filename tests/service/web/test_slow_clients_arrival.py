"""When a request has arrived: found piece by piece, as a look at the whole finds it."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from service.web.slow_clients import BODY, HEAD, Arrival, Largest


def arrival(*pieces: bytes) -> Arrival:
    """What has arrived, in pieces."""
    found = Arrival()
    for piece in pieces:
        if not found.ready:
            found.add(piece)
    return found


def request(body: bytes, *headers: str) -> bytes:
    """A request as bytes."""
    return "\r\n".join(["POST /generate HTTP/1.1", "Host: localhost", *headers, "", ""]).encode() + body


def chunked(*chunks: bytes, trailer: bytes = b"") -> bytes:
    """A body in chunks."""
    return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n" + trailer + b"\r\n"


pieces_of_text = st.binary(max_size=40)
bodies = st.one_of(
    pieces_of_text.map(lambda body: request(body, f"Content-Length: {len(body)}")),
    st.lists(st.binary(min_size=1, max_size=20), max_size=4).map(lambda parts: request(chunked(*parts), "Transfer-Encoding: chunked")),
    st.just(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"),
    st.just(b"GET / HTTP/1.0\r\n\r\n"),
)


@given(bodies, st.data())
@example(request(chunked(b"0\r\n\r\n", trailer=b"X: 1\r\n"), "transfer-encoding: chunked"), None)
def test_it_is_ready_with_its_last_byte_and_not_before(data: bytes, draw: st.DataObject | None) -> None:
    cuts = sorted(draw.draw(st.lists(st.integers(0, len(data)), max_size=6))) if draw else list(range(len(data)))
    pieces = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    for count in range(len(pieces)):
        found, arrived = arrival(*pieces[:count]), len(b"".join(pieces[:count]))
        assert found.ready == found.whole == (arrived == len(data))
    found = arrival(*pieces)
    assert found.whole
    assert found.data == data


@given(bodies, st.binary(max_size=30))
def test_what_follows_it_is_kept(data: bytes, ahead: bytes) -> None:
    found = arrival(data + ahead)
    assert found.whole
    assert found.data == data + ahead


@given(st.lists(st.binary(max_size=60), max_size=8))
def test_no_bytes_break_it(pieces: list[bytes]) -> None:
    arrival(request(b"", "Transfer-Encoding: chunked"), *pieces)
    arrival(*pieces)


@pytest.mark.parametrize("length", ["-1", "+5", "5x", "1 1", "1e3", "0x5", "", "1" * 30])
def test_a_length_that_is_none_is_left_to_whoever_reads_the_request(length: str) -> None:
    assert arrival(request(b"", f"Content-Length: {length}")).ready


@pytest.mark.parametrize("header", ["content-length: 5", "CONTENT-LENGTH:5", "Content-Length:\t5  "])
def test_how_a_header_is_written(header: str) -> None:
    assert not arrival(request(b"1234", header)).ready
    assert arrival(request(b"12345", header)).whole


def test_a_header_is_not_found_inside_another() -> None:
    assert arrival(request(b"", "X: content-length: 5")).whole
    assert arrival(request(b"", "X-Content-Length: 5")).whole


@pytest.mark.parametrize("chunks", [b"zz\r\n", b"5\r\nabcdezz5\r\n", b"-1\r\n", b"5 5\r\n", b"x" * 400, b"123456789\r\n"])
def test_malformed_chunks_are_left_to_whoever_reads_the_request(chunks: bytes) -> None:
    found = arrival(request(chunks, "Transfer-Encoding: chunked"))
    assert found.ready
    assert not found.whole


@pytest.mark.parametrize("header", [f"Content-Length: {10 * BODY}", "Transfer-Encoding: chunked"])
def test_a_large_body_gets_a_thread_before_it_is_whole(header: str) -> None:
    found = Arrival()
    found.add(request(b"", header) + b"%x\r\n" % (10 * BODY))
    while not found.ready:
        found.add(b"x" * 10_000)
    assert not found.whole
    assert BODY <= len(found.data) < BODY + 11_000


def test_a_client_that_waits_for_a_word_gets_a_thread_at_once() -> None:
    found = arrival(request(b"", "Expect: 100-continue", "Content-Length: 5"))
    assert found.ready
    assert not found.whole
    assert arrival(request(b"12345", "Expect: 100-continue", "Content-Length: 5")).whole
    assert arrival(request(b"", "Expect: 100-continue")).whole


@pytest.mark.parametrize(
    ("line", "length", "refused"),
    [
        ("POST /generate", 1000, False),
        ("POST /generate", 1001, True),
        ("POST /v1/files", 1001, False),
        ("POST /v1/files?x=1", 2000, False),
        ("POST /v1/files", 2001, True),
        ("POST /v1/filesystem", 1001, True),
        ("POST /v1/files", 10**17, True),
    ],
)
def test_who_will_be_refused_for_a_large_body_gets_a_thread_at_once(line: str, length: int, refused: bool) -> None:
    found = Arrival(Largest(body=1000, upload=2000))
    found.add(request(b"x", f"Content-Length: {length}").replace(b"POST /generate", line.encode(), 1))
    assert (found.ready, found.whole) == (refused, False)


@pytest.mark.parametrize(
    ("coding", "understood"),
    [("chunked", True), ("Chunked", True), ("", True), ("gzip", False), ("gzip, chunked", False), ("chunked, x-own", False)],
)
def test_a_transfer_coding_that_nobody_understands(coding: str, understood: bool) -> None:
    found = arrival(request(b"", f"Transfer-Encoding:{coding}"))
    assert (found.ready, found.coding) == ((False, "") if understood else (True, coding))
    assert not found.whole


def test_a_head_has_an_end() -> None:
    found = Arrival()
    found.add(b"GET / HTTP/1.1\r\n")
    while not found.endless:
        found.add(b"X: y\r\n" * 100)
    assert HEAD < len(found.data) <= HEAD + 600
    assert not found.ready
    assert arrival(b"GET /" + b"x" * HEAD + b" HTTP/1.1\r\n\r\n").endless
