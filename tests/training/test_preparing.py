"""New seats are prepared in the background. Other seats do not wait, and a new seat may end before it is ready."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.builders.driving import as_ref, drain, losses, of_job, outcome_of, work_to_step
from tests.builders.later import Later
from tests.builders.specs import make_host_spec, make_job_spec, make_order
from workers.contract.base import BaseSpec
from workers.contract.encoded import ROWS_FILE
from workers.contract.errors import ErrorCode
from workers.contract.reports import CheckpointManifest, CheckpointRejected, ExitClass, Heartbeat, Prepared
from workers.host import TrainingHost
from workers.lanes.fused import FusedStepper
from workers.lanes.fused.stack import StackedAdapter
from workers.methods.lora import LoraMethod


def phase_of(host: TrainingHost, job_id: str) -> str:
    return of_job([numbered.report for numbered in host.poll(0).reports], Heartbeat, job_id)[-1].phase


def seated(folder: Path, base: BaseSpec, reader: Later, **options: Any) -> TrainingHost:
    """A host on which `resident` trains already."""
    host = TrainingHost(make_host_spec(folder, base), executor=reader.only("ahead"), **options)
    host.attach(make_order(make_job_spec(folder, base, job_id="resident", n_epochs=10)))
    host.run_once()
    host.run_once()
    reader.run()
    work_to_step(host, "resident", 1)
    return host


def test_other_seats_train_while_a_new_seat_is_prepared(tmp_path: Path, tiny_base: BaseSpec) -> None:
    reader = Later()
    host = seated(tmp_path, tiny_base, reader)
    host.attach(make_order(make_job_spec(tmp_path, tiny_base, job_id="new")))
    work_to_step(host, "resident", 8)
    assert phase_of(host, "new") == "preparing"
    assert reader.run() == 1
    reports = drain(host)
    assert outcome_of(reports, "new").exit_class is ExitClass.OK
    assert len(losses(reports, "resident")) == 30


def test_a_new_seat_computes_the_same_however_late_it_is_ready(tmp_path: Path, tiny_base: BaseSpec) -> None:
    at_once = TrainingHost(make_host_spec(tmp_path, tiny_base))
    at_once.attach(make_order(make_job_spec(tmp_path, tiny_base, job_id="new", deterministic=True)))
    reader = Later()
    host = seated(tmp_path, tiny_base, reader)
    host.attach(make_order(make_job_spec(tmp_path, tiny_base, job_id="new", deterministic=True)))
    work_to_step(host, "resident", 3)
    reader.run()
    assert losses(drain(host), "new") == losses(drain(at_once), "new")


def test_a_new_seat_may_be_cancelled_before_it_is_ready(tmp_path: Path, tiny_base: BaseSpec) -> None:
    reader = Later()
    host = seated(tmp_path, tiny_base, reader)
    host.attach(make_order(make_job_spec(tmp_path, tiny_base, job_id="new")))
    host.run_once()
    host.detach("new", 1, ExitClass.CANCELLED)
    reports = drain(host)
    assert outcome_of(reports, "new").exit_class is ExitClass.CANCELLED
    assert reader.run() == 0, "the file of a cancelled seat must not be read"
    assert outcome_of(reports, "resident").exit_class is ExitClass.OK


def test_the_time_limit_holds_while_preparing(tmp_path: Path, tiny_base: BaseSpec) -> None:
    now = [0.0]
    reader = Later()
    host = seated(tmp_path, tiny_base, reader, clock=lambda: now[0])
    host.attach(make_order(make_job_spec(tmp_path, tiny_base, job_id="new", max_runtime_s=60)))
    host.run_once()
    now[0] = 61.0
    reports = drain(host)
    outcome = outcome_of(reports, "new")
    assert (outcome.error_code, outcome.step) == (ErrorCode.MAX_RUNTIME_EXCEEDED, 0)
    assert of_job(reports, Prepared, "new") == []
    assert outcome_of(reports, "resident").exit_class is ExitClass.OK


@pytest.mark.parametrize("harm", [Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:-1] + b"x")])
def test_encoded_rows_that_are_gone_or_damaged_end_only_the_new_seat_and_are_no_fault_of_the_job(
    tmp_path: Path, tiny_base: BaseSpec, harm: Callable[[Path], object]
) -> None:
    reader = Later()
    host = seated(tmp_path, tiny_base, reader)
    order = make_order(make_job_spec(tmp_path, tiny_base, job_id="new"))
    encoded = order.spec.data.training.encoded
    assert encoded is not None
    harm(Path(encoded.uri.removeprefix("file://")) / ROWS_FILE)
    host.attach(order)
    host.run_once()
    reader.run()
    reports = drain(host)
    outcome = outcome_of(reports, "new")
    assert (outcome.exit_class, outcome.error_code) == (ExitClass.INFRA, ErrorCode.ENCODED_ROWS_LOST)
    assert outcome_of(reports, "resident").exit_class is ExitClass.OK


def test_wrong_targets_are_refused_before_anything_is_read(tmp_path: Path, tiny_base: BaseSpec) -> None:
    reader = Later()
    host = seated(tmp_path, tiny_base, reader)
    host.attach(make_order(make_job_spec(tmp_path, tiny_base, job_id="new", targets=("c_attn",))))
    reports = drain(host)
    assert reader.waiting == []
    assert outcome_of(reports, "new").error_code is ErrorCode.INVALID_TARGET_MODULES


def test_a_checkpoint_is_verified_in_the_background_and_a_broken_one_is_reported(
    tmp_path: Path, tiny_base: BaseSpec
) -> None:
    spec = make_job_spec(tmp_path, tiny_base, job_id="resumed")
    first = TrainingHost(make_host_spec(tmp_path, tiny_base))
    first.attach(make_order(spec))
    newest, older = (as_ref(saved) for saved in reversed(of_job(drain(first), CheckpointManifest, "resumed")))
    reader = Later()
    host = seated(tmp_path, tiny_base, reader)
    broken = newest.model_copy(update={"manifest_sha256": "0" * 64})
    host.attach(make_order(spec, attempt=2, resume_from=(broken, older)))
    host.run_once()
    reader.run()
    reports = drain(host)
    assert [rejected.step for rejected in of_job(reports, CheckpointRejected, "resumed")] == [newest.step]
    assert of_job(reports, Prepared, "resumed")[0].resumed_from_step == older.step
    assert outcome_of(reports, "resumed").exit_class is ExitClass.OK


def held_by(host: TrainingHost) -> tuple[Any, ...]:
    """The fused stepper's seats, and the bytes it holds for them."""
    stepper = host._stepper
    assert isinstance(stepper, FusedStepper)
    stacks = [stack for stacks in stepper._linears._stacks.values() for stack in stacks]
    slots, hooks = [stack.used for stack in stacks], set(stepper._linears._hooks)
    return set(stepper._adapters), set(stepper._queue._seats), set(stepper._proven), stepper._memory._held, slots, hooks


@pytest.mark.parametrize(("of", "name"), [(LoraMethod, "initialize"), (StackedAdapter, "load")])
def test_a_seat_that_does_not_fit_when_it_opens_or_resumes_leaves_nothing_behind(
    tmp_path: Path, tiny_base: BaseSpec, monkeypatch: pytest.MonkeyPatch, of: Any, name: str
) -> None:
    spec = make_job_spec(tmp_path, tiny_base, job_id="resumed", tenant_id="tenant-b", rank=8, targets=("down_proj",))
    first = TrainingHost(make_host_spec(tmp_path, tiny_base))
    first.attach(make_order(spec))
    saved = [as_ref(saved) for saved in of_job(drain(first), CheckpointManifest, "resumed")]
    assert held_by(first) == (set(), set(), set(), 0, [], set())
    reader = Later()
    host = seated(tmp_path, tiny_base, reader)
    before = held_by(host)
    host.attach(make_order(spec, attempt=2, resume_from=saved[::-1]))
    host.run_once()
    reader.run()

    def out_of_memory(*_: Any) -> None:
        raise torch.OutOfMemoryError("no memory")

    with monkeypatch.context() as cramped:
        cramped.setattr(of, name, out_of_memory)
        host.run_once()
    assert held_by(host) == before
    reports = drain(host)
    outcome = outcome_of(reports, "resumed")
    assert (outcome.exit_class, outcome.error_code) == (ExitClass.INFRA, ErrorCode.OUT_OF_MEMORY)
    assert "the adapter did not fit" in outcome.message
    assert outcome_of(reports, "resident").exit_class is ExitClass.OK
