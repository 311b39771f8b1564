"""An attempt on the host: its order, where it stands, and its seat once it is prepared."""

from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from workers.contract.errors import DataError, UserError, WorkerError
from workers.contract.reports import ExitClass, Heartbeat, Outcome, SeatReport
from workers.contract.spec import SeatOrder
from workers.engine.seat import Seat

Phase = Literal["waiting", "preparing", "training", "evaluating", "saving"]
AttemptKey = tuple[str, int]
ReportT = TypeVar("ReportT", bound=SeatReport)

MAX_DETAILS = 1000


@dataclass
class Attempt:
    """One attempt from `attach` to its `Outcome`. `leaving` is set by other threads, all else by the engine."""

    order: SeatOrder
    deadline: float
    phase: Phase = "waiting"
    seat: Seat | None = None
    leaving: ExitClass | None = None
    over: bool = False

    @property
    def key(self) -> AttemptKey:
        """Job and attempt number."""
        return self.order.spec.job_id, self.order.attempt

    @property
    def step(self) -> int:
        """Finished optimizer steps."""
        return self.seat.step if self.seat else 0

    def say(self, report: type[ReportT], **fields: Any) -> ReportT:
        """A report of this attempt, under its lease."""
        job_id, attempt = self.key
        return report(job_id=job_id, attempt=attempt, lease_token=self.order.lease_token, **fields)

    def heartbeat(self) -> Heartbeat:
        """Where the attempt stands now."""
        return self.say(Heartbeat, step=self.step, phase=self.phase)

    def ended(self, exit_class: ExitClass, **fields: Any) -> Outcome:
        """The last report."""
        seat = self.seat
        if seat is not None:
            fields |= {"trained_tokens": seat.trained_tokens, "eval_loss_before": seat.eval_loss_before}
        return self.say(Outcome, exit_class=exit_class, step=self.step, **fields)

    def failed(self, error: WorkerError) -> Outcome:
        """The last report of an attempt that `error` ended."""
        exit_class = ExitClass.USER if isinstance(error, UserError) else ExitClass.INFRA
        issues = error.issues[:MAX_DETAILS] if isinstance(error, DataError) else ()
        details = tuple(issue.model_dump() for issue in issues)
        return self.ended(exit_class, error_code=error.code, message=str(error), details=details)
