"""Sends a sample delivery at once, for tenants who build a receiver."""

import asyncio
from dataclasses import dataclass
from datetime import datetime

from orchestrator.db.database import Database
from orchestrator.errors import InvalidRequest
from orchestrator.ids import new_id
from orchestrator.webhooks.endpoints import own_endpoint
from orchestrator.webhooks.events import EventType, event_body
from orchestrator.webhooks.secrets import SecretBox
from orchestrator.webhooks.send import Sender
from orchestrator.webhooks.signing import signed_headers
from orchestrator.webhooks.views import TrialResult


@dataclass(frozen=True)
class TestDeliveries:
    """Sends samples. Nothing is stored or retried; the job in the sample does not exist."""

    db: Database
    sender: Sender
    secret_box: SecretBox

    async def send(self, tenant_id: str, endpoint_id: str, event_type: EventType, now: datetime) -> TrialResult:
        """Send a sample, even if the endpoint is disabled or does not subscribe to the event.

        Raises: NotFound; InvalidRequest without a response; SealedForAnother.
        """
        url, key = await asyncio.to_thread(self._target, tenant_id, endpoint_id)
        body = event_body(new_id("evt_"), event_type, new_id("ftjob-"), now)
        answer = await self.sender.post(tenant_id, url, body, signed_headers(new_id("wh_"), body, [key], now))
        if answer.status is None:
            raise InvalidRequest(f"The endpoint did not respond. {answer.error}", param="url", code="webhook_no_answer")
        return TrialResult(webhook_endpoint_id=endpoint_id, event_type=event_type, status_code=answer.status)

    def _target(self, tenant_id: str, endpoint_id: str) -> tuple[str, str]:
        with self.db.read() as session:
            row = own_endpoint(session, tenant_id, endpoint_id)
        return row.url, self.secret_box.open(row.secret or "")
