"""The services that the endpoints use."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, cast

from fastapi import Depends, Request

from orchestrator.catalogue.entries import Catalogue
from orchestrator.db.database import Database
from orchestrator.files.upload import UploadLimits
from orchestrator.settings import Settings
from orchestrator.submission.receipts import Receipts
from orchestrator.submission.submit import SubmitDeps
from orchestrator.uploads.begin import MAX_BYTES, PartUploadLimits
from orchestrator.webhooks.addresses import EgressPolicy
from orchestrator.webhooks.endpoints import Endpoints
from orchestrator.webhooks.secrets import SecretBox
from orchestrator.webhooks.send import Sender
from orchestrator.webhooks.test_delivery import TestDeliveries


def utc_now() -> datetime:
    """The wall clock."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class Services:
    """Everything an endpoint may use, created once per process."""

    db: Database
    catalogue: Catalogue
    storage_uri: str
    max_file_bytes: int = 512_000_000
    max_upload_bytes: int = MAX_BYTES
    max_live_jobs: int = 1_000
    secret_box: SecretBox = field(default_factory=SecretBox)
    egress_policy: EgressPolicy = field(default_factory=EgressPolicy)
    event_poll_s: float = 0.5
    clock: Callable[[], datetime] = utc_now
    receipts: Receipts = field(default_factory=Receipts)

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
            secret_box=settings.secret_box,
            egress_policy=settings.egress_policy,
        )

    @property
    def upload_limits(self) -> UploadLimits:
        """The limits of uploads."""
        return UploadLimits(self.storage_uri, self.max_file_bytes)

    @property
    def part_limits(self) -> PartUploadLimits:
        """The limits of multipart uploads."""
        return PartUploadLimits(self.storage_uri, self.max_upload_bytes)

    @property
    def submit_deps(self) -> SubmitDeps:
        """The dependencies of submission."""
        return SubmitDeps(self.db, self.catalogue, self.storage_uri, self.max_live_jobs)

    @property
    def webhooks(self) -> Endpoints:
        """The webhook endpoints."""
        return Endpoints(self.db, self.egress_policy, self.secret_box)

    @property
    def test_deliveries(self) -> TestDeliveries:
        """The sender of sample webhooks."""
        return TestDeliveries(self.db, Sender(self.egress_policy), self.secret_box)


def services_of(request: Request) -> Services:
    """The services of the application that serves `request`."""
    return cast(Services, request.app.state.services)


async def _services(request: Request) -> Services:
    """Async, like every dependency that does not block, so that it needs no thread."""
    return services_of(request)


ServicesDep = Annotated[Services, Depends(_services)]
