"""The job file: `apiVersion: orchard/v1`, `kind: FineTuneJob`. Its sections match the contract, its bounds the request.

The server decides omitted fields; `orchard submit --dry-run` shows its decisions.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from workers.contract.base import Quantization
from workers.contract.lanes import Lane
from workers.contract.methods import Lora, Method
from workers.contract.spec import BatchSize, DataOptions, TrainingOptions
from workers.contract.tasks import CausalLm, Task


class Section(BaseModel):
    """A part of the file. Unknown keys are refused: a typo must not become a silent default."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class TrainingSection(TrainingOptions):
    """Epochs, batches and the optimizer."""

    n_epochs: int | None = Field(None, ge=1, le=50, description="passes over the training file")
    batch_size: BatchSize | None = Field(None, description="rows per optimizer step")


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
    task: Task = CausalLm()
    method: Method = Lora()
    lane: Lane | None = Field(None, description="how the job trains; left out: fused where the method can, else solo")
    data: DataOptions = DataOptions()
    training: TrainingSection = TrainingSection()
    limits: LimitsSection = LimitsSection()
    priority: int | None = Field(None, ge=-100, le=100, description="among your own jobs; higher goes first")


def request_body(job: JobFile, training_file: str, validation_file: str | None) -> dict[str, Any]:
    """The create request for `job`, whose files have been uploaded under these ids."""
    training = _given(job.training)
    hyperparameters = {name: training.pop(name) for name in ("n_epochs", "batch_size") if name in training}
    parts = {"task": _given(job.task), "method": _given(job.method), "data": _given(job.data), "training": training}
    ours = {name: part for name, part in parts.items() if part} | _given(job.limits)
    for name in ("lane", "quantization", "priority"):
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


def _given(section: BaseModel) -> dict[str, Any]:
    return section.model_dump(mode="json", exclude_none=True, exclude_unset=True)
