"""Hosts that make random progress, and their cluster."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from typing import Any

import fsspec

from orchestrator.cluster.inprocess import InProcessCluster
from tests.builders.scripted_encoder import ScriptedEncoder
from tests.builders.scripted_host import ScriptedHost, ScriptedSeat
from tests.simulation.faults import Faults, LostCall, Nonsense
from workers.contract.errors import ErrorCode
from workers.contract.reports import CheckpointRejected, ExitClass, HostReport, Report, StepReport
from workers.contract.rows import RowIssue
from workers.contract.spec import CheckpointRef, HostSpec

TOTAL_STEPS = 4
CHECKPOINT_EVERY = 2


class SimHost(ScriptedHost):
    """A scripted host that advances by itself: `work` is one unit."""

    def __init__(self, spec: HostSpec, faults: Faults, clock: Callable[[], datetime]) -> None:
        super().__init__(spec, loading=True, prompt=True)
        self._faults = faults
        self._clock = clock
        self._heard = clock()
        self.resumed: list[tuple[str, int, int, tuple[int, ...]]] = []
        """(job, attempt, step resumed from, steps that verified at that time)"""
        self.told: Counter[str] = Counter()
        """Steps reported for each job."""

    def poll(self, cursor: int) -> HostReport:
        self._heard = self._clock()
        for job_id in self.seats:
            self.heartbeat(job_id)
        return super().poll(cursor)

    def detach(self, job_id: str, attempt: int, reason: ExitClass) -> None:
        """Record the detach; the next `work` obeys it."""
        seat = self.seats.get(job_id)
        if seat is not None and seat.order.attempt == attempt:
            seat.asked_to_leave = seat.asked_to_leave or reason

    def _report(self, report: Report) -> None:
        super()._report(report)
        self.told[report.job_id] += isinstance(report, StepReport)

    def work(self) -> None:
        """Load, or advance every seat. A host that is not polled for too long ends its seats."""
        if (self._clock() - self._heard).total_seconds() > self.spec.orchestrator_timeout_s:
            self.retire()
        if self._phase == "failed":
            return
        if self._phase == "loading":
            if self._faults.strike("host fails to load", 2):
                self.fail_to_load(ErrorCode.BASE_UNAVAILABLE, "the storage of its weights is away")
            elif self._faults.strike("base cannot be loaded", 2):
                self.fail_to_load(ErrorCode.BASE_UNUSABLE, "a file of its weights is damaged")
            elif self._faults.rng.random() < 0.7:
                self.load()
            return
        for job_id in list(self.seats):
            try:
                self._move(job_id)
            except OSError:
                self.fail(job_id, ErrorCode.STORAGE_UNAVAILABLE, ExitClass.INFRA, "storage failed")

    def _move(self, job_id: str) -> None:
        seat, rng = self.seats[job_id], self._faults.rng
        if seat.asked_to_leave is not None:
            if rng.random() < 0.7:
                self.leave(job_id)
        elif self._faults.strike("user error"):
            self.fail(job_id, ErrorCode.NON_FINITE_LOSS, ExitClass.USER, "the loss is not finite")
        elif self._faults.strike("seat fails"):
            self.fail(job_id, ErrorCode.INTERNAL, ExitClass.INFRA, "unexpected")
        elif not seat.total_steps and self._faults.strike("encoded rows lost", 2):
            self.fail(job_id, ErrorCode.ENCODED_ROWS_LOST, ExitClass.INFRA, "its encoded rows are gone")
        elif not seat.total_steps:
            self._resume(job_id)
        elif seat.step >= seat.total_steps:
            self.finish(job_id)
        else:
            self.step(job_id, times=rng.choice((1, 2)) if seat.step + 2 <= seat.total_steps else 1)
            if seat.step % CHECKPOINT_EVERY == 0:
                self.checkpoint(job_id)

    def leave(self, job_id: str) -> None:
        """A preempted seat saves its step unless it is already saved."""
        seat = self.seats[job_id]
        if seat.asked_to_leave is ExitClass.PREEMPTED and not self._unsaved(seat):
            self._end(job_id, ExitClass.PREEMPTED)
        else:
            super().leave(job_id)

    def _unsaved(self, seat: ScriptedSeat) -> bool:
        return seat.step > 0 and seat.step % CHECKPOINT_EVERY != 0

    def _resume(self, job_id: str) -> None:
        order = self.seats[job_id].order
        sound = [ref for ref in order.resume_from if verifies(ref)]
        chosen = sound[0] if sound else None
        for ref in order.resume_from[: order.resume_from.index(chosen) if chosen else None]:
            rejected = CheckpointRejected(**self.seats[job_id].identity, uri=ref.uri, step=ref.step, why="rotten")
            self._report(rejected)
        step = chosen.step if chosen else 0
        self.resumed.append((job_id, order.attempt, step, tuple(ref.step for ref in sound)))
        self.prepare(job_id, TOTAL_STEPS, step)


def verifies(ref: CheckpointRef) -> bool:
    """Verify like a worker: the manifest matches the recorded digest, and the files match the manifest."""
    try:
        manifest = _read(f"{ref.uri}/manifest.json")
        if hashlib.sha256(manifest).hexdigest() != ref.manifest_sha256:
            return False
        files = json.loads(manifest)["files"]
        return all(hashlib.sha256(_read(f"{ref.uri}/{file['path']}")).hexdigest() == file["sha256"] for file in files)
    except FileNotFoundError:
        return False


def _read(uri: str) -> bytes:
    with fsspec.open(uri, "rb") as file:
        return file.read()


class SimEncoder(ScriptedEncoder):
    """An encoder that takes its time: `work` is one unit."""

    def __init__(self, faults: Faults) -> None:
        super().__init__(prompt=False)
        self._faults = faults

    def work(self) -> None:
        """Go on with the first order, or end it."""
        if not self.orders or self._faults.rng.random() < 0.3:
            self.rows_read += bool(self.orders)
        elif self._faults.strike("encoder fails", 3):
            self.fail()
        elif self._faults.strike("file refused", 4):
            self.refuse(RowIssue(line=1, code="too_long", message="it is too long"))
        else:
            self.finish()


class SimCluster(InProcessCluster[SimHost]):
    """Calls and answers are lost, doubled and garbled. An unreachable host keeps running and cannot be killed."""

    def __init__(self, faults: Faults, clock: Callable[[], datetime]) -> None:
        super().__init__(lambda spec: SimHost(spec, faults, clock), make_encoder=lambda: SimEncoder(faults))
        self._faults = faults
        self.causal_mask: list[SimHost] = []
        self.told: Counter[str] = Counter()
        self.resumed: list[tuple[str, int, int, tuple[int, ...]]] = []

    def start_host(self, spec: HostSpec, resources: dict[str, float]) -> None:
        self._call(lambda: super(SimCluster, self).start_host(spec, resources))

    def host_ids(self) -> frozenset[str]:
        if self._faults.strike("call lost"):
            raise LostCall("the cluster does not answer")
        return super().host_ids()

    def attach(self, host_id, order) -> None:
        self._call(lambda: super(SimCluster, self).attach(host_id, order))

    def detach(self, host_id, job_id, attempt, reason) -> None:
        self._call(lambda: super(SimCluster, self).detach(host_id, job_id, attempt, reason))

    def poll(self, host_id, cursor):
        return self._call(lambda: super(SimCluster, self).poll(host_id, cursor))

    def retire(self, host_id) -> None:
        self._call(lambda: super(SimCluster, self).retire(host_id))

    def stop_host(self, host_id) -> None:
        self._call(lambda: super(SimCluster, self).stop_host(host_id))

    def encode(self, encoder, order) -> None:
        self._call(lambda: super(SimCluster, self).encode(encoder, order))

    def abandon(self, encoder, key) -> None:
        self._call(lambda: super(SimCluster, self).abandon(encoder, key))

    def poll_encoder(self, encoder):
        return self._call(lambda: super(SimCluster, self).poll_encoder(encoder))

    def stop_encoder(self, encoder) -> None:
        self._call(lambda: super(SimCluster, self).stop_encoder(encoder))

    def living(self) -> list[SimHost]:
        """The hosts that the cluster knows."""
        return [self._hosts[host_id] for host_id in sorted(self._hosts)]

    def work(self) -> None:
        """Run the machines between two passes."""
        for host in self.living():
            host_id = host.spec.id
            if self._faults.strike("host dies"):
                self.kill(host_id)
            elif self._faults.strike("host lost from sight", 0.5):
                self.kill(host_id)
                self.causal_mask.append(host)
            elif host_id in self._silent:
                if not self._faults.on or self._faults.rng.random() < 0.2:
                    self.heal(host_id)
            elif self._faults.strike("host hangs"):
                self.cut(host_id)
        self.answers = self.answers or self._faults.rng.random() < 0.5 or not self._faults.on
        if self._faults.strike("cluster away"):
            self.answers = False
        for encoder in sorted(self._encoders):
            self._work_of(encoder)
        for host in [*self.living(), *self.causal_mask]:
            host.work()
            host.work()
            self.resumed += host.resumed
            self.told += host.told
            host.resumed.clear()
            host.told.clear()

    def _work_of(self, encoder: int) -> None:
        if self._faults.strike("encoder dies"):
            self.kill_encoder(encoder)
        elif self._faults.strike("encoder restarts under its name", 0.5):
            self._encoders[encoder] = SimEncoder(self._faults)
        else:
            self._encoders[encoder].work()

    def _call(self, call) -> Any:
        if self._faults.strike("call lost"):
            raise LostCall("the call was lost")
        answer = call()
        if self._faults.strike("call doubled"):
            answer = call()
        if self._faults.strike("answer lost"):
            raise LostCall("the answer was lost")
        if self._faults.strike("nonsense answered", 0.5):
            raise Nonsense("the answer makes no sense")
        return answer
