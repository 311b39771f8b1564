"""Turns reports into tenant-facing events. OpenAI's own messages are used verbatim: tools match them."""

from orchestrator.lifecycle.events import EventDraft
from workers.contract.reports import CheckpointManifest, Outcome, Prepared, StepReport
from workers.contract.spec import TrainingSpec


def prepared_events(report: Prepared, reached_step: int) -> list[EventDraft]:
    """The start of training, and warnings about truncated and dropped rows.

    `reached_step` is the job's highest checkpointed step: a restart from step 0 despite it gets its own event.
    """
    data = report.model_dump(mode="json", exclude={"kind", "job_id", "attempt", "lease_token"})
    if report.resumed_from_step:
        start = EventDraft(f"Fine-tuning job restarted from step {report.resumed_from_step}", level="warn", data=data)
    else:
        start = EventDraft("Fine-tuning job started", data=data)
    events = [start]
    if reached_step and not report.resumed_from_step:
        lost = f"No checkpoint up to step {reached_step} can be used: training restarts from step 0"
        events.append(EventDraft(lost, level="error", data={"reached_step": reached_step}))
    for count, what in ((report.truncated_rows, "truncated to"), (report.dropped_rows, "dropped for exceeding")):
        if count:
            events.append(EventDraft(f"{count} row(s) were {what} max_seq_len", level="warn", data=data))
    return events


def step_event(report: StepReport) -> EventDraft:
    """The metrics of a step."""
    parts = [
        f"{name}={value:.2f}"
        for name, value in (("training loss", report.train_loss), ("full validation loss", report.full_valid_loss))
        if value is not None
    ]
    data = report.model_dump(mode="json", exclude={"kind", "job_id", "attempt", "lease_token"}, exclude_none=True)
    return EventDraft(f"Step {report.step}/{report.total_steps}: {', '.join(parts)}", type="metrics", data=data)


def checkpoint_event(report: CheckpointManifest) -> EventDraft:
    """A checkpoint is complete."""
    return EventDraft(
        f"Checkpoint created at step {report.step}", data={"step": report.step, "attempt": report.attempt}
    )


def choice_events(report: Outcome, training: TrainingSpec) -> list[EventDraft]:
    """Which weights early stopping chose, unless they are the last."""
    if report.best_step in {None, report.step}:
        return []
    data = {"step": report.step, "best_step": report.best_step, "full_valid_loss": report.eval_loss_after}
    if report.stopped_early:
        why = f"validation loss has not improved for {training.early_stopping_patience} evaluations"
        message = f"Stopped early at step {report.step}: {why}; publishing step {report.best_step}"
    else:
        message = f"Publishing step {report.best_step}, where validation loss was lowest"
    return [EventDraft(message, data=data)]
