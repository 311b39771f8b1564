"""Tenants take turns, and no job is bypassed for longer than the bound: then a device is kept free for it."""

from collections import Counter
from dataclasses import replace
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.lifecycle.turns import TenantShare, turns_before
from orchestrator.queries.blockers import Constraint
from orchestrator.scheduling.actions import Admit, KeepFree, RetireHost, StartHost, Wait
from orchestrator.scheduling.plan import plan
from orchestrator.scheduling.snapshot import Snapshot, WaitingJob
from orchestrator.scheduling.turns import take_turns
from tests.unit.test_plan import GB, NOW, admitted, host, job, jobs, snapshot

BOUND_S = 300
LATE = {"waited_s": BOUND_S}
LONG_AGO = NOW - timedelta(seconds=BOUND_S)


def busy(name: str, base: str = "llama", seats: int = 4, **state):
    """A host whose seats of 1 GB are taken, ready for as long as the bound."""
    taken = {"taken_bytes": seats * GB, "free_gb": 8 - seats, "ready_since": LONG_AGO}
    return host(name, base, seats=seats, **(taken | state))


def kept(actions) -> dict[str, str | None]:
    return {action.job.id: action.host_id for action in actions if isinstance(action, KeepFree)}


def told(actions) -> dict[str, Wait]:
    return {action.job.id: action for action in actions if isinstance(action, Wait)}


def share(world: Snapshot, **shares: TenantShare) -> Snapshot:
    return replace(world, shares=shares)


# Turns


def test_48_jobs_of_priority_100_do_not_go_before_another_tenants_first():
    crowd = [job(f"c{n}", age=n, priority=100, tenant="crowd") for n in range(48)]
    actions = plan(snapshot(*crowd, job("mine", age=99, tenant="me"), hosts=[host("warm", max_seats=2)]), NOW)
    assert [name for name, _ in admitted(actions)] == ["c0", "mine"]


def test_the_tenant_with_the_fewest_seats_goes_first_and_is_filled_up_to_the_others():
    waiting = [job(f"a{n}", age=n, tenant="a") for n in range(4)] + [
        job(f"b{n}", age=9 + n, tenant="b") for n in range(4)
    ]
    world = snapshot(*waiting, hosts=[host("warm", max_seats=4)])
    actions = plan(share(world, a=TenantShare(2, 5.0, 0), b=TenantShare(0, 9.0, 9)), NOW)
    assert [name for name, _ in admitted(actions)] == ["b0", "b1", "a0", "b2"]


def test_among_equals_the_one_served_longest_ago_goes_first_so_one_seat_goes_round():
    world = snapshot(job("a", tenant="a"), job("b", age=1, tenant="b"), hosts=[host("warm", max_seats=1)])
    assert admitted(plan(share(world, a=TenantShare(0, 9.0, 0), b=TenantShare(0, 5.0, 1)), NOW)) == [("b", "warm")]
    assert admitted(plan(share(world, a=TenantShare(0, 5.0, 0), b=TenantShare(0, 9.0, 1)), NOW)) == [("a", "warm")]


def test_a_job_without_a_place_costs_its_tenant_no_turn():
    mine = [job("stuck", "qwen", tenant="a"), job("fits", age=1, tenant="a")]
    theirs = [job(f"b{n}", age=2 + n, tenant="b") for n in range(3)]
    actions = plan(snapshot(*mine, *theirs, hosts=[host("warm", max_seats=2)]), NOW)
    assert [name for name, _ in admitted(actions)] == ["fits", "b0"]


tenants = st.sampled_from(["a", "b", "c"])
crowds = st.lists(
    st.builds(lambda j, tenant: replace(j, ref=replace(j.ref, tenant_id=tenant)), jobs, tenants),
    max_size=40,
    unique_by=lambda j: j.submitted,
)


@given(crowds, st.lists(st.integers(0, 5), min_size=3, max_size=3), st.integers(1, 20))
def test_no_tenant_is_two_seats_ahead_of_one_that_still_waits(waiting, seats, places):
    """Where every job fits anywhere, whatever the priorities."""
    given_seats: Counter[str] = Counter()
    start = {tenant: TenantShare(count, 0.0, n) for n, (tenant, count) in enumerate(zip("abc", seats, strict=True))}

    def place(offered: WaitingJob) -> bool:
        if given_seats.total() == places:
            return False
        given_seats[offered.ref.tenant_id] += 1
        return True

    take_turns(waiting, start, place)
    queue = Counter(j.ref.tenant_id for j in waiting)
    assert given_seats.total() == min(places, len(waiting))
    for tenant in queue:
        for other in queue:
            if given_seats[tenant] and given_seats[other] < queue[other]:
                assert (
                    seats["abc".index(tenant)] + given_seats[tenant]
                    <= seats["abc".index(other)] + given_seats[other] + 1
                )


@given(crowds, st.lists(st.integers(0, 5), min_size=3, max_size=3))
def test_the_position_that_why_shows_is_the_order_in_which_jobs_are_offered(waiting, seats):
    oldest = {t: min((j.submitted for j in waiting if j.ref.tenant_id == t), default=0) for t in "abc"}
    start = {t: TenantShare(count, 0.0, oldest[t]) for t, count in zip("abc", seats, strict=True)}
    order: list[WaitingJob] = []
    take_turns(waiting, start, lambda offered: order.append(offered) or True)
    queue = Counter(j.ref.tenant_id for j in waiting)
    for position, offered in enumerate(order):
        tenant = offered.ref.tenant_id
        own_ahead = sum(before.ref.tenant_id == tenant for before in order[:position])
        others = [(start[t], count) for t, count in queue.items() if t != tenant]
        assert own_ahead + turns_before(start[tenant], own_ahead, others) == position


# The bound


def test_a_job_of_another_base_waits_for_the_bound_and_then_the_device_drains_for_it():
    def world(waited_s: float):
        return snapshot(
            job("other", "qwen", waited_s=waited_s), job("young", age=1, tenant="b"), hosts=[busy("h", seats=3)]
        )

    early = plan(world(BOUND_S - 1), NOW)
    assert (admitted(early), kept(early)) == ([("young", "h")], {})
    late = plan(world(BOUND_S), NOW)
    assert (admitted(late), kept(late)) == ([], {"other": "h"})
    assert told(late)["young"].constraint is Constraint.DRAIN
    assert "kept free for a job that found no room for too long" in told(late)["young"].reason
    assert told(late)["other"].constraint is Constraint.DEVICE
    assert "It has waited for more than 300 s, so a device is kept free for it" in told(late)["other"].reason


def test_a_large_job_among_small_ones_gets_the_room_that_they_leave():
    small = [job(f"s{n}", age=1 + n, tenant="b") for n in range(3)]
    large = job("large", seat_gb=6, **LATE)
    actions = plan(snapshot(large, *small, hosts=[busy("h", seats=3)]), NOW)
    assert (admitted(actions), kept(actions)) == ([], {"large": "h"})
    assert told(actions)["large"].constraint is Constraint.SEAT
    goes_on = replace(large, kept_host_id="h")
    assert admitted(plan(snapshot(goes_on, *small, hosts=[busy("h", seats=2)]), NOW)) == []
    after = plan(snapshot(goes_on, *small, hosts=[busy("h", seats=1)]), NOW)
    assert admitted(after) == [("large", "h")]


def test_one_job_of_a_second_base_behind_500_of_the_first_does_not_wait_for_all_of_them():
    crowd = [job(f"c{n}", age=n, **LATE) for n in range(500)]
    actions = plan(snapshot(*crowd, job("other", "qwen", age=999, **LATE), hosts=[busy("h")]), NOW)
    assert kept(actions) == {"other": "h"}


def test_once_its_device_is_empty_the_host_is_retired_and_the_job_goes_first():
    waits = job("other", "qwen", kept="h", **LATE)
    rival = job("rival", tenant="b", priority=9)
    retire, *_ = plan(snapshot(waits, rival, hosts=[host("h", idle_s=1, ready_since=LONG_AGO)]), NOW)
    assert isinstance(retire, RetireHost)
    assert admitted(plan(snapshot(waits, rival, retiring={"cpu": 1}), NOW)) == []
    started, seated, *_ = plan(snapshot(waits, rival), NOW)
    assert isinstance(started, StartHost)
    assert (started.key.base_id, seated) == ("qwen", Admit(waits.ref, "new-0"))


def test_a_job_that_can_never_fit_drains_nothing():
    too_large = job("huge", "qwen", seat_gb=20, **LATE)
    gone = replace(job("gone", "qwen", age=1, **LATE), footprint=None)
    actions = plan(snapshot(too_large, gone, job("young", age=2), hosts=[busy("h", seats=3)]), NOW)
    assert (admitted(actions), kept(actions)) == ([("young", "h")], {})
    assert {told(actions)[name].constraint for name in ("huge", "gone")} == {Constraint.PLACEMENT}


def test_a_device_whose_job_left_the_queue_or_no_longer_fits_is_given_to_others_again():
    young = job("young", age=1)
    assert admitted(plan(snapshot(young, hosts=[busy("h", seats=3)]), NOW)) == [("young", "h")]
    grown = job("grown", "qwen", seat_gb=20, kept="h", **LATE)
    actions = plan(snapshot(grown, young, hosts=[busy("h", seats=3)]), NOW)
    assert (admitted(actions), kept(actions)) == ([("young", "h")], {"grown": None})


def test_two_overdue_jobs_of_two_other_bases_drain_one_device_one_after_the_other():
    first, second = job("q", "qwen", **LATE), job("g", "gemma", age=1, tenant="b", **LATE)
    actions = plan(snapshot(first, second, hosts=[busy("h")]), NOW)
    assert kept(actions) == {"q": "h"}
    held = replace(first, kept_host_id="h")
    assert kept(plan(snapshot(held, second, hosts=[busy("h", seats=1)]), NOW)) == {}


def test_jobs_of_one_other_base_drain_one_device_and_not_one_each():
    waiting = [job(f"q{n}", "qwen", age=n, **LATE) for n in range(3)]
    actions = plan(snapshot(*waiting, hosts=[busy("h1"), busy("h2")], devices=2), NOW)
    assert list(kept(actions)) == ["q0"]
    assert told(actions)["q1"].constraint is Constraint.DRAIN
    assert "one is kept free for a host of qwen" in told(actions)["q1"].reason


def test_a_device_is_handed_over_no_more_often_than_the_bound():
    """Bases with jobs that have all waited for long do not throw each other out at every pass."""
    waits = job("q", "qwen", waited_s=10 * BOUND_S)
    young_host = busy("h", ready_since=NOW - timedelta(seconds=BOUND_S - 1))
    assert kept(plan(snapshot(waits, hosts=[young_host]), NOW)) == {}
    assert kept(plan(snapshot(waits, hosts=[busy("h", ready_since=None, ready=False)]), NOW)) == {}


def test_the_device_that_needs_the_fewest_jobs_to_end_is_kept():
    hosts = [busy("full"), busy("nearly-empty", seats=1), busy("half", seats=2)]
    assert kept(plan(snapshot(job("q", "qwen", **LATE), hosts=hosts, devices=3), NOW)) == {"q": "nearly-empty"}


def test_where_a_host_of_its_base_would_do_no_other_base_is_drained():
    hosts = [busy("own", "qwen"), busy("other")]
    assert kept(plan(snapshot(job("q", "qwen", **LATE), hosts=hosts, devices=2), NOW)) == {}
    tight = busy("own", "qwen", seats=2, free_gb=0.5)
    assert kept(plan(snapshot(job("q", "qwen", **LATE), hosts=[tight, hosts[1]], devices=2), NOW)) == {"q": "own"}


def test_nothing_is_kept_while_a_device_is_about_to_be_free():
    actions = plan(snapshot(job("q", "qwen", **LATE), hosts=[busy("h")], devices=2, retiring={"cpu": 1}), NOW)
    assert kept(actions) == {}


def test_a_tenants_own_higher_priority_goes_before_its_overdue_job():
    low, high = job("low", "qwen", **LATE), job("high", age=1, priority=1)
    assert kept(plan(snapshot(low, high, hosts=[busy("h")]), NOW)) == {}
    assert kept(plan(snapshot(low, replace(high, priority=0), hosts=[busy("h")]), NOW)) == {"low": "h"}


def test_who_has_the_earlier_turn_is_not_bypassed_by_a_long_wait_of_another():
    """Otherwise a long queue would give its tenant every seat."""
    crowd = job("crowd", seat_gb=3, tenant="crowd", **LATE)
    mine = job("mine", age=9, seat_gb=3, tenant="me")
    world = share(
        snapshot(crowd, mine, hosts=[busy("h", seats=2, free_gb=2)]),
        crowd=TenantShare(2, 1.0, 0),
        me=TenantShare(0, 1.0, 9),
    )
    assert kept(plan(world, NOW)) == {}


@given(crowds, st.integers(1, 3), st.data())
def test_a_kept_host_takes_its_job_or_nobody_and_is_kept_for_one(waiting, devices, data):
    hosts = [
        busy(f"h{n}", data.draw(st.sampled_from(["llama", "qwen"])), seats=data.draw(st.integers(1, 4)))
        for n in range(devices)
    ]
    since = data.draw(st.lists(st.sampled_from([0, BOUND_S]), min_size=len(waiting), max_size=len(waiting)))
    waiting = [replace(j, since=NOW - timedelta(seconds=s)) for j, s in zip(waiting, since, strict=True)]
    first = plan(snapshot(*waiting, hosts=hosts, devices=devices), NOW)
    chosen = kept(first)
    assert len(set(chosen.values())) == len(chosen)
    assert not {name for name, _ in admitted(first)} & chosen.keys()
    overdue = {j.ref.id for j in waiting if NOW - j.since >= timedelta(seconds=BOUND_S)}
    assert chosen.keys() <= overdue

    goes_on = [replace(j, kept_host_id=chosen.get(j.ref.id)) for j in waiting]
    second = plan(snapshot(*goes_on, hosts=hosts, devices=devices), NOW)
    holders = {host_id: name for name, host_id in chosen.items()}
    assert all(holders.get(where, name) == name for name, where in admitted(second))
    assert not kept(second).keys() & chosen.keys()
    assert plan(snapshot(*goes_on, hosts=hosts, devices=devices), NOW) == second
