"""The ends of hosts: retired with a last look at the base, stuck, silent, out of reach, or taken over."""

from datetime import timedelta

import pytest
from sqlalchemy import select, update

from orchestrator.cluster.inprocess import InProcessCluster
from orchestrator.db.host_states import HostState
from orchestrator.db.job_tables import AttemptRow
from orchestrator.db.states import JobState
from orchestrator.db.tables import HostRow
from orchestrator.hosts.failure_detector import LOAD_DEADLINE_S, LOADING_PATIENCE_S, WRITE_OFF_MARGIN_S
from orchestrator.hosts.reaper import HostReaper
from orchestrator.hosts.report_ingest import ReportIngest, StaleAnswer, held_hosts
from orchestrator.hosts.stall_detector import UNSEEN_S
from orchestrator.scheduling.apply import RETIRE_DEADLINE_S
from tests.builders.rows import make_host
from tests.builders.scripted_host import ScriptedHost
from tests.builders.specs import make_host_spec
from tests.builders.world import World
from tests.builders.world_jobs import running, submit
from workers.contract.host import EXIT_GRACE_S
from workers.contract.reports import ExitClass

TRUST_S = 900


def host_id_of(world: World, job_id: str) -> str:
    return world.attempts(job_id)[0].host_id


def idle_host(world: World) -> str:
    """A host whose only job has just ended well. Returns the job."""
    job_id = running(world)
    world.host_of(job_id).finish(job_id)
    world.tick()
    return job_id


def test_an_idle_host_looks_at_its_base_before_it_is_ended(world: World):
    idle_host(world)
    world.tick(times=2, seconds=400)
    assert world.hosts()[0].state == HostState.STOPPING
    world.tick()
    (host,) = world.hosts()
    assert (host.state, host.base_intact, host.error) == (HostState.GONE, True, "idle for 600 s")
    assert world.cluster.host_ids() == frozenset()


def test_owners_of_adapters_from_a_base_that_changed_are_told(world: World):
    finished = idle_host(world)
    other = running(world)
    world.host_of(other).intact = False
    world.host_of(other).finish(other)
    world.tick()
    world.tick(times=2, seconds=400)
    world.tick()
    assert world.hosts()[0].base_intact is False
    for job_id in (finished, other):
        assert sum(message.startswith("The resident base was found changed") for message in world.messages(job_id)) == 1


def test_a_host_that_does_not_come_to_rest_is_ended_at_its_deadline(world: World):
    job_id = idle_host(world)
    host = world.host_of(job_id)
    host.prompt = False  # it never gets done with looking
    world.tick(seconds=700)
    world.tick(times=3, seconds=10)
    assert world.hosts()[0].state == HostState.STOPPING
    world.tick(seconds=RETIRE_DEADLINE_S)
    (row,) = world.hosts()
    assert (row.state, row.base_intact) == (HostState.GONE, None)
    assert world.cluster.host_ids() == frozenset()


def test_a_host_that_retired_by_itself_is_marked_gone_and_its_jobs_continue(world: World):
    job_id = running(world)
    host = world.host_of(job_id)
    host.step(job_id)
    host.retire()
    world.tick()
    (row,) = world.hosts()
    assert (row.state, row.base_intact) == (HostState.GONE, True)
    assert world.attempts(job_id)[0].exit_class == ExitClass.PREEMPTED
    job = world.job(job_id)
    assert (job.state, job.infra_failures, job.host_evictions) == (JobState.QUEUED, 0, 1)


def test_a_host_that_answers_and_does_not_train_is_ended(world: World):
    job_id = running(world)
    stuck = host_id_of(world, job_id)
    for _ in range(int(600 / UNSEEN_S) + 2):
        world.host_of(job_id).heartbeat(job_id, phase="training")
        world.tick(seconds=UNSEEN_S)
        if world.attempts(job_id)[0].ended_at:
            break
    job, (attempt, *_) = world.job(job_id), world.attempts(job_id)
    assert attempt.exit_class == ExitClass.INFRA
    assert "none of its 1 seat(s) made progress" in attempt.message
    assert (job.state, job.infra_failures, job.user_failures) == (JobState.BACKOFF, 1, 0)
    assert stuck not in world.cluster.host_ids()


def test_a_host_that_prepares_for_a_quarter_of_an_hour_is_left_alone(world: World):
    job_id = running(world)
    for _ in range(30):
        world.host_of(job_id).heartbeat(job_id, phase="preparing")
        world.tick(seconds=30)
    assert world.job(job_id).state == JobState.RUNNING


def test_the_first_poll_after_a_hosts_death_buries_it(world: World):
    job_id = running(world)
    world.cluster.kill(host_id_of(world, job_id))
    world.tick()
    assert world.hosts()[0].state == HostState.GONE
    assert world.attempts(job_id)[0].exit_class == ExitClass.INFRA


def test_a_silent_host_lives_as_long_as_a_lease_that_somebody_renewed(world: World):
    job_id = running(world)
    world.cluster.cut(host_id_of(world, job_id))
    world.tick(times=5, seconds=10)
    with world.db.write() as session:  # another orchestrator has heard of it meanwhile
        session.execute(update(AttemptRow).values(lease_until=world.now + timedelta(seconds=60)))
    world.tick(times=3, seconds=10)
    assert world.job(job_id).state == JobState.RUNNING
    world.tick(times=2, seconds=30)
    assert world.attempts(job_id)[0].exit_class == ExitClass.INFRA


def loading(world: World) -> str:
    """A job that is placed on a host which is still loading its base."""
    world.cluster = InProcessCluster(lambda spec: ScriptedHost(spec, loading=True))
    world.restart_orchestrator()
    job_id = submit(world)
    world.tick(2)
    assert (world.job(job_id).state, world.hosts()[0].state) == (JobState.ADMITTED, HostState.STARTING)
    return job_id


@pytest.mark.parametrize(("polls", "silent_s"), [(0, LOAD_DEADLINE_S), (3, LOADING_PATIENCE_S)])
def test_a_host_that_loads_may_be_silent_on_a_busy_machine_without_costing_an_attempt(
    world: World, polls: int, silent_s: int
):
    job_id = loading(world)
    world.tick(polls)
    assert (world.hosts()[0].last_seen_at is not None) == bool(polls)
    world.cluster.cut(host_id_of(world, job_id))
    for _ in range(silent_s // 60 - 1):
        world.tick(seconds=60)
    assert (world.job(job_id).state, world.job(job_id).infra_failures) == (JobState.ADMITTED, 0)
    world.cluster.heal(host_id_of(world, job_id))
    world.host_of(job_id).load()
    world.tick(3)
    assert (world.job(job_id).state, world.job(job_id).attempt) == (JobState.STARTING, 1)


def test_a_host_that_died_while_loading_is_not_waited_for(world: World):
    job_id = loading(world)
    world.tick(3)
    world.cluster.kill(host_id_of(world, job_id))
    world.tick()
    assert world.hosts()[0].state == HostState.GONE
    assert world.attempts(job_id)[0].exit_class == ExitClass.INFRA


class Unkillable:
    """A cluster in whose reach the host is not, whatever is asked of it."""

    def __init__(self, world: World) -> None:
        self._cluster = world.cluster

    def __getattr__(self, name: str):
        return getattr(self._cluster, name)

    def stop_host(self, host_id: str) -> None:
        from orchestrator.cluster.port import HostUnreachable

        raise HostUnreachable(host_id)


def test_a_host_out_of_reach_is_written_off_only_when_it_has_surely_ended(world: World):
    job_id = running(world)
    world.tick(seconds=10)
    heard = world.hosts()[0].last_seen_at
    world.cluster.cut(host_id_of(world, job_id))
    world.cluster = Unkillable(world)  # type: ignore[assignment]
    world.restart_orchestrator()
    until = heard + timedelta(seconds=TRUST_S + EXIT_GRACE_S + WRITE_OFF_MARGIN_S)
    while world.now + timedelta(seconds=60) < until:
        world.tick(seconds=60)
        assert world.job(job_id).state == JobState.RUNNING
    world.tick(times=2, seconds=60)
    assert world.hosts()[0].state == HostState.GONE
    assert world.attempts(job_id)[0].exit_class == ExitClass.INFRA
    assert world.job(job_id).infra_failures == 1


def test_the_same_holds_while_the_cluster_itself_does_not_answer(world: World):
    job_id = running(world)
    world.cluster.answers = False
    world.tick(times=10, seconds=100)
    assert world.job(job_id).state == JobState.RUNNING
    world.tick(times=2, seconds=60)
    assert world.attempts(job_id)[0].exit_class == ExitClass.INFRA


def test_a_database_that_was_away_for_two_minutes_costs_no_attempt(world: World):
    job_id = running(world)
    world.now += timedelta(seconds=120)
    world.tick(times=2)
    assert (world.job(job_id).state, len(world.attempts(job_id))) == (JobState.RUNNING, 1)


def test_an_answer_that_somebody_else_took_in_is_not_taken_in_twice(world: World):
    job_id = running(world)
    host = world.host_of(job_id)
    with world.db.read() as session:
        ((_, question),) = held_hosts(session)
    host.step(job_id)
    late = host.poll(question.cursor)
    world.tick()
    with pytest.raises(StaleAnswer), world.db.write() as session:
        ReportIngest(60).take(session, question, late, world.now)
    assert sum(message.startswith("Step 1/") for message in world.messages(job_id)) == 1


def test_an_answer_from_before_a_seat_was_taken_is_not_read_as_its_loss_by_another_orchestrator(world: World):
    first = running(world)
    host = world.host_of(first)
    with world.db.read() as session:
        ((_, question),) = held_hosts(session)
    late = host.poll(question.cursor)
    second = submit(world)
    world.tick(times=4, seconds=0.1)
    assert world.job(second).state == JobState.STARTING
    with world.db.write() as session:
        ReportIngest(60).take(session, question, late, world.now)
    assert world.job(second).state == JobState.STARTING


def test_a_host_that_is_gone_does_not_come_back_to_life_in_the_books(world: World):
    host = make_host(world.db, state="starting", last_seen_at=None)
    with world.db.read() as session:
        ((_, question),) = held_hosts(session)
    assert HostReaper(world.db).mark_gone(host.id, "it died", world.now) == "host_gone"
    world.cluster.start_host(make_host_spec(world.folder, host_id=host.id), {})
    with pytest.raises(StaleAnswer), world.db.write() as session:
        ReportIngest(60).take(session, question, world.cluster.poll(host.id, 0), world.now)
    assert HostReaper(world.db).mark_gone(host.id, "again", world.now) == "stale"
    with world.db.read() as session:
        assert session.scalars(select(HostRow.error)).one() == "it died"


def test_a_host_that_somebody_wants_by_now_is_no_stray(world: World):
    """It was started, and its row written, by another orchestrator after ours had begun its pass."""
    cluster = world.cluster
    listed = cluster.host_ids

    def list_late():
        ids = listed()
        make_host(world.db, id="host-new", last_seen_at=None, state="starting")
        return ids | {"host-new", "host-nobody-wants"}

    cluster.host_ids = list_late  # type: ignore[method-assign]
    stopped: list[str] = []
    cluster.stop_host = stopped.append  # type: ignore[method-assign]
    cluster.start_host(make_host_spec(world.folder, host_id="host-new"), {})
    world.tick()
    assert stopped == ["host-nobody-wants"]
