"""`MlflowRegistry`: adapters in MLflow, published from the control plane without torch."""

import threading
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.queries.registry_pages import public_address
from orchestrator.registry.connection import connect, translated_errors, workspace
from orchestrator.registry.deletion_mark import mark_version_deleted
from orchestrator.registry.job_records import JobRecords, check_layout
from orchestrator.registry.port import Publication, Registered
from orchestrator.registry.tenant_space import ensure_tenant_space, ensure_workspace

if TYPE_CHECKING:
    from mlflow import MlflowClient


class MlflowRegistry:
    """A `Registry` on an MLflow server with workspaces. Thread-safe.

    Credentials come from MLflow's environment variables (`MLFLOW_TRACKING_USERNAME`, `…_PASSWORD`, `…_TOKEN`).
    `public_url` is how readers reach the server; None: by `tracking_uri`. `connect` makes the client for one
    publication; tests inject one that fails.
    """

    def __init__(
        self, tracking_uri: str, public_url: str | None = None, connect: Callable[[str], "MlflowClient"] = connect
    ) -> None:
        self._tracking_uri = tracking_uri
        self._address = public_address(public_url or tracking_uri)
        self._connect = connect
        self._shared = threading.Lock()  # MLflow has no create-if-absent, so two jobs could create two bases

    def publish(self, publication: Publication, adapter_folder: Path) -> Registered:
        """See `Registry.publish`."""
        check_layout(adapter_folder)
        with translated_errors():
            client = self._connect(self._tracking_uri)
            with self._shared:
                ensure_workspace(client, publication.tenant_slug)
            with workspace(publication.tenant_slug):
                with self._shared:
                    space = ensure_tenant_space(client, publication)
                return JobRecords(client, space, publication, self._address).write(adapter_folder)

    def unpublish(self, tenant_slug: str, name: str, version: str, deleted_at: datetime) -> None:
        """See `Registry.unpublish`."""
        with translated_errors():
            client = self._connect(self._tracking_uri)
            with workspace(tenant_slug):
                mark_version_deleted(client, name, version, deleted_at)
