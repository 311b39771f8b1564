"""What a host measured of itself reaches the books, and decides who is admitted to it."""

from pathlib import Path

import pytest

from orchestrator.db.database import Database
from orchestrator.db.states import JobState
from tests.builders.rows import make_job
from tests.builders.world import GB, World
from workers.contract.memory import Footprint

MEASURED = Footprint(resident_bytes=2 * GB, activation_bytes=10**6, recomputed_bytes=10**5, vocab_size=261)


@pytest.fixture
def world(db: Database, tmp_path: Path) -> World:
    world = World(db, tmp_path)
    world.running = make_job(db).id
    world.tick(3)
    return world


def test_a_host_starts_with_an_estimate_and_a_limit_and_then_is_believed(world: World) -> None:
    host = world.host_of(world.running)
    (before,) = world.hosts()
    host.footprint, host.budget_tokens = MEASURED, 900
    world.tick(seconds=30)
    (after,) = world.hosts()
    assert host.spec.memory_bytes == 8 * GB
    assert before.memory_bytes > 0
    assert before.budget_tokens is None
    assert (after.memory_bytes, after.activation_bytes, after.recomputed_bytes) == (2 * GB, 10**6, 10**5)
    assert after.budget_tokens == 900


@pytest.mark.parametrize(("rows", "state"), [(200, JobState.STARTING), (250, JobState.QUEUED)])
def test_a_micro_batch_that_fits_by_estimate_must_fit_by_measure(world: World, rows: int, state: JobState) -> None:
    """Beside 2 GB of base there is room for 60,000 positions; a row has 256."""
    world.host_of(world.running).footprint = MEASURED
    world.tick(seconds=30)
    wide = {"batch_size": rows, "micro_batch_size": rows, "max_seq_len": 256}
    job_id = make_job(world.db, spec_changes=wide, now=world.now).id
    world.tick(3)
    job = world.job(job_id)
    assert job.state == state
    if state is JobState.QUEUED:
        assert "none has room" in job.queue_reason
