"""What the endpoints stand on."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, cast

from fastapi import Depends, Request

from orchestrator.catalogue.entries import Catalogue
from orchestrator.db.database import Database
from orchestrator.files.upload import Shelf
from orchestrator.settings import Settings
from orchestrator.submission.submit import Desk
from orchestrator.uploads.begin import MAX_BYTES, Depot
from orchestrator.webhooks.addresses import Reach
from orchestrator.webhooks.endpoints import Endpoints
from orchestrator.webhooks.secrets import Vault
from orchestrator.webhooks.send import Sender
from orchestrator.webhooks.test_delivery import Trials


def utc_now() -> datetime:
    """The wall clock."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class Services:
    """Everything an endpoint may use, made once for a process."""

    db: Database
    catalogue: Catalogue
    storage_uri: str
    max_file_bytes: int = 512_000_000
    max_upload_bytes: int = MAX_BYTES
    max_live_jobs: int = 1_000
    vault: Vault = field(default_factory=Vault)
    webhook_reach: Reach = field(default_factory=Reach)
    event_poll_s: float = 0.5
    clock: Callable[[], datetime] = utc_now

    @classmethod
    def of(cls, settings: Settings, db: Database, catalogue: Catalogue) -> "Services":
        """The services of an installation."""
        return cls(
            db=db,
            catalogue=catalogue,
            storage_uri=settings.storage_uri,
            max_file_bytes=settings.max_file_bytes,
            max_upload_bytes=settings.max_upload_bytes,
            max_live_jobs=settings.max_live_jobs,
            vault=settings.vault,
            webhook_reach=settings.webhook_reach,
        )

    @property
    def shelf(self) -> Shelf:
        """Where uploads go."""
        return Shelf(self.storage_uri, self.max_file_bytes)

    @property
    def depot(self) -> Depot:
        """Where uploads in parts go."""
        return Depot(self.storage_uri, self.max_upload_bytes)

    @property
    def desk(self) -> Desk:
        """Where jobs are submitted."""
        return Desk(self.db, self.catalogue, self.storage_uri, self.max_live_jobs)

    @property
    def webhooks(self) -> Endpoints:
        """Where tenants are told that a job has ended."""
        return Endpoints(self.db, self.webhook_reach, self.vault)

    @property
    def trials(self) -> Trials:
        """What sends a sample to such a place."""
        return Trials(self.db, Sender(self.webhook_reach), self.vault)


def services_of(request: Request) -> Services:
    """Those of the application that serves `request`."""
    return cast(Services, request.app.state.services)


async def _services(request: Request) -> Services:
    """Async like every dependency that waits for nothing: it takes no thread."""
    return services_of(request)


ServicesDep = Annotated[Services, Depends(_services)]
