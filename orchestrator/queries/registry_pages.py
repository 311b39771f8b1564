"""Links to MLflow's pages: where a tenant looks at its adapters."""

from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, urlsplit

from pydantic import BaseModel, Field

from orchestrator.db.job_tables import JobRow


class RegistryView(BaseModel):
    """The adapter's location in MLflow."""

    name: str
    version: str
    url: str | None = Field(description="MLflow's page of this version; null: the API was not told MLflow's address")


@dataclass(frozen=True)
class RegistryPages:
    """The pages of one tenant's workspace; `address` is MLflow's as tenants reach it, None: not known."""

    address: str | None = None
    workspace: str = ""

    def view(self, row: JobRow) -> RegistryView | None:
        """Where a job's adapter is; None before publishing."""
        if row.registry_name is None or row.registry_version is None:
            return None
        return RegistryView(
            name=row.registry_name, version=row.registry_version, url=self._url(row.registry_name, row.registry_version)
        )

    def _url(self, name: str, version: str) -> str | None:
        """The same form that MLflow's client prints for runs."""
        if self.address is None:
            return None
        workspace, name, version = (quote(part, safe="") for part in (self.workspace, name, version))
        return f"{self.address}/#/models/{name}/versions/{version}?workspace={workspace}"


NO_PAGES: Final = RegistryPages()


def public_address(url: str) -> str:
    """`url` without user and password, which belong to the service and not to its tenants."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl().rstrip("/")
