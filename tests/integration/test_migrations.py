"""The migrations build what the tables say, on both databases."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import column, inspect, select, table, text, update

from orchestrator.db.columns import Base, Json
from orchestrator.db.database import Database
from orchestrator.db.encoding_tables import EncodingRow, PreviewRow
from orchestrator.db.job_tables import JobRow
from orchestrator.db.migrate import alembic_config, is_current, upgrade
from orchestrator.db.states import Desired, JobState, StopReason
from orchestrator.db.tables import FileRow, HostRow, TenantRow, UnusableBaseRow
from orchestrator.issues.report import issue_page
from orchestrator.paging import PageWindow
from orchestrator.scheduling.actions import Admit
from orchestrator.scheduling.load import load_snapshot
from orchestrator.scheduling.plan import plan
from tests.builders.rows import NOW, make_file, make_job
from tests.builders.specs import make_host_spec
from tests.builders.world import make_catalogue
from workers.contract.spec import HostSpec


def test_the_newest_revision_equals_the_tables(empty_url: str):
    upgrade(empty_url)
    db = Database(empty_url)
    with db.engine.connect() as connection:
        difference = compare_metadata(MigrationContext.configure(connection), Base.metadata)
    db.dispose()
    assert difference == []


def test_upgrading_twice_changes_nothing_and_readiness_knows(empty_url: str):
    db = Database(empty_url)
    assert not is_current(db.engine)
    upgrade(empty_url)
    upgrade(empty_url)
    assert is_current(db.engine)
    db.dispose()


def test_every_migration_can_be_taken_back(empty_url: str):
    upgrade(empty_url)
    db = Database(empty_url)
    migrate(db, "base")
    left = set(inspect(db.engine).get_table_names()) - {"alembic_version"}
    db.dispose()
    assert left == set()


def test_a_host_asked_for_before_lanes_is_started_from_its_row(empty_url: str):
    upgrade(empty_url)
    db = Database(empty_url)
    spec = make_host_spec(Path("/nowhere")).model_dump(mode="json")
    before = {key: spec[key] for key in spec.keys() - {"task", "lane", "devices", "orchestrator_timeout_s"}}
    before |= {"stepper": "fused", "trust_s": 77.0}
    with db.write() as session:
        session.add(HostRow(**host_columns(before)))
    migrate(db, "0002", "head")
    with db.read() as session:
        host = session.scalars(select(HostRow)).one()
    db.dispose()
    assert HostSpec.model_validate(host.spec).orchestrator_timeout_s == 77
    assert (host.task, host.lane, host.devices) == ("causal_lm", "fused", 1)


def test_live_jobs_of_an_earlier_version_are_taken_over_and_can_be_given_back(empty_url: str):
    upgrade(empty_url)
    db = Database(empty_url)
    ids = {state: make_job(db, state).id for state in (JobState.QUEUED, JobState.RUNNING, JobState.PAUSED)}
    waiting = ids[JobState.QUEUED]
    with db.write() as session:
        session.execute(update(JobRow).where(JobRow.id == waiting).values(queue_reason="Waiting for a device."))
    migrate(db, "0003", "head")
    with db.read() as session:
        tenants, marks = session.scalars(select(TenantRow)).all(), session.scalars(select(UnusableBaseRow)).all()
        snapshot = load_snapshot(session, make_catalogue(), 600, 300, NOW)
    assert [tenant.suspended_at for tenant in tenants] == [None] * 3
    assert marks == []
    assert [(job.ref.id, job.constraint, job.kept_host_id) for job in snapshot.waiting] == [(waiting, None, None)]
    assert any(isinstance(action, Admit) for action in plan(snapshot, NOW))
    db.dispose()


def test_what_an_earlier_version_does_not_know_becomes_a_pause(empty_url: str):
    upgrade(empty_url)
    db = Database(empty_url)
    leaving = {
        (Desired.SUSPEND, StopReason.SUSPEND): (Desired.PAUSE, StopReason.PAUSE),
        (Desired.RUN, StopReason.SHUTDOWN): (Desired.RUN, StopReason.PAUSE),
        (Desired.CANCEL, StopReason.CANCEL): (Desired.CANCEL, StopReason.CANCEL),
    }
    ids = [make_job(db, JobState.STOPPING, desired=desired, stop_reason=reason).id for desired, reason in leaving]
    resting = make_job(db, JobState.PAUSED, desired=Desired.SUSPEND).id
    migrate(db, "0003")
    with db.engine.connect() as connection:
        rows = {row.id: row for row in connection.execute(text("SELECT id, desired, stop_reason FROM job"))}
    db.dispose()
    assert [(rows[job_id].desired, rows[job_id].stop_reason) for job_id in ids] == list(leaving.values())
    assert rows[resting].desired == Desired.PAUSE


def test_files_in_forms_that_an_earlier_version_cannot_read_become_bad_ones(empty_url: str):
    upgrade(empty_url)
    db = Database(empty_url)
    note = {"code": "converted", "message": "m", "line": 1, "rows": 1}
    plain, table, noted = (make_file(db, **each).id for each in ({}, {"container": "csv"}, {"notes": [note]}))
    migrate(db, "0008")
    with db.engine.connect() as connection:
        status = {row.id: row.status for row in connection.execute(text("SELECT id, status FROM file"))}
    migrate(db, "0008", "head")
    with db.read() as session:
        container = session.scalars(select(FileRow.container).where(FileRow.id == table)).one()
    db.dispose()
    assert status == {plain: "processed", table: "error", noted: "error"}
    assert container == "jsonl"


def test_an_earlier_version_reads_every_job_whose_rows_were_encoded(empty_url: str):
    upgrade(empty_url)
    db = Database(empty_url)
    for state in (JobState.QUEUED, JobState.PAUSED, JobState.SUCCEEDED, JobState.VALIDATING):
        make_job(db, state)
    with db.write() as session:
        some = session.scalars(select(EncodingRow)).all()[0]
        shown = {"training_encoding": some.key, "spec": {}, "until": NOW}
        session.add(PreviewRow(key="p", tenant_id=some.tenant_id, **shown))
    migrate(db, "0009")
    with db.engine.connect() as connection:
        specs = connection.scalars(select(column("spec", Json)).select_from(table("job"))).all()
    assert len(specs) == 4
    assert all("encoded" not in spec["data"]["training"] for spec in specs)
    migrate(db, "0009", "head")
    with db.read() as session:
        assert [job.training_encoding for job in session.scalars(select(JobRow))] == [None] * 4
    db.dispose()


def test_reports_of_files_are_taken_over_and_can_be_given_back(empty_url: str):
    upgrade(empty_url)
    db = Database(empty_url)
    bad, deleted = make_file(db), make_file(db, deleted_at=NOW)
    job = make_job(db, JobState.FAILED)
    migrate(db, "0010")
    issues = [{"line": n, "field": None, "code": f"code_{n % 2}", "message": "bad"} for n in range(1, 1_001)]
    stored = table("file", column("id"), column("issues", Json))
    with db.engine.begin() as connection:
        for file in (bad, deleted):
            connection.execute(update(stored).where(stored.c.id == file.id).values(issues=issues))
    migrate(db, "0010", "head")
    with db.read() as session:
        page = issue_page(session, bad.id, 1_000, PageWindow(1_000))
        assert [issue.line for issue in page.page.items] == list(range(1, 1_001))
        assert page.totals.codes == {"code_0": 500, "code_1": 500}
        assert issue_page(session, deleted.id, 1_000, PageWindow(1)).page.items == []
        assert session.scalars(select(JobRow.issue_count).where(JobRow.id == job.id)).one() == 0
    migrate(db, "0010")
    with db.engine.connect() as connection:
        found = connection.execute(select(stored.c.issues).where(stored.c.id == bad.id)).scalar_one()
    db.dispose()
    assert found == issues


def migrate(db: Database, down_to: str, up_to: str | None = None) -> None:
    """Take migrations back, and apply them again if `up_to` is given."""
    config = alembic_config()
    with db.engine.connect() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, down_to)
        if up_to is not None:
            command.upgrade(config, up_to)
        connection.commit()


def host_columns(spec: dict[str, Any]) -> dict[str, Any]:
    """A host that is to be started with `spec`."""
    key = {"base_id": "tiny", "quantization": "none", "compute_dtype": "fp32", "task": "causal_lm", "lane": "fused"}
    sizes = dict.fromkeys(("memory_bytes", "activation_bytes", "recomputed_bytes", "vocab_size"), 1)
    rest = {"id": "host-1", "flavor": "cpu", "state": "starting", "created_at": datetime(2030, 1, 1, tzinfo=UTC)}
    return key | sizes | rest | {"spec": spec}
