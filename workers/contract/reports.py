"""A host's answer to `poll`: reports of its seats, in order, each under the lease of one attempt."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from workers.contract.errors import ErrorCode
from workers.contract.memory import Footprint
from workers.contract.model import Frozen


class SeatReport(Frozen):
    """The identity in every report. The orchestrator drops a report whose lease is no longer current."""

    job_id: str
    attempt: int = Field(ge=1)
    lease_token: str


class Prepared(SeatReport):
    """The rows are here; the seat trains next. Sent once per attempt."""

    kind: Literal["prepared"] = "prepared"
    total_steps: int
    resumed_from_step: int = Field(0, description="0: from the start")
    training_rows: int
    validation_rows: int = 0
    supervised_tokens: int = Field(description="training tokens that carry loss, one epoch")
    truncated_rows: int = 0
    dropped_rows: int = 0
    left_out: dict[str, int] = Field({}, description="field that the chat template does not show -> rows of both files")
    trainable_parameters: int


class Heartbeat(SeatReport):
    """The seat is alive. `step` is its last finished optimizer step."""

    kind: Literal["heartbeat"] = "heartbeat"
    step: int
    phase: Literal["waiting", "preparing", "training", "evaluating", "saving"]


class StepReport(SeatReport):
    """One optimizer step, or an evaluation after it.

    Losses are nats per supervised token. They and the accuracies are means by the tokens' weights.
    """

    kind: Literal["step"] = "step"
    step: int = Field(ge=0, description="0: the evaluation before training")
    total_steps: int
    epoch: float
    train_loss: float | None = None
    train_mean_token_accuracy: float | None = None
    full_valid_loss: float | None = Field(None, description="over the whole validation file")
    full_valid_mean_token_accuracy: float | None = None
    learning_rate: float | None = None
    grad_norm: float | None = Field(None, description="before clipping")
    tokens: int = Field(0, description="real tokens of this step, padding not counted")
    supervised_tokens: int = Field(0, description="those that carry loss, whatever their weight")
    step_seconds: float = Field(0.0, description="wall time of this seat's own work")


class FileDigest(Frozen):
    """One file of a checkpoint or an adapter."""

    path: str = Field(description="relative to the manifest's folder")
    bytes: int = Field(ge=0)
    sha256: str


class SamplerPosition(Frozen):
    """The position of the data cursor. Row order, dropout and all other random streams follow from seed and step."""

    seed: int
    epoch: int = Field(ge=0, description="finished epochs")
    batch: int = Field(ge=0, description="finished batches of the current epoch")


class CheckpointManifest(SeatReport):
    """A checkpoint that is complete in storage. Written last, so its presence proves the other files."""

    kind: Literal["checkpoint"] = "checkpoint"
    version: Literal[1] = 1
    uri: str = Field(description="folder of the checkpoint")
    step: int
    epoch: float
    files: tuple[FileDigest, ...]
    manifest_sha256: str = Field("", description="digest of manifest.json itself; empty inside that file")
    base_id: str
    base_digest: str
    adapter_config_sha256: str | None = Field(None, description="digest of the job's method, as JSON")
    sampler: SamplerPosition | None = None
    world_size: int = Field(1, ge=1, description="processes that trained it")
    libraries: dict[str, str] = Field(default_factory=dict, description="version of each library used")
    train_loss: float | None = None
    full_valid_loss: float | None = None
    full_valid_mean_token_accuracy: float | None = None


class CheckpointRejected(SeatReport):
    """A checkpoint failed verification at resume; the next older one is tried."""

    kind: Literal["checkpoint_rejected"] = "checkpoint_rejected"
    uri: str
    step: int
    why: str


class SeatWarning(SeatReport):
    """A problem that does not end the seat but that its tenant may want to know."""

    kind: Literal["warning"] = "warning"
    step: int
    message: str


class ExitClass(StrEnum):
    """The kind of an attempt's end. It decides between retry and failure (`orchestrator.lifecycle.retry_policy`)."""

    OK = "ok"
    USER = "user"
    INFRA = "infra"
    PREEMPTED = "preempted"
    CANCELLED = "cancelled"


class AdapterManifest(Frozen):
    """The finished adapter in storage: a PEFT folder, the tokenizer and their digests."""

    uri: str
    files: tuple[FileDigest, ...]
    adapter_sha256: str = Field(description="digest of the adapter's safetensors file")
    base_digest: str
    chat_template_sha256: str | None = None
    chat_template_kwargs: dict[str, bool | int | float | str] = Field(
        {}, description="arguments that its rows' chat template had, and that its prompts need"
    )


class Outcome(SeatReport):
    """The end of an attempt: the last report of its seat."""

    kind: Literal["outcome"] = "outcome"
    exit_class: ExitClass
    step: int
    error_code: ErrorCode | None = None
    message: str | None = None
    adapter: AdapterManifest | None = None
    eval_loss_before: float | None = None
    eval_loss_after: float | None = Field(None, description="of the weights in the adapter")
    best_step: int | None = Field(
        None, description="step of the adapter's weights, chosen by early stopping; null: the last"
    )
    stopped_early: bool = Field(False, description="early stopping ended training before the last step")
    trained_tokens: int = Field(0, description="real training tokens, all attempts of the resumed run")


Report = Annotated[
    Prepared | Heartbeat | StepReport | CheckpointManifest | CheckpointRejected | SeatWarning | Outcome,
    Field(discriminator="kind"),
]


class NumberedReport(Frozen):
    """A report with its number in the host's log. `poll(cursor)` returns those with `seq > cursor`."""

    seq: int = Field(ge=1)
    report: Report


class HostPhase(StrEnum):
    """The phase of a host's life cycle."""

    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"
    RETIRED = "retired"
    """The host has no seats, accepts none, has verified its base and waits to be ended."""


class HostReport(Frozen):
    """The answer to `poll(cursor)`. Polling acknowledges every report up to `cursor`, and the host drops them."""

    host_id: str
    phase: HostPhase
    pid: int
    error_code: ErrorCode | None = None
    error: str | None = None
    base_digest: str | None = None
    base_folder: str | None = Field(None, description="local folder of the base in Hugging Face layout")
    base_intact: bool | None = Field(
        None, description="on retiring: whether the resident weights are unchanged since loading"
    )
    base_loads: int = Field(0, description="times this process loaded base weights; stays 1")
    load_seconds: float | None = None
    memory_bytes: int | None = Field(None, description="resident memory of the process, or allocated device memory")
    footprint: Footprint | None = Field(None, description="measured once the base is resident")
    budget_tokens: int | None = Field(None, description="most tokens that share a pass now")
    seats: tuple[str, ...] = Field((), description="ids of the jobs seated now")
    reports: tuple[NumberedReport, ...] = ()
