"""Downloads from a real server, mostly a bad one."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tempfile
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from corpora import open_source
from corpora.downloads import check_url, download, file_name_of, is_url
from corpora.reading import Limits, ReadOptions
from model.errors import ChecksumMismatch, DownloadFailed, TextTooLarge, UnreadableSource

Route = Callable[[BaseHTTPRequestHandler], None]
Serve = Callable[[Mapping[str, Route]], str]
Answer = Callable[..., Route]
Text = Callable[..., str]
BODY = "Ein Text über viele Zeilen\r\n".encode() * 40_000


def test_a_text_with_progress_and_hash(serve: Serve, answer: Answer, text_of: Text, tmp_path: Path) -> None:
    url = serve({"/my%20play.txt": answer(BODY)}) + "/my play.txt"
    seen: list[tuple[int, int | None]] = []
    source = open_source(
        url, progress=lambda done, total: seen.append((done, total)), sha256=hashlib.sha256(BODY).hexdigest().upper(), scratch=str(tmp_path)
    )
    assert (source.name, source.origin) == ("my-play", url)
    assert seen == []  # nothing is fetched before it is read
    assert "".join(source.pieces()) == BODY.decode().replace("\r", "")
    assert seen[-1] == (len(BODY), len(BODY))
    assert len(seen) > 2
    assert sorted(seen) == seen
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_hash(serve: Serve, answer: Answer, text_of: Text, tmp_path: Path) -> None:
    url = serve({"/a": answer(b"text")}) + "/a"
    with pytest.raises(ChecksumMismatch, match="nothing was kept"):
        text_of(url, sha256="0" * 64, scratch=str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_not_found_and_other_answers(serve: Serve, answer: Answer, text_of: Text) -> None:
    root = serve({"/gone": answer(b"", 410), "/broken": answer(b"", 500)})
    with pytest.raises(DownloadFailed, match=r"/x could not be fetched: the server answered 404 Not Found; nothing was kept"):
        text_of(root + "/x")
    with pytest.raises(DownloadFailed, match="410 Gone"):
        text_of(root + "/gone")
    with pytest.raises(DownloadFailed, match="500"):
        text_of(root + "/broken")


def test_a_connection_that_breaks_off(serve: Serve, answer: Answer, text_of: Text, tmp_path: Path) -> None:
    def torn(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.wfile.write(b"ff\r\nonly this")

    def silent(handler: BaseHTTPRequestHandler) -> None:
        handler.close_connection = True

    root = serve({"/short": answer(b"text", Content_Length="1000"), "/torn": torn, "/silent": silent})
    with pytest.raises(DownloadFailed, match="ended after 4 of 1,000 bytes"):
        text_of(root + "/short", scratch=str(tmp_path))
    for path in ("/torn", "/silent"):
        with pytest.raises(DownloadFailed, match="broke off"):
            text_of(root + path, scratch=str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_falls_silent(serve: Serve) -> None:
    waiting = threading.Event()

    def slow(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "10")
        handler.end_headers()
        handler.wfile.write(b"12345")
        waiting.wait(20)

    url = serve({"/slow": slow}) + "/slow"
    try:
        with pytest.raises(DownloadFailed, match=r"nothing came for 0\.2 seconds"), download(url, ReadOptions(url), timeout=0.2):
            pass
    finally:
        waiting.set()


def test_no_server_and_no_such_host(text_of: Text, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(DownloadFailed, match="refused"):
        text_of("http://127.0.0.1:9/x")  # the discard port, where nothing listens
    with pytest.raises(DownloadFailed, match="host is not known"):
        text_of("http://no-such-host.invalid/x")


def test_redirections(serve: Serve, answer: Answer, text_of: Text) -> None:
    root = serve(
        {
            "/old": answer(b"", 302, Location="/new"),
            "/new": answer(b"found"),
            "/loop": answer(b"", 302, Location="/loop"),
            "/file": answer(b"", 302, Location="file:///etc/passwd"),
            "/ftp": answer(b"", 302, Location="ftp://127.0.0.1/x"),
        }
    )
    assert text_of(root + "/old") == "found"
    for path, why in (("/loop", "302"), ("/file", "not allowed"), ("/ftp", "unknown url type")):
        with pytest.raises(DownloadFailed, match=why):
            text_of(root + path)


def test_the_size_is_limited_whether_it_is_told_or_not(serve: Serve, answer: Answer, text_of: Text) -> None:
    root = serve({"/told": answer(b"x" * 2000), "/untold": answer(b"x" * 2000, Content_Length=""), "/fits": answer(b"x" * 1000)})
    for path in ("/told", "/untold"):
        with pytest.raises(TextTooLarge, match="1,000 bytes"):
            text_of(root + path, max_size=1000)
    assert len(text_of(root + "/fits", max_size=1000)) == 1000
    seen: list[Any] = []
    assert len(text_of(root + "/untold", progress=lambda *told: seen.append(told))) == 2000
    assert seen == [(2000, None)]


def test_content_encoding(serve: Serve, answer: Answer, text_of: Text) -> None:
    packed = gzip.compress(BODY)
    root = serve(
        {
            "/a.txt": answer(packed, Content_Encoding="gzip"),
            "/a.gz": answer(packed, Content_Encoding="x-gzip"),
            "/cut": answer(packed[:-20], Content_Encoding="gzip"),
            "/br": answer(b"?", Content_Encoding="br"),
        }
    )
    text = BODY.decode().replace("\r", "")
    assert text_of(root + "/a.txt", sha256=hashlib.sha256(BODY).hexdigest()) == text
    assert text_of(root + "/a.gz", sha256=hashlib.sha256(packed).hexdigest()) == text
    with pytest.raises(UnreadableSource, match="damaged or incomplete"):
        text_of(root + "/cut")
    with pytest.raises(TextTooLarge):
        text_of(root + "/a.txt", max_size=len(packed) + 1)
    with pytest.raises(DownloadFailed, match="encoded as br"):
        text_of(root + "/br")


def test_an_archive_from_a_url(serve: Serve, answer: Answer, text_of: Text, zip_of: Any, tar_of: Any) -> None:
    files = {"a.txt": b"a", "b.md": b"b"}
    root = serve({"/z": answer(zip_of(files)), "/t.tar.gz": answer(tar_of(files, "w:gz"))})
    assert text_of(root + "/z") == "a\nb\n"
    assert text_of(root + "/t.tar.gz", glob="*.md") == "b\n"


def test_the_disk_is_full(serve: Serve, answer: Answer, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.BytesIO):
        def write(self, _: object) -> int:
            raise OSError(28, os.strerror(28))

    monkeypatch.setattr(tempfile, "TemporaryFile", lambda dir: Full())
    url = serve({"/a": answer(b"text")}) + "/a"
    with pytest.raises(DownloadFailed, match="No space left"), download(url, ReadOptions(url)):
        pass


@pytest.mark.parametrize("url", ["http://", "https:///x", "http://[::1/x", "http://h:port/"])
def test_urls_that_are_none(url: str) -> None:
    with pytest.raises(UnreadableSource):
        check_url(url)


def test_a_password_is_neither_sent_nor_shown() -> None:
    with pytest.raises(UnreadableSource) as caught:
        check_url("https://me:secret@example.com:81/x")
    assert "secret" not in str(caught.value)
    assert "example.com:81" in str(caught.value)


def test_parts_of_urls() -> None:
    assert check_url("http://h/a b/한?q=ä#x") == "http://h/a%20b/%ED%95%9C?q=%C3%A4"
    assert check_url("http://h/a%20b") == "http://h/a%20b"
    assert file_name_of("http://h/x/my%20play.txt?raw=1") == "my play.txt"
    assert file_name_of("http://example.com/") == "example.com"
    assert is_url("HTTPS://h/x")
    assert not is_url("file:///x")


def test_limits_hold_for_what_is_fetched(serve: Serve, answer: Answer) -> None:
    url = serve({"/a": answer(b"12345")}) + "/a"
    with download(url, ReadOptions(url, limits=Limits(size=5))) as file:
        assert file.read() == b"12345"
