"""A queue in which everybody's turn comes: streams of one tenant or base against one job of another, pass by pass."""

import random
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select

from orchestrator.catalogue.entries import Flavor
from orchestrator.db.database import Database
from orchestrator.db.job_tables import JobRow
from orchestrator.db.states import Desired, JobState
from orchestrator.db.tables import TenantRow
from orchestrator.queries.blockers import Constraint
from orchestrator.queries.why import WhyView, why
from orchestrator.settings import Settings
from tests.builders.rows import make_tenant
from tests.builders.world import GB, World, make_catalogue
from tests.builders.world_jobs import submit, want

BOUND_S = Settings.model_fields["max_bypass_s"].default
PASS_S = 10
LIFE = 6
"""Passes that a job trains."""
WITHIN = BOUND_S // PASS_S + LIFE + 10
"""Passes until who waits has a seat: the bound, the longest job, and a host that ends and one that starts."""
WAITING = (JobState.QUEUED, JobState.VALIDATING)


class Town:
    """A world whose jobs end by themselves after `LIFE` passes on their seats; the first few earlier, so that no two of
    a host end in the same pass.
    """

    def __init__(self, db: Database, folder: Any, *, max_seats: int = 4, bases: tuple[str, ...] = ("tiny", "other")):
        self.world = World(db, folder, make_catalogue(*bases, max_seats=max_seats))
        self._left: dict[str, int] = {}
        """Passes that jobs still train."""

    def live(self, passes: int = 1, top_up: Callable[[], Any] = lambda: None) -> None:
        for _ in range(passes):
            top_up()
            for host_id in sorted(self.world.cluster.host_ids()):
                self._train(self.world.cluster.host(host_id))
            self.world.tick(seconds=PASS_S)

    def _train(self, host: Any) -> None:
        for job_id in list(host.seats):
            if job_id not in self._left:
                self._left[job_id] = LIFE - len(self._left) if len(self._left) < 4 else LIFE
                host.prepare(job_id)
            self._left[job_id] -= 1
            if not self._left[job_id]:
                host.finish(job_id)

    def state(self, job_id: str) -> JobState:
        return JobState(self.world.job(job_id).state)

    def is_seated(self, job_id: str) -> bool:
        return self.state(job_id) not in WAITING

    def passes_until(
        self, met: Callable[[], bool], top_up: Callable[[], Any] = lambda: None, at_most: int = 200
    ) -> int:
        for passes in range(at_most):
            if met():
                return passes
            self.live(top_up=top_up)
        raise AssertionError(f"not within {at_most} passes of {PASS_S} s")

    def why(self, job_id: str) -> WhyView:
        return why(self.world.db, self.world.job(job_id).tenant_id, job_id, self.world.now)

    def queued(self, tenant: TenantRow) -> list[str]:
        waiting = (JobRow.tenant_id == tenant.id, JobRow.state == JobState.QUEUED)
        with self.world.db.read() as session:
            return list(session.scalars(select(JobRow.id).where(*waiting).order_by(JobRow.seq)))

    def stream(self, tenant: TenantRow, length: int, **changes: Any) -> Callable[[], Any]:
        """Whoever calls this again and again keeps `length` jobs of the tenant waiting."""
        return lambda: [
            submit(self.world, tenant=tenant, now=self.world.now, **changes)
            for _ in range(length - len(self.queued(tenant)))
        ]


@pytest.fixture
def town(db: Database, tmp_path: Any) -> Town:
    return Town(db, tmp_path)


def test_a_crowd_of_high_priority_holds_up_another_tenant_for_one_seat_and_no_longer(sqlite_db, tmp_path):
    town = Town(sqlite_db, tmp_path, max_seats=1)
    crowd = make_tenant(sqlite_db)
    top_up = town.stream(crowd, 48, priority=100)
    town.live(LIFE + 4, top_up)
    mine = submit(town.world, now=town.world.now)
    town.live(top_up=top_up)
    assert town.why(mine).position == 1
    assert town.passes_until(lambda: town.is_seated(mine), top_up) <= LIFE + 1


@pytest.mark.parametrize("same_tenant", [True, False])
def test_an_older_job_of_another_base_is_served_although_a_stream_for_the_held_one_goes_on(
    sqlite_db, tmp_path, same_tenant
):
    town = Town(sqlite_db, tmp_path)
    tenant = make_tenant(sqlite_db)
    top_up = town.stream(tenant, 6)
    town.live(LIFE, top_up)
    mine = submit(
        town.world, now=town.world.now, base_id="other", spec_changes={}, **({"tenant": tenant} if same_tenant else {})
    )
    assert town.passes_until(lambda: town.is_seated(mine), top_up) <= WITHIN


def test_a_large_job_among_small_ones_is_served(sqlite_db, tmp_path):
    town = Town(sqlite_db, tmp_path, max_seats=8)
    tenant = make_tenant(sqlite_db)
    top_up = town.stream(tenant, 8, memory_bytes=2 * GB)
    town.live(LIFE, top_up)
    mine = submit(town.world, now=town.world.now, tenant=tenant, memory_bytes=6 * GB)
    assert town.passes_until(lambda: town.is_seated(mine), top_up) <= WITHIN


def drained(town: Town) -> tuple[str, str, Callable[[], Any]]:
    """A device that is kept free: for which job, who waits because of it, and the stream that goes on."""
    crowd = make_tenant(town.world.db, "third-team")
    top_up = town.stream(crowd, 6)
    town.live(LIFE, top_up)
    mine = submit(town.world, now=town.world.now, base_id="other")
    town.passes_until(lambda: town.world.job(mine).kept_host_id is not None, top_up)
    return mine, town.queued(crowd)[0], top_up


def test_why_tells_both_sides_of_a_drain_and_nothing_about_each_other(town: Town):
    mine, theirs, _ = drained(town)
    town.live()
    kept_for, held_up = town.why(mine), town.why(theirs)
    assert (kept_for.constraint, held_up.constraint) == (Constraint.DEVICE, Constraint.DRAIN)
    assert f"It has waited for more than {BOUND_S} s, so a device is kept free for it" in kept_for.reason
    assert (kept_for.position, kept_for.unblocks) == (1, "Jobs that train there end. None is placed there before it.")
    assert "kept free for a job that found no room for too long" in held_up.reason
    others = {theirs: kept_for, mine: held_up}
    for other, view in others.items():
        row = town.world.job(other)
        assert not any(name in view.model_dump_json() for name in (row.id, row.tenant_id, "third-team"))


def test_running_jobs_finish_while_their_device_drains(town: Town):
    mine, _, top_up = drained(town)
    town.passes_until(lambda: town.is_seated(mine), top_up)
    with town.world.db.read() as session:
        rows = session.scalars(select(JobRow).where(JobRow.attempt > 0)).all()
    assert {row.attempt for row in rows} == {1}


@pytest.mark.parametrize("desired", [Desired.CANCEL, Desired.PAUSE])
def test_a_device_kept_for_a_job_that_leaves_the_queue_is_given_to_others_at_once(town: Town, desired: Desired):
    mine, theirs, top_up = drained(town)
    want(town.world, mine, desired)
    assert town.passes_until(lambda: town.is_seated(theirs), top_up) <= LIFE + 1
    assert town.world.job(mine).kept_host_id is None


def test_an_orchestrator_that_takes_over_in_the_middle_of_a_drain_goes_on_with_it(town: Town):
    mine, _, top_up = drained(town)
    host_id = town.world.job(mine).kept_host_id
    waited = 0
    while not town.is_seated(mine):
        town.world.restart_orchestrator()
        if town.state(mine) is JobState.QUEUED:
            assert town.world.job(mine).kept_host_id == host_id
        town.live(top_up=top_up)
        waited += 1
        assert waited <= LIFE + 10


def test_two_overdue_jobs_of_two_bases_are_both_served_by_one_device(sqlite_db, tmp_path):
    town = Town(sqlite_db, tmp_path, bases=("tiny", "other", "third"))
    top_up = town.stream(make_tenant(sqlite_db), 6)
    town.live(LIFE, top_up)
    first = submit(town.world, now=town.world.now, base_id="other")
    second = submit(town.world, now=town.world.now, base_id="third")
    served: set[str] = set()

    def both() -> bool:
        served.update(job_id for job_id in (first, second) if town.is_seated(job_id))
        kept = [town.world.job(job_id).kept_host_id for job_id in (first, second)]
        assert None in kept
        return len(served) == 2

    assert town.passes_until(both, top_up) <= 2 * WITHIN


@pytest.mark.parametrize("seed", range(6))
def test_whatever_is_in_the_queue_no_job_waits_for_longer_than_its_turns_take(sqlite_db, tmp_path, seed: int):
    """Streams of three tenants and two bases, small and large, on one or two devices; each sends one odd job."""
    rng = random.Random(seed)
    town = Town(sqlite_db, tmp_path)
    flavor = Flavor(name="cpu", memory_bytes=8 * GB, count=rng.choice((1, 2)), max_seats=rng.choice((2, 4)))
    town.world.catalogue = town.world.catalogue.model_copy(update={"flavors": (flavor,)})
    town.world.restart_orchestrator()
    shapes = [{"base_id": base, "memory_bytes": size} for base in ("tiny", "other") for size in (GB, 2 * GB, 6 * GB)]
    tenants = [make_tenant(sqlite_db) for _ in range(3)]
    streams = [
        town.stream(tenant, rng.choice((1, 3, 5)), priority=rng.choice((0, 9)), **rng.choice(shapes))
        for tenant in tenants
    ]

    def top_up() -> None:
        for stream in streams:
            stream()

    town.live(2 * LIFE, top_up)
    odd = [
        submit(town.world, now=town.world.now, priority=9, tenant=tenant, **rng.choice(shapes)) for tenant in tenants
    ]
    served: set[str] = set()

    def all_served() -> bool:
        served.update(job_id for job_id in odd if town.is_seated(job_id))
        return len(served) == len(odd)

    town.passes_until(all_served, top_up, at_most=6 * WITHIN)
