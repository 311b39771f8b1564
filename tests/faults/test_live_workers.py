"""Real hosts die, stand still and leave children behind; their checkpoints rot. The jobs resume and end."""

import os
import shutil
import signal
from pathlib import Path

import openai
import psutil
import pytest
from sqlalchemy import select

from orchestrator.db.job_tables import CheckpointRow
from tests.builders.live_stack import messages, submit, upload
from tests.builders.specs import sum_rows
from tests.builders.waiting import wait_until
from tests.faults.rig import PATIENCE_S, Rig, end_of, step_of
from tests.faults.tenants import one_client

pytestmark = [pytest.mark.slow, pytest.mark.live, pytest.mark.timeout(1_200)]

STEPS = 200


def long_job(rig: Rig, client: openai.OpenAI, at_step: int) -> str:
    """A job of 200 steps that has taken some, with a checkpoint every other step."""
    options = {"checkpoint_interval_steps": 2, "deterministic": True}
    job_id = submit(client, upload(client, sum_rows(16)), n_epochs=50, **options).id
    wait_until(lambda: step_of(client, job_id) >= at_step, f"step {at_step} of {job_id}", PATIENCE_S)
    return job_id


def host_pid(rig: Rig, job_id: str) -> int:
    pid = rig.host_of(job_id).pid
    assert pid is not None
    return pid


def checkpoints(rig: Rig, job_id: str) -> list[Path]:
    """Folders of the checkpoints that the books offer for resume, newest first."""
    committed = (CheckpointRow.job_id == job_id, CheckpointRow.state == "committed")
    with rig.live.db.read() as session:
        uris = session.scalars(select(CheckpointRow.uri).where(*committed).order_by(CheckpointRow.step.desc())).all()
    return [Path(uri.removeprefix("file://")) for uri in uris]


def kill_and_rot(rig: Rig, job_id: str, rot: list) -> None:
    """`kill -9` the host and spoil its checkpoints before any orchestrator looks."""
    with rig.standing_still(rig.live.child_pid("orchestrator")):
        os.kill(host_pid(rig, job_id), signal.SIGKILL)
        for folder, spoil in zip(checkpoints(rig, job_id), rot, strict=False):
            spoil(folder)


def flip(folder: Path) -> None:
    file = folder / "adapter.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)


def cut(folder: Path) -> None:
    os.truncate(folder / "optimizer.safetensors", 100)


def restarts(client: openai.OpenAI, job_id: str) -> list[str]:
    return [message for message in messages(client, job_id) if message.startswith("Fine-tuning job restarted")]


def refusals(client: openai.OpenAI, job_id: str) -> list[str]:
    return [message for message in messages(client, job_id) if "cannot be used" in message]


def test_f12_a_host_killed_again_and_again_costs_attempts_and_nothing_else(rig: Rig):
    client = one_client(rig)
    job_id = long_job(rig, client, at_step=8)
    pids = set()
    for _ in range(3):
        pid = wait_until(lambda: rig.host_of(job_id).pid, "the host has a process", PATIENCE_S)
        reached = step_of(client, job_id)
        os.kill(pid, signal.SIGKILL)
        pids.add(pid)
        wait_until(lambda pid=pid: rig.host_of(job_id).pid not in (pid, None), "another host", PATIENCE_S)
        wait_until(lambda reached=reached: step_of(client, job_id) > reached + 2, "further than before", PATIENCE_S)
    job = end_of(client, job_id)
    assert job.status == "succeeded", job.error
    assert len(pids) == 3
    assert len(rig.attempts(job_id)) == 4
    assert all(attempt.resumed_from_step > 0 for attempt in rig.attempts(job_id)[1:])
    assert rig.versions(job_id) == 1


@pytest.mark.parametrize("place", ["storage.before_last", "checkpoint.written", "adapter.written"])
def test_f13_a_host_killed_around_the_manifest_resumes_from_a_whole_checkpoint(rig: Rig, place: str):
    client = one_client(rig)
    job_id = long_job(rig, client, at_step=8)
    rig.arm(place)
    rig.fired(place)
    job = end_of(client, job_id)
    assert job.status == "succeeded", job.error
    assert rig.attempts(job_id)[1].resumed_from_step > 0
    assert refusals(client, job_id) == []


def test_f14_flipped_cut_and_deleted_checkpoints_are_passed_over_and_the_owner_is_told(rig: Rig):
    client = one_client(rig)
    job_id = long_job(rig, client, at_step=16)
    kill_and_rot(rig, job_id, [flip, cut])
    job = end_of(client, job_id)
    assert job.status == "succeeded", job.error
    assert len(refusals(client, job_id)) == 2
    assert len(restarts(client, job_id)) == 1


def test_f15_without_any_sound_checkpoint_the_job_starts_at_0_once_and_completes(rig: Rig):
    client = one_client(rig)
    job_id = long_job(rig, client, at_step=16)
    kill_and_rot(rig, job_id, [flip, cut, shutil.rmtree, *[flip] * STEPS])
    job = end_of(client, job_id)
    assert job.status == "succeeded", job.error
    assert len(refusals(client, job_id)) >= 2
    assert restarts(client, job_id) == []
    assert [attempt.resumed_from_step for attempt in rig.attempts(job_id)] == [0, 0]


def test_f16_a_host_that_stands_still_beyond_its_lease_is_ended_before_its_job_goes_on(rig: Rig):
    client = one_client(rig)
    job_id = long_job(rig, client, at_step=8)
    old = psutil.Process(host_pid(rig, job_id))
    old.suspend()
    wait_until(lambda: rig.host_of(job_id).pid not in (None, old.pid), "a second host", PATIENCE_S)
    assert not old.is_running() or old.status() == psutil.STATUS_ZOMBIE
    job = end_of(client, job_id)
    assert job.status == "succeeded", job.error
    assert rig.versions(job_id) == 1


def test_f19_when_the_process_of_a_host_dies_nothing_of_it_is_left(rig: Rig):
    client = one_client(rig)
    job_id = long_job(rig, client, at_step=4)
    pid = host_pid(rig, job_id)
    family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: rig.attempts(job_id)[0].ended_at, "the death is seen", 10)
    assert rig.attempts(job_id)[0].exit_class == "infra"
    _, alive = psutil.wait_procs(family, timeout=10)
    assert alive == []
    client.fine_tuning.jobs.cancel(job_id)
    end_of(client, job_id)
