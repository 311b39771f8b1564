"""The services that the endpoints use."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, cast

from fastapi import Depends, Request

from api.upload_turns import UploadTurns
from orchestrator.catalogue.entries import Catalogue
from orchestrator.db.database import Database
from orchestrator.files.upload import UploadLimits
from orchestrator.files.validator_pool import ValidatorPool, shared_validators
from orchestrator.queries.registry_pages import RegistryPages
from orchestrator.settings import Settings
from orchestrator.submission.receipts import Receipts
from orchestrator.submission.submit import SubmitDeps
from orchestrator.tenancy.views import Tenant
from orchestrator.uploads.begin import MAX_BYTES, PartUploadLimits
from orchestrator.webhooks.addresses import EgressPolicy
from orchestrator.webhooks.endpoints import Endpoints
from orchestrator.webhooks.lookups import SYSTEM_LOOKUPS, Lookups
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
    validators: ValidatorPool = field(default_factory=shared_validators)
    upload_turns: UploadTurns = field(default_factory=lambda: UploadTurns(4))
    mlflow_address: str | None = None
    secret_box: SecretBox = field(default_factory=SecretBox)
    egress_policy: EgressPolicy = field(default_factory=EgressPolicy)
    lookups: Lookups = SYSTEM_LOOKUPS
    event_poll_s: float = 0.5
    preview_wait_s: float = 5.0
    """An answer about a preview comes at the latest after so long; clients give up later."""
    event_stream_idle_s: float = 300
    event_streams_per_key: int = 100
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
            validators=ValidatorPool(settings.validator_memory_bytes),
            upload_turns=UploadTurns(settings.max_validators),
            mlflow_address=settings.mlflow_address,
            secret_box=settings.secret_box,
            egress_policy=settings.egress_policy,
            event_stream_idle_s=settings.event_stream_idle_s,
            event_streams_per_key=settings.event_streams_per_key,
        )

    @property
    def upload_limits(self) -> UploadLimits:
        """The limits of uploads."""
        return UploadLimits(self.storage_uri, self.max_file_bytes, self.validators)

    @property
    def part_limits(self) -> PartUploadLimits:
        """The limits of multipart uploads."""
        return PartUploadLimits(self.storage_uri, self.max_upload_bytes, self.validators)

    @property
    def submit_deps(self) -> SubmitDeps:
        """The dependencies of submission."""
        return SubmitDeps(self.db, self.catalogue, self.storage_uri, self.max_live_jobs, self.mlflow_address)

    def pages(self, tenant: Tenant) -> RegistryPages:
        """The tenant's pages in the registry."""
        return RegistryPages(self.mlflow_address, tenant.slug)

    @property
    def webhooks(self) -> Endpoints:
        """The webhook endpoints."""
        return Endpoints(self.db, self.egress_policy, self.secret_box)

    @property
    def test_deliveries(self) -> TestDeliveries:
        """The sender of sample webhooks."""
        return TestDeliveries(self.db, Sender(self.egress_policy, self.lookups), self.secret_box)


def services_of(request: Request) -> Services:
    """The services of the application that serves `request`."""
    return cast(Services, request.app.state.services)


async def _services(request: Request) -> Services:
    """Async, like every dependency that does not block, so that it needs no thread."""
    return services_of(request)


ServicesDep = Annotated[Services, Depends(_services)]
