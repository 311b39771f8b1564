"""Jobs of a `World`: submitted, asked for something, brought to training."""

from typing import Any

from sqlalchemy import update

from orchestrator.db.job_tables import JobRow
from orchestrator.db.states import Desired, JobState
from tests.builders.rows import make_job
from tests.builders.world import World


def submit(world: World, **changes: Any) -> str:
    """A queued job whose outputs go below the world's folder."""
    job = make_job(world.db, **changes)
    spec = job.spec | {"output_uri": (world.folder / job.id).as_uri()}
    with world.db.write() as session:
        session.execute(update(JobRow).where(JobRow.id == job.id).values(spec=spec))
    return job.id


def want(world: World, job_id: str, desired: Desired) -> None:
    """Write the wish into the job's row, as the API would."""
    with world.db.write() as session:
        session.execute(update(JobRow).where(JobRow.id == job_id).values(desired=desired))


def running(world: World, **changes: Any) -> str:
    """A job that its host has prepared and the loops know to be running."""
    job_id = submit(world, **changes)
    world.tick(4)
    world.host_of(job_id).prepare(job_id)
    world.tick()
    assert world.job(job_id).state == JobState.RUNNING
    return job_id
