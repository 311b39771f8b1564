"""A checkpoint resumes a run bit for bit, and a broken one is rejected."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.builders.driving import as_ref, drain, losses, of_job, outcome_of, work_to_step
from tests.builders.specs import make_dataset, make_host_spec, make_job_spec, make_order, sum_rows
from workers.contract.base import BaseSpec
from workers.contract.reports import CheckpointManifest, CheckpointRejected, ExitClass, Prepared, Report
from workers.contract.spec import CheckpointRef, JobSpec
from workers.host import TrainingHost

pytestmark = pytest.mark.usefixtures("each_stepper")


def job(folder: Path, base: BaseSpec) -> JobSpec:
    """Ten steps over epochs of unequal batches, with every option that could disturb a resume."""
    return make_job_spec(
        folder,
        base,
        training=make_dataset(folder / "rows.jsonl", sum_rows(18)),
        validation=make_dataset(folder / "validation.jsonl", sum_rows(4, start=60)),
        dropout=0.1,
        weight_decay=0.1,
        warmup_ratio=0.2,
        lr_schedule="cosine",
        max_grad_norm=0.3,
        checkpoint_interval_steps=5,
    )


def run(folder: Path, spec: JobSpec, attempt: int = 1, resume_from: tuple[CheckpointRef, ...] = ()) -> list[Report]:
    host = TrainingHost(make_host_spec(folder, spec.base))
    host.attach(make_order(spec, attempt=attempt, lease_token=f"lease-{attempt}", resume_from=resume_from))
    return drain(host)


def adapter_weights(spec: JobSpec, attempt: int) -> dict[str, torch.Tensor]:
    folder = Path(spec.output_uri.removeprefix("file://")) / f"a{attempt}" / "adapter" / "peft"
    return load_file(folder / "adapter_model.safetensors")


def checkpoints(reports: list[Report], spec: JobSpec) -> list[CheckpointRef]:
    """Newest first, as the control plane sends them."""
    return [as_ref(manifest) for manifest in reversed(of_job(reports, CheckpointManifest, spec.job_id))]


def test_half_then_resume_equals_straight_through_bit_for_bit(tmp_path: Path, tiny_base: BaseSpec) -> None:
    spec = job(tmp_path, tiny_base)
    straight = run(tmp_path, spec)
    assert [ref.step for ref in checkpoints(straight, spec)] == [10, 5]
    resumed = run(tmp_path, spec, attempt=2, resume_from=tuple(checkpoints(straight, spec)[1:]))
    (prepared,) = of_job(resumed, Prepared, spec.job_id)
    assert prepared.resumed_from_step == 5
    assert losses(resumed, spec.job_id) == losses(straight, spec.job_id)[5:]
    first, second = adapter_weights(spec, 1), adapter_weights(spec, 2)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    ends = [outcome_of(reports, spec.job_id) for reports in (straight, resumed)]
    assert ends[0].model_dump(include={"eval_loss_before", "eval_loss_after", "trained_tokens"}) == ends[1].model_dump(
        include={"eval_loss_before", "eval_loss_after", "trained_tokens"}
    )


def test_a_preempted_seat_resumes_where_it_stopped(tmp_path: Path, tiny_base: BaseSpec) -> None:
    spec = job(tmp_path, tiny_base)
    straight = losses(run(tmp_path, spec), spec.job_id)
    host = TrainingHost(make_host_spec(tmp_path, tiny_base))
    host.attach(make_order(spec, attempt=2))
    work_to_step(host, spec.job_id, 3)
    host.detach(spec.job_id, 2, ExitClass.PREEMPTED)
    refs = checkpoints(drain(host), spec)
    assert [ref.step for ref in refs] == [3]
    assert losses(run(tmp_path, spec, attempt=3, resume_from=tuple(refs)), spec.job_id) == straight[3:]


@pytest.mark.parametrize("damage", ["flip", "cut", "delete", "manifest", "foreign"])
def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before(
    tmp_path: Path, tiny_base: BaseSpec, damage: str
) -> None:
    spec = job(tmp_path, tiny_base)
    newest, older = checkpoints(run(tmp_path, spec), spec)
    folder = Path(newest.uri.removeprefix("file://"))
    victim = folder / ("manifest.json" if damage == "manifest" else "optimizer.safetensors")
    content = victim.read_bytes()
    if damage in {"flip", "manifest"}:
        victim.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif damage == "cut":
        victim.write_bytes(content[: len(content) // 2])
    elif damage == "delete":
        victim.unlink()
    else:
        newest = newest.model_copy(update={"uri": (tmp_path / "elsewhere" / "step-10").as_uri()})
    reports = run(tmp_path, spec, attempt=2, resume_from=(newest, older))
    (rejected,) = of_job(reports, CheckpointRejected, spec.job_id)
    assert (rejected.uri, rejected.step) == (newest.uri, 10)
    assert rejected.why
    assert of_job(reports, Prepared, spec.job_id)[0].resumed_from_step == 5
    assert outcome_of(reports, spec.job_id).exit_class is ExitClass.OK


def test_without_any_good_checkpoint_the_run_starts_over(tmp_path: Path, tiny_base: BaseSpec) -> None:
    spec = job(tmp_path, tiny_base)
    straight = run(tmp_path, spec)
    refs = tuple(ref.model_copy(update={"manifest_sha256": "0" * 64}) for ref in checkpoints(straight, spec))
    reports = run(tmp_path, spec, attempt=2, resume_from=refs)
    assert len(of_job(reports, CheckpointRejected, spec.job_id)) == 2
    assert losses(reports, spec.job_id) == losses(straight, spec.job_id)


def test_resuming_from_the_last_step_only_publishes(tmp_path: Path, tiny_base: BaseSpec) -> None:
    spec = job(tmp_path, tiny_base)
    straight = run(tmp_path, spec)
    reports = run(tmp_path, spec, attempt=2, resume_from=(checkpoints(straight, spec)[0],))
    assert losses(reports, spec.job_id) == []
    outcome = outcome_of(reports, spec.job_id)
    assert outcome.exit_class is ExitClass.OK
    assert outcome.adapter.adapter_sha256 == outcome_of(straight, spec.job_id).adapter.adapter_sha256


def test_a_checkpoint_holds_no_pickle_and_no_lease(tmp_path: Path, tiny_base: BaseSpec) -> None:
    spec = job(tmp_path, tiny_base)
    ref = checkpoints(run(tmp_path, spec), spec)[0]
    folder = Path(ref.uri.removeprefix("file://"))
    assert sorted(path.name for path in folder.iterdir()) == [
        "adapter.safetensors",
        "manifest.json",
        "optimizer.safetensors",
        "state.json",
    ]
    assert b"lease-1" not in (folder / "manifest.json").read_bytes()
    assert not [path for path in folder.parent.iterdir() if path.name.startswith(".")]
