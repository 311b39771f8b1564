"""Real worker processes on the tiny base: killed at random steps and while they write, cut off, short of disk."""

import hashlib
import json
import random
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.builders.specs import make_dataset, make_job_spec, sum_rows
from tests.builders.waiting import wait_until
from tests.faults.small_disk import fill, small_disk
from tests.faults.worker import Job
from workers.contract.errors import ErrorCode
from workers.contract.reports import ExitClass, Outcome, Prepared, StepReport

KILLS = 20


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory):
    from tests.builders.tiny_base import make_tiny_base

    return make_tiny_base(tmp_path_factory.mktemp("tiny"))


def make(folder: Path, tiny, count: int = 18, **changes) -> Job:
    """A deterministic job of count / 4 steps an epoch, a checkpoint every other step, and all that could disturb."""
    folder.mkdir(exist_ok=True)
    options = {"dropout": 0.1, "weight_decay": 0.1, "checkpoint_interval_steps": 2, "deterministic": True}
    rows = make_dataset(folder / "rows.jsonl", sum_rows(count))
    return Job(make_job_spec(folder, tiny, training=rows, **(options | changes)), folder)


def visible(job: Job) -> list[Path]:
    """Folders that look like checkpoints. Hidden ones are drafts, which nobody is offered."""
    return [path for path in job.output.glob("a*/step-*") if path.is_dir()]


def whole(folder: Path) -> bool:
    manifest = json.loads((folder / "manifest.json").read_bytes())
    return all(
        hashlib.sha256((folder / file["path"]).read_bytes()).hexdigest() == file["sha256"] for file in manifest["files"]
    )


@pytest.mark.slow
@pytest.mark.live
@pytest.mark.timeout(1_200)
def test_f12_a_worker_killed_at_20_random_steps_ends_with_the_same_bits(tmp_path: Path, tiny):
    rng = random.Random(12)
    steps = {"count": 38, "n_epochs": 50}  # 500, more than 20 attempts take
    straight, job = make(tmp_path / "straight", tiny, **steps), make(tmp_path / "killed", tiny, **steps)
    assert straight.run() == 0
    for _ in range(KILLS):
        assert job.run(f"worker.step:kill9@{rng.randrange(8, 24)}") == -signal.SIGKILL
        assert job.fired
    assert job.run() == 0
    assert job.told(Outcome)[0].exit_class is ExitClass.OK
    assert job.told(Prepared)[0].resumed_from_step > KILLS
    assert job.adapter() == straight.adapter()


@pytest.mark.slow
@pytest.mark.live
@pytest.mark.timeout(1_200)
@pytest.mark.parametrize(
    "place",
    [
        *(f"storage.file:partial@{number}" for number in (5, 6, 7, 8)),
        "storage.before_last:kill9@2",
        "checkpoint.written:kill9@2",
        "adapter.written:kill9",
    ],
)
def test_f13_a_worker_killed_while_it_writes_leaves_nothing_partial_to_resume_from(tmp_path: Path, tiny, place: str):
    straight, job = make(tmp_path / "straight", tiny), make(tmp_path / "killed", tiny)
    assert straight.run() == 0
    assert job.run(place) == -signal.SIGKILL
    assert job.fired
    assert all(whole(folder) for folder in visible(job))
    newest = max((ref.step for ref in job.committed), default=0)
    assert job.run() == 0
    assert job.told(Prepared)[0].resumed_from_step == newest
    assert job.adapter() == straight.adapter()


@pytest.mark.slow
@pytest.mark.live
@pytest.mark.timeout(1_200)
def test_f17_a_worker_that_nobody_polls_saves_its_seat_and_ends_itself(tmp_path: Path, tiny):
    job = make(tmp_path / "job", tiny, count=1_800, n_epochs=50)  # longer than any machine trains within the timeout
    child = job.start(deaf=True, orchestrator_timeout_s=3.0)
    child.join(60)
    assert child.exitcode is not None
    assert visible(job)
    assert all(whole(folder) for folder in visible(job))
    assert not (job.output / "a1" / "adapter").exists()


@pytest.mark.slow
@pytest.mark.live
@pytest.mark.timeout(1_200)
def test_f11_a_full_checkpoint_disk_costs_no_older_checkpoint_and_the_job_ends_when_there_is_space(
    tmp_path: Path, tiny
):
    with small_disk(tmp_path / "disk", 4_096) as disk:
        job = make(tmp_path / "job", tiny, n_epochs=40, checkpoint_interval_steps=2)
        job.spec = job.spec.model_copy(update={"output_uri": (disk / "out").as_uri()})
        child = job.start()
        job.wait_for(StepReport, 6)
        filler = fill(disk)
        steps = len(job.told(StepReport))
        wait_until(lambda: len(job.told(StepReport)) > steps + 4 or job.told(Outcome), "it goes on, or ends", 60)
        assert all(whole(folder) for folder in visible(job))
        filler.unlink()
        child.join(120)
        job.take_in()
        if job.told(Outcome)[0].exit_class is not ExitClass.OK:
            assert job.told(Outcome)[0].error_code is ErrorCode.STORAGE_UNAVAILABLE
            assert job.told(Outcome)[0].exit_class is ExitClass.INFRA
            assert job.run() == 0
        assert job.told(Outcome)[0].exit_class is ExitClass.OK


LEAVES_A_CHILD = """
import os, signal, subprocess, sys
from workers.orphans import mark_children
mark_children()
quiet = subprocess.DEVNULL
child = subprocess.Popen(["sleep", "600"], start_new_session=True, stdout=quiet, stderr=quiet)
print(child.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_f22_a_child_in_a_session_of_its_own_is_ended_after_its_worker_died():
    from workers.orphans import end_orphans

    worker = subprocess.run([sys.executable, "-c", LEAVES_A_CHILD], capture_output=True, text=True, check=False)
    assert worker.returncode == -signal.SIGKILL
    child = psutil.Process(int(worker.stdout))
    assert child.is_running()
    assert child.pid in end_orphans()
    wait_until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, "the child is gone")
