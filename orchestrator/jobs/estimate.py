"""What a submission would become: the resolved numbers, its memory, and where it would fit. Nothing is written."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from orchestrator.catalogue.entries import Catalogue
from orchestrator.jobs.request import JobRequest
from orchestrator.jobs.submit import Desk, draft_spec
from orchestrator.jobs.views import ResolvedHyperparameters, ResolvedOptions, hyperparameters_of
from orchestrator.tenancy.views import Tenant
from workers.contract import memory
from workers.contract.memory import (
    PROCESS_BYTES,
    host_bytes,
    least_pass_bytes,
    lora_parameters,
    pass_positions,
    seat_bytes,
)
from workers.contract.spec import JobSpec


class FlavorFit(BaseModel):
    """One flavor against the job's need."""

    flavor: str
    memory_bytes: int
    fits: bool


class MemoryEstimate(BaseModel):
    """Bytes of a fresh host with this job alone on it."""

    base_bytes: int
    seat_bytes: int
    pass_bytes: int = Field(description="while a micro-batch is in work")
    process_bytes: int
    total_bytes: int


class EstimateView(BaseModel):
    """The answer to a dry run."""

    object: Literal["estimate"] = "estimate"
    model: str
    training_rows: int
    validation_rows: int
    total_steps: int
    trainable_parameters: int
    hyperparameters: ResolvedHyperparameters
    memory: MemoryEstimate
    flavors: list[FlavorFit]
    fits: bool = Field(description="on at least one flavor; submission refuses the job otherwise")
    x_orchard: ResolvedOptions


def estimate(desk: Desk, tenant: Tenant, request: JobRequest, now: datetime) -> EstimateView:
    """Estimate a job. Raises as `submit`, except that a job too large for every flavor is answered, not refused."""
    spec = draft_spec(desk, tenant, request, now)
    flavors = _flavors(spec, desk.catalogue)
    shape, validation, ours = spec.base.shape, spec.data.validation, request.x_orchard
    footprint = memory.estimate(shape, spec.quantization, spec.compute_dtype)
    return EstimateView(
        model=spec.base.id,
        training_rows=spec.data.training.rows,
        validation_rows=0 if validation is None else validation.rows,
        total_steps=spec.training.total_steps(spec.data.training.rows),
        trainable_parameters=lora_parameters(shape, spec.method),
        hyperparameters=hyperparameters_of(spec),
        memory=MemoryEstimate(
            base_bytes=footprint.resident_bytes - PROCESS_BYTES,
            seat_bytes=seat_bytes(spec),
            pass_bytes=least_pass_bytes(footprint, pass_positions(spec)),
            process_bytes=PROCESS_BYTES,
            total_bytes=host_bytes(spec),
        ),
        flavors=flavors,
        fits=any(flavor.fits for flavor in flavors),
        x_orchard=ResolvedOptions(**ResolvedOptions.numbers(spec, ours.priority, ours.max_user_retries)),
    )


def _flavors(spec: JobSpec, catalogue: Catalogue) -> list[FlavorFit]:
    return [
        FlavorFit(
            flavor=flavor.name,
            memory_bytes=flavor.memory_bytes,
            fits=host_bytes(spec, recomputes=flavor.recomputes) <= flavor.memory_bytes,
        )
        for flavor in catalogue.flavors
    ]
