"""Resolves a request to a `JobSpec`: replaces every "auto" and checks the bounds of base and flavors. Pure.

Errors name the field, the value and the bound.
"""

from dataclasses import dataclass
from datetime import date
from typing import Final

from pydantic import ValidationError

from orchestrator.catalogue.entries import Catalogue, CatalogueBase
from orchestrator.catalogue.need import HostNeed
from orchestrator.errors import InvalidRequest
from orchestrator.submission.request import JobRequest, Options
from orchestrator.tenancy.views import Tenant
from workers.contract.base import Quantization
from workers.contract.lanes import LaneChoice, NoLane, choose_lane
from workers.contract.methods import MethodSpec
from workers.contract.spec import (
    BASE_LEARNING_RATE,
    MAX_LEARNING_RATE,
    DatasetRef,
    DataSpec,
    JobSpec,
    Limits,
    TrainingOptions,
    TrainingSpec,
)
from workers.contract.tasks import TASKS, TaskSpec

AUTO_EPOCHS: Final = 3
AUTO_BATCH_SHARE: Final = 0.002  # of the rows
AUTO_BATCH_MIN: Final = 4
AUTO_BATCH_MAX: Final = 256
AUTO_MICRO_BATCH: Final = 4
GB: Final = 1_000_000_000


@dataclass(frozen=True)
class Identity:
    """Fields of a spec that are not in the request."""

    job_id: str
    tenant_id: str
    output_uri: str
    seed: int
    created_on: date
    fair_weight: int = 1


def offered_base(catalogue: Catalogue, tenant: Tenant, model: str) -> CatalogueBase:
    """The base a request names. A base that the tenant may not use looks like one that does not exist.

    Raises: InvalidRequest listing the available bases.
    """
    base = catalogue.base(model)
    if base is not None and tenant.may_use(base.id):
        return base
    offered = ", ".join(entry.id for entry in catalogue.bases if tenant.may_use(entry.id)) or "none"
    raise InvalidRequest(
        f"Model {model} is not available for fine-tuning or does not exist. Available: {offered}.",
        param="model",
        code="model_not_available",
    )


def resolve(
    request: JobRequest, base: CatalogueBase, training: DatasetRef, validation: DatasetRef | None, who: Identity
) -> JobSpec:
    """The spec of the job. Raises: InvalidRequest for options that the base does not allow."""
    options = request.x_orchard
    _check_early_stopping(options.training, validation)
    quantization = _quantization(request, base)
    method = _method(options, base, quantization)
    lane = _lane(options, method)
    return JobSpec(
        job_id=who.job_id,
        tenant_id=who.tenant_id,
        base=base.spec,
        quantization=quantization,
        compute_dtype=base.compute_dtype,
        task=_task(options, base, training, validation),
        method=method,
        lane=lane.lane,
        lane_reason=lane.reason,
        data=DataSpec(
            training=training,
            validation=validation,
            **dict(options.data)
            | {
                "max_seq_len": _max_seq_len(request, base, method),
                "created_on": options.data.created_on or who.created_on,
            },
        ),
        training=_training(request, training.rows),
        seed=who.seed,
        limits=Limits(max_runtime_s=options.max_runtime_s),
        output_uri=who.output_uri,
        fair_weight=who.fair_weight,
    )


def check_fits(spec: JobSpec, catalogue: Catalogue) -> None:
    """Refuse a job that can never be placed. Raises: InvalidRequest with the numbers."""
    need = HostNeed.of(spec)
    flavor = need.flavor_of(catalogue.flavors)
    if not need.fits(flavor):
        raise InvalidRequest(
            f"The job needs {need.total_bytes / GB:.2f} GB of memory, but the largest flavor, {flavor.name}, "
            f"offers {flavor.memory_bytes / GB:.2f} GB. Lower x_orchard.data.max_seq_len ({spec.data.max_seq_len}), "
            f"x_orchard.training.micro_batch_size ({spec.training.micro_batch_size}) or the size of "
            f"x_orchard.method ({_facts(spec.method)}), or choose a smaller base.",
            param="x_orchard",
            code="does_not_fit",
        )


def _quantization(request: JobRequest, base: CatalogueBase) -> Quantization:
    wanted = request.x_orchard.quantization
    if wanted is None:
        return base.quantizations[0]
    if wanted not in base.quantizations:
        raise InvalidRequest(
            f"Base {base.id} is not offered with quantization '{wanted}'. Allowed: {', '.join(base.quantizations)}.",
            param="x_orchard.quantization",
        )
    return wanted


def _task(options: Options, base: CatalogueBase, training: DatasetRef, validation: DatasetRef | None) -> TaskSpec:
    task = options.task
    if not task.fits(base.spec.shape):
        raise InvalidRequest(
            f"Base {base.id} cannot learn task '{task.type}': its architecture is '{base.spec.shape.kind}'.",
            param="x_orchard.task",
        )
    _check_format(task, training, "training_file")
    if validation is not None:
        _check_format(task, validation, "validation_file")
    return task


def _check_format(task: TaskSpec, file: DatasetRef, param: str) -> None:
    if file.format in task.formats:
        return
    others = ", ".join(f"'{name}'" for name in TASKS if file.format in TASKS[name].formats)
    raise InvalidRequest(
        f"Task '{task.type}' does not learn from rows of format '{file.format}'. It takes: "
        f"{', '.join(sorted(task.formats))}. "
        + (f"Set x_orchard.task to {others}." if others else "No task of this service learns from such rows yet."),
        param=param,
        code="format_not_taken",
    )


def _method(options: Options, base: CatalogueBase, quantization: Quantization) -> MethodSpec:
    method, task = options.method, options.task.type
    if task not in method.tasks:
        raise InvalidRequest(
            f"Method '{method.type}' does not train task '{task}'. It trains: {', '.join(sorted(method.tasks))}.",
            param="x_orchard.method.type",
        )
    if (why := method.refuses(quantization)) is not None:
        others = sorted(each for each in Quantization if method.refuses(each) is None)
        raise InvalidRequest(
            f"Method '{method.type}' does not train on a base held as '{quantization}': {why}. It does on: "
            f"{', '.join(others)}.",
            param="x_orchard.quantization",
        )
    try:
        resolved = method.resolve(base.target_modules)
        resolved.check(base.spec.shape)
        return resolved
    except ValueError as error:
        raise InvalidRequest(f"Base {base.id}: {error}.", param="x_orchard.method.target_modules") from None


def _lane(options: Options, method: MethodSpec) -> LaneChoice:
    try:
        return choose_lane(method.type, method.lanes, options.lane, method.unfusible())
    except NoLane as error:
        raise InvalidRequest(f"{error}.", param="x_orchard.lane") from None


def _max_seq_len(request: JobRequest, base: CatalogueBase, method: MethodSpec) -> int:
    wanted, extra = request.x_orchard.data.max_seq_len, method.extra_tokens
    room = base.spec.shape.max_positions - extra
    if (wanted or base.max_seq_len) > room:
        raise InvalidRequest(
            f"Base {base.id} has {base.spec.shape.max_positions} positions. {extra} virtual tokens of method "
            f"'{method.type}' leave room for rows of {max(room, 0)} tokens: set max_seq_len to that, or less.",
            param="x_orchard.data.max_seq_len",
        )
    if wanted is not None and wanted > base.max_seq_len:
        raise InvalidRequest(
            f"max_seq_len is {wanted}, but base {base.id} takes rows of at most {base.max_seq_len} tokens.",
            param="x_orchard.data.max_seq_len",
        )
    return wanted or base.max_seq_len


def _training(request: JobRequest, rows: int) -> TrainingSpec:
    options, wanted = request.x_orchard.training, request.wanted
    batch, micro = batch_sizes(wanted.batch_size, options.micro_batch_size, rows)
    chosen = {
        "n_epochs": wanted.n_epochs or AUTO_EPOCHS,
        "batch_size": batch,
        "micro_batch_size": micro,
        "learning_rate": _learning_rate(request),
    }
    try:
        return TrainingSpec.model_validate(options.model_dump() | chosen)
    except ValidationError as error:  # the request checked single fields; only the division is left
        message = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise InvalidRequest(f"{message}.", param="x_orchard.training.micro_batch_size") from None


def _check_early_stopping(options: TrainingOptions, validation: DatasetRef | None) -> None:
    patience, threshold = options.early_stopping_patience, options.early_stopping_threshold
    if patience is not None and validation is None:
        raise InvalidRequest(
            f"early_stopping_patience is {patience}, but there is no validation file to evaluate on. "
            "Give a validation_file, or leave early_stopping_patience out.",
            param="x_orchard.training.early_stopping_patience",
        )
    if patience is None and threshold:
        raise InvalidRequest(
            f"early_stopping_threshold is {threshold:g}, but nothing stops early without early_stopping_patience.",
            param="x_orchard.training.early_stopping_threshold",
        )


def batch_sizes(batch: int | None, micro: int | None, rows: int) -> tuple[int, int]:
    """Rows per step and per forward pass. "auto" is 0.2 % of the rows, between 4 and 256, a multiple of `micro`."""
    if batch is None:
        batch = min(max(round(rows * AUTO_BATCH_SHARE), AUTO_BATCH_MIN, micro or 1), AUTO_BATCH_MAX)
        batch -= batch % (micro or 1)
    if micro is None:
        micro = next(size for size in range(min(AUTO_MICRO_BATCH, batch), 0, -1) if batch % size == 0)
    return batch, micro


def _learning_rate(request: JobRequest) -> float:
    absolute, multiplier = request.x_orchard.training.learning_rate, request.wanted.learning_rate_multiplier
    if absolute is not None and multiplier is not None:
        raise InvalidRequest(
            "Give either x_orchard.training.learning_rate or learning_rate_multiplier, not both.",
            param="x_orchard.training.learning_rate",
        )
    if absolute is not None:
        return absolute
    rate = BASE_LEARNING_RATE * (1.0 if multiplier is None else multiplier)
    if not 0 < rate <= MAX_LEARNING_RATE:
        raise InvalidRequest(
            f"learning_rate_multiplier {multiplier} makes a learning rate of {rate:g}; at most {MAX_LEARNING_RATE:g} "
            f"(a multiplier of {MAX_LEARNING_RATE / BASE_LEARNING_RATE:g}) is allowed.",
            param="method.supervised.hyperparameters.learning_rate_multiplier",
        )
    return rate


def _facts(method: MethodSpec) -> str:
    return ", ".join(f"{name} {value}" for name, value in method.facts().items()) or method.type
