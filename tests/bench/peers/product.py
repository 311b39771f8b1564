"""The product itself: seats and a stepper, without HTTP, disk, checkpoints or evaluation."""

import time
from collections.abc import Callable, Sequence

from torch.profiler import record_function

from tests.bench.peers.peer import TRAINING, Run, SlotCounter
from tests.bench.workloads import Job
from workers.bases import LoadedBase, load_base
from workers.contract.errors import WorkerError
from workers.contract.rows import DatasetFormat
from workers.contract.spec import DatasetRef, DataSpec, HostSpec, JobSpec, SeatAssignment
from workers.engine.seat import Seat
from workers.engine.stepper import Stepper


def fused_stepper(base: LoadedBase) -> Stepper:
    """The fused stepper. Raises SystemExit where this tree has none."""
    try:
        from workers.lanes.fused import FusedStepper
    except ImportError as error:
        raise SystemExit(f"peer `ours` needs workers.lanes.fused.FusedStepper: {error}") from error
    stepper: Stepper = FusedStepper(base)
    return stepper


class ProductPeer:
    """Every job gets a seat; the stepper decides who shares a step."""

    def __init__(self, spec: HostSpec, stepper: Callable[[LoadedBase], Stepper]) -> None:
        self.base: LoadedBase | None = load_base(spec)
        self._loaded = self.base
        self.stepper = stepper(self._loaded)
        self._slots = SlotCounter(self._loaded.model)

    def run(self, jobs: Sequence[Job]) -> Run:
        """See `Peer.run`."""
        self._slots.take()
        started = time.perf_counter()
        seats = [open_seat(job, self._loaded, self.stepper) for job in jobs]
        attached = time.perf_counter()
        losses = self._train(seats)
        trained = time.perf_counter()
        for seat in seats:
            self.stepper.close(seat.adapter)
        closed = time.perf_counter()
        return Run((attached - started) + (closed - trained), trained - attached, self._slots.take(), losses)

    @record_function(TRAINING)
    def _train(self, seats: Sequence[Seat]) -> dict[str, list[float]]:
        losses: dict[str, list[float]] = {seat.spec.job_id: [] for seat in seats}
        while due := [seat for seat in seats if not seat.finished]:
            for stepped in self.stepper.step(due):
                if isinstance(stepped.result, WorkerError):
                    raise stepped.result
                losses[stepped.seat.spec.job_id].append(stepped.result.loss)
        return losses


def open_seat(job: Job, base: LoadedBase, stepper: Stepper) -> Seat:
    """A prepared seat, as `workers.engine.prepare` would make it from a file with these rows."""
    spec = job_spec(job, base.spec)
    plan = job.plan(base.tokenizer.pad_token_id or 0)
    order = SeatAssignment(spec=spec, attempt=1, lease_token="bench")
    return Seat(order, stepper.open(spec), plan, ())


def job_spec(job: Job, host: HostSpec) -> JobSpec:
    """The job as the control plane would describe it; its files are never read."""
    no_file = DatasetRef(
        file_id="file-bench", uri="memory://bench", sha256="", rows=len(job.rows), format=DatasetFormat.TEXT
    )
    return JobSpec(
        job_id=job.id,
        tenant_id="bench",
        base=host.base,
        quantization=host.quantization,
        compute_dtype=host.compute_dtype,
        method=job.method,
        data=DataSpec(training=no_file),
        training=job.training,
        seed=job.seed,
        output_uri="memory://bench",
    )
