"""What is published, what comes back, and the interface between."""

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
    """Unix time; None: the start of the run. A repeat must give the same one, or the point is stored twice."""


@dataclass(frozen=True, kw_only=True)
class Publication:
    """A finished adapter and where it came from: all that the registry is told."""

    spec: JobSpec
    attempt: int
    tenant_slug: str
    """Also the name of the tenant's MLflow workspace; made when absent."""
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
    """Step the weights are of, where early stopping chose it; None: the last."""
    metrics: tuple[MetricPoint, ...] = ()
    job_url: str | None = None

    @property
    def job_id(self) -> str:
        """The id by which every trace of this job is found again."""
        return self.spec.job_id


@dataclass(frozen=True)
class Registered:
    """Where the adapter is found from now on."""

    name: str
    version: str
    run_id: str
    model_id: str
    """The LoggedModel behind the version, `m-…`."""

    @property
    def model_uri(self) -> str:
        """What `mlflow.*.load_model` takes; names this version for ever, unlike an alias."""
        return f"models:/{self.name}/{self.version}"


class Registry(Protocol):
    """Keeps adapters by name and version."""

    def publish(self, publication: Publication, adapter_folder: Path) -> Registered:
        """Store the adapter in `adapter_folder` (`peft/`, `components/tokenizer/`) and register it as a new version.

        May be repeated after any failure; the same job gives the same version. Blocks for the upload; call it outside
        any transaction. Raises: RegistryUnavailable (try again), RegistryRefused (do not), AdapterRefused.
        """

    def unpublish(self, tenant_slug: str, name: str, version: str, deleted_at: datetime) -> None:
        """Mark a version whose model was deleted, take its aliases away and delete its logged model; the record stays.

        May be repeated; a version that is gone is fine. Raises: RegistryUnavailable (try again), RegistryRefused.
        """
