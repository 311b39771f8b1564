"""What killed processes leave on disks: contents without a row in storage, tenants' rows in temporary folders."""

import os
import signal
import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import pytest

from orchestrator.db.database import Database
from orchestrator.db.migrate import upgrade
from orchestrator.files.gc import FileGc
from orchestrator.files.orphans import OrphanFiles
from orchestrator.tenancy.keys import create_tenant_key
from orchestrator.tenancy.tenants import NewTenant, create_tenant
from tests.builders.api_process import get, serving
from tests.builders.live_api import make_catalogue
from tests.builders.rows import NOW, make_tenant
from tests.faults.dying import Died, dying_at
from tests.integration.test_orphan_files import orphan
from workers.contract.owned_folder import SCRATCH, owned_folder, remove_abandoned

ROW = b'{"text": "a row of a tenant"}\n'
CONTENT = ROW * 150_000
"""More than four chunks."""
DAY_S = 86_400


def contents(folder: Path) -> list[Path]:
    return sorted((folder / "storage").rglob("content"))


def send(url: str, key: str) -> httpx2.Response:
    files, data = {"file": ("a.jsonl", CONTENT)}, {"purpose": "fine-tune"}
    return httpx2.post(
        f"{url}/v1/files", files=files, data=data, headers={"authorization": f"Bearer {key}"}, timeout=60
    )


@pytest.mark.slow
@pytest.mark.parametrize("place", ["upload.chunk:kill9@2", "upload.stored:kill9"])
def test_f36_uploads_whose_api_was_killed_leave_nothing_after_a_day(tmp_path: Path, place: str):
    database_url = f"sqlite:///{tmp_path / 'orchard.sqlite'}"
    upgrade(database_url)
    db = Database(database_url)
    create_tenant(db, make_catalogue(), NewTenant(slug="acme", name="Acme"), datetime.now(UTC))
    _, key = create_tenant_key(db, "acme", "test", datetime.now(UTC))
    for _ in range(3):
        with serving(tmp_path, ORCHARD_FAIL=place) as (url, _, server):
            get(f"{url}/healthz")
            with pytest.raises(httpx2.TransportError):
                send(url, key)
            assert server.wait(30) == -signal.SIGKILL
    assert len(contents(tmp_path)) == 3
    with serving(tmp_path) as (url, settings, _):
        get(f"{url}/healthz")
        alive = send(url, key).json()["id"]
    orphans = OrphanFiles(db, settings["ORCHARD_STORAGE_URI"], DAY_S)
    assert orphans.run_once(datetime.now(UTC)) == {}  # for all it knows they are being written
    orphans = OrphanFiles(db, settings["ORCHARD_STORAGE_URI"], DAY_S)
    assert orphans.run_once(datetime.now(UTC) + timedelta(seconds=DAY_S)) == {"orphans": 3}
    FileGc(db).run_once(datetime.now(UTC))
    assert [path.parent.name for path in contents(tmp_path)] == [alive]
    db.dispose()


def test_f36_a_collector_killed_between_row_and_bytes_is_finished_by_the_next(db: Database, tmp_path: Path):
    tenant, storage = make_tenant(db).id, (tmp_path / "storage").as_uri()
    orphan(storage, tenant)
    with dying_at("orphans.adopted") as struck, pytest.raises(Died):
        OrphanFiles(db, storage, DAY_S).run_once(NOW)
    assert struck
    assert len(contents(tmp_path)) == 1
    assert OrphanFiles(db, storage, DAY_S).run_once(NOW) == {}
    FileGc(db).run_once(NOW)
    assert contents(tmp_path) == []


READS_ROWS = """
import sys
from workers.contract.spec import DatasetRef
from workers.data.reading import read_rows
ref = DatasetRef.model_validate_json(sys.argv[1])
for _ in read_rows(ref):
    pass
"""


def test_f36_rows_that_a_killed_encoder_was_reading_are_gone_when_the_next_one_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from tests.builders.specs import make_dataset, sum_rows
    from workers.orphans import remove_folders

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    ref = make_dataset(tmp_path / "train.jsonl", sum_rows(4))
    environment = os.environ | {"TMPDIR": str(tmp_path / "tmp"), "ORCHARD_FAIL": "rows.fetched:kill9"}
    host = subprocess.run([sys.executable, "-c", READS_ROWS, ref.model_dump_json()], env=environment, check=False)
    assert host.returncode == -signal.SIGKILL
    (left,) = (tmp_path / "tmp").rglob("rows")
    assert left.read_bytes() == (tmp_path / "train.jsonl").read_bytes()
    (tmp_path / "tmp" / "orchard-scratch-file").touch()  # no folder, so none of ours
    with owned_folder(f"{SCRATCH}rows-") as alive:
        (alive / "rows.jsonl").write_bytes(ROW)
        assert remove_folders() == [left.parent]
        assert (alive / "rows.jsonl").read_bytes() == ROW
        assert remove_abandoned(SCRATCH) == []
    assert not alive.exists()


@pytest.mark.slow
@pytest.mark.live
@pytest.mark.timeout(1_200)
def test_f36_a_host_killed_amid_its_rows_leaves_none_once_its_successor_runs(tmp_path: Path):
    from tests.builders.specs import make_dataset, make_job_spec, sum_rows
    from tests.builders.tiny_base import make_tiny_base
    from tests.faults.worker import Job
    from workers.contract.reports import ExitClass, Outcome

    tiny = make_tiny_base(tmp_path / "tiny")
    rows = make_dataset(tmp_path / "rows.jsonl", sum_rows(8))
    job = Job(make_job_spec(tmp_path, tiny, training=rows), tmp_path)
    before = set(Path(tempfile.gettempdir()).glob(f"{SCRATCH}encoded-*"))
    assert job.run("encoded.fetched:kill9") == -signal.SIGKILL
    left = [path for path in Path(tempfile.gettempdir()).glob(f"{SCRATCH}encoded-*/*") if path.parent not in before]
    assert len(left) == 1
    assert job.run() == 0
    assert job.told(Outcome)[0].exit_class is ExitClass.OK
    assert not left[0].parent.exists()
