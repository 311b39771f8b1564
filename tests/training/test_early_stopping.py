"""Training stops when validation no longer improves, and the best weights are published, not the last."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from transformers import EarlyStoppingCallback, TrainerControl, TrainerState

from tests.builders.driving import as_ref, drain, losses, of_job, outcome_of, work_to_step
from tests.builders.specs import chat_row, make_dataset, make_host_spec, make_job_spec, make_order, sum_rows
from workers.contract.base import BaseSpec
from workers.contract.lanes import Lane
from workers.contract.reports import CheckpointManifest, ExitClass, Outcome, Report, StepReport
from workers.contract.spec import JobSpec
from workers.engine.stopping import EarlyStopping
from workers.host import TrainingHost

TOTAL_STEPS = 20


class OneWeight:
    """An adapter with only weights to copy."""

    name = "one"

    def __init__(self) -> None:
        self.weight = torch.zeros(1)

    def weights(self) -> dict[str, torch.Tensor]:
        return {"weight": self.weight}

    def moments(self) -> dict[str, torch.Tensor]:
        return {}

    def load(self, weights: Any, moments: Any, updates: int) -> None:
        raise NotImplementedError


def end_by_transformers(found: list[float], patience: int, threshold: float) -> int | None:
    """The evaluation after which transformers' own callback asks to stop."""
    callback = EarlyStoppingCallback(patience, threshold)
    arguments = SimpleNamespace(metric_for_best_model="eval_loss", greater_is_better=False)
    state, control = TrainerState(), TrainerControl()
    for number, loss in enumerate(found, start=1):
        callback.on_evaluate(arguments, state, control, metrics={"eval_loss": loss})
        if state.best_metric is None or loss < state.best_metric:
            state.best_metric = loss  # as the trainer does, after its callbacks
        if control.should_training_stop:
            return number
    return None


@given(
    found=st.lists(st.integers(0, 8), min_size=1, max_size=12),
    patience=st.integers(1, 4),
    threshold=st.sampled_from([0.0, 0.25, 1.0]),
)
def test_patience_is_counted_as_transformers_counts_it(found: list[int], patience: int, threshold: float) -> None:
    quarters = [number / 4 for number in found]  # sums and differences of these are exact
    stopping, adapter, end = EarlyStopping(patience, threshold), OneWeight(), None
    for number, loss in enumerate(quarters, start=1):
        adapter.weight.fill_(number)
        stopping.judge(number, loss, 0.5, adapter)
        if stopping.exhausted:
            end = number
            break
    assert end == end_by_transformers(quarters, patience, threshold)
    seen = quarters[:end]
    assert stopping.best is not None
    assert stopping.best.step == 1 + seen.index(min(seen))
    assert stopping.best.weights["weight"].item() == stopping.best.step


def overfitting_job(folder: Path, base: BaseSpec, **changes: Any) -> JobSpec:
    """A few rows, overfitted quickly: the loss of the contradicting validation rows first falls, then rises."""
    held_out = [chat_row(f"after {n}?", f"xyz {n * 7} was never said") for n in range(40, 44)]
    settings: dict[str, Any] = {
        "n_epochs": TOTAL_STEPS,
        "learning_rate": 1e-2,
        "rank": 8,
        "targets": ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
        "lr_schedule": "constant",
        "eval_interval_steps": 1,
        "checkpoint_interval_steps": 1,
        "early_stopping_patience": 3,
    }
    return make_job_spec(
        folder,
        base,
        training=make_dataset(folder / "rows.jsonl", sum_rows(4)),
        validation=make_dataset(folder / "held-out.jsonl", held_out),
        **(settings | changes),
    )


def run(spec: JobSpec, folder: Path, attempt: int = 1, resume_from: Any = ()) -> list[Report]:
    host = TrainingHost(make_host_spec(folder, spec.base))
    host.attach(make_order(spec, attempt=attempt, resume_from=resume_from))
    return drain(host)


def curve(reports: list[Report], spec: JobSpec) -> dict[int, float]:
    """Validation loss by step, from the first step."""
    steps = of_job(reports, StepReport, spec.job_id)
    return {step.step: step.full_valid_loss for step in steps if step.step and step.full_valid_loss is not None}


def tensors_in(folder: str, file: str) -> dict[str, torch.Tensor]:
    tensors: dict[str, torch.Tensor] = load_file(Path(folder.removeprefix("file://")) / file)
    return tensors


def published(outcome: Outcome) -> dict[str, torch.Tensor]:
    assert outcome.adapter is not None
    return tensors_in(outcome.adapter.uri, "peft/adapter_model.safetensors")


def saved(reports: list[Report], spec: JobSpec, step: int) -> CheckpointManifest:
    return next(manifest for manifest in of_job(reports, CheckpointManifest, spec.job_id) if manifest.step == step)


def weights_of(manifest: CheckpointManifest) -> dict[str, torch.Tensor]:
    return tensors_in(manifest.uri, "adapter.safetensors")


def test_a_job_stops_when_patience_runs_out_and_publishes_its_best_step(
    tmp_path: Path, tiny_base: BaseSpec, each_stepper: Lane
) -> None:
    spec = overfitting_job(tmp_path, tiny_base)
    reports = run(spec, tmp_path)
    outcome, found = outcome_of(reports, spec.job_id), curve(reports, spec)
    best = min(found, key=lambda step: found[step])
    assert outcome.exit_class is ExitClass.OK
    assert (outcome.stopped_early, outcome.best_step, outcome.step) == (True, best, best + 3)
    assert outcome.step < TOTAL_STEPS
    assert outcome.eval_loss_after == found[best] < found[outcome.step]
    adapter = published(outcome)
    assert all(torch.equal(adapter[name], weight) for name, weight in weights_of(saved(reports, spec, best)).items())


def test_an_improvement_below_the_threshold_does_not_reset_patience(tmp_path: Path, tiny_base: BaseSpec) -> None:
    spec = overfitting_job(tmp_path, tiny_base, early_stopping_threshold=100.0)
    outcome = outcome_of(run(spec, tmp_path), spec.job_id)
    assert (outcome.stopped_early, outcome.step) == (True, 4)


def test_without_patience_the_last_weights_are_published(tmp_path: Path, tiny_base: BaseSpec) -> None:
    spec = overfitting_job(tmp_path, tiny_base, early_stopping_patience=None)
    reports = run(spec, tmp_path)
    outcome = outcome_of(reports, spec.job_id)
    assert (outcome.stopped_early, outcome.best_step, outcome.step) == (False, None, TOTAL_STEPS)
    assert outcome.eval_loss_after == curve(reports, spec)[TOTAL_STEPS]
    last = weights_of(saved(reports, spec, TOTAL_STEPS))
    assert all(torch.equal(weight, last[name]) for name, weight in published(outcome).items())


def test_with_patience_left_at_the_end_the_best_is_still_published(tmp_path: Path, tiny_base: BaseSpec) -> None:
    spec = overfitting_job(tmp_path, tiny_base, early_stopping_patience=TOTAL_STEPS)
    reports = run(spec, tmp_path)
    outcome, found = outcome_of(reports, spec.job_id), curve(reports, spec)
    assert (outcome.stopped_early, outcome.step) == (False, TOTAL_STEPS)
    assert outcome.best_step == min(found, key=lambda step: found[step]) < TOTAL_STEPS


def ending(reports: list[Report], spec: JobSpec) -> dict[str, Any]:
    fields = {"step", "best_step", "stopped_early", "eval_loss_before", "eval_loss_after", "trained_tokens"}
    return outcome_of(reports, spec.job_id).model_dump(include=fields)


@pytest.mark.parametrize("after_best", [0, 2, 3])
def test_a_resumed_job_stops_at_the_same_step_and_publishes_the_same_bits(
    tmp_path: Path, tiny_base: BaseSpec, after_best: int, each_stepper: Lane
) -> None:
    """From the best step, while patience counts, and from the last step."""
    spec = overfitting_job(tmp_path, tiny_base)
    straight = run(spec, tmp_path)
    best = outcome_of(straight, spec.job_id).best_step
    assert best is not None
    resumed = run(spec, tmp_path, 2, [as_ref(saved(straight, spec, best + after_best))])
    assert losses(resumed, spec.job_id) == losses(straight, spec.job_id)[best + after_best :]
    assert ending(resumed, spec) == ending(straight, spec)
    first, second = (published(outcome_of(reports, spec.job_id)) for reports in (straight, resumed))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_checkpoint_with_a_damaged_best_is_rejected(tmp_path: Path, tiny_base: BaseSpec) -> None:
    spec = overfitting_job(tmp_path, tiny_base)
    host = TrainingHost(make_host_spec(tmp_path, tiny_base))
    host.attach(make_order(spec))
    work_to_step(host, spec.job_id, 3)
    host.detach(spec.job_id, 1, ExitClass.PREEMPTED)
    older, newest = of_job(drain(host), CheckpointManifest, spec.job_id)[-2:]
    victim = Path(newest.uri.removeprefix("file://")) / "best.safetensors"
    victim.write_bytes(victim.read_bytes()[:-1] + b"?")
    resumed = run(spec, tmp_path, 2, [as_ref(newest), as_ref(older)])
    assert len(losses(resumed, spec.job_id)) == outcome_of(resumed, spec.job_id).step - older.step
