"""The registry interface, its input and its result."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import NamedTuple, Protocol

from workers.contract.reports import AdapterManifest
from workers.contract.spec import JobSpec


class MetricPoint(NamedTuple):
    """One point of a curve, for example `(12, "train_loss", 1.73)`."""

    step: int
    name: str
    value: float
    timestamp_ms: int | None = None
    """Unix time; None: the start of the run. It must be the same on every retry, or the point is stored twice."""


@dataclass(frozen=True, kw_only=True)
class Publication:
    """A finished adapter and its provenance: the registry's input."""

    spec: JobSpec
    attempt: int
    tenant_slug: str
    """Also the name of the tenant's MLflow workspace, which is created if absent."""
    name: str
    """Registered model, see `names.registered_name`. Versions of one name are successive jobs."""
    fine_tuned_model: str
    manifest: AdapterManifest
    orchard_version: str
    base_path: str | None = None
    """Folder of the base as consumers mount it; None: `spec.base.location`."""
    base_license: str | None = None
    eval_loss_before: float | None = None
    eval_loss_after: float | None = None
    best_step: int | None = None
    """Step of the weights, if early stopping chose it; None: the last."""
    metrics: tuple[MetricPoint, ...] = ()
    job_url: str | None = None

    @property
    def job_id(self) -> str:
        """The id that marks every record of this job."""
        return self.spec.job_id


@dataclass(frozen=True)
class VersionPlace:
    """Where readers find a version: what they need to load it from any machine that reaches MLflow."""

    address: str
    """MLflow as they reach it, without credentials."""
    workspace: str
    name: str
    version: str

    @property
    def model_uri(self) -> str:
        """The URI for `mlflow.*.load_model`. Unlike an alias, it always names this version."""
        return f"models:/{self.name}/{self.version}"


@dataclass(frozen=True)
class Registered:
    """Where the adapter is registered."""

    name: str
    version: str
    run_id: str
    model_id: str
    """The LoggedModel behind the version, `m-…`."""

    @property
    def model_uri(self) -> str:
        """The URI for `mlflow.*.load_model`. Unlike an alias, it always names this version."""
        return f"models:/{self.name}/{self.version}"


class Registry(Protocol):
    """Stores adapters by name and version."""

    def publish(self, publication: Publication, adapter_folder: Path) -> Registered:
        """Store the adapter in `adapter_folder` (`peft/`, `components/tokenizer/`) and register it as a new version.

        Idempotent after any failure: the same job yields the same version. Blocks for the upload; call it outside any
        transaction. Raises: RegistryUnavailable (retry), RegistryRefused (do not), AdapterRefused.
        """

    def unpublish(self, tenant_slug: str, name: str, version: str, deleted_at: datetime) -> None:
        """Mark a deleted model's version, remove its aliases and delete its logged model; the record stays.

        Idempotent; a missing version is not an error. Raises: RegistryUnavailable (retry), RegistryRefused.
        """
