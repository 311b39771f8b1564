"""Files in an S3 bucket: the same service, another storage URI."""

import io
from collections.abc import Iterator

import pytest

from orchestrator.db.database import Database
from orchestrator.errors import NotFound, TooLarge
from orchestrator.files.delete import delete_file
from orchestrator.files.queries import open_content
from orchestrator.files.upload import NewFile, Shelf, upload
from tests.builders.rows import NOW, make_tenant

pytestmark = pytest.mark.slow
CONTENT = b'{"text": "a row"}\n' * 100


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    import s3fs
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    s3fs.S3FileSystem().mkdir("orchard-files")
    yield "s3://orchard-files/prefix"
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_file_is_stored_read_and_deleted_in_a_bucket(db: Database, bucket: str) -> None:
    import fsspec

    tenant = make_tenant(db)
    new = NewFile(filename="t.jsonl", purpose="fine-tune")
    file = upload(db, tenant.id, Shelf(bucket, 10_000), new, io.BytesIO(CONTENT), NOW)

    assert (file.status, file.x_orchard.rows) == ("processed", 100)
    assert b"".join(open_content(db, tenant.id, file.id, NOW).chunks) == CONTENT
    delete_file(db, tenant.id, file.id, NOW)
    with pytest.raises(NotFound):
        open_content(db, tenant.id, file.id, NOW)
    with pytest.raises(TooLarge):
        upload(db, tenant.id, Shelf(bucket, 10), new, io.BytesIO(CONTENT), NOW)
    filesystem, path = fsspec.url_to_fs(bucket)
    filesystem.invalidate_cache()
    assert filesystem.find(path) == []
