"""Admission by planners that race: the books are counted again under one lock, so no device or seat is given twice."""

import contextlib
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select

from orchestrator.catalogue.entries import Catalogue
from orchestrator.db.database import Database
from orchestrator.db.host_states import HOLDS_DEVICE
from orchestrator.db.job_tables import AttemptRow, JobRow
from orchestrator.db.states import JobState
from orchestrator.db.tables import HostRow
from orchestrator.hosts.reaper import HostReaper
from orchestrator.lifecycle.transition import JobRef
from orchestrator.scheduling import apply
from orchestrator.scheduling.actions import Admit, KeepFree, RetireHost, StartHost
from orchestrator.scheduling.apply import Applier
from orchestrator.scheduling.load import load_snapshot
from orchestrator.scheduling.plan import plan
from orchestrator.scheduling.schedule import Schedule
from tests.builders.rows import NOW, make_host, make_job, make_tenant
from tests.builders.world import make_catalogue

PLANNERS = 3
CATALOGUE = make_catalogue(devices=2, max_seats=3)


def make_applier(db: Database) -> Applier:
    return Applier(db, CATALOGUE, Path("/nowhere"), lease_ttl_s=60)


def plans(db: Database, times: int) -> list[list]:
    """Plans that several planners make of the same books."""
    with db.read() as session:
        return [plan(load_snapshot(session, CATALOGUE, 600, 300, NOW), NOW) for _ in range(times)]


def usage(db: Database) -> tuple[int, Counter[str]]:
    """Hosts that hold a device, and seats taken on each."""
    with db.read() as session:
        hosts = session.scalars(select(HostRow.id).where(HostRow.state.in_(HOLDS_DEVICE))).all()
        seats = session.scalars(select(AttemptRow.host_id).where(AttemptRow.ended_at.is_(None))).all()
    return len(hosts), Counter(seats)


def test_a_plan_that_another_planner_was_quicker_with_changes_nothing(db: Database):
    tenant = make_tenant(db)
    for _ in range(8):
        make_job(db, tenant=tenant)
    first, second = plans(db, 2)
    applier = make_applier(db)
    assert all(applier.apply(action, NOW) for action in first if isinstance(action, StartHost | Admit))
    before = usage(db)
    assert before[0] == 2
    assert sorted(before[1].values()) == [3, 3]
    assert not any(applier.apply(action, NOW) for action in second if isinstance(action, StartHost | Admit))
    assert usage(db) == before


@pytest.mark.parametrize("state", ["stopping", "gone"])
def test_no_seat_is_given_on_a_host_that_has_gone_since(db: Database, state: str):
    host = make_host(db, state="ready")
    job = make_job(db)
    ((admit,),) = plans(db, 1)
    reaper = HostReaper(db)
    reaper.mark_stopping(host.id, "it must go", NOW)
    if state == "gone":
        reaper.mark_gone(host.id, "it went", NOW)
    assert not make_applier(db).apply(admit, NOW)
    with db.read() as session:
        assert session.scalars(select(JobRow.state).where(JobRow.id == job.id)).one() == JobState.QUEUED


def test_a_host_that_got_a_seat_since_is_not_retired(db: Database):
    host = make_host(db, state="ready")
    make_job(db)
    ((admit,),) = plans(db, 1)
    applier = make_applier(db)
    assert applier.apply(admit, NOW)
    assert not applier.apply(RetireHost(host.id, "idle"), NOW)
    assert usage(db) == (1, Counter({host.id: 1}))


@pytest.mark.parametrize(("counted", "count"), [("device_is_free", 1), ("host_with_room", 3)])
def test_two_that_count_at_once_do_not_both_find_the_last_one_free(
    db: Database, monkeypatch: pytest.MonkeyPatch, counted: str, count: int
):
    """Each waits, after counting, until the other has counted as well, which it cannot."""
    catalogue = make_catalogue(devices=1, max_seats=count)
    tenant = make_tenant(db)
    taken = count - 1 if counted == "host_with_room" else 0
    host = make_host(db, state="ready") if counted == "host_with_room" else None
    for _ in range(taken):
        make_job(db, JobState.RUNNING, tenant, host=host)
    for _ in range(2):
        make_job(db, tenant=tenant)
    both = threading.Barrier(2)
    real = getattr(apply, counted)

    def counting(*arguments: object) -> object:
        found = real(*arguments)
        with contextlib.suppress(threading.BrokenBarrierError):
            both.wait(0.5)
        return found

    monkeypatch.setattr(apply, counted, counting)
    applier = Applier(db, catalogue, Path("/nowhere"), lease_ttl_s=60)
    wanted = StartHost if counted == "device_is_free" else Admit
    actions = competing(db, catalogue, wanted)
    threads = [threading.Thread(target=applier.apply, args=(action, NOW)) for action in actions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    hosts, seats = usage(db)
    assert hosts == 1
    assert sum(seats.values()) == taken + (wanted is Admit)


def competing(db: Database, catalogue: Catalogue, wanted: type) -> list:
    """Two actions of one kind that want the same: of two plans, or of a plan and one for the next job in line."""
    with db.read() as session:
        snapshots = [load_snapshot(session, catalogue, 600, 300, NOW) for _ in range(2)]
    snapshots[1] = replace(snapshots[1], waiting=snapshots[1].waiting[1:])
    return [next(action for action in plan(each, NOW) if isinstance(action, wanted)) for each in snapshots]


def test_planners_that_race_never_exceed_what_there_is(db: Database):
    """Nothing ends while they race, so what holds at the end held at every commit."""
    tenant = make_tenant(db)
    for _ in range(12):
        make_job(db, tenant=tenant)
    together = threading.Barrier(PLANNERS)
    applied: Counter[str] = Counter()

    def race() -> None:
        schedule = Schedule(make_applier(db), host_idle_s=600, max_bypass_s=300)
        for _ in range(4):
            together.wait(30)
            applied.update(schedule.run_once(NOW))

    with ThreadPoolExecutor(PLANNERS) as pool:
        for raced in [pool.submit(race) for _ in range(PLANNERS)]:
            raced.result()
    hosts, seats = usage(db)
    assert hosts == 2
    assert sorted(seats.values()) == [3, 3]
    assert (applied["StartHost"], applied["Admit"]) == (2, 6)


def test_a_seat_admitted_while_its_host_is_written_off_ends_with_it(db: Database):
    """Whichever transaction comes first: no live attempt is left on a host that is gone."""
    for _ in range(5):
        host = make_host(db, state="ready")
        make_job(db)
        admit = next(action for action in plans(db, 1)[0] if isinstance(action, Admit) and action.host_id == host.id)
        together = threading.Barrier(2)

        def admitting(admit: Admit = admit, together: threading.Barrier = together) -> None:
            together.wait(30)
            make_applier(db).apply(admit, NOW)

        thread = threading.Thread(target=admitting)
        thread.start()
        together.wait(30)
        HostReaper(db).mark_gone(host.id, "it died", NOW)
        thread.join()
        assert usage(db) == (0, Counter())


def test_no_seat_is_given_on_a_host_that_has_been_kept_for_another_since(db: Database):
    """Of two planners one keeps the host, the other still has a plan to fill it."""
    host = make_host(db, state="ready")
    make_job(db)
    ((admit,),) = plans(db, 1)
    first, second = make_job(db), make_job(db)
    applier = make_applier(db)
    assert applier.apply(KeepFree(JobRef.of(first), host.id), NOW)
    assert not applier.apply(KeepFree(JobRef.of(second), host.id), NOW)
    assert not applier.apply(admit, NOW)
    assert applier.apply(Admit(JobRef.of(first), host.id), NOW)
    assert applier.apply(admit, NOW)
