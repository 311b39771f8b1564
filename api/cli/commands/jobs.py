"""`orchard jobs`, `show`, `why`, `watch`, `logs`, `cancel`, `pause`, `resume`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from api.cli.output import (
    SHOWN_ISSUES,
    Format,
    FormatOption,
    IssueLimit,
    ReportPath,
    console,
    say,
    show_list,
    show_one,
)
from api.cli.session import session_of

if TYPE_CHECKING:
    from api.cli.client import OrchardClient
    from api.cli.models import Job

JobId = Annotated[str, typer.Argument(metavar="JOB", help="Id ftjob-…, adapter ft:…, or name: the newest so called.")]
COLUMNS = {
    "ID": "id",
    "NAME": "user_provided_suffix",
    "STATUS": "status",
    "STATE": "x_orchard.state",
    "BASE": "model",
    "STEP": "x_orchard.step",
    "OF": "x_orchard.total_steps",
    "EVAL BEFORE": "x_orchard.eval_loss_before",
    "EVAL AFTER": "x_orchard.eval_loss_after",
    "WAITS FOR": "x_orchard.queue_reason",
}


def jobs(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, help="How many, newest first.")] = 20,
    output: FormatOption = Format.TABLE,
) -> None:
    """List jobs, newest first."""
    with session_of(context).tenant() as client:
        show_list(client.jobs(limit), COLUMNS, output)


def show(context: typer.Context, job_id: JobId, output: FormatOption = Format.TABLE) -> None:
    """Show one job with its resolved numbers."""
    from api.cli.lookup import job_of

    with session_of(context).tenant() as client:
        show_one(client.job(job_of(client, job_id)), output)


def watch(context: typer.Context, job_id: JobId, output: FormatOption = Format.TABLE) -> None:
    """Follow a job to its end and sum it up. Exit code 0: it succeeded; 3: it failed or was cancelled.

    With -o json or yaml the whole job is printed instead of the summary.
    """
    from api.cli.lookup import job_of
    from api.cli.watch import raise_for_outcome, show_end, watch_job

    with session_of(context).tenant() as client:
        job = watch_job(client, job_of(client, job_id))
        show_end(client, job, output)
    raise_for_outcome(job)


def logs(
    context: typer.Context,
    job_id: JobId,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Follow until the job ends.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="How many of the newest events; with -f, all.")] = 200,
    output: FormatOption = Format.TABLE,
) -> None:
    """Print a job's events, oldest first. JSON is one object per line."""
    from api.cli.follow import follow_events, print_event
    from api.cli.lookup import job_of

    out = console()
    with session_of(context).tenant() as client:
        job_id = job_of(client, job_id)
        events = follow_events(client, job_id) if follow else iter(client.events(job_id, limit)[::-1])
        for event in events:
            print_event(event, output, out)


def issues(
    context: typer.Context,
    job_id: JobId,
    path: ReportPath = None,
    limit: IssueLimit = SHOWN_ISSUES,
    output: FormatOption = Format.TABLE,
) -> None:
    """List the rows that a job failed over: file, line, field and reason. With a PATH, save all of it as JSONL."""
    from api.cli.issue_calls import IssueCalls, show_issues
    from api.cli.lookup import job_of

    with session_of(context).tenant() as client:
        show_issues(IssueCalls.of_job(client, job_of(client, job_id)), path, limit, output)


def why(context: typer.Context, job_id: JobId, output: FormatOption = Format.TABLE) -> None:
    """Say what keeps a job from going on, since when, and what would change that."""
    from api.cli.lookup import job_of

    with session_of(context).tenant() as client:
        show_one(client.why(job_of(client, job_id)), output)


def cancel(context: typer.Context, job_id: JobId, output: FormatOption = Format.TABLE) -> None:
    """Stop a job. What it has trained so far stays as checkpoints."""
    _ask(context, job_id, output, lambda client, job: client.cancel(job), "stop")


def pause(context: typer.Context, job_id: JobId, output: FormatOption = Format.TABLE) -> None:
    """Take a job off its host after the step it is in; resume continues from there."""
    _ask(context, job_id, output, lambda client, job: client.pause(job), "pause")


def resume(context: typer.Context, job_id: JobId, output: FormatOption = Format.TABLE) -> None:
    """Let a paused job continue."""
    _ask(context, job_id, output, lambda client, job: client.resume(job), "continue")


def _ask(
    context: typer.Context, name: str, output: Format, wish: Callable[[OrchardClient, str], Job], verb: str
) -> None:
    from api.cli.lookup import job_of

    with session_of(context).tenant() as client:
        job = wish(client, job_of(client, name))
    say(f"{job.id} is asked to {verb}; it is {job.status}")
    if output is not Format.TABLE:
        show_one(job, output)
