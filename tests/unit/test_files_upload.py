"""Uploads are streamed: what is held in memory does not grow with the file."""

import hashlib
import io
import json
import tracemalloc
from pathlib import Path

import pytest

from orchestrator.db.database import Database
from orchestrator.files.queries import file_issue_lines, open_content
from orchestrator.files.upload import NewFile, UploadLimits, upload
from tests.builders.rows import NOW, make_tenant

SIZE = 48_000_000
NEW = NewFile(filename="t.jsonl", purpose="fine-tune")


class Endless(io.RawIOBase):
    """`size` bytes of one unbroken line, made as they are read."""

    def __init__(self, size: int) -> None:
        self.left = size

    def read(self, size: int = -1) -> bytes:
        assert size > 0, "read in pieces"
        piece = b"x" * min(size, self.left)
        self.left -= len(piece)
        return piece


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_file_of_one_endless_line_is_never_held_in_memory(db: Database, tmp_path: Path) -> None:
    tenant = make_tenant(db)
    tracemalloc.start()
    file = upload(db, tenant.id, UploadLimits(tmp_path.as_uri(), SIZE), NEW, Endless(SIZE), NOW)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert peak < SIZE / 2
    assert (file.status, file.bytes, [i.code for i in file.x_orchard.issues]) == ("error", SIZE, ["line_too_long"])


def test_what_is_stored_is_what_was_sent(db: Database, tmp_path: Path) -> None:
    tenant = make_tenant(db)
    content = b'\xef\xbb\xbf{"text": "a"}\r\n\n{"text": 1}\n'
    file = upload(db, tenant.id, UploadLimits(tmp_path.as_uri(), 1_000), NEW, io.BytesIO(content), NOW)

    assert b"".join(open_content(db, tenant.id, file.id, NOW).chunks) == content
    assert file.x_orchard.sha256 == hashlib.sha256(content).hexdigest()
    assert (tmp_path / "tenants" / tenant.id / "files" / file.id / "content").read_bytes() == content
    (line,) = file_issue_lines(db, tenant.id, file.id, NOW)
    assert json.loads(line) == {
        "object": "file.issue",
        "id": "issue-1",
        "line": 3,
        "field": "text",
        "code": "string_type",
        "message": "Input should be a valid string",
        "file_id": file.id,
        "file": None,
    }
