"""Files in an S3 bucket: the same service, another storage URI."""

import io

import pytest

from orchestrator.db.database import Database
from orchestrator.errors import NotFound, StorageDown, TooLarge
from orchestrator.files.delete import delete_file
from orchestrator.files.queries import open_content
from orchestrator.files.upload import NewFile, UploadLimits, upload
from orchestrator.uploads.begin import LIFETIME, NewUpload, PartUploadLimits, begin
from orchestrator.uploads.complete import CompleteUpload, complete
from orchestrator.uploads.gc import GRACE, UploadGc
from orchestrator.uploads.parts import add_part
from tests.builders.rows import NOW, make_tenant
from tests.builders.s3_server import s3_bucket  # noqa: F401  # a fixture

pytestmark = pytest.mark.slow
CONTENT = b'{"text": "a row"}\n' * 100


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_file_is_stored_read_and_deleted_in_a_bucket(db: Database, s3_bucket: str) -> None:  # noqa: F811
    import fsspec

    tenant = make_tenant(db)
    new = NewFile(filename="t.jsonl", purpose="fine-tune")
    file = upload(db, tenant.id, UploadLimits(s3_bucket, 10_000), new, io.BytesIO(CONTENT), NOW)

    assert (file.status, file.x_orchard.rows) == ("processed", 100)
    assert b"".join(open_content(db, tenant.id, file.id, NOW).chunks) == CONTENT
    delete_file(db, tenant.id, file.id, NOW)
    with pytest.raises(NotFound):
        open_content(db, tenant.id, file.id, NOW)
    with pytest.raises(TooLarge):
        upload(db, tenant.id, UploadLimits(s3_bucket, 10), new, io.BytesIO(CONTENT), NOW)
    filesystem, path = fsspec.url_to_fs(s3_bucket)
    filesystem.invalidate_cache()
    assert filesystem.find(path) == []


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_file_in_parts_goes_through_a_bucket_and_leaves_no_part_behind(db: Database, s3_bucket: str) -> None:  # noqa: F811
    import fsspec

    tenant, part_limits = make_tenant(db).id, PartUploadLimits(s3_bucket, 10_000)
    new = NewUpload(filename="t.jsonl", purpose="fine-tune", bytes=len(CONTENT), mime_type="text/plain")
    begun = begin(db, tenant, part_limits, new, NOW)
    ids = [
        add_part(db, tenant, part_limits, begun.id, io.BytesIO(half), NOW).id
        for half in (CONTENT[:1_000], CONTENT[1_000:])
    ]
    file = complete(db, tenant, part_limits, begun.id, CompleteUpload(part_ids=ids), NOW).file

    assert file is not None
    assert b"".join(open_content(db, tenant, file.id, NOW).chunks) == CONTENT
    assert UploadGc(db, s3_bucket).run_once(NOW + LIFETIME + GRACE) == {"collected": 1}
    filesystem, path = fsspec.url_to_fs(s3_bucket)
    filesystem.invalidate_cache()
    assert [key.removeprefix(f"{path}/tenants/{tenant}/") for key in filesystem.find(path)] == [
        f"files/{file.id}/content"
    ]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_store_that_does_not_answer_is_an_outage_and_no_bug(
    db: Database,
    s3_bucket: str,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from s3fs import S3FileSystem

    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    S3FileSystem.clear_instance_cache()
    new = NewFile(filename="t.jsonl", purpose="fine-tune")
    with pytest.raises(StorageDown):
        upload(db, make_tenant(db).id, UploadLimits(s3_bucket, 10_000), new, io.BytesIO(CONTENT), NOW)
    S3FileSystem.clear_instance_cache()
