"""/v1/completions of a real service: many streams at once, clients that leave, a queue that is full, a temperature that is moved."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable
from typing import Any

from service.store import Run

PATH = "/v1/completions"


def stream(port: int, body: dict[str, Any]) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
    """A stream that has begun."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("POST", PATH, json.dumps({**body, "stream": True}), {"Content-Type": "application/json"})
    return connection, connection.getresponse()


def event(answer: http.client.HTTPResponse) -> Any:
    """The next event; None at the end."""
    line, blank = answer.readline(), answer.readline()
    assert blank == b"\n"
    return None if line == b"data: [DONE]\n" else json.loads(line.removeprefix(b"data: "))


def rest(answer: http.client.HTTPResponse) -> list[Any]:
    """All events that are still to come."""
    return list(iter(lambda: event(answer), None))


def text(events: list[Any]) -> str:
    return "".join(choice["text"] for each in events for choice in each["choices"])


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


def test_many_streams_at_once_are_each_as_if_alone(server: Any) -> None:
    found: dict[int, str] = {}

    def ask(seed: int) -> None:
        connection, answer = stream(server.port, {"prompt": "ab", "max_tokens": 300, "seed": seed, "temperature": 1.2})
        found[seed] = text(rest(answer))
        connection.close()

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    body = {"prompt": "ab", "max_tokens": 300, "temperature": 1.2, "n": 64, "seed": 0}
    status, alone = server.ask("POST", PATH, body)
    assert status == 200
    assert [found[seed] for seed in range(64)] == [choice["text"] for choice in alone["choices"]]


def test_the_temperature_of_a_stream_is_moved_and_the_text_made_again(server: Any) -> None:
    body = {"prompt": "ab", "max_tokens": 100_000, "seed": 5, "temperature": 0}
    connection, answer = stream(server.port, body)
    events = [event(answer)]
    path = f"{PATH}/{events[0]['id']}"
    status, facts = server.ask("PATCH", path, {"temperature": 1.5})
    assert status == 200
    events += rest(answer)
    connection.close()
    assert events[-1]["charloom"] == facts
    [[start, cold], [position, hot]] = facts["temperature"]
    assert (start, cold, hot) == (0, 0.0, 1.5)
    assert 0 < position < 100_000
    again = {**body, "model": facts["checkpoint"], "seed": facts["seed"], "temperature": facts["temperature"]}
    assert server.ask("POST", PATH, again)[1]["choices"][0]["text"] == text(events)
    assert server.ask("PATCH", path, {"temperature": 1})[0] == 404


def test_a_full_queue_and_clients_that_leave(launch: Callable[..., Any], add_model: Callable[..., Run]) -> None:
    add_model()
    server = launch(max_rows=2, max_waiting=1)
    writing = [stream(server.port, {"max_tokens": 100_000}) for _ in range(2)]
    for _, answer in writing:
        assert event(answer)
    waiting = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    waiting.request("POST", PATH, '{"max_tokens": 5, "seed": 1}', {"Content-Type": "application/json"})
    eventually(lambda: server.health()["waiting"] == 1)
    refused, answer = stream(server.port, {"max_tokens": 5})
    assert answer.status == 429
    assert int(answer.headers["Retry-After"]) > 0
    assert json.loads(answer.read())["error"]["code"] == "too_many_requests"
    for connection, _ in (*writing, (refused, None)):
        connection.close()
    answer = waiting.getresponse()
    assert (answer.status, len(json.loads(answer.read())["choices"][0]["text"])) == (200, 5)
    waiting.close()
    eventually(lambda: server.health()["rows"] == 0)
    assert server.stop() == (0, "")


def test_a_greedy_caller_delays_and_refuses_nobody_else(launch: Callable[..., Any], add_model: Callable[..., Run]) -> None:
    add_model()
    server = launch(max_rows=4, max_waiting=8)
    greedy = [stream(server.port, {"max_tokens": 100_000, "n": 4})]
    assert event(greedy[0][1])
    headers = {"Content-Type": "application/json"}
    for number in range(6):  # three quarters of the queue
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        connection.request("POST", PATH, '{"max_tokens": 100000, "n": 4, "prompt": ["a", "b"]}', headers)
        greedy.append((connection, None))
        eventually(lambda: server.health()["waiting"] == number + 1)  # noqa: B023
    assert server.ask("POST", PATH, {"max_tokens": 5})[0] == 429
    for seed in range(5):
        other = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60, source_address=("127.0.0.2", 0))
        other.request("POST", PATH, json.dumps({"max_tokens": 5, "seed": seed, "n": 2}), headers)
        answer = other.getresponse()
        assert (answer.status, len(json.loads(answer.read())["choices"])) == (200, 2)
        other.close()
    assert server.health()["rows"] == 4
    for connection, _ in greedy:
        connection.close()
    eventually(lambda: server.health()["rows"] == 0)
    assert server.stop() == (0, "")


def test_log_probabilities_have_a_limit(server: Any) -> None:
    body = {"max_tokens": 4000, "n": 20, "logprobs": 20}
    status, answer = server.ask("POST", PATH, body)
    assert status == 400
    assert answer["error"]["param"] == "logprobs"
    assert answer["error"]["message"] == (
        "logprobs is 20; it must be at most 11 for texts of this number and length"
        " (the limit of this service is 1,000,000 log-probabilities at a time)"
    )
    assert server.ask("POST", PATH, {**body, "n": 64, "max_tokens": 100_000, "logprobs": 0})[1]["error"]["message"].startswith(
        "logprobs is 0; it must be left out for texts of this number and length"
    )
    assert server.ask("POST", PATH, {"max_tokens": 3, "n": 2, "logprobs": 20})[0] == 200


def test_very_many_prompts_are_refused_before_anything_is_made_of_them(server: Any) -> None:
    for prompts in ([[1]] * 9_000, ["", "a"] * 50_000):
        status, answer = server.ask("POST", PATH, {"prompt": prompts})
        assert status == 400
        expected = f"prompt is a list of {len(prompts):,}; it must be a list of at most 64 (the limit of this service)"
        assert answer["error"]["message"] == expected
    status, answer = server.ask("POST", PATH, {"prompt": [[1]] * 100_000})
    assert status == 400
    assert answer["error"]["message"] == "the body has more than 10,000 lists and objects, the limit; send fewer"
