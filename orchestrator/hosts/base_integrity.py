"""What a host found when it looked at its base for the last time, and who has to know."""

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
    "The resident base was found changed in memory when its host retired. What this job trained there cannot be "
    "trusted: do not use the adapter, and submit the job again."
)
log = structlog.get_logger()


def note_base(session: Session, host: HostRow, answer: HostReport, now: datetime) -> None:
    """Write down, once, whether the base is intact. If not, tell the owner of every job that had a seat on the host.

    A base is also verified when it is loaded, so all of the host's attempts lie between the two.
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
