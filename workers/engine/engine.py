"""The host's loop body: the work due for each seat, then one training step. The stepper does the training."""

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Final

from workers.bases import LoadedBase
from workers.contract.errors import MaxRuntimeExceeded, WorkerError
from workers.contract.failpoints import failpoint
from workers.contract.reports import ExitClass, Outcome, Report, SeatWarning
from workers.engine.attempt import Attempt
from workers.engine.background import SynchronousExecutor
from workers.engine.evaluation import Evaluation
from workers.engine.prefetcher import Prefetcher
from workers.engine.prepare import prepared, seat_of
from workers.engine.progress import step_report
from workers.engine.saver import Saver
from workers.engine.seat import Seat
from workers.engine.stepper import Stepper

log = logging.getLogger(__name__)
Clock = Callable[[], float]
READERS_PER_SEAT: Final = 2
"""The seat's, and one that still reads for an attempt that has ended."""


class Engine:
    """Advances attempts, one short piece of work per call. Not thread-safe: one thread owns it.

    Work that needs no model runs in background threads. `executor(name, threads)` makes those of one kind of work;
    `wake` is called from them when a piece is done.
    """

    def __init__(
        self,
        base: LoadedBase,
        stepper: Stepper,
        report: Callable[[Report], None],
        *,
        clock: Clock = time.monotonic,
        executor: Callable[[str, int], Executor] = SynchronousExecutor,
        wake: Callable[[], None] = lambda: None,
    ) -> None:
        self._base = base
        self._stepper = stepper
        self._report = report
        self._clock = clock
        self._prefetcher = Prefetcher(base, executor("ahead", READERS_PER_SEAT * base.spec.max_seats), wake)
        self._saver = Saver(base, executor("saver", 1), wake)

    def advance(self, attempts: Sequence[Attempt]) -> bool:
        """Do a piece of each attempt's due work, and one step of those with none. False when nothing was done.

        An attempt is over once its `Outcome` is reported; the caller then drops it.
        """
        failpoint("worker.step")
        idle = [attempt for attempt in attempts if not self._settle(attempt)]
        trained = self._train([attempt for attempt in idle if attempt.phase == "training"])
        return trained or len(idle) < len(attempts)

    def _train(self, due: Sequence[Attempt]) -> bool:
        by_seat = {id(attempt.seat): attempt for attempt in due}
        seats = [attempt.seat for attempt in due if attempt.seat is not None]
        for stepped in self._stepper.step(seats) if seats else ():
            attempt = by_seat[id(stepped.seat)]
            if isinstance(stepped.result, WorkerError):
                self._end(attempt, attempt.failed(stepped.result))
                continue
            attempt.pending_result = stepped.result
            self._settle(attempt)
        return bool(seats)

    def _settle(self, attempt: Attempt) -> bool:
        """Do a piece of the attempt's due work. An error ends this attempt only. False: no work was due."""
        try:
            return self._owed(attempt)
        except WorkerError as error:
            self._end(attempt, attempt.failed(error))
        except Exception as error:
            log.exception("attempt %s of job %s failed", attempt.order.attempt, attempt.order.spec.job_id)
            self._end(attempt, attempt.failed(WorkerError(f"unexpected {type(error).__name__}; see the host's log")))
        return True

    def _owed(self, attempt: Attempt) -> bool:
        self._tell_saved(attempt)
        if attempt.exit_requested is not None:
            return self._exit(attempt, attempt.exit_requested)
        if attempt.result is None and self._clock() > attempt.deadline:
            limit_s = attempt.order.spec.limits.max_runtime_s
            raise MaxRuntimeExceeded(
                f"the job stopped at step {attempt.step}: its attempts ran longer than {limit_s} s; raise max_runtime_s"
            )
        if attempt.seat is None:
            return self._prepare(attempt)
        return self._follow_up(attempt, attempt.seat)

    def _follow_up(self, attempt: Attempt, seat: Seat) -> bool:
        """After a step: evaluate, report, save a checkpoint, then finish or take the next step, as each is due."""
        if seat.evaluation_due:
            self._evaluate(attempt, seat)
            return True
        self._tell_step(attempt, seat)
        if seat.checkpoint_due and not self._save(attempt, seat):
            return False
        if seat.finished:
            return self._finish(attempt, seat)
        attempt.phase = "training"
        return False

    def _exit(self, attempt: Attempt, reason: ExitClass) -> bool:
        """End as requested. A preempted seat first saves a checkpoint; it ends also when that save is given up."""
        seat = attempt.seat
        if seat is not None:
            self._tell_step(attempt, seat)
        if reason is ExitClass.PREEMPTED and seat is not None and seat.step > 0:
            attempt.phase = "saving"
            if seat.saved_step != seat.step and not attempt.final_save_queued:
                if not self._save(attempt, seat):
                    return False
                attempt.final_save_queued = True
            if self._saver.saving(attempt):
                return False
        self._end(attempt, attempt.ended(reason))
        return True

    def _prepare(self, attempt: Attempt) -> bool:
        if attempt.phase == "waiting":
            attempt.phase = "preparing"
            self._prefetcher.begin(attempt)
        ready = self._prefetcher.ready(attempt, self._report)
        if ready is None:
            return False
        seat = attempt.seat = seat_of(attempt.order, ready, self._base, self._stepper)
        self._report(prepared(attempt, seat, ready))
        return True

    def _evaluate(self, attempt: Attempt, seat: Seat) -> None:
        """One pass over some validation rows. The last pass completes the score."""
        attempt.phase = "evaluating"
        if attempt.evaluation is None:
            attempt.evaluation = Evaluation(seat.validation, self._stepper.evaluate(seat))
        attempt.evaluation.advance()
        if attempt.evaluation.done:
            seat.take(attempt.evaluation.score(seat.step))
            attempt.evaluation = None
            self._report(step_report(attempt, seat, attempt.pending_result))
            attempt.pending_result = None

    def _save(self, attempt: Attempt, seat: Seat) -> bool:
        """Submit a checkpoint of this step, or skip it: a storage outage does not stop training.

        False while the previous checkpoint is being written.
        """
        if self._saver.saving(attempt):
            if attempt.exit_requested is None and self._saver.behind(attempt):
                seat.skip_checkpoint(seat.step)
                return True
            attempt.phase = "saving"
            return False
        self._saver.save(attempt, seat.snapshot())
        seat.saved_step = seat.step
        self._tell_saved(attempt)
        return True

    def _finish(self, attempt: Attempt, seat: Seat) -> bool:
        attempt.phase = "saving"
        if attempt.result is None:
            attempt.result = seat.result()
            self._saver.publish(attempt, attempt.result)
        adapter = self._saver.published(attempt)
        if adapter is None:
            return False
        failpoint("adapter.written")
        self._tell_saved(attempt)  # the same thread wrote it before the adapter
        self._end(attempt, attempt.succeeded(adapter))
        return True

    def _tell_step(self, attempt: Attempt, seat: Seat) -> None:
        if attempt.pending_result is not None:
            self._report(step_report(attempt, seat, attempt.pending_result))
            attempt.pending_result = None

    def _tell_saved(self, attempt: Attempt) -> None:
        saved = self._saver.saved(attempt)
        if saved is None:
            return
        if isinstance(saved, SeatWarning) and attempt.seat is not None:
            attempt.seat.skip_checkpoint(saved.step)
        self._report(saved)

    def _end(self, attempt: Attempt, outcome: Outcome) -> None:
        attempt.done.set()
        if attempt.seat is not None:
            self._tell_step(attempt, attempt.seat)
            self._stepper.close(attempt.seat.adapter)
        self._prefetcher.forget(attempt)
        self._saver.forget(attempt)
        self._report(outcome)
