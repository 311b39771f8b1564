"""Contents without a row go after a safe age, through the row of a deleted file; whatever is alive stays."""

import io
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from orchestrator.artifacts.results import write_result_file
from orchestrator.db.database import Database
from orchestrator.db.states import JobState
from orchestrator.db.tables import FileRow
from orchestrator.files.gc import FileGc
from orchestrator.files.orphans import OrphanFiles
from orchestrator.files.tenant_rounds import PAUSE, TenantRounds
from orchestrator.files.upload import ForgottenUpload, NewFile, UploadLimits, upload
from orchestrator.ids import new_id
from orchestrator.storage.layout import file_uri
from orchestrator.storage.listing import last_change
from orchestrator.storage.objects import write_chunks
from orchestrator.uploads.begin import LIFETIME, NewUpload, PartUploadLimits, begin
from orchestrator.uploads.gc import GRACE, UploadGc
from orchestrator.uploads.orphans import OrphanParts
from orchestrator.uploads.queries import parts_uri
from tests.builders.rows import NOW, make_job, make_tenant
from tests.builders.s3_server import s3_bucket  # noqa: F401  # a fixture
from workers.contract.failpoints import hooked

DAY_S = 86_400
NEW = NewFile(filename="a.jsonl", purpose="fine-tune")
ROWS = b'{"text": "a row"}\n' * 10


def orphan(storage: str, tenant_id: str, age_s: float = DAY_S + 1) -> str:
    """A content without a row, last written `age_s` seconds before NOW."""
    file_id = new_id("file-")
    uri = file_uri(storage, tenant_id, file_id)
    write_chunks(uri, [ROWS])
    if uri.startswith("file://"):
        then = NOW.timestamp() - age_s
        os.utime(uri.removeprefix("file://"), (then, then))
    return file_id


def stored(folder: Path) -> set[str]:
    return {path.parent.name for path in folder.rglob("content")}


def test_a_content_without_a_row_is_removed_after_a_day_and_its_neighbors_stay(db: Database, tmp_path: Path):
    tenant, storage = make_tenant(db).id, tmp_path.as_uri()
    old, young = orphan(storage, tenant), orphan(storage, tenant, age_s=DAY_S - 60)
    kept = upload(db, tenant, UploadLimits(storage, 10_000), NEW, io.BytesIO(ROWS), NOW).id
    os.utime(tmp_path / "tenants" / tenant / "files" / kept / "content", (0, 0))
    (tmp_path / "tenants" / tenant / "files" / "notes").mkdir()  # an operator's own
    assert OrphanFiles(db, storage, DAY_S).run_once(NOW) == {"orphans": 1}
    assert FileGc(db).run_once(NOW) == {"files_collected": 1}
    assert stored(tmp_path) == {young, kept}
    assert (tmp_path / "tenants" / tenant / "files" / "notes").is_dir()
    with db.read() as session:
        rows = {row.id: row for row in session.scalars(select(FileRow))}
    assert rows.keys() == {old, kept}
    assert rows[old].deleted_at == rows[old].collected_at == NOW
    assert OrphanFiles(db, storage, DAY_S).run_once(NOW) == {}


def test_an_upload_that_is_still_written_is_never_old(tmp_path: Path):
    uri = file_uri(tmp_path.as_uri(), "tenant-1", "file-" + "0" * 24)
    path = Path(uri.removeprefix("file://"))

    def slowly():
        yield ROWS
        os.utime(path, (0, 0))
        yield ROWS * 100_000  # more than any buffer: it reaches the file
        assert last_change(uri).timestamp() > datetime.now(UTC).timestamp() - 3_600

    write_chunks(uri, slowly())


def test_a_process_that_wakes_up_after_its_content_was_given_up_makes_no_file(db: Database, tmp_path: Path):
    tenant, storage = make_tenant(db).id, tmp_path.as_uri()

    def stand_still(name: str, _path: Path | None) -> None:
        if name == "upload.stored":
            for path in tmp_path.rglob("content"):
                os.utime(path, (0, 0))
            OrphanFiles(db, storage, DAY_S).run_once(NOW)
            FileGc(db).run_once(NOW)

    with hooked(stand_still), pytest.raises(ForgottenUpload, match="Repeat"):
        upload(db, tenant, UploadLimits(storage, 10_000), NEW, io.BytesIO(ROWS), NOW)
    assert stored(tmp_path) == set()
    again = upload(db, tenant, UploadLimits(storage, 10_000), NEW, io.BytesIO(ROWS), NOW)
    assert stored(tmp_path) == {again.id}


def test_the_result_of_a_job_that_is_being_published_waits_for_its_row(db: Database, tmp_path: Path):
    storage = tmp_path.as_uri()
    job, over = make_job(db, JobState.PUBLISHING), make_job(db, JobState.FAILED)
    for each in (job, over):
        write_result_file(storage, each.tenant_id, each.id, b"step\n")
    for path in tmp_path.rglob("content"):
        os.utime(path, (0, 0))
    OrphanFiles(db, storage, DAY_S).run_once(NOW)
    FileGc(db).run_once(NOW)
    assert [path.relative_to(tmp_path).parts[1] for path in tmp_path.rglob("content")] == [job.tenant_id]


def test_a_part_that_came_after_its_upload_was_over_is_removed(db: Database, tmp_path: Path):
    tenant, storage = make_tenant(db).id, tmp_path.as_uri()
    fields = {"bytes": 100, "filename": "a.jsonl", "mime_type": "text/plain", "purpose": "fine-tune"}
    over, open_one = (
        begin(db, tenant, PartUploadLimits(storage, 10_000), NewUpload.model_validate(fields), at).id
        for at in (NOW - LIFETIME - GRACE, NOW)
    )
    UploadGc(db, storage).run_once(NOW)
    for upload_id in (over, open_one):
        write_chunks(f"{parts_uri(storage, tenant, upload_id)}/part_1", [ROWS])
        os.utime(tmp_path / "tenants" / tenant / "uploads" / upload_id / "part_1", (0, 0))
    assert OrphanParts(db, storage, DAY_S).run_once(NOW) == {"orphans": 1}
    assert [path.parent.name for path in tmp_path.rglob("part_1")] == [open_one]


def test_tenants_take_turns_and_storage_is_listed_once_an_hour(sqlite_db: Database):
    tenants = sorted(make_tenant(sqlite_db).id for _ in range(5))
    rounds = TenantRounds(sqlite_db, a_pass=2)
    assert [rounds.next(NOW) for _ in range(4)] == [tenants[:2], tenants[2:4], tenants[4:], []]
    assert rounds.next(NOW + PAUSE - timedelta(seconds=1)) == []
    assert rounds.next(NOW + PAUSE) == tenants[:2]


@pytest.mark.slow
def test_in_a_bucket_too_only_what_is_old_and_without_a_row_goes(sqlite_db: Database, s3_bucket: str):  # noqa: F811
    import s3fs

    tenant = make_tenant(sqlite_db).id
    gone = orphan(s3_bucket, tenant)
    kept = upload(sqlite_db, tenant, UploadLimits(s3_bucket, 10_000), NEW, io.BytesIO(ROWS), NOW).id
    soon, later = datetime.now(UTC), datetime.now(UTC) + timedelta(seconds=DAY_S + 60)
    assert OrphanFiles(sqlite_db, s3_bucket, DAY_S).run_once(soon) == {}
    assert OrphanFiles(sqlite_db, s3_bucket, DAY_S).run_once(later) == {"orphans": 1}
    FileGc(sqlite_db).run_once(later)
    filesystem = s3fs.S3FileSystem()
    filesystem.invalidate_cache()
    found = filesystem.find(s3_bucket)
    assert [kept in path for path in found] == [True]
    assert not any(gone in path for path in found)
