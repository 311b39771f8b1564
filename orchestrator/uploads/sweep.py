"""Clearing away what uploads leave in storage, however they ended."""

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import delete, select, update

from orchestrator.db.database import Database
from orchestrator.db.upload_tables import UploadPartRow, UploadRow
from orchestrator.files.storage import remove
from orchestrator.uploads.queries import parts_uri

GRACE: Final = timedelta(minutes=15)  # longer than a client waits for an answer: a completion may be reading the parts


def sweep_uploads(db: Database, storage_uri: str, now: datetime, limit: int = 100) -> int:
    """Expire uploads that nobody completed and remove the parts of all, at most `limit`. Returns how many.

    Raises: StorageDown; what is left is found again.
    """
    due = select(UploadRow).where(UploadRow.swept_at.is_(None), UploadRow.expires_at <= now - GRACE)
    with db.read() as session:
        rows = session.scalars(due.order_by(UploadRow.expires_at).limit(limit)).all()
    for row in rows:
        mine = update(UploadRow).where(UploadRow.id == row.id).execution_options(synchronize_session=False)
        with db.write() as session:  # from here on nobody completes it
            session.execute(mine.where(UploadRow.status == "pending").values(status="expired"))
        remove(parts_uri(storage_uri, row.tenant_id, row.id))
        with db.write() as session:
            session.execute(delete(UploadPartRow).where(UploadPartRow.upload_id == row.id))
            session.execute(mine.values(swept_at=now))
    return len(rows)
