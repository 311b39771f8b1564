"""What the host does next: release, prepare, step, and what follows a step. Training itself is the stepper's."""

import logging
import time
from collections.abc import Callable, Sequence
from functools import partial

from workers.bases import LoadedBase
from workers.contract.errors import MaxRuntimeExceeded, WorkerError
from workers.contract.failpoints import failpoint
from workers.contract.reports import CheckpointManifest, ExitClass, Outcome, Report, StepReport
from workers.engine.attempt import Attempt
from workers.engine.export import publish_adapter
from workers.engine.prepare import prepare
from workers.engine.saver import Saver
from workers.engine.seat import Seat
from workers.engine.stepper import Stepper, StepResult

log = logging.getLogger(__name__)
Clock = Callable[[], float]


class Engine:
    """Moves attempts forward, one unit of work a call. Not thread-safe: one thread owns it."""

    def __init__(
        self,
        base: LoadedBase,
        stepper: Stepper,
        report: Callable[[Report], None],
        clock: Clock = time.monotonic,
    ) -> None:
        self._base = base
        self._stepper = stepper
        self._report = report
        self._clock = clock
        self._saver = Saver()

    def advance(self, attempts: Sequence[Attempt]) -> bool:
        """Release who leaves, then prepare one newcomer or take one step. False when there was nothing to do.

        An attempt is over once its `Outcome` was reported; the caller drops it then.
        """
        for attempt in attempts:
            self._guarded(attempt, self._tell_saved)
        staying = [attempt for attempt in attempts if not attempt.over and not self._released(attempt)]
        newcomer = next((attempt for attempt in staying if attempt.seat is None), None)
        if newcomer is not None:
            self._guarded(newcomer, self._prepare)
            return True
        by_seat = {id(attempt.seat): attempt for attempt in staying}
        due = [attempt.seat for attempt in staying if attempt.seat is not None]
        if not due:
            return len(staying) < len(attempts)
        failpoint("worker.step")
        for stepped in self._stepper.step(due):
            attempt, result = by_seat[id(stepped.seat)], stepped.result
            if isinstance(result, WorkerError):
                self._end(attempt, attempt.failed(result))
            else:
                self._guarded(attempt, partial(self._follow_up, result=result))
        return True

    def _released(self, attempt: Attempt) -> bool:
        if attempt.leaving is not None:
            self._guarded(attempt, self._leave)
        elif self._clock() > attempt.deadline:
            limit_s = attempt.order.spec.limits.max_runtime_s
            error = MaxRuntimeExceeded(f"stopped after {limit_s} s in all at step {attempt.step}; raise max_runtime_s")
            self._end(attempt, attempt.failed(error))
        else:
            return False
        return True

    def _leave(self, attempt: Attempt) -> None:
        reason = attempt.leaving or ExitClass.CANCELLED
        if reason is ExitClass.PREEMPTED and attempt.seat is not None and attempt.step > 0:
            self._save(attempt, attempt.seat)
            self._tell(self._saver.wait(attempt))
        self._end(attempt, attempt.ended(reason))

    def _prepare(self, attempt: Attempt) -> None:
        attempt.phase = "preparing"
        prepare(attempt, self._base, self._stepper, self._report)
        seat = _seat_of(attempt)
        if seat.step == 0 and seat.validation:
            self._evaluate(attempt, seat)
            seat.eval_loss_before = seat.eval_loss
            self._report(self._step_report(attempt, seat, None))
        attempt.phase = "training"
        if seat.finished:
            self._finish(attempt, seat)

    def _follow_up(self, attempt: Attempt, result: StepResult) -> None:
        """Evaluate, report, save and finish, as far as they are due after a step."""
        seat = _seat_of(attempt)
        training = seat.spec.training
        if seat.validation and (seat.finished or seat.step % training.eval_interval_steps == 0):
            self._evaluate(attempt, seat)
        self._report(self._step_report(attempt, seat, result))
        if seat.finished or seat.step % training.checkpoint_interval_steps == 0:
            self._save(attempt, seat)
        attempt.phase = "training"
        if seat.finished:
            self._finish(attempt, seat)

    def _evaluate(self, attempt: Attempt, seat: Seat) -> None:
        attempt.phase = "evaluating"
        evaluation = self._stepper.evaluate(seat)
        seat.eval_step, seat.eval_loss, seat.eval_accuracy = seat.step, evaluation.loss, evaluation.accuracy

    def _save(self, attempt: Attempt, seat: Seat) -> None:
        if seat.saved_step == seat.step:
            return
        attempt.phase = "saving"
        self._tell(self._saver.wait(attempt))
        self._saver.save(attempt, seat.snapshot(), self._base.digest)
        seat.saved_step = seat.step

    def _tell_saved(self, attempt: Attempt) -> None:
        self._tell(self._saver.finished(attempt))

    def _tell(self, saved: CheckpointManifest | None) -> None:
        if saved is not None:
            self._report(saved)

    def _finish(self, attempt: Attempt, seat: Seat) -> None:
        if seat.validation and seat.eval_step != seat.step:
            self._evaluate(attempt, seat)
        attempt.phase = "saving"
        adapter = publish_adapter(seat, self._base)
        failpoint("adapter.written")
        self._tell(self._saver.wait(attempt))
        self._end(attempt, attempt.ended(ExitClass.OK, adapter=adapter, eval_loss_after=seat.eval_loss))

    def _step_report(self, attempt: Attempt, seat: Seat, result: StepResult | None) -> StepReport:
        evaluated = seat.eval_step == seat.step
        fields = (
            {}
            if result is None
            else {
                "train_loss": result.loss,
                "train_mean_token_accuracy": result.accuracy,
                "learning_rate": result.learning_rate,
                "grad_norm": result.grad_norm,
                "tokens": result.tokens,
                "supervised_tokens": result.supervised_tokens,
                "step_seconds": result.seconds,
            }
        )
        return attempt.say(
            StepReport,
            step=seat.step,
            total_steps=seat.total_steps,
            epoch=seat.plan.epoch_after(seat.step),
            full_valid_loss=seat.eval_loss if evaluated else None,
            full_valid_mean_token_accuracy=seat.eval_accuracy if evaluated else None,
            **fields,
        )

    def _guarded(self, attempt: Attempt, work: Callable[[Attempt], None]) -> None:
        """Run `work`; whatever it raises ends this attempt and no other."""
        try:
            work(attempt)
        except WorkerError as error:
            self._end(attempt, attempt.failed(error))
        except Exception as error:
            log.exception("attempt %s of job %s failed", attempt.order.attempt, attempt.order.spec.job_id)
            self._end(attempt, attempt.failed(WorkerError(f"unexpected {type(error).__name__}; see the host's log")))

    def _end(self, attempt: Attempt, outcome: Outcome) -> None:
        seat = attempt.seat
        if seat is not None:
            self._stepper.close(seat.adapter)
        self._saver.forget(attempt)
        attempt.over = True
        self._report(outcome)


def _seat_of(attempt: Attempt) -> Seat:
    if attempt.seat is None:
        raise AssertionError("the attempt was not prepared")
    return attempt.seat
