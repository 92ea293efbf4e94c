"""A damaged row, in whichever column, takes down no list; and damage that is read is told by /health and the log."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from sqlite_utils import Database
from sqlite_utils.utils import sqlite3

from service.generation.model_cache import export, import_file
from service.store import Run, Store
from service.system.errors import DamagedText
from service.web.app import create_app
from service.web.service_config import ServiceConfig

LISTS = ("/health", "/v1/models", "/v1/files", "/v1/fine_tuning/jobs", "/metrics", "/", "/v1/files/good", "/v1/models/good")
DAMAGED = ["CAST(x'fffe41' AS TEXT)", "'x'", "''", "-7", "9223372036854775807", "-1e300"]
FIXED = {"id", "run", "step", "name", "text", "corpus", "model_sha256", "crc"}  # keys and references are the next test's


@pytest.fixture
def client(path: Path, store: Store, add_model: Callable[..., Run], tale: str) -> Iterator[FlaskClient]:
    """A service with two corpora, and two models trained on them."""
    for name in ("good", "bad"):
        store.corpora.add(name, [name + tale], "here")
        run = add_model(name)
        store.events.add(run, "something happened", data={"loss": 1.0})
        store.db.execute("UPDATE runs SET corpus = (SELECT id FROM corpora WHERE name = ?1) WHERE name = ?1", (name,))
    store.keys.add("ab" * 32)
    app = create_app(ServiceConfig(db=path, min_disk=0, keys=("cd" * 32,)))
    yield app.test_client()
    app.extensions["charloom"].close()


def answers(client: FlaskClient) -> dict[str, int]:
    return {path: client.get(path, headers={"Authorization": "Bearer x"}).status_code for path in LISTS}


@pytest.mark.parametrize("table", ["runs", "corpora", "texts", "checkpoints", "metrics", "events", "keys"])
def test_each_column(client: FlaskClient, path: Path, table: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.store.api_keys.hashed", lambda key: "cd" * 32)
    owner = {"runs": "name = 'bad'", "corpora": "name = 'bad'", "texts": "id = 2", "keys": "id = 1"}.get(table, "run = 2")
    with Database(path) as other:
        other.execute("PRAGMA foreign_keys = OFF")
        other.execute("PRAGMA ignore_check_constraints = ON")
        columns = [column.name for column in other[table].columns if column.name not in FIXED]
        for column in columns:
            kept = other.execute(f"SELECT {column} FROM {table} WHERE {owner}").fetchone()
            for value in DAMAGED:
                try:
                    other.execute(f"UPDATE {table} SET {column} = {value} WHERE {owner}")
                except sqlite3.IntegrityError:  # of another type than a STRICT column takes
                    continue
                assert set(answers(client).values()) == {200}, (column, value)
                listed = {each["id"] for each in client.get("/v1/models", headers={"Authorization": "Bearer x"}).get_json()["data"]}
                assert "good" in listed
            other.execute(f"UPDATE {table} SET {column} = ? WHERE {owner}", kept)


def test_damage_is_told_until_the_same_is_stored_again(
    client: FlaskClient, store: Store, path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, tale: str
) -> None:
    store.keys.revoke("key")
    export(store, "bad", tmp_path / "bad.safetensors")
    with Database(path) as other:
        sha256 = other.execute("SELECT model_sha256 FROM checkpoints WHERE run = 2").fetchone()[0]
        for table, column, where in (("blobs", "data", f"sha256 = '{sha256}'"), ("text_chunks", "zlib", "text = 2")):
            data = bytearray(other.execute(f"SELECT {column} FROM {table} WHERE {where}").fetchone()[0])
            data[len(data) // 2] ^= 4
            other.execute(f"UPDATE {table} SET {column} = ? WHERE {where}", (bytes(data),))
    with caplog.at_level(logging.ERROR, "charloom"):
        service = client.application.extensions["charloom"]
        assert service.store.damaged == []
        with pytest.raises(ValueError, match="import a file that was exported from it"):
            service.store.checkpoints.load(service.store.runs.get("bad"))
        with pytest.raises(
            DamagedText, match=r"the text of corpus bad in it is damaged: chunk 0 .* add the same text again, which replaces it"
        ):
            list(service.store.corpora.pieces("bad"))
    assert service.store.damaged == ["checkpoint bad@100", "text of corpus bad"]
    assert [record.message.partition(" (")[0] for record in caplog.records] == [
        "damaged in the database: checkpoint bad@100",
        "damaged in the database: text of corpus bad",
    ]
    import_file(service.store, tmp_path / "bad.safetensors", "again")
    service.store.corpora.add("again", ["bad" + tale], "there")
    assert service.store.damaged == []
    assert "".join(service.store.corpora.pieces("bad")) == "bad" + tale
    assert service.store.checkpoints.load(service.store.runs.get("bad"))[1] == (tmp_path / "bad.safetensors").read_bytes()
    assert store.db.execute("SELECT count(*), count(DISTINCT text) FROM text_chunks").fetchone() == (2, 2)
