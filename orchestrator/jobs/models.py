"""The models a tenant may name: bases on offer, and the tenant's own tuned ones."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field
from sqlalchemy import ColumnElement, and_, select

from orchestrator.catalogue.entries import Catalogue, CatalogueBase
from orchestrator.db.database import Database
from orchestrator.db.job_tables import JobRow
from orchestrator.errors import InvalidRequest, NotFound
from orchestrator.files.storage import remove
from orchestrator.files.views import DeletedView
from orchestrator.jobs.views import RegistryView
from orchestrator.tenancy.views import Tenant
from workers.contract.base import ComputeDtype, Quantization

_OURS = "orchard"


class BaseDetails(BaseModel):
    """What a job may ask of a base."""

    kind: Literal["base"] = "base"
    licence: str
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


class ModelView(BaseModel):
    """A model."""

    id: str
    object: Literal["model"] = "model"
    created: int = Field(description="Unix seconds; 0 for bases, which have no date")
    owned_by: str
    x_orchard: BaseDetails | AdapterDetails = Field(discriminator="kind")


def list_models(db: Database, catalogue: Catalogue, tenant: Tenant) -> list[ModelView]:
    """Bases in the catalogue's order, then tuned models, newest first."""
    with db.read() as session:
        rows = session.scalars(select(JobRow).where(_tuned(tenant.id)).order_by(JobRow.seq.desc())).all()
    bases = [_base_view(base) for base in catalogue.bases if tenant.may_use(base.id)]
    return bases + [_adapter_view(row, tenant) for row in rows]


def get_model(db: Database, catalogue: Catalogue, tenant: Tenant, model: str) -> ModelView:
    """One model. Raises: NotFound, also for another tenant's."""
    base = catalogue.base(model)
    if base is not None and tenant.may_use(base.id):
        return _base_view(base)
    return _adapter_view(tuned_job(db, tenant, model), tenant)


def delete_model(db: Database, catalogue: Catalogue, tenant: Tenant, model: str, now: datetime) -> DeletedView:
    """Delete a tuned model and its files in storage; the registry keeps its own record. Raises: NotFound;
    InvalidRequest for a base.
    """
    base = catalogue.base(model)
    if base is not None and tenant.may_use(base.id):
        raise InvalidRequest(f"{model} is a base of the service and cannot be deleted.", param="model")
    with db.write() as session:
        job = session.scalar(select(JobRow).where(_tuned(tenant.id), JobRow.fine_tuned_model == model))
        if job is None:
            raise _no_such_model(model)
        job.model_deleted_at = now
    if job.adapter:
        remove(job.adapter["uri"])
    return DeletedView(id=model, object="model")


def tuned_job(db: Database, tenant: Tenant, model: str) -> JobRow:
    """The job that made a tuned model. Raises: NotFound."""
    with db.read() as session:
        row = session.scalar(select(JobRow).where(_tuned(tenant.id), JobRow.fine_tuned_model == model))
    if row is None:
        raise _no_such_model(model)
    return row


def _tuned(tenant_id: str) -> ColumnElement[bool]:
    return and_(JobRow.tenant_id == tenant_id, JobRow.fine_tuned_model.is_not(None), JobRow.model_deleted_at.is_(None))


def _no_such_model(model: str) -> NotFound:
    return NotFound(
        f"The model '{model}' does not exist or you do not have access to it.", param="model", code="model_not_found"
    )


def _base_view(base: CatalogueBase) -> ModelView:
    details = BaseDetails(
        licence=base.licence,
        parameters=base.spec.shape.parameters,
        quantizations=base.quantizations,
        compute_dtype=base.compute_dtype,
        max_seq_len=base.max_seq_len,
        target_modules=base.target_modules,
    )
    return ModelView(id=base.id, created=0, owned_by=_OURS, x_orchard=details)


def _adapter_view(row: JobRow, tenant: Tenant) -> ModelView:
    details = AdapterDetails(
        base=row.base_id,
        job=row.id,
        registry=RegistryView.of(row),
        eval_loss_before=row.eval_loss_before,
        eval_loss_after=row.eval_loss_after,
    )
    created = int((row.finished_at or row.created_at).timestamp())
    return ModelView(id=row.fine_tuned_model or "", created=created, owned_by=tenant.slug, x_orchard=details)
