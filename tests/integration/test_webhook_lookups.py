"""Names that resolve slowly, with lookups that really block, receivers on real sockets, and both databases."""

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from sqlalchemy import select

from orchestrator.db.database import Database
from orchestrator.db.effect_tables import WebhookDeliveryRow
from orchestrator.db.states import JobState
from orchestrator.db.tables import TenantRow
from orchestrator.lifecycle.events import EventDraft
from orchestrator.lifecycle.transition import JobRef, transition
from orchestrator.steps.step import Counts
from orchestrator.webhooks.addresses import EgressPolicy
from orchestrator.webhooks.claims import BATCH, PER_TENANT, claim_due
from orchestrator.webhooks.deliver import DeliverWebhooks
from orchestrator.webhooks.endpoints import Endpoints
from orchestrator.webhooks.events import EventType
from orchestrator.webhooks.lookups import Lookups, Unresolved
from orchestrator.webhooks.requests import NewEndpoint
from orchestrator.webhooks.secrets import SecretBox
from orchestrator.webhooks.send import Sender
from tests.builders.receiver import Receiver, receiving
from tests.builders.rows import NOW, make_job, make_tenant

DEV = EgressPolicy(allow_http=True, allow_private=True)
MANY = 40  # more than the threads of any event loop's own pool


@dataclass
class SlowNames:
    """A resolver whose calls for names under `slow.example` return only after `released`."""

    released: threading.Event = field(default_factory=threading.Event)
    asked: list[str] = field(default_factory=list)

    def __call__(self, host: str, port: int) -> list[str]:
        self.asked.append(host)
        if host.endswith("slow.example"):
            self.released.wait(120)
        return ["127.0.0.1"]


@pytest.fixture
def names() -> Iterator[SlowNames]:
    resolver = SlowNames()
    yield resolver
    resolver.released.set()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as running:
        yield running


def listen(db: Database, tenant: TenantRow, *urls: str) -> None:
    endpoints = Endpoints(db, DEV, SecretBox())
    for url in urls:
        endpoints.create(tenant.id, NewEndpoint(name="ci", url=url, event_types=list(EventType)), NOW)


def end_a_job(db: Database, tenant: TenantRow) -> None:
    job = make_job(db, JobState.QUEUED, tenant, now=NOW)
    with db.write() as session:
        assert transition(session, JobRef.of(job), JobState.CANCELLED, EventDraft("over"), now=NOW)


def errors_of(db: Database, tenant: TenantRow) -> set[str | None]:
    mine = WebhookDeliveryRow.tenant_id == tenant.id
    with db.read() as session:
        return set(session.scalars(select(WebhookDeliveryRow.last_error).where(mine)))


def test_a_tenant_whose_names_do_not_resolve_delays_nobody_elses_deliveries(
    db: Database, names: SlowNames, receiver: Receiver
):
    slow, other = make_tenant(db), make_tenant(db)
    listen(db, slow, *(f"http://n{number}.slow.example:{number + 1}/" for number in range(PER_TENANT)))
    listen(db, other, receiver.url.replace("127.0.0.1", "hooks.example"))
    for tenant in (slow, slow, other):
        end_a_job(db, tenant)
    lookups = Lookups(names, deadline_s=2.0)
    loop = DeliverWebhooks(db, Sender(DEV, lookups, timeout_s=20), jitter=lambda: 0.0)

    assert loop.run_once(NOW) == Counts(retry=PER_TENANT, delivered=1)
    assert not names.released.is_set()  # the lookups themselves still block, and nothing waited for their ends
    assert len(receiver.taken) == 1
    assert errors_of(db, slow) >= {"The host's name was not resolved within 2 s."}

    end_a_job(db, other)
    assert loop.run_once(NOW)["delivered"] == 1  # and again, while eight lookups are still not over
    assert len(receiver.taken) == 2
    assert f"Not sent: {PER_TENANT} lookups of your hosts' names have not ended yet." in errors_of(db, slow)


def test_lookups_of_one_tenant_are_bounded_and_free_the_next_when_they_end(names: SlowNames):
    lookups = Lookups(names, deadline_s=0.05, per_tenant=2)

    async def ask(tenant: str, host: str) -> list[str] | str:
        try:
            return await lookups.addresses(tenant, host, 443)
        except Unresolved as error:
            return str(error)

    async def ask_many() -> list[list[str] | str]:
        return await asyncio.gather(*(ask("a", f"n{number}.slow.example") for number in range(MANY)))

    answers = asyncio.run(ask_many())
    assert len(names.asked) == 2
    assert answers.count("Not sent: 2 lookups of your hosts' names have not ended yet.") == MANY - 2
    assert asyncio.run(ask("a", "hooks.example")) == answers[-1]
    assert asyncio.run(ask("b", "hooks.example")) == ["127.0.0.1"]
    assert asyncio.run(ask("a", "93.184.216.34")) == ["93.184.216.34"]  # an address needs no lookup
    names.released.set()
    while asyncio.run(ask("a", "hooks.example")) != ["127.0.0.1"]:
        pass


def test_a_name_without_an_address_and_one_that_is_no_name_are_told_as_unresolved():
    def none(host: str, port: int) -> list[str]:
        return []

    def broken(host: str, port: int) -> list[str]:
        raise UnicodeError("label too long")

    for resolve in (none, broken):
        with pytest.raises(Unresolved, match="could not be resolved"):
            asyncio.run(Lookups(resolve).addresses("a", "hooks.example", 443))


def test_a_batch_takes_the_tenants_in_turns(db: Database):
    """Eight tenants with long backlogs fill a batch; one with a single, younger delivery is in it all the same."""
    crowd = [make_tenant(db) for _ in range(BATCH // PER_TENANT)]
    for tenant in crowd:
        listen(db, tenant, "http://hooks.example/")
        for _ in range(PER_TENANT):
            end_a_job(db, tenant)
    late = make_tenant(db)
    listen(db, late, "http://hooks.example/")
    end_a_job(db, late)
    claimed = [claim.tenant_id for claim in claim_due(db, NOW)]
    assert len(claimed) == BATCH
    assert set(claimed[: len(crowd) + 1]) == {tenant.id for tenant in (*crowd, late)}
