"""Parts that reached storage after their upload was over, written by a process that died before it removed them."""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import structlog
from sqlalchemy import select

from orchestrator.db.database import Database
from orchestrator.db.upload_tables import UploadRow
from orchestrator.files.tenant_rounds import TenantRounds
from orchestrator.steps.step import Counts
from orchestrator.storage.layout import tenant_uri
from orchestrator.storage.listing import children, last_change
from orchestrator.storage.objects import remove
from orchestrator.uploads.queries import parts_uri

log = structlog.get_logger()

_UPLOAD_ID: Final = re.compile(r"upload_[0-9a-f]{24}")


@dataclass
class OrphanParts:
    """Removes the parts of uploads that `UploadGc` is done with, once nothing was written there for `after_s` seconds.

    An upload that is over admits no part, so whoever is still writing one will be refused.
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
            found = children(tenant_uri(self.storage_uri, tenant_id, "uploads"))
            names = [name for name in found if _UPLOAD_ID.fullmatch(name)]
            waiting = select(UploadRow.id).where(UploadRow.tenant_id == tenant_id, UploadRow.collected_at.is_(None))
            with self.db.read() as session:
                later = set(session.scalars(waiting))
            counts["orphans"] += sum(self._remove(tenant_id, name, now) for name in names if name not in later)
        return +counts

    def _remove(self, tenant_id: str, upload_id: str, now: datetime) -> bool:
        uri = parts_uri(self.storage_uri, tenant_id, upload_id)
        changed = last_change(uri)
        if changed is None or changed > now - timedelta(seconds=self.after_s):
            return False
        remove(uri)
        log.warning("parts without an upload", tenant=tenant_id, upload=upload_id, changed=changed.isoformat())
        return True
