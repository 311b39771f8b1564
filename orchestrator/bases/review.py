"""Lifts marks: when the catalogue's entry or the files of a base have changed since a host failed over it."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import structlog
from sqlalchemy import select, update

from orchestrator.bases.identity import BaseFiles
from orchestrator.bases.marks import is_current, lift, same
from orchestrator.catalogue.entries import Catalogue
from orchestrator.db.database import Database
from orchestrator.db.tables import UnusableBaseRow
from orchestrator.steps.step import Counts
from workers.contract.failpoints import failpoint

log = structlog.get_logger()

UNSEEN_FOR: Final = timedelta(hours=1)
"""How long a mark lasts whose files this machine does not see: it cannot know when they change, so a host looks."""


@dataclass(frozen=True)
class ReviewBases:
    """Compares each mark with the base as it is now.

    Files are looked at here and not when the mark is written: a file system that hangs must not keep hosts from being
    polled. What was changed after the failed host was asked for counts as changed since it looked.
    """

    db: Database
    catalogue: Catalogue

    def run_once(self, now: datetime) -> Counts:
        """One look at each marked base."""
        counts = Counts()
        with self.db.read() as session:
            rows = session.scalars(select(UnusableBaseRow)).all()
        for row in rows:
            base = self.catalogue.base(row.base_id)
            if base is None or not is_current(row, base):
                counts[self._lift(row, "its entry in the catalogue has changed")] += 1
                continue
            files = BaseFiles.of(base.spec)
            why = _changed(row, files, now)
            if why is not None:
                counts[self._lift(row, why)] += 1
            elif row.files_sha256 is None:
                counts[self._remember(row, files)] += 1
        return counts

    def _lift(self, row: UnusableBaseRow, why: str) -> str:
        with self.db.write() as session:
            lifted = lift(session, row)
        failpoint("bases.lifted")
        if lifted:
            log.info("base is no longer marked unusable", base=row.base_id, quantization=row.quantization, why=why)
        return "lifted" if lifted else "stale"

    def _remember(self, row: UnusableBaseRow, files: BaseFiles) -> str:
        this = (*same(row, UnusableBaseRow), UnusableBaseRow.marked_at == row.marked_at)
        with self.db.write() as session:
            session.execute(update(UnusableBaseRow).where(*this).values(files_sha256=files.sha256))
        return "seen"


def _changed(row: UnusableBaseRow, files: BaseFiles, now: datetime) -> str | None:
    """Why the base may be usable now; None: nothing is known to have changed."""
    if row.files_sha256 is None:
        later = files.changed_at is not None and files.changed_at > row.host_created_at
        return "its files were changed meanwhile" if later else None
    if files.sha256 != row.files_sha256:
        return "its files have changed"
    if not files.sha256 and now - row.marked_at >= UNSEEN_FOR:
        return "its files cannot be seen from here, so a host looks again"
    return None
