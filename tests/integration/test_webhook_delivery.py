"""Deliveries: one for each endpoint and end of a job, at least once, with an id that stays; on both databases."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from types import SimpleNamespace

import openai.lib._webhooks as stock_verification
import pytest
from openai import InvalidWebhookSignatureError, OpenAI
from sqlalchemy import select

from orchestrator.db.database import Database
from orchestrator.db.effect_tables import WebhookDeliveryRow, WebhookEndpointRow
from orchestrator.db.job_tables import JobRow
from orchestrator.db.states import JobState
from orchestrator.db.tables import TenantRow
from orchestrator.lifecycle.events import EventDraft
from orchestrator.lifecycle.retry_policy import failed
from orchestrator.lifecycle.transition import JobRef, transition
from orchestrator.steps.step import Counts
from orchestrator.webhooks.addresses import EgressPolicy
from orchestrator.webhooks.claims import LEASE_S, PER_TENANT, claim_due
from orchestrator.webhooks.deliver import DeliverWebhooks
from orchestrator.webhooks.endpoints import Endpoints
from orchestrator.webhooks.events import EventType
from orchestrator.webhooks.requests import EndpointChange, NewEndpoint
from orchestrator.webhooks.retention import KEPT_S, ExpireDeliveries
from orchestrator.webhooks.secrets import SecretBox
from orchestrator.webhooks.send import Sender
from orchestrator.webhooks.views import EndpointWithSecret
from tests.builders.receiver import Receiver, receiving
from tests.builders.rows import NOW, make_job, make_tenant
from workers.contract.failpoints import FailpointError, hooked

DEV = EgressPolicy(allow_http=True, allow_private=True)
OFF = EndpointChange(x_orchard={"enabled": False})


@pytest.fixture(autouse=True)
def the_stock_client_lives_now(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes no delivery older than five minutes by the wall clock; a suite may run longer than that."""
    monkeypatch.setattr(stock_verification, "time", SimpleNamespace(time=NOW.timestamp))


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as running:
        yield running


@pytest.fixture
def tenant(db: Database) -> TenantRow:
    return make_tenant(db)


@pytest.fixture
def endpoints(db: Database) -> Endpoints:
    return Endpoints(db, DEV, SecretBox())


@pytest.fixture
def loop(db: Database) -> DeliverWebhooks:
    return DeliverWebhooks(db, Sender(DEV, timeout_s=2), jitter=lambda: 0.0)


@pytest.fixture
def endpoint(endpoints: Endpoints, tenant: TenantRow, receiver: Receiver) -> EndpointWithSecret:
    return listen(endpoints, tenant, receiver)


def listen(endpoints: Endpoints, tenant: TenantRow, receiver: Receiver, *types: EventType) -> EndpointWithSecret:
    new = NewEndpoint(name="ci", url=receiver.url, event_types=list(types or EventType))
    return endpoints.create(tenant.id, new, NOW)


def end(db: Database, tenant: TenantRow, to: JobState = JobState.CANCELLED) -> JobRow:
    """A job of the tenant that ends now."""
    job = make_job(db, JobState.PUBLISHING if to is JobState.SUCCEEDED else JobState.QUEUED, tenant, now=NOW)
    changes = {"fine_tuned_model": f"ft:tiny:{job.id}"} if to is JobState.SUCCEEDED else {}
    if to is JobState.FAILED:
        changes = failed("internal_error", "no").changes
    with db.write() as session:
        assert transition(session, JobRef.of(job), to, EventDraft("over"), now=NOW, **changes)
    return job


def deliveries(db: Database) -> list[WebhookDeliveryRow]:
    with db.read() as session:
        return list(session.scalars(select(WebhookDeliveryRow).order_by(WebhookDeliveryRow.seq)))


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


@pytest.mark.parametrize("to", [JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED])
def test_the_stock_client_accepts_what_is_sent_when_a_job_ends(db, tenant, receiver, endpoint, loop, to):
    job = end(db, tenant, to)
    assert loop.run_once(NOW) == Counts(delivered=1)

    taken = receiver.last
    client = OpenAI(api_key="-", webhook_secret=endpoint.signing_secret)
    event = client.webhooks.unwrap(taken.body, taken.headers)
    assert (event.type, event.data.id, event.created_at) == (f"fine_tuning.job.{to}", job.id, int(NOW.timestamp()))
    assert event.object == "event"
    with pytest.raises(InvalidWebhookSignatureError):
        client.webhooks.unwrap(taken.body.replace(b"job", b"jab"), taken.headers)
    with pytest.raises(InvalidWebhookSignatureError):
        client.webhooks.unwrap(taken.body, taken.headers | {"webhook-id": "wh_other"})
    [row] = deliveries(db)
    assert (row.state, row.attempts, row.last_status_code, row.next_try_at) == ("delivered", 1, 200, None)
    assert loop.run_once(later(1)) == Counts()


def test_no_transition_no_delivery(db, tenant, endpoint):
    job = make_job(db, JobState.QUEUED, tenant)
    with db.write() as session:
        transition(session, JobRef.of(job), JobState.CANCELLED, EventDraft("over"), now=NOW)
        session.rollback()
    assert deliveries(db) == []


def test_only_the_endpoints_that_want_an_event_and_are_on_hear_of_it(db, tenant, endpoints, receiver):
    wants = listen(endpoints, tenant, receiver, EventType.CANCELLED)
    listen(endpoints, tenant, receiver, EventType.SUCCEEDED)
    endpoints.update(tenant.id, listen(endpoints, tenant, receiver).id, OFF, NOW)
    endpoints.delete(tenant.id, listen(endpoints, tenant, receiver).id, NOW)
    listen(endpoints, make_tenant(db), receiver)
    end(db, tenant)
    assert [row.endpoint_id for row in deliveries(db)] == [wants.id]


def test_every_endpoint_is_told_of_the_same_event_under_an_id_of_its_own(db, tenant, endpoints, receiver, loop):
    for _ in range(2):
        listen(endpoints, tenant, receiver)
    end(db, tenant)
    assert loop.run_once(NOW) == Counts(delivered=2)
    assert len({json.loads(taken.body)["id"] for taken in receiver.taken}) == 1
    assert len({taken.headers["webhook-id"] for taken in receiver.taken}) == 2


@pytest.mark.parametrize("status", [503, 404])
def test_a_refused_delivery_is_repeated_with_the_same_id_and_body(db, tenant, receiver, endpoint, loop, status):
    receiver.answers = [status, status, 200]
    end(db, tenant)
    assert loop.run_once(NOW) == Counts(retry=1)
    [row] = deliveries(db)
    assert (row.state, row.last_status_code, row.next_try_at) == ("pending", status, later(5))
    assert loop.run_once(later(4)) == Counts()
    assert loop.run_once(later(5)) == Counts(retry=1)
    assert deliveries(db)[0].next_try_at == later(15)
    assert loop.run_once(later(15)) == Counts(delivered=1)

    assert len({(taken.headers["webhook-id"], taken.body) for taken in receiver.taken}) == 1
    client = OpenAI(api_key="-", webhook_secret=endpoint.signing_secret)
    assert client.webhooks.unwrap(receiver.last.body, receiver.last.headers).id == row.event_id


def test_a_receiver_that_cannot_be_reached_is_tried_again(db, tenant, receiver, endpoints, endpoint, loop):
    endpoints.update(tenant.id, endpoint.id, EndpointChange(url="http://127.0.0.1:1/"), NOW)
    end(db, tenant)
    assert loop.run_once(NOW) == Counts(retry=1)
    [row] = deliveries(db)
    assert (row.last_status_code, row.last_error) == (None, "The connection was refused.")
    endpoints.update(tenant.id, endpoint.id, EndpointChange(url=receiver.url), NOW)
    assert loop.run_once(later(5)) == Counts(delivered=1)


def test_after_three_days_it_is_given_up(db, tenant, receiver, endpoint, loop):
    receiver.answers = [500]
    end(db, tenant)
    now, tries = NOW, 0
    while deliveries(db)[0].state == "pending":
        now = deliveries(db)[0].next_try_at
        loop.run_once(now)
        tries += 1
    assert timedelta(days=2.8) < now - NOW <= timedelta(days=3)
    assert 20 < tries == deliveries(db)[0].attempts < 60
    assert deliveries(db)[0].state == "failed"


def test_gone_switches_the_endpoint_off_until_its_owner_switches_it_on(db, tenant, endpoints, receiver, endpoint, loop):
    receiver.answers = [500, 410, 200]
    end(db, tenant)
    loop.run_once(NOW)
    end(db, tenant)
    assert loop.run_once(later(1)) == Counts(failed=1)
    shown = endpoints.get(tenant.id, endpoint.id).x_orchard
    assert (shown.enabled, shown.disabled_reason) == (False, "The receiver answered 410 Gone.")

    end(db, tenant)
    assert len(deliveries(db)) == 2
    assert loop.run_once(later(5)) == Counts(failed=1)  # what waited is dropped, not sent
    assert len(receiver.taken) == 2

    endpoints.update(tenant.id, endpoint.id, EndpointChange(x_orchard={"enabled": True}), later(6))
    end(db, tenant)
    assert loop.run_once(later(6)) == Counts(delivered=1)


def test_nothing_is_sent_to_an_endpoint_that_was_deleted_meanwhile(db, tenant, endpoints, receiver, endpoint, loop):
    end(db, tenant)
    endpoints.delete(tenant.id, endpoint.id, NOW)
    assert loop.run_once(NOW) == Counts(failed=1)
    assert receiver.taken == []


def test_while_secrets_rotate_either_one_verifies(db, tenant, endpoints, receiver, endpoint, loop):
    new = endpoints.rotate_secret(tenant.id, endpoint.id, keep_old=True, now=NOW)
    end(db, tenant)
    loop.run_once(NOW)
    assert receiver.last.headers["webhook-signature"].count("v1,") == 2
    for secret in (endpoint.signing_secret, new.signing_secret):
        OpenAI(api_key="-", webhook_secret=secret).webhooks.unwrap(receiver.last.body, receiver.last.headers)

    end(db, tenant)
    loop.run_once(later(86_400))
    assert receiver.last.headers["webhook-signature"].count("v1,") == 1


@pytest.mark.parametrize("place", ["webhooks.claimed", "webhooks.sent"])
def test_a_sender_that_dies_loses_nothing(db, tenant, receiver, endpoint, loop, place):
    def die(name, _path):
        if name == place:
            raise FailpointError(name)

    end(db, tenant)
    with hooked(die), pytest.raises(FailpointError):
        loop.run_once(NOW)
    assert loop.run_once(later(LEASE_S - 1)) == Counts()
    assert loop.run_once(later(LEASE_S)) == Counts(delivered=1)
    assert len(receiver.taken) == (2 if place == "webhooks.sent" else 1)
    assert len({taken.headers["webhook-id"] for taken in receiver.taken}) == 1
    assert deliveries(db)[0].attempts == 2


def test_of_two_orchestrators_one_sends(db, tenant, receiver, endpoint, loop):
    end(db, tenant)
    seconds: list[Counts] = []

    def meanwhile(name, _path):
        if name == "webhooks.claimed":
            seconds.append(replace(loop).run_once(NOW))

    with hooked(meanwhile):
        assert loop.run_once(NOW) == Counts(delivered=1)
    assert seconds == [Counts()]
    assert len(receiver.taken) == 1


def test_a_sender_that_slept_over_its_lease_does_not_undo_what_another_wrote(db, tenant, receiver, endpoint, loop):
    receiver.answers = [200, 500]
    end(db, tenant)

    def overtake(name, _path):
        if name == "webhooks.sent" and len(receiver.taken) == 1:
            replace(loop).run_once(later(LEASE_S))

    with hooked(overtake):
        assert loop.run_once(NOW) == Counts(stale=1)
    [row] = deliveries(db)
    assert (row.state, row.attempts, row.last_status_code) == ("pending", 2, 500)


def test_one_tenants_backlog_leaves_room_for_the_others(db, tenant, endpoints, receiver, endpoint):
    for _ in range(PER_TENANT + 2):
        end(db, tenant)
    other = make_tenant(db)
    listen(endpoints, other, receiver)
    end(db, other)
    claims = claim_due(db, NOW)
    assert len(claims) == PER_TENANT + 1
    assert len(claim_due(db, NOW)) == 2


def test_a_secret_that_cannot_be_opened_delays_and_loses_nothing(db, tenant, receiver, endpoint, loop):
    with db.write() as session:
        session.scalars(select(WebhookEndpointRow)).one().secret = "fernet:gAAAA"
    end(db, tenant)
    assert loop.run_once(NOW) == Counts(retry=1)
    assert (receiver.taken, deliveries(db)[0].last_error) == ([], "Not sent: the service cannot sign at the moment.")


def test_the_tenant_sees_how_its_deliveries_stand(db, tenant, endpoints, receiver, endpoint, loop):
    from orchestrator.paging import PageWindow

    receiver.answers = [503, 200]
    job = end(db, tenant)
    loop.run_once(NOW)
    [shown] = endpoints.deliveries(tenant.id, endpoint.id, PageWindow(20), NOW).items
    assert (shown.job_id, shown.state, shown.attempts, shown.last_status_code) == (job.id, "pending", 1, 503)
    assert shown.next_try_at == int(later(5).timestamp())


def test_deliveries_that_are_over_are_forgotten_after_a_month_and_waiting_ones_never(
    db, tenant, receiver, endpoint, loop
):
    receiver.answers = [200, 500]
    end(db, tenant)
    loop.run_once(NOW)
    end(db, tenant)
    assert ExpireDeliveries(db).run_once(later(KEPT_S)) == Counts()
    assert ExpireDeliveries(db).run_once(later(KEPT_S + 1)) == Counts(forgotten=1)
    assert [row.state for row in deliveries(db)] == ["pending"]


def test_a_receiver_that_hangs_keeps_no_other_from_being_told(db, tenant, endpoints, receiver, loop):
    with receiving() as hanging:
        hanging.hold.clear()
        listen(endpoints, tenant, hanging)
        listen(endpoints, tenant, receiver)
        end(db, tenant)
        assert replace(loop, sender=Sender(DEV, timeout_s=0.5)).run_once(NOW) == Counts(delivered=1, retry=1)
    assert [row.state for row in deliveries(db)] == ["pending", "delivered"]
    assert len(receiver.taken) == len(hanging.taken) == 1
