"""What early stopping leaves in the books, and what its owner reads."""

from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import update

from orchestrator.db.job_tables import JobRow
from orchestrator.db.states import JobState
from orchestrator.queries.job_views import job_view
from tests.builders.specs import make_dataset
from tests.builders.world import World
from tests.builders.world_jobs import running
from workers.contract.spec import JobSpec

ROWS = b'{"prompt": "q", "completion": "a"}\n' * 12


def patient(world: World, patience: int = 3) -> str:
    """A running job of six steps that asked for early stopping."""
    job_id = running(world)
    spec = JobSpec.model_validate(world.job(job_id).spec).model_dump(mode="json")
    spec["data"]["validation"] = make_dataset(world.folder / "validation.jsonl").model_dump(mode="json")
    spec["training"]["early_stopping_patience"] = patience
    with world.db.write() as session:
        session.execute(update(JobRow).where(JobRow.id == job_id).values(spec=spec))
    return job_id


def test_a_job_that_stopped_early_says_so_and_has_no_steps_to_come(world: World) -> None:
    job_id = patient(world)
    host = world.host_of(job_id)
    host.step(job_id, times=4)
    host.finish(job_id, after=0.5, best_step=1, stopped_early=True)
    world.tick()
    job = world.job(job_id)
    assert (job.state, job.step, job.total_steps) == (JobState.PUBLISHING, 4, 4)
    assert (job.best_step, job.stopped_early, job.eval_loss_after) == (1, True, 0.5)
    assert world.messages(job_id)[-1] == (
        "Stopped early at step 4: validation loss has not improved for 3 evaluations; publishing step 1"
    )
    view = job_view(job, "host-1", None, None, world.now)
    assert (view.x_orchard.best_step, view.x_orchard.stopped_early) == (1, True)
    assert view.estimated_finish == int(world.now.timestamp())


def test_a_job_with_patience_left_says_which_step_is_published(world: World) -> None:
    job_id = patient(world)
    host = world.host_of(job_id)
    host.step(job_id, times=6)
    host.finish(job_id, best_step=5)
    world.tick()
    job = world.job(job_id)
    assert (job.step, job.total_steps, job.best_step, job.stopped_early) == (6, 6, 5, False)
    assert world.messages(job_id)[-1] == "Publishing step 5, where validation loss was lowest"


@pytest.mark.parametrize("best_step", [None, 6])
def test_publishing_the_last_step_needs_no_words(world: World, best_step: int | None) -> None:
    job_id = patient(world)
    host = world.host_of(job_id)
    host.step(job_id, times=6)
    host.finish(job_id, best_step=best_step)
    world.tick()
    assert world.messages(job_id)[-1] == "Training finished, publishing the adapter"


@pytest.fixture
def body(web: TestClient) -> dict[str, Any]:
    file = web.post("/v1/files", files={"file": ("t.jsonl", ROWS)}, data={"purpose": "fine-tune"}).json()
    return {"model": "tiny", "training_file": file["id"]}


def test_the_settings_come_back_resolved(web: TestClient, body: dict[str, Any]) -> None:
    asked = {"early_stopping_patience": 3, "early_stopping_threshold": 0.01}
    request = body | {"validation_file": body["training_file"], "x_orchard": {"training": asked}}
    job = web.post("/v1/fine_tuning/jobs", json=request).json()
    assert asked.items() <= job["x_orchard"]["training"].items()
    assert (job["x_orchard"]["best_step"], job["x_orchard"]["stopped_early"]) == (None, False)


@pytest.mark.parametrize(
    ("options", "param", "words"),
    [
        ({"early_stopping_patience": 3}, "early_stopping_patience", ("is 3", "validation_file")),
        ({"early_stopping_patience": 0}, "early_stopping_patience", ("greater than or equal to 1", "got 0")),
        ({"early_stopping_threshold": 0.5}, "early_stopping_threshold", ("0.5", "early_stopping_patience")),
        ({"early_stopping_threshold": -1}, "early_stopping_threshold", ("greater than or equal to 0",)),
    ],
)
def test_what_cannot_stop_early_is_refused_by_name(
    web: TestClient, body: dict[str, Any], options: dict[str, Any], param: str, words: tuple[str, ...]
) -> None:
    answer = web.post("/v1/fine_tuning/jobs", json=body | {"x_orchard": {"training": options}})
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, f"x_orchard.training.{param}")
    assert all(word in error["message"] for word in words)
