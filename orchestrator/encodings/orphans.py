"""What dead encoders left among the encoded rows: folders that were never completed, or that no row stands for."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from sqlalchemy import select

from orchestrator.db.database import Database
from orchestrator.db.encoding_tables import EncodingRow
from orchestrator.files.tenant_rounds import TenantRounds
from orchestrator.steps.step import Counts
from orchestrator.storage.layout import tenant_uri
from orchestrator.storage.listing import children, last_change
from orchestrator.storage.objects import remove

log = structlog.get_logger()


@dataclass
class OrphanEncodings:
    """Removes what nobody has written to for `after_s` seconds. An encoding has its row before its first byte."""

    db: Database
    storage_uri: str
    after_s: int

    def __post_init__(self) -> None:
        self._rounds = TenantRounds(self.db)

    def run_once(self, now: datetime) -> Counts:
        """Look at the tenants whose turn it is."""
        counts = Counts()
        for tenant_id in self._rounds.next(now):
            folder = tenant_uri(self.storage_uri, tenant_id, "encoded")
            found = children(folder)
            with self.db.read() as session:
                known = set(session.scalars(select(EncodingRow.key).where(EncodingRow.tenant_id == tenant_id)))
            for name in found:
                counts["orphans"] += name not in known and self._removed(f"{folder}/{name}", now)
        return +counts

    def _removed(self, uri: str, now: datetime) -> bool:
        """False: it is too young."""
        changed = last_change(uri)
        if changed is None or changed > now - timedelta(seconds=self.after_s):
            return False
        remove(uri)
        log.warning("encoded rows without an encoding", uri=uri, changed=changed.isoformat())
        return True
