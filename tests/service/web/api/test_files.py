"""/v1/files: uploads that are read while they arrive, and corpora as files."""

from __future__ import annotations

import gzip
import io
import lzma
import tarfile
import unicodedata
import zipfile
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from werkzeug.http import parse_options_header
from werkzeug.test import TestResponse

from corpora.documents.reader import Bounds
from service.store import Corpus, Store
from service.web.api import files
from service.web.app import create_app
from service.web.service_config import ServiceConfig
from tests.corpora.documents.test_office import docx, paragraph
from tests.corpora.documents.test_tables import workbook

TALE = "Once upon a time there was a loom.\n" * 10
BOUNDARY = "the-boundary"


@pytest.fixture
def upload(client: FlaskClient) -> Callable[..., TestResponse]:
    """Send a file as clients do: the fields first."""

    def send(data: bytes | str, file_name: str = "tale.txt", **fields: Any) -> TestResponse:
        content = data.encode() if isinstance(data, str) else data
        return client.post("/v1/files", data={**fields, "file": (io.BytesIO(content), file_name)}, content_type="multipart/form-data")

    return send


def form(*parts: tuple[str, bytes], end: str = "--\r\n") -> bytes:
    """A form as bytes: (headers after the name, content) each."""
    found = b"".join(
        f"--{BOUNDARY}\r\nContent-Disposition: form-data; name={head}\r\n\r\n".encode() + content + b"\r\n" for head, content in parts
    )
    return found + f"--{BOUNDARY}{end}".encode()


def send_form(client: FlaskClient, data: bytes) -> TestResponse:
    return client.post("/v1/files", data=data, content_type=f"multipart/form-data; boundary={BOUNDARY}")


def error(answer: TestResponse) -> tuple[int, str | None, str]:
    found = answer.get_json()["error"]
    return answer.status_code, found["param"], found["message"]


# ── uploads ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_name_in_any_script(upload: Callable[..., TestResponse], client: FlaskClient) -> None:
    name = "이름-목록"
    apart = unicodedata.normalize("NFD", name)
    assert upload(TALE, f"{apart}.txt").get_json()["id"] == name
    assert upload(TALE, name=apart).status_code == 409
    assert client.get(f"/v1/files/{quote(apart)}").get_json()["id"] == name
    content = client.get(f"/v1/files/{quote(name)}/content")
    assert content.text == TALE
    assert parse_options_header(content.headers["Content-Disposition"]) == ("attachment", {"filename": f"{name}.txt"})
    assert client.get(f"/v1/files?after={quote(apart)}").get_json()["data"] == []
    assert client.delete(f"/v1/files/{quote(apart)}").status_code == 200


def test_an_upload(upload: Callable[..., TestResponse], store: Store) -> None:
    answer = upload(TALE, purpose="fine-tune")
    assert answer.status_code == 200
    file = answer.get_json()
    assert file.pop("created_at") > 1_700_000_000
    assert len(file["meta"].pop("sha256")) == 64
    assert file == {
        "id": "tale",
        "object": "file",
        "bytes": 350,
        "filename": "tale.txt",
        "purpose": "fine-tune",
        "status": "processed",
        "expires_at": None,
        "meta": {
            "characters": 350,
            "records": None,
            "lines": 10,
            "alphabet_size": len(set(TALE)),
            "alphabet": " eaomnt\n.Ochilprsuw",
            "sample": ["Once upon a time there was a loom."] * 5,
            "warnings": [],
        },
    }
    assert "".join(store.corpora.pieces("tale")) == TALE


def test_the_same_name_again_is_another_file(upload: Callable[..., TestResponse], store: Store) -> None:
    assert [upload(text).get_json()["id"] for text in (TALE, TALE, TALE + "!")] == ["tale", "tale-2", "tale-3"]
    store.corpora.remove("tale")
    assert "".join(store.corpora.pieces("tale-2")) == TALE  # it is not the other one by another name


def test_a_name_of_ones_own(upload: Callable[..., TestResponse]) -> None:
    assert upload(TALE, name="mine", file_name="x.txt").get_json()["id"] == "mine"
    assert error(upload(TALE, name="mine")) == (
        409,
        "name",
        "a corpus named 'mine' exists already; choose another name or remove that one first",
    )
    assert error(upload(TALE, name="a name"))[:2] == (400, "name")
    assert error(upload(TALE, name="python"))[:2] == (400, "name")


@pytest.mark.parametrize("packing", ["zip", "tar", "tar.gz"])
def test_archives_are_read_as_on_the_command_line(upload: Callable[..., TestResponse], store: Store, packing: str) -> None:
    buffer = io.BytesIO()
    files = {"a.txt": TALE.encode(), "b.md": b"notes " * 30, "c.txt": b"\0" * 300}
    if packing == "zip":
        with zipfile.ZipFile(buffer, "w") as archive:
            for name, data in files.items():
                archive.writestr(name, data)
    else:
        with tarfile.open(fileobj=buffer, mode="w:gz" if packing == "tar.gz" else "w") as archive:
            for name, data in files.items():
                member = tarfile.TarInfo(name)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    answer = upload(buffer.getvalue(), f"pack.{packing}", glob=["*.txt", "*.doc"])
    assert answer.get_json()["id"] == "pack"
    assert answer.get_json()["meta"]["warnings"] == ["one binary file was skipped: c.txt"]
    assert "".join(store.corpora.pieces("pack")) == TALE


def test_encodings(upload: Callable[..., TestResponse], store: Store) -> None:
    text = "Weiße Fäden\r\n" * 20
    for number, (data, fields) in enumerate(
        [
            (text.encode(), {}),
            (text.encode("utf-8-sig"), {}),
            (text.encode("utf-16"), {}),
            (text.encode("latin-1"), {"encoding": "latin-1"}),
            (gzip.compress(text.encode()), {}),
        ]
    ):
        answer = upload(data, name=f"n{number}", **fields)
        assert answer.status_code == 200
        assert "".join(store.corpora.pieces(f"n{number}")) == text.replace("\r\n", "\n")


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    parts=st.lists(st.sampled_from(["a", "\n", "-", "\r\n", "x--the-boundary", "\r\n--the-boundary!", "é"]), max_size=60),
    size=st.integers(1, 50),
)
def test_whatever_the_text_and_the_pieces_it_arrives_in(
    client: FlaskClient, store: Store, monkeypatch: pytest.MonkeyPatch, parts: list[str], size: int
) -> None:
    monkeypatch.setattr("service.web.api.request_body.BLOCK", size)
    text = TALE + "".join(parts) + "x"
    answer = send_form(client, form(('"purpose"', b"any"), ('"file"; filename="t.txt"', text.encode())))
    assert answer.status_code == 200
    name = answer.get_json()["id"]
    assert "".join(store.corpora.pieces(name)) == text.replace("\r\n", "\n")
    store.corpora.remove(name)


def test_documents_become_text_and_are_told(upload: Callable[..., TestResponse], tmp_path: Path) -> None:
    body = "".join(paragraph(f"{number} naïve <knots>") for number in range(30))
    answer = upload(docx(body).getvalue(), "tale.docx")
    assert answer.get_json()["meta"]["warnings"] == ["tale.docx: 30 paragraphs of a Word document"]
    assert answer.get_json()["meta"]["sample"][0] == "0 naïve <knots>"
    page = f"<html><p>{TALE}<p>{TALE}"
    assert upload(page, "a.html").get_json()["meta"]["lines"] == 3
    assert upload(page, "a.html", raw="true").get_json()["meta"]["sample"][0].startswith("<html>")
    book = workbook(tmp_path / "a.xlsx", [["name", "city"], *([f"Anna {number}", "Ulm"] for number in range(30))]).read_bytes()
    refused = upload(book, "a.xlsx")
    assert error(refused) == (400, "column", "a.xlsx is an Excel workbook with the columns 'name', 'city'; choose one with column")
    assert refused.get_json()["error"]["columns"] == ["name", "city"]
    assert upload(book, "a.xlsx", column="name").get_json()["meta"]["sample"][0] == "Anna 0"
    assert upload('{"text": "one"}\n' * 30, "a.jsonl", field="text").get_json()["meta"]["sample"][0] == "one"
    status, param, message = error(upload(b"\xff\xd8\xff\xe0\0", "a.jpg"))
    assert (status, param) == (400, "file")
    assert message.startswith("a.jpg is a JPEG picture; ")


@pytest.mark.parametrize(
    ("data", "fields", "found"),
    [
        ("", {}, (400, "file", "tale.txt holds no text")),
        (b"a\0\1" * 100, {}, (400, "file", "tale.txt is binary: a zero byte stands at offset 1")),
        (TALE.encode() + b"\xff", {}, (400, "file", "tale.txt is not utf-8: byte 0xff in line 11 (offset 350)")),
        (b"PK\x03\x04" + b"x" * 500, {}, (400, "file", "tale.txt cannot be read")),
        (TALE, {"encoding": "morse"}, (400, "encoding", "encoding is 'morse'; it must be auto, or one that Python knows")),
        (
            TALE,
            {"colour": "red"},
            (400, "colour", "colour is not a known setting; known are: column, encoding, errors, field, file, glob, name, purpose, raw"),
        ),
        (TALE, {f"f{number}": "" for number in range(200)}, (400, "f0", "f0 is not a known setting")),
        (TALE, {"name": "x" * 300_000}, (400, None, "the field name is longer than 262,144 bytes")),
    ],
)
def test_what_is_refused_leaves_nothing(
    upload: Callable[..., TestResponse], store: Store, data: Any, fields: dict[str, str], found: tuple[int, str | None, str]
) -> None:
    status, param, message = error(upload(data, **fields))
    assert (status, param) == found[:2]
    assert message.startswith(found[2])
    assert store.corpora.list() == ()
    with store.immediate() as db:
        assert db.execute("SELECT count(*) FROM texts").fetchone()[0] == 0


FILE = ('"file"; filename="tale.txt"', TALE.encode())


@pytest.mark.parametrize(
    ("data", "param", "sentence"),
    [
        (form(('"purpose"', b"x")), "file", "file is missing"),
        (
            form(FILE, ('"encoding"', b"utf-8")),
            "encoding",
            "encoding is sent after the file; it must be sent before it (which is read as it arrives)",
        ),
        (form(FILE, FILE), "file", "it must be sent once"),
        (form(FILE, end=""), None, "the form cannot be read"),
        (form(FILE)[:-40], None, "the form cannot be read"),
        (b"nothing of a form", None, "the form cannot be read"),
        (form(FILE).replace(b"Content-Disposition", b"Content-Nonsense"), None, "the form cannot be read"),
        (form(('"purpose"', b"x" * 300_000), FILE), None, "the field purpose is longer than 262,144 bytes"),
        (form(('"purpose"\r\nX: ' + "x" * 400_000, b"")), None, "a part whose headers are longer than 262,144 bytes"),
        (form(*[('"purpose"', b"")] * 101), None, "the form has more than 100 parts"),
    ],
)
def test_malformed_forms(client: FlaskClient, store: Store, data: bytes, param: str | None, sentence: str) -> None:
    status, found, message = error(send_form(client, data))
    assert (status, found) == (400, param)
    assert sentence in message
    assert store.corpora.list() == ()


def test_what_stands_behind_an_archive_is_read_too(client: FlaskClient, store: Store) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:  # whoever reads a tar stops at its end mark
        member = tarfile.TarInfo("a.txt")
        member.size = len(TALE)
        archive.addfile(member, io.BytesIO(TALE.encode()))
    packed = ('"file"; filename="a.tar"', buffer.getvalue() + bytes(200_000))
    assert error(send_form(client, form(packed, ('"colour"', b"red"))))[:2] == (400, "colour")
    assert store.corpora.list() == ()
    assert send_form(client, form(packed, ('"purpose"', b"any"))).status_code == 200


def test_fields_may_follow_the_file_where_they_change_nothing(client: FlaskClient) -> None:
    answer = send_form(client, form(FILE, ('"purpose"', b"fine-tune")))
    assert answer.status_code == 200
    answer = send_form(client, form(('"file"', TALE.encode())))
    assert answer.get_json()["id"] == "corpus"  # a file without a name


@pytest.mark.parametrize("kind", [None, "text/plain", "application/json", "multipart/mixed; boundary=x"])
def test_other_content_types(client: FlaskClient, kind: str | None) -> None:
    answer = client.post("/v1/files", data=TALE, content_type=kind)
    assert answer.status_code == 415
    assert "it must be multipart/form-data" in answer.get_json()["error"]["message"]


def test_a_form_without_a_boundary(client: FlaskClient) -> None:
    assert client.post("/v1/files", data=TALE, content_type="multipart/form-data").status_code == 400


def test_a_packed_form(client: FlaskClient) -> None:
    kind = f"multipart/form-data; boundary={BOUNDARY}"
    answer = client.post("/v1/files", data=gzip.compress(form(FILE)), content_type=kind, headers={"Content-Encoding": "gzip"})
    assert answer.status_code == 415
    assert "the content encoding is gzip" in answer.get_json()["error"]["message"]


# ── limits ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_limits(path: Path) -> None:
    app = create_app(ServiceConfig(db=path, max_body=1024, max_upload=2000, max_files=1))
    client = app.test_client()
    status, _, message = error(send_form(client, form(('"file"', b"a b" * 1000))))
    assert status == 413
    assert message.startswith("the body is larger than 2,000 bytes")
    packed = gzip.compress(b"a b" * 1000)
    status, _, message = error(send_form(client, form(('"file"; filename="big.gz"', packed))))
    assert status == 413
    assert message.startswith("big.gz is larger than 2,000 bytes")
    assert send_form(client, form(('"file"', b"a b" * 500))).status_code == 200  # larger than other bodies may be
    status, _, message = error(send_form(client, form(FILE)))
    assert (status, message[:24]) == (409, "1 files are stored alrea")
    app.extensions["charloom"].close()


def test_room_is_left_on_the_disk(path: Path) -> None:
    app = create_app(ServiceConfig(db=path, min_disk=10**15))
    answer = send_form(app.test_client(), form(FILE))
    assert answer.status_code == 507
    assert answer.get_json()["error"]["code"] == "no_room_left"
    app.extensions["charloom"].close()


# ── what is there ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_lists(client: FlaskClient, upload: Callable[..., TestResponse]) -> None:
    assert client.get("/v1/files").get_json() == {"object": "list", "data": [], "has_more": False, "first_id": None, "last_id": None}
    for number in range(5):
        upload(TALE, name=f"n{number}")
    found = client.get("/v1/files").get_json()
    assert [file["id"] for file in found["data"]] == ["n4", "n3", "n2", "n1", "n0"]
    assert "sample" not in found["data"][0]["meta"]
    found = client.get("/v1/files?order=asc&limit=2&after=n1&purpose=fine-tune&unknown=1").get_json()
    assert ([file["id"] for file in found["data"]], found["has_more"], found["last_id"]) == (["n2", "n3"], True, "n3")
    found = client.get("/v1/files?limit=0").get_json()
    assert found == {"object": "list", "data": [], "has_more": True, "first_id": None, "last_id": None}
    for query, param in (
        ("limit=-1", "limit"),
        ("limit=10001", "limit"),
        ("limit=x", "limit"),
        ("order=up", "order"),
        ("after=none", "after"),
    ):
        assert error(client.get(f"/v1/files?{query}"))[:2] == (400, param)


def test_one_file_and_its_text(client: FlaskClient, store: Store) -> None:
    text = "Fäden\n" * 30
    store.corpora.add("threads", [text], "/home/someone/threads.txt")
    file = client.get("/v1/files/threads").get_json()
    assert (file["filename"], file["meta"]["sample"][0]) == ("threads.txt", "Fäden")
    assert "someone" not in str(file)
    answer = client.get("/v1/files/threads/content")
    assert (answer.get_data(), answer.content_type) == (text.encode(), "text/plain; charset=utf-8")
    assert answer.headers["Content-Length"] == str(len(text.encode()))
    assert answer.headers["Content-Disposition"] == 'attachment; filename="threads.txt"'
    for path in ("/v1/files/none", "/v1/files/none/content"):
        assert error(client.get(path))[:2] == (404, "file")


def test_a_file_that_runs_need_stays(client: FlaskClient, app: Flask, store: Store, corpus: Corpus) -> None:
    store.corpora.add("other", [TALE], "other")
    store.runs.create("one", corpus="tale", model_config={}, training_config={}, validation_corpus="other")
    store.runs.create("two", corpus="tale", model_config={}, training_config={})
    for name, runs in (("tale", "one, two"), ("other", "one")):
        answer = client.delete(f"/v1/files/{name}")
        assert error(answer) == (409, "file", f"corpus {name} is needed by: {runs}; remove those runs first")
        assert answer.headers["X-Should-Retry"] == "false"
    for run in ("one", "two"):
        assert client.delete(f"/v1/models/{run}").status_code == 200
    assert client.delete("/v1/files/tale").get_json() == {"id": "tale", "object": "file", "deleted": True}
    assert error(client.delete("/v1/files/tale"))[:2] == (404, "file")


def test_what_clients_send_besides_is_taken(upload: Callable[..., TestResponse]) -> None:
    """A file stays until it is deleted, whatever a client says of its end; the answer says so."""
    answer = upload(TALE, **{"purpose": "fine-tune", "expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"})
    assert answer.status_code == 200, answer.text
    file = answer.get_json()
    assert file["expires_at"] is None
    assert file["meta"]["warnings"] == ["expires_after is not kept: the file stays until it is deleted"]


def test_a_short_file_is_taken_but_nothing_is_trained_on_it(client: FlaskClient, upload: Callable[..., TestResponse]) -> None:
    file = upload("short", "short.txt").get_json()
    assert file["meta"]["warnings"] == ["it has 5 characters; no model can be trained on fewer than 100"]
    status, param, message = error(client.post("/v1/fine_tuning/jobs", json={"model": "gru", "training_file": "short"}))
    assert (status, param) == (400, "training_file")
    assert "has 5 characters; at least 100 are needed" in message


def test_files_of_another_purpose_are_none(client: FlaskClient, upload: Callable[..., TestResponse]) -> None:
    upload(TALE)
    assert len(client.get("/v1/files?purpose=fine-tune").get_json()["data"]) == len(client.get("/v1/files").get_json()["data"]) == 1
    assert client.get("/v1/files?purpose=batch").get_json()["data"] == []


def test_errors_speak_of_the_form_and_not_of_the_command_line(path: Path, upload: Callable[..., TestResponse]) -> None:
    said = upload(b"\xff\xfe\xfa" * 40 + b"\x81", "x.txt").get_json()["error"]["message"]
    assert "--" not in said
    app = create_app(ServiceConfig(db=path.with_name("small.db"), max_upload=200))
    try:
        data = {"file": (io.BytesIO(gzip.compress(b"a" * 1000)), "tale.txt.gz")}
        answer = app.test_client().post("/v1/files", data=data, content_type="multipart/form-data")
        assert (answer.status_code, "--max-size" in answer.text) == (413, False)
    finally:
        app.extensions["charloom"].close()


# ── many at once ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_uploads_share_memory(app: Flask, upload: Callable[..., TestResponse]) -> None:
    budget = app.extensions["charloom"].upload_memory
    budget._seconds = 0.01
    large = lzma.compress(TALE.encode(), preset=9)
    with budget.share() as take:
        take(budget._limit - 17_000_000 - 11_000_000)  # as others that unpack something
        assert upload(TALE, name="plain").status_code == 200
        assert upload(lzma.compress(TALE.encode()), name="usual").status_code == 200
        answer = upload(large, name="large")
        assert answer.status_code == 429
        assert (
            "the request needs 59 MB more memory, and requests that run take what there is for uploads and downloads (268 MB"
            in error(answer)[2]
        )
        take(20_000_000)
        assert upload(TALE, name="another").status_code == 429
    assert upload(large, name="large").status_code == 200
    assert budget._taken == 0


def test_a_small_document_finds_memory_beside_large_ones(app: Flask, upload: Callable[..., TestResponse]) -> None:
    budget = app.extensions["charloom"].upload_memory
    budget._seconds = 0.01
    with budget.share("another") as take:
        take(files.UPLOAD_BYTES + Bounds.memory)
        assert upload("<p>" + TALE, name="page.html").status_code == 200
        with budget.share("address:127.0.0.1") as mine:
            mine(files.UPLOAD_BYTES + Bounds().memory_for(1000))
            assert upload("<p>" + TALE, name="other.html").status_code == 200
    assert files.UPLOAD_BYTES + Bounds.memory <= budget._limit // 2  # so that the largest one leaves as much for another caller


def test_a_document_whose_client_has_left_is_read_no_further(app: Flask, client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[bool] = []
    monkeypatch.setattr(files, "CLIENT_CHECK", 0.001)  # seconds: before the process can have begun

    def left() -> bool:
        looks.append(app.extensions["charloom"].upload_places.acquire(blocking=False))  # no place is held while another process reads
        app.extensions["charloom"].upload_places.release()
        return len(looks) > 1

    data = {"file": (io.BytesIO(b"<div>" * 80_000), "a.html")}
    sent = client.post("/v1/files", data=data, content_type="multipart/form-data", environ_overrides={"charloom.long": lambda: left})
    assert sent.status_code == 400
    assert looks == [True, True]
    assert client.get("/v1/files").get_json()["data"] == []
    assert app.extensions["charloom"].upload_memory._taken == 0


def test_cutting_anew_takes_its_turn_as_an_upload(app: Flask, client: FlaskClient, upload: Callable[..., TestResponse]) -> None:
    service = app.extensions["charloom"]
    upload("".join(f"line {n}\n" for n in range(2000)), "tale.txt", records="none")
    cut = partial(client.patch, "/v1/files/tale", json={"records": "lines"})
    with ExitStack() as stack:
        for n in range(16):
            stack.callback(service.limits.bodies.take(f"another {n}"))
        assert (error(cut())[0], cut().get_json()["error"]["code"]) == (429, "too_many_uploads")
    service.upload_memory._seconds = 0.01
    with service.upload_memory.share() as take:
        take(service.upload_memory._limit)
        assert cut().status_code == 429
    gone = {"charloom.long": lambda: lambda: True}
    assert cut(environ_overrides=gone).status_code == 400
    with service.upload_places, service.upload_places:  # it waits, and sees that its client has left
        assert cut(environ_overrides=gone).status_code == 400
    assert client.get("/v1/files/tale").get_json()["meta"]["records"] is None
    assert cut().get_json()["meta"]["records"]["kind"] == "lines"
    assert (service.upload_memory._taken, service.limits.bodies._held) == (0, {})


def test_uploads_whose_bytes_do_not_come_keep_no_place(launch: Callable[..., Any]) -> None:
    """Two are worked on at a time; here five wait for their clients."""
    server = launch(NEXT_BYTES=100, WHOLE_REQUEST=100)  # longer than this test waits
    body = form(('"file"; filename="a.txt"', TALE.encode() * 3000))
    kind = f"Content-Type: multipart/form-data; boundary={BOUNDARY}"
    head = f"POST /v1/files HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n{kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with ExitStack() as stack:
        for _ in range(5):
            stack.enter_context(server.connect(head + body[:200_000]))
        whole = stack.enter_context(server.connect(head + body))
        assert whole.recv(100).startswith(b"HTTP/1.1 200")


def test_a_list_is_cut_into_records(client: FlaskClient, upload: Callable[..., TestResponse]) -> None:
    names = "".join(f"{a}{b}\n" for a in "ABCDEFGH" for b in ("nna", "ert")) * 2
    assert upload("id,name\n" + "".join(f"{n},x{n * n}\n" for n in range(60)), "table.csv").get_json()["meta"]["records"]["header"] is True
    found = upload(names * 2, "names.txt", unique="true").get_json()["meta"]["records"]
    assert found == {
        **{"kind": "lines", "separator": "\n", "header": False, "unique": True, "count": 64, "different": 16, "estimated": False},
        **{"median": 4, "longest": 4, "examples": ["Anna", "Cert", "Fnna"]},
    }
    assert client.get("/v1/files/names").get_json()["meta"]["records"] == found
    assert upload(names, "other.txt", records="none").get_json()["meta"]["records"] is None
    assert upload(TALE, "tale.txt", records="loom").get_json()["meta"]["records"]["kind"] == "separator"
    for fields, param in (
        ({"records": "fortune"}, "records"),
        ({"records": "none", "unique": "true"}, "unique"),
        ({"records": ""}, "records"),
    ):
        status, at_fault, _ = error(upload(names, "bad.txt", **fields))
        assert (status, at_fault) == (400, param)

    def change(**fields: Any) -> TestResponse:
        return client.patch("/v1/files/names", json=fields)

    assert change(records="none").get_json()["meta"]["records"] is None
    assert change(records=r"a\nA").get_json()["meta"]["records"]["separator"] == "a\nA"
    assert change(records="auto").get_json()["meta"]["records"] == {**found, "unique": False}
    for fields, param in (({}, "name"), ({"name": "x", "records": "lines"}, "name"), ({"records": "files"}, "records")):
        status, at_fault, _ = error(change(**fields))
        assert (status, at_fault) == (400, param)
    assert client.get("/v1/files/names").get_json()["meta"]["records"] == {**found, "unique": False}
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        for n in range(3):
            packed.writestr(f"{n}.txt", f"a poem, {n}\nwith two lines\n" * 3)
    meta = upload(archive.getvalue(), "poems.zip", records="files").get_json()["meta"]
    assert (meta["records"]["kind"], meta["records"]["count"], meta["records"]["separator"]) == ("files", 3, "\x1e")


def test_a_chat_is_records_and_zero_characters_are_told(upload: Callable[..., TestResponse]) -> None:
    chat = "".join(f"12/03/2024, 10:{minute:02} - Ann: do you really think, {'that, ' * minute}so?\n" for minute in range(40))
    records = upload(chat, name="chat").get_json()["meta"]["records"]
    assert (records["kind"], records["count"]) == ("lines", 40)
    assert upload(chat, name="prose", records="none").get_json()["meta"]["records"] is None
    answer = upload("hello \0 world\n" * 40, name="zeros")
    assert answer.get_json()["error"]["code"] == "zero_characters"
    assert "has 40 NUL characters (U+0000), the first at offset 6, in lines 1, 2, 3 and more; errors replace" in error(answer)[2]
    assert "40 places" in str(upload("hello \0 world\n" * 40, name="zeros", errors="skip").get_json()["meta"]["warnings"])
    assert error(upload(TALE, name="wrong", records=r"\d"))[:2] == (400, "records")
