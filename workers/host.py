"""The training host: one resident base, its seats, and the calls of `workers.contract.host.Host`."""

import logging
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Final

import psutil
import torch

from workers.bases import LoadedBase, blamed, load_base
from workers.contract.errors import BaseDigestMismatch, HostFull, WorkerError
from workers.contract.lanes import Lane
from workers.contract.reports import ExitClass, HostPhase, HostReport, Outcome, Report
from workers.contract.spec import HostSpec, SeatAssignment
from workers.dead_man_switch import DeadManSwitch, exit_when_expired
from workers.engine.attempt import Attempt, AttemptKey
from workers.engine.background import SynchronousExecutor, in_threads
from workers.engine.engine import Clock, Engine
from workers.engine.stepper import Stepper
from workers.lanes.fused import FusedStepper
from workers.lanes.solo.stepper import SequentialStepper
from workers.reports import ReportLog

IDLE_WAIT_S: Final = 0.5
LANES: Final[dict[Lane, Callable[[LoadedBase], Stepper]]] = {
    Lane.FUSED: FusedStepper,
    Lane.SOLO: SequentialStepper,
}
log = logging.getLogger(__name__)


class TrainingHost:
    """Implements `Host`. `start()` trains in its own thread; other threads do the work that needs no model. Tests call
    `run_once()` instead, which does all work in the caller's thread.

    The lock guards only the table of attempts. It is never held while the base loads or a step runs, so `attach`,
    `detach` and `poll` return at once.
    """

    def __init__(
        self,
        spec: HostSpec,
        *,
        load: Callable[[HostSpec], LoadedBase] = load_base,
        stepper: Callable[[LoadedBase], Stepper] | None = None,
        clock: Clock = time.monotonic,
        leave: Callable[[], None] | None = None,
        executor: Callable[[str, int], Executor] | None = None,
    ) -> None:
        """`leave` ends the process once no poll came for `spec.orchestrator_timeout_s` and the seats are saved.

        `executor`: see `Engine`.
        """
        self._spec = spec
        self._load = load
        self._make_stepper = stepper or LANES[spec.lane]
        self._clock = clock
        self._exit = leave
        self._executor = executor
        self._dead_man_switch = DeadManSwitch(spec.orchestrator_timeout_s, clock)
        self._retiring = False
        self._base_intact: bool | None = None
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._attempts: dict[AttemptKey, Attempt] = {}
        self._seen: set[AttemptKey] = set()
        self._log = ReportLog()
        self._phase = HostPhase.LOADING
        self._failure: WorkerError | None = None
        self._base: LoadedBase | None = None
        self._stepper: Stepper | None = None
        self._engine: Engine | None = None
        self._base_loads = 0

    def attach(self, order: SeatAssignment) -> None:
        """See `Host.attach`. An older attempt of the same job still seated here is released."""
        key = (order.spec.job_id, order.attempt)
        with self._lock:
            if key in self._seen:
                return
            if self._retiring:
                raise HostFull(f"host {self._spec.id} is retiring and accepts no more seats")
            older = [attempt for attempt in self._attempts.values() if attempt.key[0] == key[0]]
            if len(self._attempts) - len(older) >= self._spec.max_seats:
                raise HostFull(f"host {self._spec.id} has {self._spec.max_seats} seats and all are taken")
            for attempt in older:
                attempt.exit_requested = attempt.exit_requested or ExitClass.CANCELLED
            self._seen.add(key)
            self._attempts[key] = Attempt(order, self._clock() + order.time_limit_s)
        self._wake.set()

    def detach(self, job_id: str, attempt: int, reason: ExitClass) -> None:
        """See `Host.detach`. The first reason wins. While the base loads, the attempt ends immediately."""
        with self._lock:
            seated = self._attempts.get((job_id, attempt))
            if seated is None:
                return
            seated.exit_requested = seated.exit_requested or reason
            if self._engine is None:
                self._forget(seated.ended(seated.exit_requested))
        self._wake.set()

    def poll(self, cursor: int) -> HostReport:
        """See `Host.poll`. Adds one heartbeat for each attempt."""
        self._dead_man_switch.renew()
        with self._lock:
            attempts = list(self._attempts.values())
            for attempt in attempts:
                self._log.append(attempt.heartbeat())
        base, stepper, failure = self._base, self._stepper, self._failure
        return HostReport(
            host_id=self._spec.id,
            phase=self._phase,
            pid=os.getpid(),
            error_code=failure.code if failure else None,
            error=str(failure) if failure else None,
            base_digest=base.digest if base else None,
            base_folder=str(base.folder) if base else None,
            base_intact=self._base_intact,
            base_loads=self._base_loads,
            load_seconds=base.load_seconds if base else None,
            memory_bytes=self._memory_bytes(),
            footprint=stepper.footprint if stepper else None,
            budget_tokens=stepper.budget_tokens if stepper else None,
            seats=tuple(attempt.key[0] for attempt in attempts),
            reports=tuple(self._log.after(cursor)),
        )

    def retire(self) -> None:
        """See `Host.retire`. A host that is no longer polled retires by itself."""
        with self._lock:
            self._retiring = True
            for attempt in list(self._attempts.values()):
                attempt.exit_requested = attempt.exit_requested or ExitClass.PREEMPTED
                if self._engine is None:
                    self._forget(attempt.ended(attempt.exit_requested))
        self._wake.set()

    def run_once(self) -> bool:
        """Load the base, or do one unit of training work. False when there was nothing to do."""
        if self._dead_man_switch.lapsed and not self._retiring:
            self.retire()
        with self._lock:
            attempts = list(self._attempts.values())
            resting = self._retiring and not attempts
        if resting:
            return self._rest()
        if self._failure is not None:
            for attempt in attempts:
                self._report(attempt.failed(self._failure))
            return bool(attempts)
        if self._engine is None:
            self._load_base()
            return True
        return self._engine.advance(attempts)

    def start(self) -> None:
        """Load and train in a thread until `stop()`."""
        self._thread = threading.Thread(target=self._run, name=f"host-{self._spec.id}", daemon=True)
        self._thread.start()
        if self._exit is not None:
            exit_when_expired(self._dead_man_switch, lambda: self._phase is HostPhase.RETIRED, self._exit)

    def stop(self) -> None:
        """End the thread at the next step boundary and verify the base. Raises BaseDigestMismatch if it changed."""
        self._stopping.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
        for attempt in list(self._attempts.values()):
            attempt.done.set()  # threads that read or write for it give up
        if self._base is not None:
            self._base.verify_unchanged()

    def _run(self) -> None:
        if self._spec.threads is not None:
            torch.set_num_threads(self._spec.threads)
        while not self._stopping.is_set():
            self._wake.clear()
            try:
                busy = self.run_once()
            except Exception as error:
                log.exception("the engine of host %s failed", self._spec.id)
                self._fail(WorkerError(f"the engine stopped: {type(error).__name__}; see the host's log"))
                continue
            if not busy:
                self._wake.wait(IDLE_WAIT_S)

    def _load_base(self) -> None:
        try:
            self._base = self._load(self._spec)
            self._base_loads += 1
            self._stepper = self._make_stepper(self._base)
            self._engine = Engine(
                self._base,
                self._stepper,
                self._report,
                clock=self._clock,
                executor=self._executor or (SynchronousExecutor if self._thread is None else in_threads),
                wake=self._wake.set,
            )
        except Exception as error:
            log.exception("host %s could not load base %s", self._spec.id, self._spec.base.id)
            self._fail(blamed(error, self._spec))
        else:
            self._phase = HostPhase.READY

    def _rest(self) -> bool:
        """Verify the base after the last seat ended, then report RETIRED. False: already done."""
        if self._phase is HostPhase.RETIRED:
            return False
        if self._base is not None:
            self._base_intact = _is_intact(self._base)
        self._phase = HostPhase.RETIRED
        return True

    def _fail(self, error: WorkerError) -> None:
        self._failure, self._phase = error, HostPhase.FAILED

    def _report(self, report: Report) -> None:
        if isinstance(report, Outcome):
            with self._lock:
                self._forget(report)
        else:
            self._log.append(report)

    def _forget(self, outcome: Outcome) -> None:
        """Free the seat and report the outcome in one step: no heartbeat may follow it. The caller holds the lock."""
        attempt = self._attempts.pop((outcome.job_id, outcome.attempt), None)
        if attempt is not None:
            attempt.done.set()
        self._log.append(outcome)

    def _memory_bytes(self) -> int:
        if self._spec.device.startswith("cuda"):
            return int(torch.cuda.memory_allocated(self._spec.device))
        return int(psutil.Process().memory_info().rss)


def _is_intact(base: LoadedBase) -> bool:
    try:
        base.verify_unchanged()
    except BaseDigestMismatch:
        log.critical("the resident base %s changed while it was in use", base.spec.base.id)
        return False
    return True
