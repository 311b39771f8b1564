"""The planner: a tenant's jobs by priority, then age; warm hosts first; reasons for whoever waits."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.catalogue.entries import Flavor
from orchestrator.db.states import JobState
from orchestrator.lifecycle.transition import JobRef
from orchestrator.lifecycle.turns import TenantShare
from orchestrator.scheduling.actions import Admit, RetireHost, StartHost, Wait
from orchestrator.scheduling.plan import plan
from orchestrator.scheduling.snapshot import HostView, ResidentKey, Snapshot, WaitingJob
from workers.contract.base import ComputeDtype, Quantization
from workers.contract.lanes import Lane
from workers.contract.memory import Footprint

NOW = datetime(2030, 1, 1, tzinfo=UTC)
GB = 10**9


def key(base: str = "llama") -> ResidentKey:
    return ResidentKey(base, Quantization.NF4, ComputeDtype.BF16, "causal_lm", Lane.FUSED)


def footprint(resident_gb: float = 3) -> Footprint:
    """A megabyte for each position of a pass, a tenth when it recomputes."""
    return Footprint(resident_bytes=int(resident_gb * GB), activation_bytes=10**6, recomputed_bytes=10**5, vocab_size=1)


def job(
    name: str,
    base: str = "llama",
    priority: int = 0,
    age: int = 0,
    seat_gb: float = 1,
    host_gb: float = 3,
    tokens=0,
    tenant="tenant",
    waited_s: float = 0,
    kept: str | None = None,
):
    """`host_gb`: base and process of a fresh host."""
    ref = JobRef(name, tenant, JobState.QUEUED, 0, None)
    since = NOW - timedelta(seconds=waited_s)
    seat = int(seat_gb * GB)
    return WaitingJob(ref, key(base), priority, age, since, seat, tokens, footprint(host_gb), kept_host_id=kept)


def host(name: str, base: str = "llama", *, seats: int = 0, free_gb: float = 8, idle_s: int | None = None, **state):
    idle = None if idle_s is None else NOW - timedelta(seconds=idle_s)
    state = {"ready": True, "max_seats": 4, "footprint": footprint()} | state
    return HostView(name, key(base), "cpu", seats_taken=seats, free_bytes=int(free_gb * GB), idle_since=idle, **state)


def snapshot(*waiting: WaitingJob, hosts=(), devices: int = 1, memory_gb: int = 12, max_seats: int = 4, retiring=None):
    flavor = Flavor(name="cpu", memory_bytes=memory_gb * GB, count=devices, max_seats=max_seats)
    spare_ids = tuple(f"new-{n}" for n in range(devices))
    tenants = {job.ref.tenant_id for job in waiting}
    oldest = {tenant: min(job.submitted for job in waiting if job.ref.tenant_id == tenant) for tenant in tenants}
    return Snapshot(
        waiting=waiting,
        hosts=tuple(hosts),
        flavors=(flavor,),
        retiring=retiring or {},
        spare_ids=spare_ids,
        host_idle_s=600,
        max_bypass_s=300,
        shares={tenant: TenantShare(0, 0.0, first) for tenant, first in oldest.items()},
    )


def admitted(actions) -> list[tuple[str, str]]:
    return [(action.job.id, action.host_id) for action in actions if isinstance(action, Admit)]


def test_a_job_goes_to_the_host_that_already_holds_its_base():
    actions = plan(snapshot(job("a"), hosts=[host("other", "qwen"), host("warm")], devices=3), NOW)
    assert actions == [Admit(job("a").ref, "warm")]


def test_six_jobs_of_one_base_start_one_host():
    actions = plan(snapshot(*(job(f"j{n}", age=n, seat_gb=0.5) for n in range(6)), devices=2, max_seats=8), NOW)
    assert [type(a) for a in actions].count(StartHost) == 1
    assert {host_id for _, host_id in admitted(actions)} == {"new-0"}


def test_the_higher_priority_goes_first_and_age_breaks_ties():
    waiting = [job("young", age=3), job("old", age=1), job("urgent", age=9, priority=5)]
    actions = plan(snapshot(*waiting, hosts=[host("warm", max_seats=2)]), NOW)
    assert [name for name, _ in admitted(actions)] == ["urgent", "old"]


def test_jobs_spread_over_the_hosts_of_a_base():
    actions = plan(snapshot(job("a"), hosts=[host("busy", seats=3), host("free", seats=1)], devices=2), NOW)
    assert admitted(actions) == [("a", "free")]


def test_a_full_host_makes_a_second_one_start_while_devices_last():
    actions = plan(snapshot(job("a"), hosts=[host("full", seats=4)], devices=2), NOW)
    assert admitted(actions) == [("a", "new-0")]


def test_an_idle_host_of_another_base_makes_room():
    first, second = plan(snapshot(job("a"), hosts=[host("idle", "qwen", idle_s=5)]), NOW)
    assert isinstance(first, RetireHost)
    assert first.host_id == "idle"
    assert isinstance(second, Wait)
    assert "an idle host is leaving" in second.reason


def test_a_busy_host_of_another_base_is_left_alone_and_the_reason_says_so():
    (wait,) = plan(snapshot(job("a"), hosts=[host("busy", "qwen", seats=1)]), NOW)
    assert isinstance(wait, Wait)
    assert "every device of cpu (1) is busy" in wait.reason


def test_a_device_whose_host_is_on_its_way_out_is_not_free_yet():
    (wait,) = plan(snapshot(job("a"), retiring={"cpu": 1}), NOW)
    assert isinstance(wait, Wait)


def test_a_job_too_large_for_a_busy_host_waits_with_the_numbers():
    (wait,) = plan(snapshot(job("a", seat_gb=9), hosts=[host("warm", seats=1, free_gb=8)]), NOW)
    assert isinstance(wait, Wait)
    assert "9.0 GB" in wait.reason


def test_seats_add_up_but_their_passes_do_not():
    waiting = [job(f"j{n}", age=n, tokens=29_000) for n in range(6)]
    actions = plan(snapshot(*waiting, hosts=[host("warm", max_seats=8, free_gb=8)]), NOW)
    assert [name for name, _ in admitted(actions)] == ["j0", "j1", "j2", "j3", "j4"]  # 5 x 1 GB, one pass of 3


def test_a_job_whose_micro_batch_would_crowd_out_the_others_waits():
    neighbour = host("warm", seats=1, free_gb=4, pass_tokens=20_000)
    assert admitted(plan(snapshot(job("a", tokens=29_000), hosts=[neighbour]), NOW)) == [("a", "warm")]
    (wait,) = plan(snapshot(job("a", tokens=31_000), hosts=[neighbour]), NOW)
    assert isinstance(wait, Wait)


def test_an_idle_host_of_the_same_base_that_is_too_full_makes_room_too():
    retire, wait = plan(snapshot(job("a"), hosts=[host("full", free_gb=0.5, idle_s=5)]), NOW)
    assert isinstance(retire, RetireHost)
    assert wait.reason == f"Waiting for a device: an idle host is leaving one that has room for {key()}."


def test_the_solo_lane_never_recomputes_and_must_have_room_for_all_activations():
    fused = job("a", tokens=10_000)
    assert admitted(plan(snapshot(fused, memory_gb=12), NOW)) == [("a", "new-0")]
    solo = replace(fused, key=replace(fused.key, lane=Lane.SOLO))
    (wait,) = plan(snapshot(solo, memory_gb=12), NOW)
    assert isinstance(wait, Wait)
    assert "needs 14.0 GB on one device, and the largest configured device has 12.0 GB" in wait.reason


def test_a_job_shares_no_host_of_another_lane_and_owns_one_of_the_solo_lane():
    solo = [replace(waiting, key=replace(waiting.key, lane=Lane.SOLO)) for waiting in (job("a"), job("b", age=1))]
    actions = plan(snapshot(*solo, hosts=[host("fused")], devices=3), NOW)
    assert [type(action) for action in actions] == [StartHost, Admit, StartHost, Admit]
    assert len({where for _, where in admitted(actions)} - {"fused"}) == 2


def test_a_host_takes_as_many_devices_as_it_says():
    gang = host("gang", "qwen", seats=1, devices=2)
    (wait,) = plan(snapshot(job("a"), hosts=[gang], devices=2), NOW)
    assert isinstance(wait, Wait)
    assert admitted(plan(snapshot(job("a"), hosts=[gang], devices=3), NOW)) == [("a", "new-0")]


def test_what_a_warm_host_has_measured_counts_and_not_the_estimate():
    frugal = Footprint(resident_bytes=GB, activation_bytes=10**5, recomputed_bytes=10**4, vocab_size=1)
    waiting = job("a", tokens=60_000)
    assert admitted(plan(snapshot(waiting, hosts=[host("warm", free_gb=4)]), NOW)) == []
    measured = host("warm", free_gb=4, footprint=frugal)
    assert admitted(plan(snapshot(waiting, hosts=[measured]), NOW)) == [("a", "warm")]


def test_a_reason_already_told_is_not_written_again():
    (wait,) = plan(snapshot(job("a"), retiring={"cpu": 1}), NOW)
    told = replace(job("a"), reason=wait.reason, constraint=wait.constraint)
    assert plan(snapshot(told, retiring={"cpu": 1}), NOW) == []


def test_a_host_idle_for_long_is_retired_and_a_needed_one_is_not():
    assert [type(a) for a in plan(snapshot(hosts=[host("warm", idle_s=601)]), NOW)] == [RetireHost]
    assert plan(snapshot(job("a"), hosts=[host("warm", idle_s=601)]), NOW) == [Admit(job("a").ref, "warm")]


jobs = st.builds(
    lambda name, base, priority, seat, tokens: job(f"j{name}", base, priority, name, seat, tokens=tokens),
    st.integers(0, 10**6),
    st.sampled_from(["llama", "qwen", "gemma"]),
    st.integers(-2, 2),
    st.floats(0.1, 5),
    st.integers(0, 50_000),
)


@given(st.lists(jobs, max_size=30, unique_by=lambda j: j.submitted), st.integers(1, 4), st.integers(1, 5))
def test_no_plan_overbooks_a_device_or_its_seats(waiting, devices, max_seats):
    world = snapshot(*waiting, devices=devices, max_seats=max_seats)
    actions = plan(world, NOW)
    started = {action.host_id: action for action in actions if isinstance(action, StartHost)}
    assert len(started) <= devices
    by_name = {j.ref.id: j for j in waiting}
    for host_id, start in started.items():
        seated = [by_name[name] for name, where in admitted(actions) if where == host_id]
        assert 1 <= len(seated) <= max_seats
        assert all(j.key == start.key for j in seated)
        passes = max(j.need.pass_bytes for j in seated)
        assert seated[0].footprint.resident_bytes + sum(j.seat_bytes for j in seated) + passes <= 12 * GB
    assert plan(world, NOW) == actions


@given(st.lists(jobs, max_size=20, unique_by=lambda j: j.submitted), st.integers(1, 3))
def test_every_waiting_job_is_either_admitted_or_told_why_it_waits(waiting, devices):
    actions = plan(snapshot(*waiting, devices=devices), NOW)
    told = {action.job.id for action in actions if isinstance(action, Admit | Wait)}
    assert told == {j.ref.id for j in waiting}
