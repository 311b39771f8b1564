"""Dry runs: the resolved numbers of a submission, its memory, and the flavors it fits. Writes nothing."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from orchestrator.bases.marks import require_usable
from orchestrator.catalogue.need import HostNeed
from orchestrator.encodings.link import as_far_as_encoded
from orchestrator.queries.job_views import (
    EncodedFiles,
    ResolvedHyperparameters,
    ResolvedOptions,
    encoded_files,
    hyperparameters_of,
)
from orchestrator.submission.datasets import named_files
from orchestrator.submission.request import JobRequest
from orchestrator.submission.resolve import offered_base
from orchestrator.submission.submit import SubmitDeps, draft_spec
from orchestrator.tenancy.views import Tenant
from workers.contract.memory import PROCESS_BYTES


class FlavorFit(BaseModel):
    """One flavor against the job's need."""

    flavor: str
    memory_bytes: int
    fits: bool


class MemoryEstimate(BaseModel):
    """Bytes of a new host with only this job on it, on the first flavor that it fits, else on the largest."""

    base_bytes: int
    seat_bytes: int
    pass_bytes: int = Field(description="while a micro-batch is processed")
    process_bytes: int
    total_bytes: int


class EstimateView(BaseModel):
    """The result of a dry run."""

    object: Literal["estimate"] = "estimate"
    model: str
    training_rows: int
    validation_rows: int
    total_steps: int
    encoded: EncodedFiles | None = Field(
        description="exact counts, where an earlier job of today had the same files, base and options; else null"
    )
    trainable_parameters: int
    hyperparameters: ResolvedHyperparameters
    memory: MemoryEstimate
    flavors: list[FlavorFit]
    fits: bool = Field(description="on at least one flavor; submission refuses the job otherwise")
    x_orchard: ResolvedOptions


def estimate(submit_deps: SubmitDeps, tenant: Tenant, request: JobRequest, now: datetime) -> EstimateView:
    """Estimate a job. Raises like `submit`, but a job too large for every flavor is estimated, not refused."""
    base = offered_base(submit_deps.catalogue, tenant, request.model)
    with submit_deps.db.read() as session:
        files = named_files(session, tenant.id, request, now)
        spec = draft_spec(files, submit_deps.storage_uri, tenant, base, request, now)
        require_usable(session, base, spec)
        spec = as_far_as_encoded(session, spec)
    validation, ours, encoded = spec.data.validation, request.x_orchard, encoded_files(spec)
    rows = spec.data.training.rows if encoded is None else encoded.training.rows
    need = HostNeed.of(spec)
    flavor = need.flavor_of(submit_deps.catalogue.flavors)
    return EstimateView(
        model=spec.base.id,
        training_rows=spec.data.training.rows,
        validation_rows=0 if validation is None else validation.rows,
        total_steps=spec.training.total_steps(rows),
        encoded=encoded,
        trainable_parameters=spec.method.trained(spec.base.shape),
        hyperparameters=hyperparameters_of(spec),
        memory=MemoryEstimate(
            base_bytes=need.footprint.resident_bytes - PROCESS_BYTES,
            seat_bytes=need.seat_bytes,
            pass_bytes=need.pass_bytes,
            process_bytes=PROCESS_BYTES,
            total_bytes=need.total_bytes,
        ),
        flavors=[
            FlavorFit(flavor=each.name, memory_bytes=each.memory_bytes, fits=need.fits(each))
            for each in submit_deps.catalogue.flavors
        ],
        fits=need.fits(flavor),
        x_orchard=ResolvedOptions(**ResolvedOptions.numbers(spec, ours.priority, ours.max_user_retries)),
    )
