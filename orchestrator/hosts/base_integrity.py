"""Records a host's final check of its base and warns the affected tenants."""

from datetime import datetime
from typing import Final

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from orchestrator.db.job_tables import AttemptRow
from orchestrator.db.tables import HostRow
from orchestrator.lifecycle.events import EventDraft, record
from workers.contract.reports import HostReport

CHANGED: Final = (
    "The resident base was found changed in memory when its host retired. This job's training on it cannot be "
    "trusted. Do not use the adapter; submit the job again."
)
log = structlog.get_logger()


def note_base(session: Session, host: HostRow, answer: HostReport, now: datetime) -> None:
    """Record once whether the base is intact. If not, warn the owner of every job that had a seat on the host.

    A base is also verified when it is loaded, so all of the host's attempts fall between the two checks.
    """
    if answer.base_intact is None or host.base_intact is not None:
        return
    host.base_intact = answer.base_intact
    if answer.base_intact:
        return
    trained = select(AttemptRow.tenant_id, AttemptRow.job_id).where(AttemptRow.host_id == host.id).distinct()
    jobs = session.execute(trained.order_by(AttemptRow.job_id)).all()
    log.critical("resident base was changed", host=host.id, base=host.base_id, jobs=[job_id for _, job_id in jobs])
    for tenant_id, job_id in jobs:
        event = EventDraft(CHANGED, level="error", data={"code": "base_digest_mismatch", "host": host.id})
        record(session, tenant_id, job_id, event, now)
