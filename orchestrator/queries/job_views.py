"""OpenAI's job, event and checkpoint objects, with Orchard's fields under `x_orchard`."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from orchestrator.db.job_tables import CheckpointRow, EventRow, JobRow
from orchestrator.db.states import Desired, JobState, openai_status
from orchestrator.issues.job_report import report_path
from orchestrator.lifecycle.model_names import fine_tuned_model_name
from orchestrator.queries.registry_pages import NO_PAGES, RegistryPages, RegistryView
from orchestrator.usage.step_rate import StepRate
from workers.contract.base import ComputeDtype, Quantization
from workers.contract.lanes import Lane
from workers.contract.methods import Method
from workers.contract.spec import BASE_LEARNING_RATE, DataOptions, DatasetRef, JobSpec, TrainingSpec
from workers.contract.tasks import Task


class ResolvedHyperparameters(BaseModel):
    """OpenAI's three hyperparameters as numbers, never "auto"."""

    n_epochs: int
    batch_size: int
    learning_rate_multiplier: float


class SupervisedView(BaseModel):
    """The settings of `method.supervised`."""

    hyperparameters: ResolvedHyperparameters


class MethodView(BaseModel):
    """OpenAI's `method`."""

    type: Literal["supervised"] = "supervised"
    supervised: SupervisedView


class JobErrorView(BaseModel):
    """Why a job failed."""

    code: str
    message: str
    param: str | None


class ResolvedOptions(BaseModel):
    """Orchard's part of a submission, every number resolved."""

    task: Task
    method: Method
    lane: Lane = Field(description="how the job trains")
    lane_reason: str = Field(description="why in this lane")
    quantization: Quantization
    compute_dtype: ComputeDtype
    data: DataOptions
    training: TrainingSpec
    priority: int
    max_runtime_s: int
    max_user_retries: int

    @classmethod
    def numbers(cls, spec: JobSpec, priority: int, max_user_retries: int) -> dict[str, Any]:
        """The fields of this view, from the spec of a job."""
        return {
            "task": spec.task,
            "method": spec.method,
            "lane": spec.lane,
            "lane_reason": spec.lane_reason,
            "quantization": spec.quantization,
            "compute_dtype": spec.compute_dtype,
            "data": spec.data.options,
            "training": spec.training,
            "priority": priority,
            "max_runtime_s": spec.limits.max_runtime_s,
            "max_user_retries": max_user_retries,
        }


class EncodedFile(BaseModel):
    """A file as tokens, one epoch."""

    rows: int = Field(description="rows to learn from")
    tokens: int
    trained_tokens: int = Field(description="tokens that carry loss")
    truncated_rows: int = Field(description="cut to max_seq_len")
    dropped_rows: int = Field(description="left out for exceeding max_seq_len")

    @classmethod
    def of(cls, dataset: DatasetRef | None) -> "EncodedFile | None":
        """The view of a file that is encoded."""
        if dataset is None or dataset.encoded is None:
            return None
        return cls.model_validate(dataset.encoded.model_dump(include=set(cls.model_fields)))


class EncodedFiles(BaseModel):
    """The job's files as tokens."""

    training: EncodedFile
    validation: EncodedFile | None


class JobDetails(ResolvedOptions):
    """The job's progress, in Orchard's terms."""

    state: JobState = Field(description="finer than OpenAI's status")
    queue_reason: str | None = Field(description="what a waiting job waits for")
    attempt: int
    user_failures: int = Field(description="attempts that ended with the job's own error")
    infra_failures: int = Field(description="infrastructure failures since its newest checkpoint")
    host_evictions: int = Field(description="evictions by unreachable hosts since its newest checkpoint")
    step: int
    total_steps: int | None = Field(description="planned steps; after early stopping, the steps taken")
    best_step: int | None = Field(description="step whose weights early stopping published; null: the last")
    stopped_early: bool
    eval_loss_before: float | None = Field(description="nats per supervised token, on the validation file")
    eval_loss_after: float | None = Field(description="of the published weights")
    issue_count: int = Field(description="problems of its files that the job failed over")
    report: str | None = Field(description="path of the report on them, if there are any")
    memory_bytes: int = Field(description="what the seat reserves on its host")
    encoded: EncodedFiles | None = Field(description="exact counts of its files; null until they are encoded")
    registry: RegistryView | None
    host: str | None = Field(description="host of the newest attempt")
    base_digest: str | None = Field(description="sha256 over the weights the job trained on")


class JobView(BaseModel):
    """A fine-tuning job."""

    id: str
    object: Literal["fine_tuning.job"] = "fine_tuning.job"
    created_at: int = Field(description="Unix seconds")
    finished_at: int | None
    estimated_finish: int | None = Field(
        description="Unix seconds: the recent time for a step, times the remaining steps; null unless it trains"
    )
    model: str
    fine_tuned_model: str | None
    organization_id: str = Field(description="id of the tenant")
    status: str
    training_file: str
    validation_file: str | None
    hyperparameters: ResolvedHyperparameters
    method: MethodView
    trained_tokens: int | None
    error: JobErrorView | None
    result_files: list[str]
    seed: int
    integrations: list[Any]
    metadata: dict[str, str] | None
    user_provided_suffix: str | None
    x_orchard: JobDetails


class EventView(BaseModel):
    """An event of a job."""

    id: str
    object: Literal["fine_tuning.job.event"] = "fine_tuning.job.event"
    created_at: int = Field(description="Unix seconds")
    level: Literal["info", "warn", "error"]
    message: str
    type: Literal["message", "metrics"]
    data: dict[str, Any] | None

    @classmethod
    def of(cls, row: EventRow) -> "EventView":
        """The view of a row."""
        return cls(
            id=row.id,
            created_at=_seconds(row.created_at),
            level=row.level,
            message=row.message,
            type=row.type,
            data=row.data or {},
        )


class CheckpointMetrics(BaseModel):
    """Metrics at the step of a checkpoint; null where not measured."""

    step: int
    train_loss: float | None = None
    train_mean_token_accuracy: float | None = None
    valid_loss: float | None = None
    valid_mean_token_accuracy: float | None = None
    full_valid_loss: float | None = None
    full_valid_mean_token_accuracy: float | None = None


class CheckpointView(BaseModel):
    """A complete checkpoint in storage."""

    id: str
    object: Literal["fine_tuning.job.checkpoint"] = "fine_tuning.job.checkpoint"
    created_at: int = Field(description="Unix seconds")
    fine_tuned_model_checkpoint: str
    fine_tuning_job_id: str
    step_number: int
    metrics: CheckpointMetrics


def hyperparameters_of(spec: JobSpec) -> ResolvedHyperparameters:
    """OpenAI's three hyperparameters of a spec."""
    return ResolvedHyperparameters(
        n_epochs=spec.training.n_epochs,
        batch_size=spec.training.batch_size,
        learning_rate_multiplier=round(spec.training.learning_rate / BASE_LEARNING_RATE, 9),
    )


def job_view(
    row: JobRow,
    host_id: str | None,
    base_digest: str | None,
    rate: StepRate | None,
    now: datetime,
    pages: RegistryPages = NO_PAGES,
) -> JobView:
    """The view of a job. `host_id` and `base_digest` belong to its newest attempt's host, and so does `rate`."""
    finish = _estimated_finish(row, rate, now)
    return _job_view(row, JobSpec.model_validate(row.spec), host_id, base_digest, finish, pages)


def new_job_view(row: JobRow, spec: JobSpec) -> JobView:
    """The view of a job that was just created, without parsing its spec again."""
    return _job_view(row, spec, None, None, None, NO_PAGES)


def _job_view(
    row: JobRow,
    spec: JobSpec,
    host_id: str | None,
    base_digest: str | None,
    estimated_finish: int | None,
    pages: RegistryPages,
) -> JobView:
    numbers = hyperparameters_of(spec)
    return JobView(
        id=row.id,
        created_at=_seconds(row.created_at),
        finished_at=None if row.finished_at is None else _seconds(row.finished_at),
        estimated_finish=estimated_finish,
        model=row.base_id,
        fine_tuned_model=row.fine_tuned_model,
        organization_id=row.tenant_id,
        status=openai_status(JobState(row.state), Desired(row.desired)),
        training_file=row.training_file_id,
        validation_file=row.validation_file_id,
        hyperparameters=numbers,
        method=MethodView(supervised=SupervisedView(hyperparameters=numbers)),
        trained_tokens=row.trained_tokens,
        error=_error(row),
        result_files=[] if row.result_file_id is None else [row.result_file_id],
        seed=row.seed,
        integrations=[],
        metadata=row.labels,
        user_provided_suffix=row.suffix,
        x_orchard=_details(row, spec, host_id, base_digest, pages.view(row)),
    )


def checkpoint_view(row: CheckpointRow, job: JobRow, tenant_slug: str) -> CheckpointView:
    """The view of a checkpoint. Its model name is known before the job succeeds."""
    tuned = job.fine_tuned_model or fine_tuned_model_name(job.base_id, tenant_slug, job.suffix, job.id)
    known = CheckpointMetrics.model_fields.keys()
    metrics = {name: value for name, value in row.metrics.items() if name in known}
    return CheckpointView(
        id=row.id,
        created_at=_seconds(row.created_at),
        fine_tuned_model_checkpoint=f"{tuned}:ckpt-step-{row.step}",
        fine_tuning_job_id=row.job_id,
        step_number=row.step,
        metrics=CheckpointMetrics.model_validate(metrics | {"step": row.step}),
    )


def _details(
    row: JobRow, spec: JobSpec, host_id: str | None, base_digest: str | None, registry: RegistryView | None
) -> JobDetails:
    return JobDetails(
        **ResolvedOptions.numbers(spec, row.priority, row.max_user_retries),
        state=JobState(row.state),
        queue_reason=row.queue_reason,
        attempt=row.attempt,
        user_failures=row.user_failures,
        infra_failures=row.infra_failures,
        host_evictions=row.host_evictions,
        step=row.step,
        total_steps=row.total_steps,
        best_step=row.best_step,
        stopped_early=row.stopped_early,
        eval_loss_before=row.eval_loss_before,
        eval_loss_after=row.eval_loss_after,
        issue_count=row.issue_count,
        report=report_path(row.id) if row.issue_count else None,
        memory_bytes=row.memory_bytes,
        encoded=encoded_files(spec),
        registry=registry,
        host=host_id,
        base_digest=(row.adapter or {}).get("base_digest") or base_digest,
    )


def encoded_files(spec: JobSpec) -> EncodedFiles | None:
    """Counts of the job's files, once they are encoded."""
    training = EncodedFile.of(spec.data.training)
    return (
        None if training is None else EncodedFiles(training=training, validation=EncodedFile.of(spec.data.validation))
    )


def _error(row: JobRow) -> JobErrorView | None:
    if row.error_code is None:
        return None
    return JobErrorView(code=row.error_code, message=row.error_message or "", param=row.error_param)


def trains(row: JobRow) -> bool:
    """Whether steps follow one another until its last: it has a seat, is prepared, and is to go on."""
    return row.state == JobState.RUNNING and row.desired == Desired.RUN


def _estimated_finish(row: JobRow, rate: StepRate | None, now: datetime) -> int | None:
    """The end of the remaining steps at the measured rate, without early stopping; null where none can be told."""
    if row.state == JobState.PUBLISHING:
        return _seconds(now) if row.not_before is None else None
    if not trains(row) or rate is None or row.total_steps is None:
        return None
    return _seconds(rate.finish(max(row.total_steps - row.step, 0), now))


def _seconds(stamp: datetime) -> int:
    return int(stamp.timestamp())
