"""A planned stop of the service: seats are saved first, no attempt of a budget is spent, and jobs go on afterwards."""

import threading
from pathlib import Path

import pytest

from orchestrator.db.database import Database
from orchestrator.db.host_states import HostState
from orchestrator.db.states import Desired, JobState
from orchestrator.lifecycle.drain import Shutdown
from orchestrator.loops.composition import control_steps
from orchestrator.settings import Settings
from tests.builders.world import World
from tests.builders.world_jobs import running, submit, want
from workers.contract.reports import ExitClass


class Stopping(World):
    """A world whose orchestrator can be told to stop as planned."""

    def restart_orchestrator(self) -> None:
        super().restart_orchestrator()
        self.shutdown = Shutdown()
        settings = Settings(
            database_url="sqlite://", storage_uri=self.folder.as_uri(), catalogue=self.folder, cache_dir=self.folder
        )
        steps = control_steps(self.db, self.cluster, self.catalogue, settings, self.shutdown).steps
        self.steps = (*self.before_queue, *steps)


@pytest.fixture
def stopping(db: Database, tmp_path: Path) -> Stopping:
    return Stopping(db, tmp_path)


def test_seats_are_saved_and_given_up_and_the_next_start_goes_on_from_there(stopping: Stopping):
    job_id = running(stopping)
    stopping.host_of(job_id).step(job_id, times=2)
    stopping.shutdown.requested.set()
    stopping.tick(4)
    job = stopping.job(job_id)
    assert stopping.shutdown.done.is_set()
    assert job.state in (JobState.BACKOFF, JobState.QUEUED)
    assert stopping.attempts(job_id)[0].exit_class == ExitClass.PREEMPTED
    assert (job.infra_failures, job.host_evictions, job.user_failures, job.reached_step) == (0, 0, 0, 2)
    told = stopping.messages(job_id)
    assert told[told.index("The service is being stopped, saving a checkpoint after this step") :][:3] == [
        "The service is being stopped, saving a checkpoint after this step",
        "Checkpoint created at step 2",
        "The service was stopped as planned at step 2",
    ]
    assert not [message for message in told if "lost" in message or "died" in message]
    assert (stopping.hosts()[0].state, stopping.hosts()[0].base_intact) == (HostState.GONE, True)

    stopping.restart_orchestrator()
    stopping.tick(6)
    stopping.host_of(job_id).prepare(job_id)
    stopping.tick()
    again = stopping.job(job_id)
    assert (again.state, again.step, again.attempt, again.infra_failures) == (JobState.RUNNING, 2, 2, 0)


def test_nothing_is_placed_any_more_and_what_is_only_reserved_goes_back(stopping: Stopping):
    reserved = submit(stopping)
    stopping.tick(1)
    while stopping.job(reserved).state == JobState.QUEUED:
        stopping.tick()
    assert stopping.job(reserved).state == JobState.ADMITTED
    stopping.shutdown.requested.set()
    waiting = submit(stopping)
    stopping.tick(3)
    assert stopping.shutdown.done.is_set()
    assert {stopping.job(job_id).state for job_id in (reserved, waiting)} == {JobState.QUEUED}
    assert stopping.attempts(reserved)[0].exit_class == ExitClass.PREEMPTED
    assert stopping.job(reserved).infra_failures == stopping.job(reserved).host_evictions == 0


def test_a_seat_that_is_still_in_a_step_is_waited_for(stopping: Stopping):
    job_id = running(stopping)
    host = stopping.host_of(job_id)
    host.prompt = False
    stopping.shutdown.requested.set()
    stopping.tick(5)
    assert not stopping.shutdown.done.is_set()
    host.step(job_id)
    host.leave(job_id)
    host.prompt = True
    stopping.tick(3)
    assert stopping.shutdown.done.is_set()
    assert stopping.job(job_id).reached_step == 1


def test_a_job_that_is_cancelled_meanwhile_is_cancelled(stopping: Stopping):
    job_id = running(stopping)
    host = stopping.host_of(job_id)
    host.prompt = False
    stopping.shutdown.requested.set()
    stopping.tick(2)
    want(stopping, job_id, Desired.CANCEL)
    host.leave(job_id)
    stopping.tick(3)
    assert stopping.job(job_id).state == JobState.CANCELLED


def test_a_stop_ends_when_it_is_done_or_the_role_is_lost_or_its_time_is_over():
    shutdown = Shutdown()
    assert not shutdown.wait(lambda: False, timeout_s=600)  # the role is another's: that one decides
    assert not shutdown.wait(lambda: True, timeout_s=0.2)
    threading.Timer(0.1, shutdown.done.set).start()
    assert shutdown.wait(lambda: True, timeout_s=600)
