"""An attempt on the host: its assignment, its phase, and its seat once prepared."""

import threading
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from workers.contract.errors import DataError, UserError, WorkerError
from workers.contract.issues import MAX_ISSUES, storable
from workers.contract.reports import AdapterManifest, ExitClass, Heartbeat, Outcome, SeatReport
from workers.contract.spec import SeatAssignment
from workers.engine.evaluation import Evaluation
from workers.engine.seat import Seat
from workers.engine.stepper import StepResult
from workers.engine.stopping import BestWeights

Phase = Literal["waiting", "preparing", "training", "evaluating", "saving"]
AttemptKey = tuple[str, int]
ReportT = TypeVar("ReportT", bound=SeatReport)


@dataclass
class Attempt:
    """One attempt from `attach` to its `Outcome`. Other threads set `exit_requested`; the engine sets the rest."""

    order: SeatAssignment
    deadline: float
    phase: Phase = "waiting"
    rows_read: int = 0
    """Rows that are tokens, while it prepares. The reader's thread sets it."""
    seat: Seat | None = None
    pending_result: StepResult | None = None
    """The last step, while its report waits for the evaluation after it."""
    evaluation: Evaluation | None = None
    """The one in progress."""
    result: BestWeights | None = None
    """The weights being published."""
    exit_requested: ExitClass | None = None
    final_save_queued: bool = False
    """Whether the last checkpoint before a preemption was submitted for writing."""
    done: threading.Event = field(default_factory=threading.Event, repr=False)
    """Set once the attempt is over, so that other threads stop working for it."""

    @property
    def key(self) -> AttemptKey:
        """Job and attempt number."""
        return self.order.spec.job_id, self.order.attempt

    @property
    def step(self) -> int:
        """Finished optimizer steps."""
        return self.seat.step if self.seat else 0

    def report(self, report: type[ReportT], **fields: Any) -> ReportT:
        """A report of this attempt, under its lease."""
        job_id, attempt = self.key
        return report(job_id=job_id, attempt=attempt, lease_token=self.order.lease_token, **fields)

    def count_rows(self, rows: int) -> None:
        """Note how many rows are tokens now."""
        self.rows_read = rows

    def heartbeat(self) -> Heartbeat:
        """The attempt's current step and phase."""
        rows = self.rows_read if self.phase == "preparing" else None
        return self.report(Heartbeat, step=self.step, phase=self.phase, rows_read=rows)

    def ended(self, exit_class: ExitClass, **fields: Any) -> Outcome:
        """The last report."""
        seat = self.seat
        if seat is not None:
            fields |= {"trained_tokens": seat.trained_tokens, "eval_loss_before": seat.eval_loss_before}
        return self.report(Outcome, exit_class=exit_class, step=self.step, **fields)

    def succeeded(self, adapter: AdapterManifest) -> Outcome:
        """The last report of an attempt whose `result` is complete in storage."""
        seat, result = self.seat, self.result
        if seat is None or result is None:
            raise AssertionError("an adapter was published for a seat that was not finished")
        return self.ended(
            ExitClass.OK,
            adapter=adapter,
            eval_loss_after=result.eval_loss,
            best_step=None if seat.stopping is None else result.step,
            stopped_early=seat.stopped_early,
        )

    def failed(self, error: WorkerError) -> Outcome:
        """The last report of an attempt that `error` ended."""
        exit_class = ExitClass.USER if isinstance(error, UserError) else ExitClass.INFRA
        issues = error.issues[:MAX_ISSUES] if isinstance(error, DataError) else ()
        details = tuple(storable(issue).model_dump() for issue in issues)
        return self.ended(exit_class, error_code=error.code, message=str(error), details=details)
