"""`JobSpec`: all that a worker is told about a job, with every number resolved."""

from enum import StrEnum
from typing import Final, Literal

from pydantic import Field, model_validator

from workers.contract import CONTRACT_VERSION
from workers.contract.base import BaseSpec, ComputeDtype, Quantization
from workers.contract.model import Frozen
from workers.contract.rows import DatasetFormat

MAX_RANK: Final = 256
MAX_SEQ_LEN: Final = 131_072  # tokens
MAX_LEARNING_RATE: Final = 0.1
BASE_LEARNING_RATE: Final = 2e-4
"""What OpenAI's `learning_rate_multiplier` of 1 means."""
MAX_FAIR_WEIGHT: Final = 1_000


class LoraMethod(Frozen):
    """Low-rank adaptation (arXiv 2106.09685): y = W x + scale * B A dropout(x), A [r, in], B [out, r]."""

    type: Literal["lora"] = "lora"
    rank: int = Field(8, ge=1, le=MAX_RANK, description="r; an adapted linear gains r * (in + out) weights")
    alpha: float = Field(16.0, gt=0, le=4096, description="scale = alpha / r, or alpha / sqrt(r) with rslora")
    dropout: float = Field(0.0, ge=0, lt=1, description="probability of zeroing an input of A while training")
    target_modules: tuple[str, ...] = Field(
        ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
        min_length=1,
        max_length=64,
        description="last name parts of the linears to adapt",
    )
    rslora: bool = Field(False, description="rank-stabilised scale (arXiv 2312.03732)")


Method = LoraMethod
"""The PEFT methods of the fused lane. Becomes a union discriminated by `type` when the solo lane brings more."""


class Overlength(StrEnum):
    """What to do with a row of more than `max_seq_len` tokens. Never silent: the counts are reported."""

    ERROR = "error"
    TRUNCATE = "truncate"
    DROP = "drop"


class LrSchedule(StrEnum):
    """The learning rate after warm-up."""

    CONSTANT = "constant"
    LINEAR = "linear"
    COSINE = "cosine"


class DatasetRef(Frozen):
    """A validated JSONL file in storage."""

    file_id: str
    uri: str = Field(description="fsspec URI that the worker may read")
    sha256: str
    rows: int = Field(ge=1)
    format: DatasetFormat


class DataSpec(Frozen):
    """The rows of a job and how they become tokens."""

    training: DatasetRef
    validation: DatasetRef | None = None
    max_seq_len: int = Field(2048, ge=8, le=MAX_SEQ_LEN, description="tokens")
    overlength: Overlength = Overlength.ERROR


class TrainingSpec(Frozen):
    """Optimisation: AdamW (arXiv 1711.05101) over `n_epochs` passes. One step takes `batch_size` rows."""

    n_epochs: int = Field(3, ge=1, le=50)
    batch_size: int = Field(4, ge=1, le=256, description="rows per optimizer step")
    micro_batch_size: int = Field(4, ge=1, le=256, description="rows per forward pass; the rest is accumulated")
    learning_rate: float = Field(BASE_LEARNING_RATE, gt=0, le=MAX_LEARNING_RATE)
    lr_schedule: LrSchedule = LrSchedule.LINEAR
    warmup_ratio: float = Field(0.03, ge=0, lt=1, description="share of all steps")
    weight_decay: float = Field(0.0, ge=0, le=1)
    beta1: float = Field(0.9, ge=0, lt=1)
    beta2: float = Field(0.999, ge=0, lt=1)
    epsilon: float = Field(1e-8, gt=0)
    max_grad_norm: float = Field(1.0, ge=0, description="clip the job's gradient to this norm; 0 = no clipping")
    checkpoint_interval_steps: int = Field(50, ge=1)
    eval_interval_steps: int = Field(50, ge=1)
    early_stopping_patience: int | None = Field(
        None, ge=1, description="evaluations without improvement before training stops; null: all steps are taken"
    )
    early_stopping_threshold: float = Field(
        0.0, ge=0, description="nats by which the validation loss must fall below the lowest to count as improvement"
    )
    deterministic: bool = Field(False, description="never share a pass, so that a repeat gives the same bits")

    @model_validator(mode="after")
    def _micro_batch_divides_batch(self) -> "TrainingSpec":
        if self.batch_size % self.micro_batch_size:
            raise ValueError(
                f"batch_size ({self.batch_size}) must be a multiple of micro_batch_size ({self.micro_batch_size})"
            )
        return self

    def total_steps(self, rows: int) -> int:
        """Optimizer steps for `rows` usable rows; the last batch of an epoch may be short."""
        return self.n_epochs * -(-rows // self.batch_size)


class Limits(Frozen):
    """Bounds that the service sets on a job."""

    max_runtime_s: int = Field(86_400, ge=60, description="seconds that all attempts together may hold seats")


class JobSpec(Frozen):
    """A job as a worker sees it: no tenant policy, no credentials, every "auto" resolved to a number."""

    version: Literal[1] = CONTRACT_VERSION
    job_id: str
    tenant_id: str
    base: BaseSpec
    quantization: Quantization
    compute_dtype: ComputeDtype
    method: Method
    data: DataSpec
    training: TrainingSpec
    seed: int = Field(ge=0, le=2**31 - 1)
    limits: Limits = Limits()
    output_uri: str = Field(description="storage prefix that belongs to this job alone")
    fair_weight: int = Field(
        1, ge=1, le=MAX_FAIR_WEIGHT, description="of its tenant, against others' on the host: tokens served go by it"
    )

    @model_validator(mode="after")
    def _patience_needs_validation(self) -> "JobSpec":
        if self.training.early_stopping_patience is not None and self.data.validation is None:
            raise ValueError("early_stopping_patience needs a validation file")
        return self


class CheckpointRef(Frozen):
    """A committed checkpoint a seat may resume from."""

    uri: str
    step: int = Field(ge=0)
    manifest_sha256: str


class SeatOrder(Frozen):
    """`attach`: take this attempt of a job onto the host."""

    spec: JobSpec
    attempt: int = Field(ge=1)
    lease_token: str
    resume_from: tuple[CheckpointRef, ...] = Field(
        (), description="candidates, newest first; the first that verifies wins"
    )
    runtime_left_s: float | None = Field(
        None, gt=0, description="of the job's max_runtime_s, after its earlier attempts; None: all of it"
    )

    @property
    def time_limit_s(self) -> float:
        """How long this attempt may hold its seat."""
        return self.spec.limits.max_runtime_s if self.runtime_left_s is None else self.runtime_left_s


class StepperKind(StrEnum):
    """How a host trains its seats."""

    FUSED = "fused"
    """Many seats in every pass of the base."""
    TURNS = "turns"
    """One seat at a time through stock PEFT: the slow reference, for audits."""


class HostSpec(Frozen):
    """What a host keeps resident, and where."""

    id: str
    base: BaseSpec
    quantization: Quantization
    compute_dtype: ComputeDtype
    device: str = Field("cpu", description="torch device: `cpu` or `cuda`")
    max_seats: int = Field(ge=1)
    cache_dir: str = Field(description="local folder for converted and pre-quantized weights")
    threads: int | None = Field(None, ge=1, description="CPU threads for torch; None: torch decides")
    stepper: StepperKind = StepperKind.FUSED
    memory_bytes: int | None = Field(None, gt=0, description="of its device, for all it does; None: no limit is known")
    trust_s: float = Field(
        900.0, gt=0, description="seconds without a poll after which the host saves its seats, ends them and exits"
    )
