"""Applies the planner's actions, one guarded write each. It makes no cluster calls."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from sqlalchemy import exists, select, update
from sqlalchemy.orm import Session

from orchestrator.bases.marks import lift, mark_of
from orchestrator.catalogue.entries import Catalogue
from orchestrator.db.database import Database
from orchestrator.db.host_states import HostState
from orchestrator.db.job_tables import AttemptRow, JobRow
from orchestrator.db.states import JobState
from orchestrator.db.tables import HostRow
from orchestrator.ids import new_lease_token
from orchestrator.lifecycle.events import EventDraft
from orchestrator.lifecycle.transition import amend, transition
from orchestrator.scheduling.actions import Admit, KeepFree, RetireHost, StartHost, Wait
from orchestrator.scheduling.admission import device_is_free, host_with_room, is_kept_for_another, lock_admission
from orchestrator.scheduling.plan import seats_of
from workers.contract.lanes import Lane
from workers.contract.memory import estimate
from workers.contract.spec import HostSpec
from workers.contract.tasks import TASKS

RETIRE_DEADLINE_S: Final = 300
"""Time for an idle host to verify its base and exit: reading 70 billion weights at 4 bits takes 1 to 2 minutes."""


@dataclass(frozen=True)
class Applier:
    """Writes actions to the database."""

    db: Database
    catalogue: Catalogue
    cache_dir: Path
    lease_ttl_s: int
    orchestrator_timeout_s: float = 900.0

    def apply(self, action: StartHost | Admit | RetireHost | KeepFree, now: datetime) -> bool:
        """Write one action in a transaction of its own. False: the action was stale and nothing was written."""
        with self.db.write() as session:
            lock_admission(session)
            match action:
                case StartHost():
                    return self._start_host(session, action, now)
                case Admit():
                    return self._admit(session, action, now)
                case RetireHost():
                    return _retire(session, action, now)
                case KeepFree():
                    return _keep_free(session, action)

    def explain(self, waits: Sequence[Wait]) -> int:
        """Write all reasons at once: a thousand jobs may wait for the same seat. Returns how many changed."""
        with self.db.write() as session:
            return sum(_tell(session, wait) for wait in waits)

    def _start_host(self, session: Session, action: StartHost, now: datetime) -> bool:
        base, flavor = self.catalogue.base(action.key.base_id), self.catalogue.flavor(action.flavor)
        if base is None or flavor is None or not device_is_free(session, flavor):
            return False
        if mark_of(session, base, action.key.columns) is not None:  # marked since the plan was made
            return False
        spec = HostSpec(
            id=action.host_id,
            base=base.spec,
            quantization=action.key.quantization,
            compute_dtype=action.key.compute_dtype,
            device=flavor.device,
            max_seats=seats_of(action.key.lane, flavor),
            cache_dir=str(self.cache_dir),
            threads=flavor.threads,
            task=TASKS[action.key.task].model_validate({}),
            lane=action.key.lane,
            target_modules=base.target_modules,
            orchestrator_timeout_s=self.orchestrator_timeout_s,
            memory_bytes=flavor.memory_bytes,
        )
        guess = estimate(base.spec.shape, spec.quantization, spec.compute_dtype)
        footprint = guess.on(recomputes=action.key.lane is Lane.FUSED)
        row = HostRow(
            id=spec.id,
            base_id=action.key.base_id,
            quantization=action.key.quantization,
            compute_dtype=action.key.compute_dtype,
            task=action.key.task,
            lane=action.key.lane,
            devices=spec.devices,
            flavor=action.flavor,
            spec=spec.model_dump(mode="json"),
            memory_bytes=footprint.resident_bytes,
            activation_bytes=footprint.activation_bytes,
            recomputed_bytes=footprint.recomputed_bytes,
            vocab_size=footprint.vocab_size,
            state=HostState.STARTING,
            created_at=now,
        )
        session.add(row)
        lift(session, row)  # of an entry that the catalogue no longer has
        return True

    def _admit(self, session: Session, action: Admit, now: datetime) -> bool:
        host = host_with_room(session, self.catalogue, action.host_id, action.job.id)
        if host is None:
            return False
        memory_bytes = session.scalars(select(JobRow.memory_bytes).where(JobRow.id == action.job.id)).one()
        token, number = new_lease_token(), action.job.attempt + 1
        where = "a warm host" if host.state == HostState.READY else "a host that is loading its base"
        event = EventDraft(f"Placed on {where} (attempt {number})", data={"host": host.id, "attempt": number})
        if not transition(session, action.job, JobState.ADMITTED, event, now=now, attempt=number, lease_token=token):
            return False
        session.add(
            AttemptRow(
                job_id=action.job.id,
                number=number,
                tenant_id=action.job.tenant_id,
                host_id=host.id,
                lease_token=token,
                lease_until=now + timedelta(seconds=self.lease_ttl_s),
                memory_bytes=memory_bytes,
                started_at=now,
            )
        )
        host.idle_since = None
        return True


def _tell(session: Session, wait: Wait) -> bool:
    return amend(session, wait.job, queue_reason=wait.reason, queue_constraint=wait.constraint)


def _keep_free(session: Session, action: KeepFree) -> bool:
    host_id = action.host_id
    if host_id is not None and is_kept_for_another(session, host_id, action.job.id):
        return False
    return amend(session, action.job, kept_host_id=host_id)


def _retire(session: Session, action: RetireHost, now: datetime) -> bool:
    seated = exists().where(AttemptRow.host_id == HostRow.id, AttemptRow.ended_at.is_(None))
    guard = (HostRow.id == action.host_id, HostRow.state == HostState.READY, ~seated)
    stop_by = now + timedelta(seconds=RETIRE_DEADLINE_S)
    values = {"state": HostState.STOPPING, "error": action.why, "stop_by": stop_by}
    return session.execute(update(HostRow).where(*guard).values(**values).returning(HostRow.id)).first() is not None
