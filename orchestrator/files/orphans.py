"""Orphans: contents in storage that no row refers to, because their process died between the bytes and the row."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import structlog
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from orchestrator.db.database import Database
from orchestrator.db.job_tables import JobRow
from orchestrator.db.states import JobState
from orchestrator.db.tables import FileRow
from orchestrator.files.tenant_rounds import TenantRounds
from orchestrator.steps.step import Counts
from orchestrator.storage.layout import file_uri, result_file_id, tenant_uri
from orchestrator.storage.listing import children, last_change
from workers.contract.failpoints import failpoint

log = structlog.get_logger()

_FILE_ID: Final = re.compile(r"file-[0-9a-f]{24}")
_AT_ONCE: Final = 500  # ids of one query


@dataclass
class OrphanFiles:
    """Gives every orphan the row of a deleted file; `FileGc` then removes its bytes as it does those of any other.

    An orphan is a content without a row that nobody has written to for `after_s` seconds: a slow upload keeps changing
    its own. Should its process come back after all, its row collides with the one made here, and the client is told to
    repeat. Storage is listed to find what may be removed, and never to learn what exists: the row decides.
    """

    db: Database
    storage_uri: str
    after_s: int

    def __post_init__(self) -> None:
        self._rounds = TenantRounds(self.db)

    def run_once(self, now: datetime) -> Counts:
        """Look at the tenants whose turn it is."""
        counts = Counts()
        for tenant_id in self._rounds.next(now):
            found = children(tenant_uri(self.storage_uri, tenant_id, "files"))
            unknown = self._unknown(tenant_id, [name for name in found if _FILE_ID.fullmatch(name)])
            counts["orphans"] += sum(self._adopt(tenant_id, file_id, now) for file_id in unknown)
        return +counts

    def _unknown(self, tenant_id: str, ids: list[str]) -> list[str]:
        """Those without a row, in order. The result of a job that is being published gets its row later."""
        publishing = select(JobRow.id).where(
            JobRow.tenant_id == tenant_id, JobRow.finished_at.is_(None), JobRow.state == JobState.PUBLISHING
        )
        with self.db.read() as session:
            known = {result_file_id(job_id) for job_id in session.scalars(publishing)}
            for some in _batches(ids):
                known.update(session.scalars(select(FileRow.id).where(FileRow.id.in_(some))))
        return [file_id for file_id in ids if file_id not in known]

    def _adopt(self, tenant_id: str, file_id: str, now: datetime) -> bool:
        """Add the row. False: it is too young, or it has a row by now."""
        uri = file_uri(self.storage_uri, tenant_id, file_id)
        changed = last_change(uri.rpartition("/")[0])
        if changed is None or changed > now - timedelta(seconds=self.after_s):
            return False
        try:
            with self.db.write() as session:
                session.add(_deleted(tenant_id, file_id, uri, now))
        except IntegrityError:
            return False
        failpoint("orphans.adopted")
        log.warning("content without a file", tenant=tenant_id, file=file_id, changed=changed.isoformat())
        return True


def _deleted(tenant_id: str, file_id: str, uri: str, now: datetime) -> FileRow:
    return FileRow(
        id=file_id,
        tenant_id=tenant_id,
        filename="(not completed)",
        purpose="fine-tune",
        bytes=0,
        sha256="",
        uri=uri,
        status="error",
        status_details="The upload was not completed.",
        created_at=now,
        deleted_at=now,
    )


def _batches(ids: list[str]) -> Iterable[list[str]]:
    return (ids[begin : begin + _AT_ONCE] for begin in range(0, len(ids), _AT_ONCE))
