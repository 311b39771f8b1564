"""Lists that are read while their items go: the unmodified `openai` client deletes what it iterates over."""

from datetime import timedelta

import openai
import pytest
from openai import OpenAI
from sqlalchemy import select, update

from orchestrator.db.database import Database
from orchestrator.db.effect_tables import WebhookDeliveryRow
from orchestrator.db.job_tables import CheckpointRow
from orchestrator.db.states import JobState
from orchestrator.db.tables import FileRow
from orchestrator.lifecycle.events import EventDraft
from orchestrator.lifecycle.transition import JobRef, transition
from orchestrator.paging import PageWindow
from orchestrator.webhooks.retention import KEPT_S, SHOWN_S, ExpireDeliveries
from tests.builders.live_api import Api, add_tenant
from tests.builders.rows import NOW, make_checkpoint, make_job
from tests.builders.stock_client import stock_client, tenant_row, upload

pytestmark = pytest.mark.slow
EVENTS = ["fine_tuning.job.cancelled"]


def test_files_are_deleted_while_they_are_listed(client: OpenAI) -> None:
    for order in ("asc", "desc"):
        ids = {upload(client, name=f"{n}.jsonl") for n in range(5)}
        assert {client.files.delete(file.id).id for file in client.files.list(limit=2, order=order)} == ids
        assert client.files.list().data == []


def test_a_file_that_expired_still_orders(db: Database, client: OpenAI) -> None:
    older, cursor = upload(client), upload(client)
    with db.write() as session:
        session.execute(update(FileRow).where(FileRow.id == cursor).values(expires_at=NOW - timedelta(days=3_650)))
    assert [file.id for file in client.files.list(after=cursor)] == [older]


def test_webhooks_are_deleted_while_they_are_listed(client: OpenAI) -> None:
    ids = {client.webhooks.create(name=f"{n}", url="https://hooks.example/", event_types=EVENTS).id for n in range(5)}
    assert {client.webhooks.delete(hook.id).id for hook in client.webhooks.list(limit=2)} == ids
    assert client.webhooks.list().data == []


def test_permissions_are_revoked_while_they_are_listed_and_may_be_granted_again(
    db: Database, served: Api, client: OpenAI
) -> None:
    job = make_job(db, JobState.SUCCEEDED, tenant_row(served))
    make_checkpoint(db, job, 3)
    name = client.fine_tuning.jobs.checkpoints.list(job.id).data[0].fine_tuned_model_checkpoint
    projects = [add_tenant(served.services, f"friend-{n}")[0].id for n in range(5)]
    permissions = client.fine_tuning.checkpoints.permissions
    granted = {p.id for p in permissions.create(name, project_ids=projects)}

    listed = permissions.list(name, limit=2)
    revoked = {permissions.delete(p.id, fine_tuned_model_checkpoint=name).id for p in listed}
    assert revoked == granted
    assert permissions.list(name).data == []
    with pytest.raises(openai.NotFoundError):
        permissions.delete(min(granted), fine_tuned_model_checkpoint=name)

    again = permissions.create(name, project_ids=projects[:1])
    assert [p.project_id for p in permissions.list(name)] == projects[:1]
    assert permissions.delete(again.data[0].id, fine_tuned_model_checkpoint=name).deleted


def test_a_checkpoint_that_was_superseded_still_orders(db: Database, served: Api, client: OpenAI) -> None:
    job = make_job(db, JobState.RUNNING, tenant_row(served))
    rows = [make_checkpoint(db, job, step) for step in (1, 2, 3)]
    with db.write() as session:
        session.execute(update(CheckpointRow).where(CheckpointRow.id == rows[1].id).values(state="deleted"))
    listed = client.fine_tuning.jobs.checkpoints.list(job.id, after=rows[1].id)
    assert [checkpoint.step_number for checkpoint in listed] == [1]


def test_a_delivery_is_shown_for_a_month_and_orders_for_a_day_longer(db: Database, served: Api, client: OpenAI) -> None:
    hook = client.webhooks.create(name="ci", url="https://hooks.example/", event_types=EVENTS)
    for age_s in (SHOWN_S + 1, SHOWN_S + 1, 0):
        at = NOW - timedelta(seconds=age_s)
        job = make_job(db, JobState.QUEUED, tenant_row(served), now=at)
        with db.write() as session:
            transition(session, JobRef.of(job), JobState.CANCELLED, EventDraft("over"), now=at)
            session.execute(update(WebhookDeliveryRow).values(state="delivered", delivered_at=at, next_try_at=None))
    with db.read() as session:
        older, cursor, newest = session.scalars(select(WebhookDeliveryRow).order_by(WebhookDeliveryRow.seq)).all()
    hooks = served.services.webhooks
    ascending = PageWindow(10, cursor.id, ascending=True)
    for now in (NOW, NOW + timedelta(seconds=KEPT_S - SHOWN_S - 2)):
        ExpireDeliveries(db).run_once(now)
        assert [item.id for item in hooks.deliveries(served.tenant.id, hook.id, ascending, NOW).items] == [newest.id]
        assert hooks.deliveries(served.tenant.id, hook.id, PageWindow(10, cursor.id), NOW).items == []
        assert [item.id for item in hooks.deliveries(served.tenant.id, hook.id, PageWindow(10), NOW).items] == [
            newest.id
        ]
    assert ExpireDeliveries(db).run_once(NOW + timedelta(seconds=KEPT_S - SHOWN_S)) == {"forgotten": 2}
    assert older.id != cursor.id


def test_another_tenants_item_is_no_cursor_whether_it_is_there_or_gone(
    db: Database, served: Api, client: OpenAI
) -> None:
    _, key = add_tenant(served.services, "other")
    file, gone = upload(client), upload(client)
    client.files.delete(gone)
    hook = client.webhooks.create(name="ci", url="https://hooks.example/", event_types=EVENTS).id
    job = make_job(db, JobState.QUEUED, tenant_row(served)).id
    with stock_client(served, key) as other:
        lists = {other.files.list: [file, gone], other.webhooks.list: [hook], other.fine_tuning.jobs.list: [job]}
        for read, cursors in lists.items():
            answers = []
            for cursor in (*cursors, "file-unknown"):
                with pytest.raises(openai.BadRequestError) as refused:
                    read(after=cursor)
                answers.append((refused.value.param, refused.value.message.replace(cursor, "")))
            assert len(set(answers)) == 1
            assert answers[0][0] == "after"
