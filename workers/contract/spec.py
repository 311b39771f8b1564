"""`JobSpec`: everything a worker knows about a job, with every number resolved."""

from datetime import date
from enum import StrEnum
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, StrictBool, StrictFloat, StrictInt, WithJsonSchema, model_validator

from workers.contract import CONTRACT_VERSION
from workers.contract.base import BaseSpec, ComputeDtype, Quantization
from workers.contract.encoded import EncodedRef
from workers.contract.files import Container, ShapeName
from workers.contract.lanes import Lane
from workers.contract.methods import Method
from workers.contract.model import Frozen
from workers.contract.rows import DatasetFormat
from workers.contract.tasks import CausalLm, Task

MAX_SEQ_LEN: Final = 131_072  # tokens
MAX_LEARNING_RATE: Final = 0.1
BASE_LEARNING_RATE: Final = 2e-4
"""The learning rate for OpenAI's `learning_rate_multiplier` of 1."""
MAX_FAIR_WEIGHT: Final = 1_000


class Overlength(StrEnum):
    """The policy for rows of more than `max_seq_len` tokens. The counts are reported."""

    ERROR = "error"
    TRUNCATE = "truncate"
    DROP = "drop"


class LrSchedule(StrEnum):
    """The learning rate after warm-up."""

    CONSTANT = "constant"
    LINEAR = "linear"
    COSINE = "cosine"


class DatasetRef(Frozen):
    """A validated file in storage, as it was uploaded. Whoever reads it converts it to rows of `format` again."""

    file_id: str
    uri: str = Field(description="fsspec URI that the worker may read")
    sha256: str
    rows: int = Field(ge=1)
    format: DatasetFormat
    shape: ShapeName | None = Field(None, description="of its rows as they were sent; null: as the format has them")
    container: Container = Field(Container.JSONL, description="how it holds its rows")
    encoded: EncodedRef | None = Field(None, description="its rows as tokens; a seat needs them")


class OnDropped(StrEnum):
    """What happens to a row of which the chat template does not show a part."""

    ERROR = "error"
    WARN = "warn"


class SpecialTokens(StrEnum):
    """What a special token's text means inside a tenant's text."""

    PLAIN = "plain"
    PARSE = "parse"


class ExtraKeys(StrEnum):
    """What happens to keys of a row that have no meaning."""

    IGNORE = "ignore"
    ERROR = "error"


_GIVEN_TO_TEMPLATES: Final = frozenset(
    {"add_generation_prompt", "bos_token", "chat_template", "continue_final_message", "conversation", "conversations"}
    | {"documents", "eos_token", "max_length", "messages", "padding", "raise_exception", "return_assistant_tokens_mask"}
    | {"return_dict", "return_tensors", "sanitize_control_tokens", "strftime_now", "tokenize", "tokenizer_kwargs"}
    | {"tools", "truncation"}
)
"""What the service gives a chat template, or the library's call that renders it."""


def _of_the_template(name: str) -> str:
    if name in _GIVEN_TO_TEMPLATES or not name.isidentifier():
        raise ValueError(f"{name!r} is no argument of a chat template that may be set")
    return name


TemplateArgumentName = Annotated[str, Field(max_length=64), AfterValidator(_of_the_template)]
TemplateArgument = (
    StrictBool
    | Annotated[StrictInt, Field(ge=-(2**53), le=2**53)]
    | Annotated[StrictFloat, Field(allow_inf_nan=False)]
    | Annotated[str, Field(max_length=1_000)]
)
Day = Annotated[date, WithJsonSchema({"type": "string", "format": "date", "maxLength": 10})]


class TextOptions(Frozen):
    """How one row of text becomes tokens."""

    on_dropped: OnDropped = Field(
        OnDropped.ERROR, description="what happens to rows of which the base's chat template leaves a part out"
    )
    chat_template_kwargs: dict[TemplateArgumentName, TemplateArgument] = Field(
        {}, max_length=16, description="arguments of the base's chat template, for example enable_thinking"
    )
    special_tokens: SpecialTokens = Field(
        SpecialTokens.PLAIN, description='what "<|im_start|>" and the like are inside text: plain text, or the token'
    )
    extra: ExtraKeys = Field(ExtraKeys.IGNORE, description="what happens to keys of rows that have no meaning")
    created_on: Day | None = Field(None, description="the day that chat templates print; null: that of the job")


class DataOptions(TextOptions):
    """How rows become tokens: the options of a request."""

    max_seq_len: StrictInt | None = Field(None, ge=8, le=MAX_SEQ_LEN, description="tokens; null: the base's limit")
    overlength: Overlength = Field(Overlength.ERROR, description="what happens to rows longer than max_seq_len")


class DataSpec(DataOptions):
    """The rows of a job and how they become tokens."""

    training: DatasetRef
    validation: DatasetRef | None = None
    max_seq_len: int = Field(2048, ge=8, le=MAX_SEQ_LEN, description="tokens")

    @property
    def options(self) -> DataOptions:
        """What of it was asked for, or resolved."""
        return DataOptions(**{name: getattr(self, name) for name in DataOptions.model_fields})


BatchSize = Annotated[StrictInt, Field(ge=1, le=256)]
Steps = Annotated[StrictInt, Field(ge=1, le=1_000_000)]
LearningRate = Annotated[StrictFloat, Field(gt=0, le=MAX_LEARNING_RATE)]


class TrainingOptions(Frozen):
    """Optimization: the options of a request in addition to OpenAI's hyperparameters."""

    micro_batch_size: BatchSize | None = Field(
        None, description="rows per forward pass, the rest is accumulated; divides batch_size; null: up to 4"
    )
    learning_rate: LearningRate | None = Field(
        None, description=f"after warm-up; null: {BASE_LEARNING_RATE:g} x learning_rate_multiplier"
    )
    lr_schedule: LrSchedule = Field(LrSchedule.LINEAR, description="the learning rate after warm-up")
    warmup_ratio: StrictFloat = Field(0.03, ge=0, lt=1, description="share of all steps")
    weight_decay: StrictFloat = Field(0.0, ge=0, le=1)
    max_grad_norm: StrictFloat = Field(
        1.0, ge=0, le=1e6, description="clip the job's gradient to this norm; 0: no clipping"
    )
    checkpoint_interval_steps: Steps = Field(50, description="steps between two checkpoints")
    eval_interval_steps: Steps = Field(50, description="steps between two evaluations on the validation file")
    early_stopping_patience: StrictInt | None = Field(
        None,
        ge=1,
        le=1000,
        description="evaluations without improvement before training stops; needs a validation file; null: never stop",
    )
    early_stopping_threshold: StrictFloat = Field(
        0.0,
        ge=0,
        le=1000,
        description="nats by which the validation loss must fall below the lowest to count as improvement",
    )
    deterministic: StrictBool = Field(
        False, description="never share a pass with other jobs: slower, and a repeat gives the same bits"
    )


class TrainingSpec(TrainingOptions):
    """Optimization: AdamW (arXiv 1711.05101) over `n_epochs` passes. One step takes `batch_size` rows."""

    n_epochs: int = Field(3, ge=1, le=50)
    batch_size: BatchSize = Field(4, description="rows per optimizer step")
    micro_batch_size: BatchSize = Field(4, description="rows per forward pass; the rest is accumulated")
    learning_rate: LearningRate = BASE_LEARNING_RATE
    beta1: float = Field(0.9, ge=0, lt=1)
    beta2: float = Field(0.999, ge=0, lt=1)
    epsilon: float = Field(1e-8, gt=0)

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
    """Limits that the service sets on a job."""

    max_runtime_s: StrictInt = Field(
        86_400, ge=60, le=2_592_000, description="seconds that all attempts together may hold seats"
    )


class JobSpec(Frozen):
    """A job as a worker sees it: no tenant policy, no credentials, every "auto" resolved to a number."""

    version: Literal[1] = CONTRACT_VERSION
    job_id: str
    tenant_id: str
    base: BaseSpec
    quantization: Quantization
    compute_dtype: ComputeDtype
    task: Task = CausalLm()
    method: Method
    lane: Lane = Lane.FUSED
    lane_reason: str = Field("", description="why the job trains in this lane, in words")
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

    @property
    def seat_bytes(self) -> int:
        """Bytes that its seat adds to a host that already holds its base, between passes."""
        return self.method.seat_bytes(self.base.shape)

    @property
    def pass_tokens(self) -> int:
        """Tokens of the job's largest micro-batch."""
        return self.training.micro_batch_size * (self.data.max_seq_len + self.method.extra_tokens)


class CheckpointRef(Frozen):
    """A committed checkpoint a seat may resume from."""

    uri: str
    step: int = Field(ge=0)
    manifest_sha256: str


class SeatAssignment(Frozen):
    """`attach`: give this attempt of a job a seat on the host."""

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


class HostSpec(Frozen):
    """What a host keeps resident, and on which device."""

    id: str
    base: BaseSpec
    quantization: Quantization
    compute_dtype: ComputeDtype
    device: str = Field("cpu", description="torch device: `cpu` or `cuda`")
    max_seats: int = Field(ge=1)
    cache_dir: str = Field(description="local folder for converted and pre-quantized weights")
    threads: int | None = Field(None, ge=1, description="CPU threads for torch; None: torch decides")
    task: Task = CausalLm()
    lane: Lane = Lane.FUSED
    target_modules: tuple[str, ...] = Field(
        (), description="linears that the catalogue offers: the base must have them"
    )
    devices: int = Field(1, ge=1, description="devices that the host takes")
    memory_bytes: int | None = Field(None, gt=0, description="of its device, for all it does; None: no limit is known")
    orchestrator_timeout_s: float = Field(
        900.0, gt=0, description="seconds without a poll after which the host saves its seats, ends them and exits"
    )
