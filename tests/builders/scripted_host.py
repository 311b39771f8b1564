"""`ScriptedHost`: a host without torch. It does not train; the test decides what happens next.

Reports, numbering, acknowledgements and idempotence match a real host. The files of checkpoints and adapters are
written below the job's `output_uri`, with correct digests.
"""

import hashlib
import json
import os
from dataclasses import dataclass
from typing import Any, Literal

import fsspec

from workers.contract.errors import ErrorCode, HostFull
from workers.contract.memory import Footprint
from workers.contract.reports import (
    AdapterManifest,
    CheckpointManifest,
    CheckpointRejected,
    ExitClass,
    FileDigest,
    Heartbeat,
    HostPhase,
    HostReport,
    NumberedReport,
    Outcome,
    Prepared,
    Report,
    StepReport,
)
from workers.contract.spec import HostSpec, SeatAssignment

BASE_DIGEST = "sha256:scripted-base"


@dataclass
class ScriptedSeat:
    """One attempt on the host and its progress."""

    order: SeatAssignment
    total_steps: int = 0
    step: int = 0
    saved_step: int = 0
    asked_to_leave: ExitClass | None = None

    @property
    def identity(self) -> dict[str, Any]:
        return {
            "job_id": self.order.spec.job_id,
            "attempt": self.order.attempt,
            "lease_token": self.order.lease_token,
        }


class ScriptedHost:
    """A `Host` driven by its test.

    `loading=True` leaves the base unloaded until `load()`; `prompt=False` keeps detached seats until `leave(job_id)`,
    like a host in the middle of a long step.
    """

    def __init__(self, spec: HostSpec, *, loading: bool = False, prompt: bool = True) -> None:
        self.spec = spec
        self.prompt = prompt
        self.seats: dict[str, ScriptedSeat] = {}
        self.acknowledged = 0
        self.footprint: Footprint | None = None
        self.budget_tokens: int | None = None
        self._phase = HostPhase.LOADING if loading else HostPhase.READY
        self._error: tuple[ErrorCode, str] | None = None
        self._seen: set[tuple[str, int]] = set()
        self._log: list[NumberedReport] = []
        self._last_seq = 0
        self._retiring = False
        self.intact = True
        """The result of the base verification on retiring."""

    # The contract.

    def attach(self, order: SeatAssignment) -> None:
        key = (order.spec.job_id, order.attempt)
        if key in self._seen:
            return
        if self._retiring:
            raise HostFull(f"host {self.spec.id} is retiring")
        if len(self.seats) >= self.spec.max_seats:
            raise HostFull(f"host {self.spec.id} has {self.spec.max_seats} seats and all are taken")
        self._seen.add(key)
        self.seats[order.spec.job_id] = ScriptedSeat(order)
        self.heartbeat(order.spec.job_id, phase="waiting")

    def detach(self, job_id: str, attempt: int, reason: ExitClass) -> None:
        seat = self.seats.get(job_id)
        if seat is None or seat.order.attempt != attempt:
            return
        seat.asked_to_leave = reason
        if self.prompt:
            self.leave(job_id)

    def poll(self, cursor: int) -> HostReport:
        self.acknowledged = max(self.acknowledged, cursor)
        self._log = [entry for entry in self._log if entry.seq > self.acknowledged]
        code, message = self._error or (None, None)
        ready = self._phase is HostPhase.READY
        return HostReport(
            host_id=self.spec.id,
            phase=HostPhase.RETIRED if self._rests else self._phase,
            base_intact=self.intact if self._rests else None,
            pid=os.getpid(),
            error_code=code,
            error=message,
            base_digest=BASE_DIGEST if ready else None,
            base_loads=int(ready),
            load_seconds=0.0 if ready else None,
            memory_bytes=1_000_000,
            footprint=self.footprint,
            budget_tokens=self.budget_tokens,
            seats=tuple(sorted(self.seats)),
            reports=tuple(entry for entry in self._log if entry.seq > cursor),
        )

    def retire(self) -> None:
        self._retiring = True
        for job_id, seat in list(self.seats.items()):
            self.detach(job_id, seat.order.attempt, ExitClass.PREEMPTED)

    @property
    def _rests(self) -> bool:
        return self._retiring and not self.seats and self.prompt

    # Events that the test triggers.

    def load(self) -> None:
        """The base is resident now."""
        self._phase = HostPhase.READY

    def fail_to_load(self, code: ErrorCode = ErrorCode.BASE_UNAVAILABLE, message: str = "no such folder") -> None:
        self._phase, self._error = HostPhase.FAILED, (code, message)

    def heartbeat(
        self,
        job_id: str,
        phase: Literal["waiting", "preparing", "training", "saving"] = "training",
        rows_read: int | None = None,
    ) -> None:
        seat = self.seats[job_id]
        self._report(Heartbeat(**seat.identity, step=seat.step, phase=phase, rows_read=rows_read))

    def prepare(self, job_id: str, total_steps: int = 6, resumed_from_step: int | None = None) -> None:
        """The rows are tokenized. Resumes from the assignment's newest checkpoint by default."""
        seat = self.seats[job_id]
        newest = next((ref.step for ref in seat.order.resume_from), 0)
        seat.total_steps, seat.step = total_steps, newest if resumed_from_step is None else resumed_from_step
        seat.saved_step = seat.step
        rows = seat.order.spec.data.training.rows
        report = Prepared(
            **seat.identity,
            total_steps=total_steps,
            resumed_from_step=seat.step,
            training_rows=rows,
            supervised_tokens=rows * 8,
            trainable_parameters=1024,
        )
        self._report(report)

    def reject(self, job_id: str, count: int = 1) -> None:
        """The `count` newest checkpoints of the assignment do not verify; `prepare` then takes the next one."""
        seat = self.seats[job_id]
        refs = seat.order.resume_from
        for ref in refs[:count]:
            self._report(CheckpointRejected(**seat.identity, uri=ref.uri, step=ref.step, why="a digest differs"))
        seat.order = seat.order.model_copy(update={"resume_from": refs[count:]})

    def step(self, job_id: str, times: int = 1, loss: float | None = None) -> None:
        """Take `times` optimizer steps; the training loss is 3 / (1 + step) unless `loss` is given."""
        seat = self.seats[job_id]
        for _ in range(times):
            seat.step += 1
            self._report(
                StepReport(
                    **seat.identity,
                    step=seat.step,
                    total_steps=seat.total_steps,
                    epoch=seat.step / max(seat.total_steps, 1),
                    train_loss=3.0 / (1 + seat.step) if loss is None else loss,
                    train_mean_token_accuracy=0.5,
                    learning_rate=1e-3,
                    grad_norm=1.0,
                    tokens=64,
                    supervised_tokens=32,
                    step_seconds=0.01,
                )
            )

    def evaluate(self, job_id: str, loss: float) -> None:
        """An evaluation after the seat's last step; before the first step it reports step 0."""
        seat = self.seats[job_id]
        epoch = seat.step / max(seat.total_steps, 1)
        measured = {"full_valid_loss": loss, "full_valid_mean_token_accuracy": 0.5}
        report = StepReport(**seat.identity, step=seat.step, total_steps=seat.total_steps, epoch=epoch, **measured)
        self._report(report)

    def checkpoint(self, job_id: str) -> CheckpointManifest:
        """Write a checkpoint of the seat's step and report its manifest."""
        seat = self.seats[job_id]
        seat.saved_step = seat.step
        folder = f"{seat.order.spec.output_uri}/a{seat.order.attempt}/step-{seat.step}"
        manifest = CheckpointManifest(
            **seat.identity,
            uri=folder,
            step=seat.step,
            epoch=seat.step / max(seat.total_steps, 1),
            files=(_write(folder, "state.bin", f"{job_id} at {seat.step}".encode()),),
            base_id=seat.order.spec.base.id,
            base_digest=BASE_DIGEST,
            train_loss=3.0 / (1 + seat.step),
        )
        written = _write(folder, "manifest.json", manifest.model_dump_json().encode())
        manifest = manifest.model_copy(update={"manifest_sha256": written.sha256})
        self._report(manifest)
        return manifest

    def finish(
        self, job_id: str, before: float | None = 2.0, after: float | None = 1.0, **fields: Any
    ) -> AdapterManifest:
        """Write the adapter and end the seat successfully, with the evaluation losses before and after training."""
        adapter = _write_adapter(self.seats[job_id])
        self._end(job_id, ExitClass.OK, adapter=adapter, eval_loss_before=before, eval_loss_after=after, **fields)
        return adapter

    def fail(
        self,
        job_id: str,
        code: ErrorCode = ErrorCode.NON_FINITE_LOSS,
        exit_class: ExitClass = ExitClass.USER,
        message: str = "it went wrong",
        **fields: Any,
    ) -> None:
        self._end(job_id, exit_class, error_code=code, message=message, **fields)

    def leave(self, job_id: str) -> None:
        """Obey `detach`: a preempted seat first saves its step if unsaved; a cancelled one does not."""
        seat = self.seats[job_id]
        reason = seat.asked_to_leave
        if reason is None:
            raise AssertionError(f"{job_id} was not detached")
        if reason is ExitClass.PREEMPTED and seat.step != seat.saved_step:
            self.checkpoint(job_id)
        self._end(job_id, reason)

    def run(self, job_id: str, total_steps: int = 6) -> AdapterManifest:
        """Run a whole successful seat: prepare, every step, one checkpoint, finish."""
        self.prepare(job_id, total_steps)
        self.step(job_id, times=total_steps - self.seats[job_id].step)
        self.checkpoint(job_id)
        return self.finish(job_id)

    def _end(self, job_id: str, exit_class: ExitClass, **fields: Any) -> None:
        seat = self.seats.pop(job_id)
        fields.setdefault("trained_tokens", 64 * seat.step)
        self._report(Outcome(**seat.identity, exit_class=exit_class, step=seat.step, **fields))

    def _report(self, report: Report) -> None:
        self._last_seq += 1
        self._log.append(NumberedReport(seq=self._last_seq, report=report))


def _write(folder: str, name: str, data: bytes) -> FileDigest:
    filesystem, path = fsspec.url_to_fs(f"{folder}/{name}")
    filesystem.makedirs(path.rpartition("/")[0], exist_ok=True)
    filesystem.pipe_file(path, data)
    return FileDigest(path=name, bytes=len(data), sha256=hashlib.sha256(data).hexdigest())


def _write_adapter(seat: ScriptedSeat) -> AdapterManifest:
    """A PEFT folder of one 2x2 tensor in the safetensors layout: header length, JSON header, data."""
    spec, folder = seat.order.spec, f"{seat.order.spec.output_uri}/a{seat.order.attempt}/adapter"
    header = json.dumps({"lora_A.weight": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}}).encode()
    config = {"peft_type": "LORA", "r": spec.method.rank, "base_model_name_or_path": spec.base.id}
    weights = _write(folder, "peft/adapter_model.safetensors", len(header).to_bytes(8, "little") + header + bytes(16))
    files = (weights, _write(folder, "peft/adapter_config.json", json.dumps(config).encode()))
    return AdapterManifest(uri=folder, files=files, adapter_sha256=weights.sha256, base_digest=BASE_DIGEST)
