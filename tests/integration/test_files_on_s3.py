"""Files in an S3 bucket: the same service, another storage URI."""

import io

import pytest

from orchestrator.db.database import Database
from orchestrator.errors import NotFound, TooLarge
from orchestrator.files.delete import delete_file
from orchestrator.files.queries import open_content
from orchestrator.files.upload import NewFile, Shelf, upload
from tests.builders.rows import NOW, make_tenant
from tests.builders.s3_server import s3_bucket  # noqa: F401  # a fixture

pytestmark = pytest.mark.slow
CONTENT = b'{"text": "a row"}\n' * 100


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_file_is_stored_read_and_deleted_in_a_bucket(db: Database, s3_bucket: str) -> None:  # noqa: F811
    import fsspec

    tenant = make_tenant(db)
    new = NewFile(filename="t.jsonl", purpose="fine-tune")
    file = upload(db, tenant.id, Shelf(s3_bucket, 10_000), new, io.BytesIO(CONTENT), NOW)

    assert (file.status, file.x_orchard.rows) == ("processed", 100)
    assert b"".join(open_content(db, tenant.id, file.id, NOW).chunks) == CONTENT
    delete_file(db, tenant.id, file.id, NOW)
    with pytest.raises(NotFound):
        open_content(db, tenant.id, file.id, NOW)
    with pytest.raises(TooLarge):
        upload(db, tenant.id, Shelf(s3_bucket, 10), new, io.BytesIO(CONTENT), NOW)
    filesystem, path = fsspec.url_to_fs(s3_bucket)
    filesystem.invalidate_cache()
    assert filesystem.find(path) == []
