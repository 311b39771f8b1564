"""Checkpoints nobody needs go, rows before bytes; whoever is killed in between leaves nothing that is not finished."""

from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from sqlalchemy import select

from orchestrator.checkpoints import attempt_gc as attempts
from orchestrator.checkpoints import gc as erase
from orchestrator.checkpoints.attempt_gc import AttemptGc
from orchestrator.checkpoints.gc import CheckpointGc
from orchestrator.checkpoints.retention import CheckpointRetention
from orchestrator.checkpoints.states import CheckpointState, mark_corrupt, mark_verified
from orchestrator.db.database import Database
from orchestrator.db.job_tables import AttemptRow, CheckpointRow, JobRow
from orchestrator.db.states import JobState
from orchestrator.db.tables import CheckpointPermissionRow, FileRow
from orchestrator.errors import StorageDown
from orchestrator.files import gc as files
from orchestrator.files.gc import FileGc
from orchestrator.storage.listing import children
from orchestrator.storage.objects import remove
from tests.builders.rows import NOW, make_checkpoint, make_file, make_job, make_tenant
from tests.builders.s3_server import s3_bucket  # noqa: F401  # a fixture
from workers.contract.failpoints import hooked

DAY = timedelta(days=1)
COMMITTED, CORRUPT, DELETING, DELETED = CheckpointState


class Killed(Exception):
    """What a failpoint raises here for `kill -9`."""


def killing(at: str) -> Any:
    def hook(name: str, path: Path | None) -> None:
        if name == at:
            raise Killed

    return hooked(hook)


def job_with_attempt(db: Database, folder: Path, state: JobState = JobState.RUNNING, **changes: Any) -> JobRow:
    job = make_job(db, state, **changes)
    with db.write() as session:
        row = session.get_one(JobRow, job.seq)
        row.spec = row.spec | {"output_uri": (folder / "jobs" / job.id).as_uri()}
    return row


def saved(db: Database, job: JobRow, step: int, attempt: int = 1, **changes: Any) -> CheckpointRow:
    """A committed checkpoint whose bytes exist."""
    folder = leftover(job, f"a{attempt}/step-{step}")
    return make_checkpoint(db, job, step, attempt=attempt, uri=folder.as_uri(), **changes)


def leftover(job: JobRow, below: str) -> Path:
    folder = Path(job.spec["output_uri"].removeprefix("file://")) / below
    folder.mkdir(parents=True)
    (folder / "adapter.safetensors").write_bytes(b"weights")
    return folder


def ended(db: Database, job: JobRow, number: int = 1, ago: timedelta = DAY) -> None:
    """The attempt is over; the caller has chosen a state of the job that fits."""
    with db.write() as session:
        row = session.get_one(AttemptRow, (job.id, number))
        row.ended_at, row.exit_class = NOW - ago, "infra"


def states(db: Database, job: JobRow) -> dict[int, str]:
    with db.read() as session:
        rows = session.scalars(select(CheckpointRow).where(CheckpointRow.job_id == job.id))
        return {row.step: row.state for row in rows}


def folders(job: JobRow, attempt: int = 1) -> set[str]:
    below = Path(job.spec["output_uri"].removeprefix("file://")) / f"a{attempt}"
    return {path.name for path in below.iterdir()} if below.exists() else set()


def test_superseded_checkpoints_lose_their_row_first_and_their_bytes_next(db: Database, tmp_path: Path):
    job = job_with_attempt(db, tmp_path)
    for step in (1, 2, 3, 4):
        saved(db, job, step)
    assert CheckpointRetention(db, keep=2).run_once(NOW) == {"marked_for_deletion": 2}
    assert states(db, job) == {1: DELETING, 2: DELETING, 3: COMMITTED, 4: COMMITTED}
    assert folders(job) == {"step-1", "step-2", "step-3", "step-4"}
    assert CheckpointGc(db).run_once(NOW) == {"erased": 2}
    assert states(db, job) == {1: DELETED, 2: DELETED, 3: COMMITTED, 4: COMMITTED}
    assert folders(job) == {"step-3", "step-4"}
    assert CheckpointRetention(db, keep=2).run_once(NOW) == CheckpointGc(db).run_once(NOW) == {}


def test_killed_between_bytes_and_row_the_next_pass_finishes(db: Database, tmp_path: Path):
    job = job_with_attempt(db, tmp_path)
    saved(db, job, 1, state=DELETING)
    saved(db, job, 2, state=DELETING)
    with killing("checkpoints.erased"), pytest.raises(Killed):
        CheckpointGc(db).run_once(NOW)
    assert states(db, job) == {1: DELETING, 2: DELETING}
    assert folders(job) == {"step-2"}
    assert CheckpointGc(db).run_once(NOW) == {"erased": 2}
    assert states(db, job) == {1: DELETED, 2: DELETED}


def test_the_one_resumed_from_and_the_shared_one_stay(db: Database, tmp_path: Path):
    job = job_with_attempt(db, tmp_path)
    shared, resumed, *_ = [saved(db, job, step, metrics={}) for step in (1, 2, 3, 4)]
    other = make_tenant(db)
    with db.write() as session:
        mark_verified(session, job.id, resumed.step, NOW)
        session.add(
            CheckpointPermissionRow(
                id="cp_1", tenant_id=job.tenant_id, checkpoint_id=shared.id, project_id=other.id, created_at=NOW
            )
        )
    CheckpointRetention(db, keep=1).run_once(NOW)
    assert states(db, job) == {1: COMMITTED, 2: COMMITTED, 3: DELETING, 4: COMMITTED}


@pytest.mark.parametrize("state", [JobState.ADMITTED, JobState.STARTING])
def test_nothing_goes_while_an_attempt_chooses_among_them(db: Database, tmp_path: Path, state: JobState):
    job = job_with_attempt(db, tmp_path, state)
    for step in (1, 2, 3):
        saved(db, job, step)
    assert CheckpointRetention(db, keep=1).run_once(NOW) == {}
    assert set(states(db, job).values()) == {COMMITTED}


def test_a_checkpoint_that_is_being_deleted_is_not_brought_back_by_a_late_report(db: Database, tmp_path: Path):
    job = job_with_attempt(db, tmp_path)
    row = saved(db, job, 1, state=DELETING)
    with db.write() as session:
        mark_corrupt(session, job.id, row.uri)
        mark_verified(session, job.id, 1, NOW)
    assert states(db, job) == {1: DELETING}


def test_storage_that_is_away_delays_and_keeps_the_rows(db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    job = job_with_attempt(db, tmp_path)
    saved(db, job, 1, state=DELETING)

    def away(_: str) -> None:
        raise StorageDown

    with monkeypatch.context() as broken:
        broken.setattr(erase, "remove", away)
        assert CheckpointGc(db).run_once(NOW) == {"delayed": 1}
    assert states(db, job) == {1: DELETING}
    assert CheckpointGc(db).run_once(NOW) == {"erased": 1}


@pytest.mark.parametrize("room", [erase, attempts, files])
def test_what_cannot_be_deleted_holds_up_nothing_else(
    db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: ModuleType
):
    stuck, other = [job_with_attempt(db, tmp_path) for _ in range(2)]
    for job, ago in ((stuck, 2 * DAY), (other, DAY)):
        saved(db, job, 1, state=DELETING)
        leftover(job, "a1/step-2")
        ended(db, job, ago=ago)
        folder = leftover(job, f"file-of-{job.id}")
        make_file(db, id=folder.name, deleted_at=NOW - ago, uri=f"{folder.as_uri()}/adapter.safetensors")

    def refuse(uri: str) -> None:
        if stuck.id in uri:
            raise StorageDown
        remove(uri)

    monkeypatch.setattr(room, "remove", refuse)
    step = {erase: CheckpointGc(db), attempts: AttemptGc(db, 86_400), files: FileGc(db)}[room]
    counts = step.run_once(NOW)
    assert counts["delayed"] == counts["erased"] + counts["collected"] + counts["files_collected"] == 1


def test_a_row_that_points_elsewhere_deletes_nothing(db: Database, tmp_path: Path):
    job = job_with_attempt(db, tmp_path)
    elsewhere = tmp_path / "jobs" / "another" / "a1" / "step-1"
    elsewhere.mkdir(parents=True)
    make_checkpoint(db, job, 1, uri=elsewhere.as_uri(), state=DELETING)
    assert CheckpointGc(db).run_once(NOW) == {"refused": 1}
    assert elsewhere.exists()


def test_of_a_dead_attempt_only_what_a_row_speaks_for_stays(db: Database, tmp_path: Path):
    job = job_with_attempt(db, tmp_path)
    saved(db, job, 1)
    saved(db, job, 2, state=CORRUPT)
    for name in ("a1/step-3", "a1/.step-4.tmp-0", "a1/adapter"):
        leftover(job, name)
    ended(db, job)
    assert AttemptGc(db, 86_400).run_once(NOW) == {"collected": 1, "leftovers": 3}
    assert folders(job) == {"step-1", "step-2"}
    assert states(db, job) == {1: COMMITTED, 2: DELETING}
    assert AttemptGc(db, 86_400).run_once(NOW) == {}


def test_the_adapter_of_the_job_stays(db: Database, tmp_path: Path):
    job = job_with_attempt(db, tmp_path)
    adapter = leftover(job, "a1/adapter")
    ended(db, job)
    with db.write() as session:
        session.get_one(JobRow, job.seq).adapter = {"uri": adapter.as_uri()}
    AttemptGc(db, 86_400).run_once(NOW)
    assert folders(job) == {"adapter"}


def test_attempts_that_live_or_ended_lately_are_left_alone(db: Database, tmp_path: Path):
    live, lately = job_with_attempt(db, tmp_path), job_with_attempt(db, tmp_path)
    for job in (live, lately):
        leftover(job, "a1/step-3")
    ended(db, lately, ago=DAY - timedelta(seconds=1))
    assert AttemptGc(db, 86_400).run_once(NOW) == {}
    assert folders(live) == folders(lately) == {"step-3"}


def test_of_a_cancelled_job_nothing_stays(db: Database, tmp_path: Path):
    job = job_with_attempt(db, tmp_path)
    saved(db, job, 1)
    leftover(job, "a1/adapter")
    ended(db, job)
    with db.write() as session:
        row = session.get_one(JobRow, job.seq)
        row.state, row.lease_token = JobState.CANCELLED, None
        row.finished_at, row.state_deadline = NOW - DAY, None
    AttemptGc(db, 86_400).run_once(NOW)
    CheckpointGc(db).run_once(NOW)
    assert states(db, job) == {1: DELETED}
    assert folders(job) == set()


def test_a_collector_killed_between_two_leftovers_is_finished_by_the_next_pass(db: Database, tmp_path: Path):
    job = job_with_attempt(db, tmp_path)
    for step in (1, 2, 3):
        leftover(job, f"a1/step-{step}")
    ended(db, job)
    with killing("attempts.leftover"), pytest.raises(Killed):
        AttemptGc(db, 86_400).run_once(NOW)
    assert len(folders(job)) == 2
    assert AttemptGc(db, 86_400).run_once(NOW) == {"collected": 1, "leftovers": 2}
    assert folders(job) == set()


def test_bytes_of_a_deleted_file_that_were_left_behind_are_removed_once(db: Database, tmp_path: Path):
    gone = make_file(db, id="file-gone", deleted_at=NOW, uri=(tmp_path / "file-gone" / "content").as_uri())
    kept = make_file(db, id="file-kept", uri=(tmp_path / "file-kept" / "content").as_uri())
    for file in (gone, kept):
        (tmp_path / file.id).mkdir()
        (tmp_path / file.id / "content").write_bytes(b"{}")
    assert FileGc(db).run_once(NOW) == {"files_collected": 1}
    assert [path.name for path in tmp_path.glob("file-*")] == ["file-kept"]
    with db.read() as session:
        assert session.scalars(select(FileRow.id).where(FileRow.collected_at.is_not(None))).all() == ["file-gone"]
    assert FileGc(db).run_once(NOW) == {}


@pytest.mark.slow
def test_on_s3_only_what_rows_speak_for_stays_and_no_old_listing_is_believed(sqlite_db: Database, s3_bucket: str):  # noqa: F811
    import s3fs

    job = make_job(sqlite_db, JobState.RUNNING)
    prefix = f"{s3_bucket}/jobs/{job.id}"
    with sqlite_db.write() as session:
        row = session.get_one(JobRow, job.seq)
        row.spec = row.spec | {"output_uri": prefix}
    for step, state in ((1, COMMITTED), (2, DELETING)):
        make_checkpoint(sqlite_db, job, step, attempt=1, uri=f"{prefix}/a1/step-{step}", state=state)
    s3fs.S3FileSystem().pipe_file(f"{prefix}/a1/step-1/weights", b"1")
    assert children(f"{prefix}/a1") == ["step-1"]
    elsewhere = s3fs.S3FileSystem(skip_instance_cache=True)  # another process, which this one's listing knows not of
    for name in ("step-2/weights", "step-3/weights", "step-3/deep/manifest.json"):
        elsewhere.pipe_file(f"{prefix}/a1/{name}", b"1")
    ended(sqlite_db, job)
    assert AttemptGc(sqlite_db, 86_400).run_once(NOW) == {"collected": 1, "leftovers": 1}
    assert CheckpointGc(sqlite_db).run_once(NOW) == {"erased": 1}
    elsewhere.invalidate_cache()
    assert [path.split(f"{job.id}/")[1] for path in elsewhere.find(prefix)] == ["a1/step-1/weights"]
