"""Uploads in parts against a real database and real files: bounds, repeats, races, and what is left behind."""

import hashlib
import io
import threading
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select

from orchestrator.db.database import Database
from orchestrator.db.tables import FileRow
from orchestrator.db.upload_tables import UploadPartRow, UploadRow
from orchestrator.errors import InvalidRequest, NotFound, QuotaExceeded, StorageDown, TooLarge
from orchestrator.storage.objects import remove
from orchestrator.uploads import begin, parts
from orchestrator.uploads.begin import LIFETIME, NewUpload, PartUploadLimits
from orchestrator.uploads.complete import CompleteUpload, complete
from orchestrator.uploads.gc import GRACE, UploadGc
from orchestrator.uploads.views import UploadView
from tests.builders.rows import NOW, make_tenant
from tests.builders.stock_client import ROWS

HALF = len(ROWS) // 2


class Uploader:
    """One tenant and its uploads."""

    def __init__(self, db: Database, folder: Path) -> None:
        self.db = db
        self.folder = folder / "storage"
        self.part_limits = PartUploadLimits(self.folder.as_uri(), max_upload_bytes=10_000)
        self.tenant = make_tenant(db).id

    def begin(self, size: int = len(ROWS), **fields: object) -> str:
        new = {"bytes": size, "filename": "a.jsonl", "mime_type": "text/plain", "purpose": "fine-tune"} | fields
        return begin.begin(self.db, self.tenant, self.part_limits, NewUpload.model_validate(new), NOW).id

    def send(self, upload: str, content: bytes = ROWS, tenant: str | None = None) -> str:
        stream = io.BytesIO(content)
        return parts.add_part(self.db, tenant or self.tenant, self.part_limits, upload, stream, NOW).id

    def complete(self, upload: str, *part_ids: str, md5: str | None = None) -> UploadView:
        return complete(self.db, self.tenant, self.part_limits, upload, CompleteUpload(part_ids=part_ids, md5=md5), NOW)

    def stored(self) -> list[str]:
        """The folders of what lies in storage: `uploads` for parts, `files` for files."""
        return sorted(path.relative_to(self.folder).parts[2] for path in self.folder.rglob("*") if path.is_file())

    def status(self, upload: str) -> str:
        with self.db.read() as session:
            return session.scalars(select(UploadRow.status).where(UploadRow.id == upload)).one()

    def count(self, table: type) -> int:
        with self.db.read() as session:
            return session.scalar(select(func.count()).select_from(table)) or 0


@pytest.fixture
def uploader(db: Database, tmp_path: Path) -> Uploader:
    return Uploader(db, tmp_path)


def test_parts_follow_each_other_as_the_completion_says(uploader: Uploader) -> None:
    upload = uploader.begin(expires_after={"anchor": "created_at", "seconds": 3600})
    second, first = uploader.send(upload, ROWS[HALF:]), uploader.send(upload, ROWS[:HALF])

    file = uploader.complete(upload, first, second, md5=hashlib.md5(ROWS).hexdigest().upper()).file

    assert file is not None
    assert (file.status, file.x_orchard.rows, file.bytes) == ("processed", 12, len(ROWS))
    assert file.x_orchard.sha256 == hashlib.sha256(ROWS).hexdigest()
    assert file.expires_at == file.created_at + 3600


def test_a_part_that_is_not_named_is_left_out(uploader: Uploader) -> None:
    upload = uploader.begin()
    uploader.send(upload, b"garbage")
    assert uploader.complete(upload, uploader.send(upload)).file.bytes == len(ROWS)


def test_bad_lines_make_a_file_with_status_error_as_any_upload_does(uploader: Uploader) -> None:
    upload = uploader.begin(8)
    file = uploader.complete(upload, uploader.send(upload, b"not json")).file
    assert (file.status, file.x_orchard.issue_count) == ("error", 1)


def test_completing_again_gives_the_same_file(uploader: Uploader) -> None:
    upload = uploader.begin()
    part = uploader.send(upload)
    first = uploader.complete(upload, part)
    assert uploader.complete(upload, part) == first
    assert uploader.count(FileRow) == 1


@pytest.mark.parametrize(
    ("sent", "named", "md5", "code"),
    [
        (ROWS[:-1], 1, None, "upload_size_mismatch"),
        (ROWS, 0, None, "upload_size_mismatch"),
        (ROWS, 2, None, "invalid_value"),
        (ROWS, 1, "0" * 32, "checksum_mismatch"),
    ],
)
def test_what_does_not_add_up_is_refused_and_can_be_put_right(
    uploader: Uploader, sent: bytes, named: int, md5: str | None, code: str
) -> None:
    upload = uploader.begin()
    part = uploader.send(upload, sent)

    with pytest.raises(InvalidRequest) as caught:
        uploader.complete(upload, *[part] * named, md5=md5)

    assert caught.value.code == code
    assert uploader.stored() == ["uploads"]
    assert uploader.complete(upload, uploader.send(upload)).status == "completed"


def test_a_part_of_another_upload_is_not_found(uploader: Uploader) -> None:
    upload, other = uploader.begin(), uploader.begin()
    with pytest.raises(InvalidRequest, match="has no part"):
        uploader.complete(upload, uploader.send(other))


def test_another_tenants_upload_does_not_exist(uploader: Uploader) -> None:
    upload = uploader.begin()
    with pytest.raises(NotFound, match=upload):
        uploader.send(upload, tenant=make_tenant(uploader.db).id)
    assert uploader.stored() == []


def test_what_is_announced_is_bounded(uploader: Uploader, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TooLarge, match="at most 10,000"):
        uploader.begin(10_001)
    monkeypatch.setattr(begin, "MAX_PENDING", 1)
    first = uploader.begin()
    with pytest.raises(QuotaExceeded, match="1 uploads wait"):
        uploader.begin()
    begin.cancel(uploader.db, uploader.tenant, first, NOW)
    uploader.begin()


def test_what_is_sent_is_bounded_and_a_refused_part_leaves_nothing(
    uploader: Uploader, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = uploader.begin(10)
    for _ in range(3):  # the client repeats a part twice at most
        uploader.send(upload, b"0123456789")
    with pytest.raises(InvalidRequest) as caught:
        uploader.send(upload, b"0")
    assert caught.value.code == "upload_too_many_bytes"

    monkeypatch.setattr(parts, "MAX_PART_BYTES", 5)
    with pytest.raises(TooLarge, match="larger than 5 bytes"):
        uploader.send(upload, b"012345")
    monkeypatch.setattr(parts, "MAX_PARTS", 3)
    with pytest.raises(InvalidRequest, match="already has 3 parts"):
        uploader.send(upload, b"")
    assert uploader.stored() == ["uploads"] * 3


def test_completions_at_the_same_time_make_one_file(uploader: Uploader) -> None:
    upload = uploader.begin()
    part, together, got = uploader.send(upload), threading.Barrier(3), []

    def post() -> None:
        together.wait()
        got.append(uploader.complete(upload, part))

    threads = [threading.Thread(target=post) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len({view.file.id for view in got}) == 1
    assert uploader.count(FileRow) == 1
    assert uploader.stored() == ["files", "uploads"]


def test_nothing_is_taken_after_the_hour(uploader: Uploader) -> None:
    upload = uploader.begin()
    part = uploader.send(upload)
    late = NOW + LIFETIME
    for act in (
        lambda: parts.add_part(uploader.db, uploader.tenant, uploader.part_limits, upload, io.BytesIO(b""), late),
        lambda: complete(
            uploader.db, uploader.tenant, uploader.part_limits, upload, CompleteUpload(part_ids=[part]), late
        ),
        lambda: begin.cancel(uploader.db, uploader.tenant, upload, late),
    ):
        with pytest.raises(InvalidRequest) as caught:
            act()
        assert caught.value.code == "upload_expired"


def test_garbage_collection_removes_parts_however_the_upload_ended(uploader: Uploader) -> None:
    left, cancelled, completed, fresh = (
        uploader.begin(),
        uploader.begin(),
        uploader.begin(),
        uploader.begin(),
    )
    for upload in (left, cancelled, fresh):
        uploader.send(upload)
    begin.cancel(uploader.db, uploader.tenant, cancelled, NOW)
    uploader.complete(completed, uploader.send(completed))
    with uploader.db.write() as session:
        session.get_one(UploadRow, 4).expires_at = NOW + 2 * LIFETIME

    gc, due = UploadGc(uploader.db, uploader.part_limits.storage_uri), NOW + LIFETIME + GRACE
    assert gc.run_once(due - timedelta(seconds=1)) == {}
    assert gc.run_once(due) == {"collected": 3}
    assert gc.run_once(due) == {}

    assert [uploader.status(u) for u in (left, cancelled, completed, fresh)] == [
        "expired",
        "cancelled",
        "completed",
        "pending",
    ]
    assert uploader.stored() == ["files", "uploads"]
    assert uploader.count(UploadPartRow) == 1


def test_parts_that_cannot_be_removed_hold_up_no_other_upload_and_go_later(
    uploader: Uploader, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload, other = uploader.begin(), uploader.begin()
    for sent in (upload, other):
        uploader.send(sent)
    gc, due = UploadGc(uploader.db, uploader.part_limits.storage_uri), NOW + LIFETIME + GRACE

    def stuck(uri: str) -> None:
        if upload in uri:
            raise StorageDown
        remove(uri)

    with monkeypatch.context() as broken:
        broken.setattr("orchestrator.uploads.gc.remove", stuck)
        assert gc.run_once(due) == {"delayed": 1, "collected": 1}
    assert (uploader.status(upload), uploader.stored()) == ("expired", ["uploads"])
    assert gc.run_once(due) == {"collected": 1}
    assert uploader.stored() == []


def test_a_file_beyond_the_bound_is_refused_even_if_it_was_announced_smaller(uploader: Uploader) -> None:
    upload = uploader.begin()
    part = uploader.send(upload)
    uploader.part_limits = replace(uploader.part_limits, max_upload_bytes=10)
    with pytest.raises(TooLarge):
        uploader.complete(upload, part)
    assert uploader.stored() == ["uploads"]
