"""Distinguishes a retried POST from a second one, so that a lost response never creates a second job.

With an `Idempotency-Key`: for a day, the same key and body yield the same job; another body is refused.

Without one, OpenAI's clients retry a POST after a timeout or a 5xx with the same body and a retry count above zero.
Such a retry yields the job that the same API key created with the same body within `RETRY_WINDOW`. The first try may
also be processed after its own retry, so it looks for a job that a retry created after the first try arrived. Two
POSTs that both claim to be the first create two jobs.

What that cannot tell apart: of two equal submissions, the second one's first try is cut off before it made a job. Its
retry then looks like one of the first submission and yields that job. Not so once a client has asked for the first job
by its id, since its answer was received then (`orchestrator.submission.receipts`). A client that means two equal jobs
sends a key of its own with each.
"""

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Self

from sqlalchemy import bindparam, delete, select
from sqlalchemy.orm import Session

from orchestrator.db.database import Database
from orchestrator.db.job_tables import IdempotencyRow, JobRow
from orchestrator.errors import IdempotencyMismatch, InvalidRequest
from orchestrator.lifecycle.events import Actor
from orchestrator.steps.step import Counts
from orchestrator.submission.request import JobRequest

MAX_KEY_CHARS: Final = 255
RETRY_WINDOW: Final = timedelta(minutes=11)  # one timeout of OpenAI's clients, 600 s, and their pauses
KEYS_KEPT: Final = timedelta(hours=25)


@dataclass(frozen=True)
class Sender:
    """Who sent a submission, and its retry count."""

    api_key_id: str = ""
    retries: int = 0
    role: str = "tenant"
    received: tuple[str, ...] = ()
    """Jobs that this sender is known to know, so that none of them is what a retry asks for."""


ANYBODY: Final = Sender()


@dataclass(frozen=True)
class RequestFingerprint:
    """What identifies a retried submission."""

    tenant_id: str
    key: str | None
    body_sha256: str
    post_sha256: str
    retries: int
    arrived_at: datetime
    by: Actor | None = None
    """Named by the job's first event."""
    received: tuple[str, ...] = ()

    @classmethod
    def of(cls, tenant_id: str, request: JobRequest, key: str | None, sender: Sender, now: datetime) -> Self:
        """The fingerprint of a submission. Raises: InvalidRequest for a key of a wrong length."""
        if key is not None and not 1 <= len(key) <= MAX_KEY_CHARS:
            raise InvalidRequest(f"Idempotency-Key must have 1 to {MAX_KEY_CHARS} characters.", param="Idempotency-Key")
        body = json.dumps(request.model_dump(mode="json"), sort_keys=True)
        whole = f"{sender.api_key_id}\n{body}"
        by = Actor(sender.api_key_id, sender.role, tenant_id, now) if sender.api_key_id else None
        return cls(tenant_id, key, _sha256(body), _sha256(whole), sender.retries, now, by, sender.received)

    @property
    def is_retry(self) -> bool:
        """Whether to look for an earlier job before anything else."""
        return self.key is not None or self.retries > 0

    @property
    def same_post(self) -> dict[str, Any]:
        """The parameters of `SAME_POST`: a retry looks back; a first try looks for retries that overtook it."""
        repeats = self.retries > 0
        return {
            "post_sha256": self.post_sha256,
            "tenant_id": self.tenant_id,
            "since": self.arrived_at - RETRY_WINDOW if repeats else self.arrived_at,
            "retries": 0 if repeats else 1,
            "received": self.received if repeats else (),  # a first try may be late: its retry was answered before
        }

    def row(self, key: str, job_id: str) -> IdempotencyRow:
        """The row of `key`, written with the job."""
        return IdempotencyRow(
            tenant_id=self.tenant_id,
            key=key,
            body_sha256=self.body_sha256,
            job_id=job_id,
            created_at=self.arrived_at,
        )


SAME_POST: Final = (
    select(JobRow.id)
    .where(JobRow.post_sha256 == bindparam("post_sha256"), JobRow.tenant_id == bindparam("tenant_id"))
    .where(JobRow.created_at >= bindparam("since"), JobRow.post_retries >= bindparam("retries"))
    .where(JobRow.id.not_in(bindparam("received", expanding=True)))
    .order_by(JobRow.created_at.desc())  # as in its index
    .limit(1)
)
"""The job that the same POST created earlier, without a key; see `RequestFingerprint.same_post`.

If several POSTs claimed to be the first, it is the one that arrived last by the API's clock."""


_BY_KEY: Final = select(IdempotencyRow.job_id, IdempotencyRow.body_sha256).where(
    IdempotencyRow.tenant_id == bindparam("tenant_id"), IdempotencyRow.key == bindparam("key")
)


def find_earlier(session: Session, fingerprint: RequestFingerprint) -> str | None:
    """The job that this POST created earlier, if any. Raises: IdempotencyMismatch."""
    if fingerprint.key is not None:
        return find_by_key(session, fingerprint, fingerprint.key)
    earlier: str | None = session.scalar(SAME_POST, fingerprint.same_post)
    return earlier


def find_by_key(session: Session, fingerprint: RequestFingerprint, key: str) -> str | None:
    """The job that was created with `key`, if any. Raises: IdempotencyMismatch."""
    found = session.execute(_BY_KEY, {"tenant_id": fingerprint.tenant_id, "key": key}).one_or_none()
    if found is None:
        return None
    if found.body_sha256 != fingerprint.body_sha256:
        raise IdempotencyMismatch(param="Idempotency-Key")
    job_id: str = found.job_id
    return job_id


def forget_keys(db: Database, now: datetime) -> int:
    """Drop keys older than `KEYS_KEPT`. Returns how many. Called by a housekeeping loop."""
    old = delete(IdempotencyRow).where(IdempotencyRow.created_at < now - KEYS_KEPT)
    with db.write() as session:
        return len(session.execute(old.returning(IdempotencyRow.key)).all())


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class ExpireIdempotencyKeys:
    """Drops idempotency keys after a day."""

    db: Database

    def run_once(self, now: datetime) -> Counts:
        """Drop older keys."""
        return Counts(forgotten=gone) if (gone := forget_keys(self.db, now)) else Counts()
