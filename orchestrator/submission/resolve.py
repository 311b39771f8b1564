"""From a request to a `JobSpec`: every "auto" becomes a number, every bound of base and flavors is checked. Pure.

Errors name the field, the value and the bound.
"""

from dataclasses import dataclass
from typing import Final

from pydantic import ValidationError

from orchestrator.catalogue.entries import Catalogue, CatalogueBase
from orchestrator.catalogue.need import HostNeed
from orchestrator.errors import InvalidRequest
from orchestrator.submission.request import JobRequest, Options
from orchestrator.tenancy.views import Tenant
from workers.contract.base import Quantization
from workers.contract.spec import (
    BASE_LEARNING_RATE,
    MAX_LEARNING_RATE,
    DatasetRef,
    DataSpec,
    JobSpec,
    Limits,
    LoraMethod,
    TrainingSpec,
)

AUTO_EPOCHS: Final = 3
AUTO_BATCH_SHARE: Final = 0.002  # of the rows
AUTO_BATCH_MIN: Final = 4
AUTO_BATCH_MAX: Final = 256
AUTO_MICRO_BATCH: Final = 4
GB: Final = 1_000_000_000


@dataclass(frozen=True)
class Identity:
    """What a spec needs and a request does not say."""

    job_id: str
    tenant_id: str
    output_uri: str
    seed: int
    fair_weight: int = 1


def offered_base(catalogue: Catalogue, tenant: Tenant, model: str) -> CatalogueBase:
    """The base a request names. One the tenant may not use looks exactly like one that does not exist.

    Raises: InvalidRequest listing what is on offer.
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
    """The spec of the job. Raises: InvalidRequest for what the base does not allow."""
    _check_early_stopping(request.x_orchard, validation)
    return JobSpec(
        job_id=who.job_id,
        tenant_id=who.tenant_id,
        base=base.spec,
        quantization=_quantization(request, base),
        compute_dtype=base.compute_dtype,
        method=_method(request, base),
        data=DataSpec(
            training=training,
            validation=validation,
            max_seq_len=_max_seq_len(request, base),
            overlength=request.x_orchard.overlength,
        ),
        training=_training(request, training.rows),
        seed=who.seed,
        limits=Limits(max_runtime_s=request.x_orchard.max_runtime_s),
        output_uri=who.output_uri,
        fair_weight=who.fair_weight,
    )


def check_fits(spec: JobSpec, catalogue: Catalogue) -> None:
    """Refuse what could wait for ever. Raises: InvalidRequest with the numbers."""
    need = HostNeed.of(spec)
    flavor = need.flavor_of(catalogue.flavors)
    if not need.fits(flavor):
        raise InvalidRequest(
            f"The job needs {need.bytes_on(flavor) / GB:.2f} GB of memory, but the largest flavor, {flavor.name}, "
            f"offers {flavor.memory_bytes / GB:.2f} GB. Lower x_orchard.max_seq_len ({spec.data.max_seq_len}), "
            f"x_orchard.micro_batch_size ({spec.training.micro_batch_size}) or x_orchard.rank ({spec.method.rank}), "
            "or choose a smaller base.",
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


def _method(request: JobRequest, base: CatalogueBase) -> LoraMethod:
    options = request.x_orchard
    targets = options.target_modules or base.target_modules
    if unknown := [name for name in targets if name not in base.target_modules]:
        raise InvalidRequest(
            f"Base {base.id} has no linear '{unknown[0]}' to adapt. Allowed: {', '.join(base.target_modules)}.",
            param="x_orchard.target_modules",
        )
    if len(set(targets)) != len(targets):
        raise InvalidRequest("A module is named twice.", param="x_orchard.target_modules")
    return LoraMethod(
        rank=options.rank,
        alpha=2.0 * options.rank if options.alpha is None else options.alpha,
        dropout=options.dropout,
        target_modules=targets,
        rslora=options.rslora,
    )


def _max_seq_len(request: JobRequest, base: CatalogueBase) -> int:
    wanted = request.x_orchard.max_seq_len
    if wanted is not None and wanted > base.max_seq_len:
        raise InvalidRequest(
            f"max_seq_len is {wanted}, but base {base.id} takes rows of at most {base.max_seq_len} tokens.",
            param="x_orchard.max_seq_len",
        )
    return wanted or base.max_seq_len


def _training(request: JobRequest, rows: int) -> TrainingSpec:
    options, wanted = request.x_orchard, request.wanted
    batch, micro = batch_sizes(wanted.batch_size, options.micro_batch_size, rows)
    try:
        return TrainingSpec(
            n_epochs=wanted.n_epochs or AUTO_EPOCHS,
            batch_size=batch,
            micro_batch_size=micro,
            learning_rate=_learning_rate(request),
            lr_schedule=options.lr_schedule,
            warmup_ratio=options.warmup_ratio,
            weight_decay=options.weight_decay,
            max_grad_norm=options.max_grad_norm,
            checkpoint_interval_steps=options.checkpoint_interval_steps,
            eval_interval_steps=options.eval_interval_steps,
            early_stopping_patience=options.early_stopping_patience,
            early_stopping_threshold=options.early_stopping_threshold,
            deterministic=options.deterministic,
        )
    except ValidationError as error:  # single fields were checked with the request; what is left is the division
        message = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise InvalidRequest(f"{message}.", param="x_orchard.micro_batch_size") from None


def _check_early_stopping(options: Options, validation: DatasetRef | None) -> None:
    patience, threshold = options.early_stopping_patience, options.early_stopping_threshold
    if patience is not None and validation is None:
        raise InvalidRequest(
            f"early_stopping_patience is {patience}, but there is no validation file to evaluate on. "
            "Give a validation_file, or leave early_stopping_patience out.",
            param="x_orchard.early_stopping_patience",
        )
    if patience is None and threshold:
        raise InvalidRequest(
            f"early_stopping_threshold is {threshold:g}, but nothing stops early without early_stopping_patience.",
            param="x_orchard.early_stopping_threshold",
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
    absolute, multiplier = request.x_orchard.learning_rate, request.wanted.learning_rate_multiplier
    if absolute is not None and multiplier is not None:
        raise InvalidRequest(
            "Give either x_orchard.learning_rate or learning_rate_multiplier, not both.",
            param="x_orchard.learning_rate",
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
