"""The models a tenant may name: offered bases, its own tuned models, and checkpoints shared with it."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field
from sqlalchemy import ColumnElement, and_, select
from sqlalchemy.orm import Session

from orchestrator.artifacts.adapters import adapter_archive, open_checkpoint_adapter
from orchestrator.artifacts.archive import AdapterArchive
from orchestrator.artifacts.checkpoint_models import (
    CheckpointModel,
    find_checkpoint,
    no_such_model,
    shared_checkpoints,
    visible_to,
)
from orchestrator.catalogue.entries import Catalogue, CatalogueBase
from orchestrator.checkpoints.states import mark_for_deletion
from orchestrator.db.database import Database
from orchestrator.db.job_tables import CheckpointRow, JobRow
from orchestrator.errors import InvalidRequest
from orchestrator.files.views import DeletedView
from orchestrator.queries.registry_pages import NO_PAGES, RegistryPages, RegistryView
from orchestrator.tenancy.views import Tenant
from workers.contract.base import ComputeDtype, Quantization

_OURS = "orchard"


class BaseDetails(BaseModel):
    """What a job may request of a base."""

    kind: Literal["base"] = "base"
    license: str | None = Field(description="SPDX id or name; null: not recorded")
    parameters: int = Field(description="weights")
    quantizations: tuple[Quantization, ...] = Field(description="allowed ones; the first is the default")
    compute_dtype: ComputeDtype
    max_seq_len: int = Field(description="tokens")
    target_modules: tuple[str, ...]


class AdapterDetails(BaseModel):
    """Where a tuned model comes from."""

    kind: Literal["adapter"] = "adapter"
    base: str
    job: str
    registry: RegistryView | None
    eval_loss_before: float | None
    eval_loss_after: float | None


class CheckpointDetails(BaseModel):
    """Where a checkpoint comes from. Tenants it is shared with do not see the owner's job."""

    kind: Literal["checkpoint"] = "checkpoint"
    base: str
    step: int
    shared: bool = Field(description="it belongs to another tenant, who shares it with you")
    job: str | None


class ModelView(BaseModel):
    """A model."""

    id: str
    object: Literal["model"] = "model"
    created: int = Field(description="Unix seconds; 0 for bases, which have no date")
    owned_by: str
    x_orchard: BaseDetails | AdapterDetails | CheckpointDetails = Field(discriminator="kind")


def list_models(db: Database, catalogue: Catalogue, tenant: Tenant, pages: RegistryPages = NO_PAGES) -> list[ModelView]:
    """Bases in the catalogue's order, then tuned models, newest first, then checkpoints shared by other tenants."""
    with db.read() as session:
        rows = session.scalars(select(JobRow).where(_tuned(tenant.id)).order_by(JobRow.seq.desc())).all()
        shared = shared_checkpoints(session, tenant.id)
    bases = [_base_view(base) for base in catalogue.bases if tenant.may_use(base.id)]
    tuned = [_adapter_view(row, tenant, pages) for row in rows]
    return bases + tuned + [_checkpoint_view(checkpoint, tenant) for checkpoint in shared]


def get_model(
    db: Database, catalogue: Catalogue, tenant: Tenant, model: str, pages: RegistryPages = NO_PAGES
) -> ModelView:
    """One model. Raises: NotFound, also for another tenant's."""
    base = catalogue.base(model)
    if base is not None and tenant.may_use(base.id):
        return _base_view(base)
    with db.read() as session:
        found = find_tuned(session, tenant.id, model)
    if isinstance(found, JobRow):
        return _adapter_view(found, tenant, pages)
    return _checkpoint_view(found, tenant)


def delete_model(db: Database, catalogue: Catalogue, tenant: Tenant, model: str, now: datetime) -> DeletedView:
    """Delete a tuned model. Lookups of the model and of all its job's checkpoints, shared or not, fail from now on.

    The loops delete its files and tag it in the registry (`registry.unpublish`). Raises: NotFound; InvalidRequest
    for a base.
    """
    base = catalogue.base(model)
    if base is not None and tenant.may_use(base.id):
        raise InvalidRequest(f"{model} is a base of the service and cannot be deleted.", param="model")
    with db.write() as session:
        job = session.scalar(select(JobRow).where(_tuned(tenant.id), JobRow.fine_tuned_model == model))
        if job is None:
            raise no_such_model(model)
        job.model_deleted_at = now
        mark_for_deletion(session, CheckpointRow.job_id == job.id)
    return DeletedView(id=model, object="model")


def open_model(db: Database, tenant: Tenant, model: str) -> AdapterArchive:
    """The adapter behind a tuned model or a checkpoint, as a tar. Raises: NotFound, StorageDown."""
    with db.read() as session:
        found = find_tuned(session, tenant.id, model)
    return adapter_archive(found) if isinstance(found, JobRow) else open_checkpoint_adapter(found)


def find_tuned(session: Session, tenant_id: str, model: str) -> JobRow | CheckpointModel:
    """The job that produced the tenant's tuned model, or a checkpoint that the tenant may use. Raises: NotFound."""
    job = session.scalar(select(JobRow).where(_tuned(tenant_id), JobRow.fine_tuned_model == model))
    return find_checkpoint(session, model, visible_to(tenant_id)) if job is None else job


def _tuned(tenant_id: str) -> ColumnElement[bool]:
    return and_(JobRow.tenant_id == tenant_id, JobRow.fine_tuned_model.is_not(None), JobRow.model_deleted_at.is_(None))


def _base_view(base: CatalogueBase) -> ModelView:
    details = BaseDetails(
        license=base.license,
        parameters=base.spec.shape.parameters,
        quantizations=base.quantizations,
        compute_dtype=base.compute_dtype,
        max_seq_len=base.max_seq_len,
        target_modules=base.target_modules,
    )
    return ModelView(id=base.id, created=0, owned_by=_OURS, x_orchard=details)


def _adapter_view(row: JobRow, tenant: Tenant, pages: RegistryPages) -> ModelView:
    details = AdapterDetails(
        base=row.base_id,
        job=row.id,
        registry=pages.view(row),
        eval_loss_before=row.eval_loss_before,
        eval_loss_after=row.eval_loss_after,
    )
    created = int((row.finished_at or row.created_at).timestamp())
    return ModelView(id=row.fine_tuned_model or "", created=created, owned_by=tenant.slug, x_orchard=details)


def _checkpoint_view(checkpoint: CheckpointModel, tenant: Tenant) -> ModelView:
    shared = checkpoint.owner.id != tenant.id
    details = CheckpointDetails(
        base=checkpoint.job.base_id,
        step=checkpoint.row.step,
        shared=shared,
        job=None if shared else checkpoint.job.id,
    )
    created = int(checkpoint.row.created_at.timestamp())
    return ModelView(id=checkpoint.name, created=created, owned_by=checkpoint.owner.slug, x_orchard=details)
