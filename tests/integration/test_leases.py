"""Leases of roles: one holder at a time by the database's clock, and a fence that outlasts every pause of a process."""

import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, update
from sqlalchemy.exc import OperationalError

from orchestrator.db.clock import ASK_AGAIN_S, DatabaseClock, db_clock
from orchestrator.db.database import Database
from orchestrator.db.tables import LeaseRow, TenantRow
from orchestrator.leadership import elector as elector_module
from orchestrator.leadership.elector import MARGIN_S, Elector, fence
from orchestrator.leadership.holder import is_dead, this_process
from orchestrator.leadership.leader_only import LeaderOnly
from orchestrator.steps.step import Counts, LeadershipLost
from tests.builders.rows import NOW, make_tenant
from workers.contract.process import process_name

ELSEWHERE = "another-machine/pid:[1]/{}:1"


class Ticks:
    """A clock that only the test moves."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def make_role(db: Database, process: int = 1, ticks: Ticks | None = None, **options: float) -> Elector:
    return Elector(db, "loops", ELSEWHERE.format(process), ticks=ticks or Ticks(), **options)


def run_out(db: Database) -> None:
    """The holder has not renewed its lease for so long that it is over."""
    with db.write() as session:
        session.execute(update(LeaseRow).values(expires_at=db_clock(-1)))


def lease(db: Database) -> LeaseRow:
    with db.read() as session:
        return session.scalars(select(LeaseRow)).one()


def rename(tenant: TenantRow, name: str) -> Callable[[Database], None]:
    def write(db: Database) -> None:
        with db.write() as session:
            session.execute(update(TenantRow).where(TenantRow.id == tenant.id).values(name=name))

    return write


def test_one_holds_the_role_and_the_other_stands_by_until_the_lease_is_over(db: Database):
    first, second = make_role(db, 1), make_role(db, 2)
    assert first.renew()
    assert not second.renew()
    assert second.grant is None
    run_out(db)
    assert second.renew()
    assert (lease(db).holder, lease(db).term) == (ELSEWHERE.format(2), 2)
    assert not first.renew()
    assert first.grant is None


def test_a_lease_is_renewed_by_the_clock_of_the_database(db: Database):
    holder = make_role(db)
    holder.renew()
    run_out(db)
    holder.renew()
    with db.read() as session:
        left = session.execute(select(LeaseRow.expires_at, db_clock())).one()
    assert timedelta(seconds=10) < left[0] - left[1] <= timedelta(seconds=15)
    assert lease(db).term == 1


def test_the_databases_clock_reads_the_same_in_sql_and_out_of_it(db: Database):
    with db.read() as session:
        now, later = session.execute(select(db_clock(), db_clock(90))).one()
    assert abs(datetime.now(UTC) - now) < timedelta(minutes=1)
    assert timedelta(seconds=89) < later - now < timedelta(seconds=91)
    with db.write() as session:
        session.add(LeaseRow(name="a", holder="b", term=1, expires_at=db_clock(5)))
    with db.read() as session:
        coming = select(LeaseRow.name).where(LeaseRow.expires_at > db_clock(), LeaseRow.expires_at < db_clock(10))
        assert session.scalars(coming).all() == ["a"]


def test_a_holder_that_has_died_here_is_followed_at_once(db: Database):
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    place = this_process().rpartition("/")[0]
    dead = Elector(db, "loops", f"{place}/{process_name(child.pid)}")
    assert dead.renew()
    assert not make_role(db).renew()
    child.kill()
    child.wait()
    assert make_role(db).renew()


def test_only_a_process_that_can_be_seen_is_surely_dead():
    place, _, _ = this_process().rpartition("/")
    assert not is_dead(this_process())
    assert is_dead(f"{place}/1:1")  # process 1 lives, and began at another time
    assert not is_dead(ELSEWHERE.format(1))


def test_who_was_stopped_and_wakes_up_writes_nothing(db: Database):
    tenant = make_tenant(db, name="old")
    stopped, other = make_role(db, 1), make_role(db, 2)
    stopped.renew()
    assert stopped.grant is not None
    fenced = db.fenced(fence(stopped.grant))
    rename(tenant, "mine")(fenced)
    run_out(db)
    other.renew()
    with pytest.raises(LeadershipLost):
        rename(tenant, "late")(fenced)
    with pytest.raises(LeadershipLost), fenced.write():
        pass
    with db.read() as session:
        assert session.get_one(TenantRow, tenant.id).name == "mine"


def test_who_took_the_role_again_still_writes_nothing_of_its_former_term(db: Database):
    tenant = make_tenant(db)
    first, other = make_role(db, 1), make_role(db, 2)
    first.renew()
    assert first.grant is not None
    former = db.fenced(fence(first.grant))
    run_out(db)
    other.renew()
    other.give_back()
    first.renew()
    assert lease(db).term == 3
    with pytest.raises(LeadershipLost):
        rename(tenant, "late")(former)


def test_belief_ends_before_the_lease_does(db: Database):
    ticks = Ticks()
    role = make_role(db, ticks=ticks)
    role.renew()
    ticks.now += 15 - MARGIN_S - 0.1
    assert role.grant is not None
    ticks.now += 0.2
    assert role.grant is None


def test_a_role_whose_work_hangs_is_not_renewed(db: Database):
    ticks = Ticks()
    role = make_role(db, ticks=ticks, patience_s=120)
    role.renew()
    for _ in range(50):
        ticks.now += 3
        role.renew()
    assert role.grant is None
    run_out(db)
    assert make_role(db, 2).renew()


def test_while_the_database_is_away_a_holder_believes_no_longer_than_its_lease(
    db: Database, monkeypatch: pytest.MonkeyPatch
):
    ticks = Ticks()
    role = make_role(db, ticks=ticks)
    role.renew()

    def away(*_: object) -> bool:
        raise OperationalError("UPDATE lease", {}, Exception("server closed the connection"))

    monkeypatch.setattr(elector_module, "renew", away)
    ticks.now += 5
    assert not role.renew()
    assert role.grant is not None
    ticks.now += 10
    assert role.grant is None


def test_an_outage_longer_than_the_patience_does_not_end_a_process_that_goes_on(
    db: Database, monkeypatch: pytest.MonkeyPatch
):
    ticks = Ticks()
    role = make_role(db, ticks=ticks, patience_s=120)
    led = LeaderOnly(role, db, lambda fenced: Remembering(fenced, lambda _: None), heartbeat=role.heartbeat)
    role.renew()

    def away(*_: object) -> bool:
        raise OperationalError("UPDATE lease", {}, Exception("server closed the connection"))

    with monkeypatch.context() as outage:
        outage.setattr(elector_module, "renew", away)
        for _ in range(40):
            ticks.now += 5
            assert not role.renew()
            led.run_once(NOW)
    assert led.run_once(NOW) == Counts()
    assert role.renew()
    assert led.run_once(NOW) == Counts(passes=1)


def test_a_pass_that_hung_and_ended_lets_its_process_act_again(db: Database):
    ticks = Ticks()
    role = make_role(db, ticks=ticks, patience_s=120)
    led = LeaderOnly(role, db, lambda fenced: Remembering(fenced, lambda _: None), heartbeat=role.heartbeat)
    role.renew()
    led.run_once(NOW)
    ticks.now += 200
    assert not role.renew()
    led.run_once(NOW)
    assert role.renew()
    assert led.run_once(NOW)["passes"] == 1


def test_a_role_given_back_is_free_at_once(db: Database):
    first = make_role(db, 1)
    first.renew()
    first.give_back()
    assert make_role(db, 2).renew()
    first.give_back()
    assert lease(db).holder == ELSEWHERE.format(2)


class Remembering:
    """A step that counts its passes and writes at each."""

    def __init__(self, db: Database, write: Callable[[Database], None]) -> None:
        self.db, self.write, self.passes = db, write, 0

    def run_once(self, now: datetime) -> Counts:
        self.passes += 1
        self.write(self.db)
        return Counts(passes=self.passes)


def test_a_led_step_rests_without_the_role_and_starts_afresh_in_each_term(db: Database):
    tenant = make_tenant(db)
    role, other = make_role(db, 1), make_role(db, 2)
    led = LeaderOnly(role, db, lambda fenced: Remembering(fenced, rename(tenant, "written")))
    assert led.run_once(NOW) == Counts()
    role.renew()
    assert [led.run_once(NOW)["passes"] for _ in range(2)] == [1, 2]
    run_out(db)
    other.renew()
    assert led.run_once(NOW) == Counts(role_lost=1)
    assert led.run_once(NOW) == Counts()
    other.give_back()
    role.renew()
    assert led.run_once(NOW) == Counts(passes=1)


def test_the_loops_clock_is_the_databases_and_outlives_its_outages(db: Database, monkeypatch: pytest.MonkeyPatch):
    ticks = Ticks()
    clock = DatabaseClock(db, ticks)
    began = clock()
    assert abs(datetime.now(UTC) - began) < timedelta(minutes=1)

    def away(*_: object) -> None:
        raise OperationalError("SELECT", {}, Exception("connection refused"))

    monkeypatch.setattr(db, "read", away)
    ticks.now += ASK_AGAIN_S + 1
    assert clock() - began == timedelta(seconds=ASK_AGAIN_S + 1)
    with pytest.raises(OperationalError):
        DatabaseClock(db, ticks)()
