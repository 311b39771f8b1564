"""Whatever is down behind the API, a caller learns that it may come back, and never meets a bare 500."""

import errno
import sqlite3
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import update
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolExhausted
from structlog.testing import capture_logs

from api.app import create_app
from orchestrator.db.database import Database
from orchestrator.db.tables import FileRow
from orchestrator.errors import DatabaseDown, StorageDown, StorageFull
from orchestrator.outages import outage
from orchestrator.storage import objects as storage
from tests.builders.live_api import Api, make_catalogue

FILE = {"files": {"file": ("a.jsonl", b'{"text": "a"}\n')}, "data": {"purpose": "fine-tune"}}


class Refused(Exception):
    """What a driver raises."""

    def __init__(self, sqlstate: str | None = None, sqlite_errorcode: int | None = None) -> None:
        self.sqlstate, self.sqlite_errorcode = sqlstate, sqlite_errorcode


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OperationalError("SELECT", {}, Refused()), DatabaseDown),
        (InterfaceError("SELECT", {}, Refused()), DatabaseDown),
        (PoolExhausted(), DatabaseDown),
        (DBAPIError("SELECT", {}, Refused(), connection_invalidated=True), DatabaseDown),
        (DBAPIError("UPDATE", {}, Refused("25006")), DatabaseDown),
        (OperationalError("INSERT", {}, Refused("53100")), StorageFull),
        (OperationalError("INSERT", {}, Refused(sqlite_errorcode=sqlite3.SQLITE_FULL)), StorageFull),
        (OSError(errno.ENOSPC, "No space left on device"), StorageFull),
        (OSError(errno.EDQUOT, "Quota exceeded"), StorageFull),
        (StorageDown(), StorageDown),
        (OSError(errno.EPIPE, "Broken pipe"), type(None)),
        (ProgrammingError("SELECT", {}, Refused()), type(None)),
        (RuntimeError("a bug"), type(None)),
    ],
)
def test_outages_are_told_from_bugs(error: Exception, kind: type) -> None:
    assert type(outage(error)) is kind


def test_a_database_that_is_away_is_a_503_to_come_back_after(api: Api, db: Database) -> None:
    gone = Database("postgresql+psycopg://nobody@127.0.0.1:1/none?connect_timeout=1")
    services = type(api.services)(gone, make_catalogue(), api.services.storage_uri)
    with TestClient(create_app(services), headers=api.headers) as web:
        answer = web.get("/v1/models")

    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "database_unavailable")
    assert answer.json()["error"]["type"] == "server_error"
    assert 0 < int(answer.headers["retry-after"]) <= 120  # OpenAI's clients ignore longer ones
    assert answer.headers["x-should-retry"] == "true"
    assert answer.headers["x-request-id"].startswith("req_")
    assert "127.0.0.1" not in answer.text


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), 507, "storage_full"),
        (ConnectionError("no route"), 503, "storage_unavailable"),
        (RuntimeError("SlowDown"), 503, "storage_unavailable"),  # back ends bring their own types
    ],
)
def test_storage_that_fails_in_mid_write_is_told_apart_and_leaves_no_file(
    web: TestClient, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int, code: str
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(storage, "_settle", fail)
    answer = web.post("/v1/files", **FILE)

    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert answer.headers["x-should-retry"] == ("true" if status == 503 else "false")
    assert web.get("/v1/files").json()["data"] == []


def test_content_that_storage_does_not_give_is_a_503_and_no_stream_that_breaks_off(web: TestClient, api: Api) -> None:
    file = web.post("/v1/files", **FILE).json()["id"]
    with api.services.db.write() as session:
        session.execute(update(FileRow).values(uri=Path("/nowhere/content").as_uri()))

    answer = web.get(f"/v1/files/{file}/content")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "storage_unavailable")
    assert "nowhere" not in answer.text


def test_a_file_is_deleted_also_while_storage_is_away(web: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    file = web.post("/v1/files", **FILE).json()["id"]

    def down(uri: str) -> None:
        raise StorageDown

    monkeypatch.setattr("orchestrator.files.delete.remove", down)
    assert web.delete(f"/v1/files/{file}").json()["deleted"] is True
    assert web.get(f"/v1/files/{file}").status_code == 404


def test_the_cause_of_an_outage_is_in_the_log_and_not_in_the_answer(
    web: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ConnectionError("bucket-7 does not answer")

    monkeypatch.setattr(storage, "_settle", fail)
    with capture_logs() as lines:
        answer = web.post("/v1/files", **FILE)
    assert "bucket-7" not in answer.text
    [line] = [line for line in lines if line["event"] == "outage"]
    assert line["code"] == "storage_unavailable"
    assert "bucket-7" in line["cause"]
