"""The job file: `apiVersion: orchard/v1`, `kind: FineTuneJob`. Sections follow the contract, bounds the request.

Whatever is left out the server decides; `orchard submit --dry-run` shows what it decided.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from workers.contract.base import Quantization
from workers.contract.spec import MAX_LEARNING_RATE, MAX_RANK, MAX_SEQ_LEN, LrSchedule, Overlength

Batch = Annotated[int, Field(ge=1, le=256)]
Steps = Annotated[int, Field(ge=1, le=1_000_000)]


class Section(BaseModel):
    """A part of the file. Unknown keys are refused: a typo must not become a silent default."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class MethodSection(Section):
    """How the base is adapted."""

    type: Literal["lora"] = "lora"
    rank: int | None = Field(None, ge=1, le=MAX_RANK, description="of the adapter's matrices")
    alpha: float | None = Field(None, gt=0, le=4096, description="scale = alpha / rank")
    dropout: float | None = Field(None, ge=0, lt=1, description="of the adapter's inputs while training")
    target_modules: list[str] | None = Field(
        None, min_length=1, max_length=64, description="last name parts of the linears to adapt"
    )
    rslora: bool | None = Field(None, description="scale = alpha / sqrt(rank)")


class DataSection(Section):
    """How rows become tokens."""

    max_seq_len: int | None = Field(None, ge=8, le=MAX_SEQ_LEN, description="tokens")
    overlength: Overlength | None = Field(None, description="what to do with a longer row")


class TrainingSection(Section):
    """Epochs, batches and the optimizer."""

    n_epochs: int | None = Field(None, ge=1, le=50, description="passes over the training file")
    batch_size: Batch | None = Field(None, description="rows per optimizer step")
    micro_batch_size: Batch | None = Field(None, description="rows per forward pass; divides batch_size")
    learning_rate: float | None = Field(None, gt=0, le=MAX_LEARNING_RATE, description="after warm-up")
    lr_schedule: LrSchedule | None = Field(None, description="the learning rate after warm-up")
    warmup_ratio: float | None = Field(None, ge=0, lt=1, description="share of all steps")
    weight_decay: float | None = Field(None, ge=0, le=1)
    max_grad_norm: float | None = Field(None, ge=0, le=1e6, description="0: no clipping")
    checkpoint_interval_steps: Steps | None = Field(None, description="steps from checkpoint to checkpoint")
    eval_interval_steps: Steps | None = Field(None, description="steps between looks at the validation file")
    early_stopping_patience: int | None = Field(
        None, ge=1, le=1000, description="evaluations without improvement; needs a validation file"
    )
    early_stopping_threshold: float | None = Field(
        None, ge=0, le=1000, description="what counts as improvement, in nats per supervised token"
    )
    deterministic: bool | None = Field(None, description="never share a pass with other jobs")


class LimitsSection(Section):
    """Bounds on the job."""

    max_runtime_s: int | None = Field(None, ge=60, le=2_592_000, description="seconds of all attempts together")
    max_user_retries: int | None = Field(None, ge=0, le=10, description="tries after a loss that is not finite")


class JobFile(Section):
    """A fine-tuning job, ready to submit."""

    model_config = ConfigDict(extra="forbid", frozen=True, title="Orchard FineTuneJob")

    apiVersion: Literal["orchard/v1"]
    kind: Literal["FineTuneJob"]
    name: str | None = Field(
        None,
        min_length=1,
        max_length=64,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$",
        description="suffix of the adapter's name: letters, digits, `-`, `_`, `.`",
    )
    model: str = Field(min_length=1, description="a base of `orchard bases`")
    training_file: str = Field(min_length=1, description="JSONL file, relative to this file, or the id of an upload")
    validation_file: str | None = Field(None, min_length=1, description="rows that are not in the training file")
    seed: int | None = Field(None, ge=0, le=2**31 - 1, description="of order, first weights and dropout")
    metadata: dict[str, str] | None = Field(None, max_length=16, description="your own keys; kept with the job")
    quantization: Quantization | None = Field(None, description="how the base is stored while training")
    method: MethodSection = MethodSection()
    data: DataSection = DataSection()
    training: TrainingSection = TrainingSection()
    limits: LimitsSection = LimitsSection()
    priority: int | None = Field(None, ge=-100, le=100, description="higher goes first")


def request_body(job: JobFile, training_file: str, validation_file: str | None) -> dict[str, Any]:
    """The create request for `job`, whose files have been uploaded under these ids."""
    training = _given(job.training)
    hyperparameters = {name: training.pop(name) for name in ("n_epochs", "batch_size") if name in training}
    ours = _given(job.method) | _given(job.data) | training | _given(job.limits)
    ours["method"] = ours.pop("type")
    for name in ("quantization", "priority"):
        if (value := getattr(job, name)) is not None:
            ours[name] = value
    body: dict[str, Any] = {
        "model": job.model,
        "training_file": training_file,
        "method": {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}},
        "x_orchard": ours,
    }
    optional = {"validation_file": validation_file, "suffix": job.name, "seed": job.seed, "metadata": job.metadata}
    return body | {name: value for name, value in optional.items() if value is not None}


def json_schema() -> dict[str, Any]:
    """The published JSON Schema of the job file."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | JobFile.model_json_schema()


def _given(section: Section) -> dict[str, Any]:
    return section.model_dump(mode="json", exclude_none=True)
