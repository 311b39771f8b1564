"""Delivers webhooks: claims due deliveries, sends them outside any transaction, and settles them."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import structlog

from orchestrator.db.database import Database
from orchestrator.steps.step import Counts
from orchestrator.webhooks.claims import Claim, claim_due, settle
from orchestrator.webhooks.delivery_policy import DeliveryDecision, Failed, after_try
from orchestrator.webhooks.events import event_body
from orchestrator.webhooks.secrets import SealedForAnother, SecretBox
from orchestrator.webhooks.send import DeliveryResponse, Sender
from orchestrator.webhooks.signing import signed_headers
from workers.contract.failpoints import failpoint

log = structlog.get_logger()

NO_ENDPOINT: Final = DeliveryResponse(None, "Not sent: the endpoint was deleted or disabled.")
CANNOT_SIGN: Final = DeliveryResponse(None, "Not sent: the service cannot sign at the moment.")


@dataclass(frozen=True)
class DeliverWebhooks:
    """pending -> delivered or failed. Several may run at once: a claim is a compare-and-set, held for a lease.

    If it is killed between sending and settling, the delivery is sent again after its lease, with the same
    `webhook-id`. A pass sends all its claims concurrently, so a receiver that hangs delays the others by one timeout,
    and a name that does not resolve by one lookup's deadline.
    """

    db: Database
    sender: Sender = field(default_factory=Sender)
    secret_box: SecretBox = field(default_factory=SecretBox)
    jitter: Callable[[], float] = random.random

    def run_once(self, now: datetime) -> Counts:
        """Try every due delivery, up to a batch."""
        counts = Counts()
        claims = claim_due(self.db, now)
        if not claims:
            return counts
        failpoint("webhooks.claimed")
        answers = asyncio.run(self._send_all(claims, now))
        failpoint("webhooks.sent")
        for claim, answer in zip(claims, answers, strict=True):
            counts[self._settle(claim, answer, now)] += 1
        return counts

    async def _send_all(self, claims: list[Claim], now: datetime) -> list[DeliveryResponse]:
        return await asyncio.gather(*(self._send(claim, now) for claim in claims))

    async def _send(self, claim: Claim, now: datetime) -> DeliveryResponse:
        if not claim.secrets:
            return NO_ENDPOINT
        try:
            keys = [self.secret_box.open(stored) for stored in claim.secrets]
        except SealedForAnother as error:
            log.error("webhook not signed", endpoint=claim.endpoint_id, error=str(error))
            return CANNOT_SIGN
        body = event_body(claim.event_id, claim.event_type, claim.job_id, claim.created_at)
        return await self.sender.post(claim.tenant_id, claim.url, body, signed_headers(claim.id, body, keys, now))

    def _settle(self, claim: Claim, answer: DeliveryResponse, now: datetime) -> str:
        decision: DeliveryDecision = Failed()
        if answer is not NO_ENDPOINT:
            decision = after_try(answer, claim.attempts, claim.created_at, now, self.jitter)
        with self.db.write() as session:
            mine = settle(session, claim, decision, answer, now)
        outcome = type(decision).__name__.lower() if mine else "stale"
        log.info("webhook tried", delivery=claim.id, status=answer.status, attempt=claim.attempts, outcome=outcome)
        return outcome
