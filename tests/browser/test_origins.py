"""A page of another origin in a real browser: what it may ask and read if it is named, and if it is not."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from service.store.api_keys import hashed
from tests.served import Server

KEY = "a-key-of-this-test"
# As openai-node asks in a browser; the text of the stream, and the headers that it can read.
ASK = """async ([url, key]) => {
    const headers = { "Content-Type": "application/json", "X-Stainless-Lang": "js", "X-Stainless-Retry-Count": "0" };
    if (key) headers.Authorization = `Bearer ${key}`;
    try {
        const body = JSON.stringify({ model: "tale", max_tokens: 5, stream: true });
        const answer = await fetch(`${url}/v1/completions`, { method: "POST", headers, body });
        return [answer.status, answer.headers.get("X-Request-ID") !== null, (await answer.text()).endsWith("data: [DONE]\\n\\n")];
    } catch (error) {
        return error.name;
    }
}"""


class Empty(BaseHTTPRequestHandler):
    """An empty page."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def page(browser: Any) -> Iterator[Any]:
    """A page of an origin of its own."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Empty)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    context = browser.new_context()
    opened = context.new_page()
    opened.goto(f"http://localhost:{server.server_port}/")
    yield opened
    context.close()
    server.shutdown()
    server.server_close()


def test_without_keys_only_a_page_that_is_named_asks_and_reads(page: Any, launch: Callable[..., Server]) -> None:
    named = launch(allow_origin=[page.evaluate("location.origin")])
    assert page.evaluate(ASK, [named.url, None]) == [200, True, True]
    other = launch(allow_origin=["http://localhost:1", "*"])
    assert page.evaluate(ASK, [other.url, None]) == "TypeError"


def test_with_keys_all_pages_can_be_let_in(page: Any, launch: Callable[..., Server]) -> None:
    every = launch(allow_origin=["*"], keys=[hashed(KEY)])
    assert page.evaluate(ASK, [every.url, KEY]) == [200, True, True]
    assert page.evaluate(ASK, [every.url, "another-key"])[0] == 401
    other = launch(allow_origin=["http://localhost:1"], keys=[hashed(KEY)])
    assert page.evaluate(ASK, [other.url, KEY]) == "TypeError"
